"""Studies over seeds."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import normtutorial as nt
from normtutorial import History, ImageData, OriginalNet, WeightNormLinear, experiments, fit
from normtutorial.experiments import (
    NORMS,
    WIDTHS,
    build,
    compare,
    learning_rate_sweep,
    seeds,
    threads,
)

SMALL = (16, 24, 24, 10)


def toy(side: int = 4) -> ImageData:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(48, 1, side, side, generator=generator)
    labels = torch.randint(10, (48,), generator=generator)
    return ImageData(images[:32], labels[:32], images[32:], labels[32:], "synthetic")


@pytest.fixture(autouse=True)
def _no_shift(monkeypatch):
    monkeypatch.delenv("NORMTUTORIAL_SEED", raising=False)


@pytest.mark.parametrize(
    "shift, expected",
    [(None, [0, 1, 2]), ("", [0, 1, 2]), ("0", [0, 1, 2]), ("4", [4000, 4001, 4002])],
)
def test_the_environment_shifts_all_seeds(monkeypatch, shift, expected):
    if shift is not None:
        monkeypatch.setenv("NORMTUTORIAL_SEED", shift)
    assert seeds() == seeds(3) == expected


@pytest.mark.parametrize("shift", ["-1", "1.5", "lucky"])
def test_a_shift_that_is_no_whole_number_is_refused(monkeypatch, shift):
    monkeypatch.setenv("NORMTUTORIAL_SEED", shift)
    with pytest.raises(ValueError, match=f"expects a whole number from 0; got '{shift}'"):
        seeds()


def test_threads_are_given_back_also_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


def linear_weights(model):
    kinds = (nn.Linear, WeightNormLinear)
    return [m.weight.detach() for m in model.modules() if isinstance(m, kinds)]


@pytest.mark.parametrize("std", [None, "he", 0.1])
@pytest.mark.parametrize("norm", NORMS)
def test_all_normalizations_start_with_the_same_weights(norm, std):
    plain = linear_weights(build("none", SMALL, seed=3, std=std))
    weights = linear_weights(build(norm, SMALL, seed=3, std=std))
    assert len(weights) == 3
    assert_close(weights, plain)


@pytest.mark.parametrize("norm", [*NORMS, "original"])
def test_the_same_seed_is_the_same_network_and_another_is_another(norm):
    widths = WIDTHS if norm == "original" else SMALL
    a, b, c = (torch.nn.utils.parameters_to_vector(build(norm, widths, seed=s).parameters())
               for s in (0, 0, 1))  # fmt: skip
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize("norm", [*NORMS, "original"])
def test_every_network_maps_images_to_ten_logits(norm):
    model = build(norm)
    assert model(torch.rand(4, 1, 28, 28)).shape == (4, 10)


def test_the_global_random_state_is_untouched():
    before = torch.get_rng_state()
    build("batch", SMALL, seed=3, std="he")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "norm, kind",
    [
        ("batch", nt.BatchNorm),
        ("layer", nt.LayerNorm),
        ("instance", nt.InstanceNorm),
        ("group", nt.GroupNorm),
        ("rms", nt.RMSNorm),
        ("weight", WeightNormLinear),
        ("original", OriginalNet),
    ],
)
def test_the_name_is_what_is_built(norm, kind):
    model = build(norm) if norm == "original" else build(norm, SMALL)
    assert any(isinstance(m, kind) for m in model.modules())


def test_none_has_no_normalization():
    kinds = {type(m).__name__ for m in build("none", SMALL).modules()}
    assert kinds == {"MLP", "Flatten", "Linear", "ReLU"}


def test_instance_norm_of_a_vector_is_layer_norm_without_scale_and_shift():
    norm = build("instance", SMALL).norm1
    x = torch.randn(5, 24)
    assert_close(norm(x), nt.functional.layer_norm(x, (24,)))


def test_options_are_those_of_the_mlp():
    assert isinstance(build("batch", SMALL, activation=nn.Tanh).act1, nn.Tanh)


def test_an_unknown_name_is_refused_with_those_that_are_known():
    match = "Unknown normalization 'btach'. Known ones: none, weight, batch, layer, .*, original"
    with pytest.raises(ValueError, match=match):
        build("btach")


@pytest.mark.parametrize("arguments", [{"widths": SMALL}, {"activation": nn.Tanh}], ids=str)
def test_the_original_comes_in_one_size(arguments):
    with pytest.raises(ValueError, match=r"original network has widths \(784, .* no options"):
        build("original", **arguments)


def test_the_networks_have_the_size_of_the_originals():
    assert WIDTHS == (784, 512, 512, 256, 10)
    assert sum(p.numel() for p in build("none").parameters()) == 798_474


def test_compare_runs_every_normalization_with_every_seed():
    data = toy(28)
    runs = compare(["batch", "original"], data, seeds=[0, 5], epochs=1, batch_size=16)
    assert list(runs) == ["batch", "original"]
    assert [len(histories) for histories in runs.values()] == [2, 2]
    alone = fit(build("batch", seed=5), data, epochs=1, batch_size=16, seed=5)
    assert runs["batch"][1].loss == alone.loss


def test_an_interrupt_ends_a_comparison_with_what_there_is(monkeypatch):
    calls = []

    def interrupted_the_second_time(*arguments, **settings):
        calls.append(settings["seed"])
        return History(interrupted=len(calls) == 2)

    monkeypatch.setattr(experiments, "fit", interrupted_the_second_time)
    runs = compare(["none", "batch"], toy(28), seeds=[0, 1, 2])
    assert calls == [0, 1]
    assert [len(runs["none"]), len(runs["batch"])] == [2, 0]


def test_a_learning_rate_sweep_goes_over_names_rates_and_seeds():
    rates = [1e-3, 1e20]
    runs = learning_rate_sweep(
        ["none", "layer"], rates, toy(), seeds=[0, 1, 2], widths=SMALL, steps=6, batch_size=16
    )
    assert list(runs) == ["none", "layer"]
    assert [[len(of_rate) for of_rate in runs[norm]] for norm in runs] == [[3, 3], [3, 3]]
    gentle, brutal = runs["none"]
    assert not any(history.diverged for history in gentle)
    assert all(history.diverged for history in brutal)


def test_the_runs_of_a_sweep_start_from_the_same_weights():
    (slow, fast), = learning_rate_sweep(
        ["none"], [1e-3, 1e-2], toy(), seeds=[0], widths=SMALL, steps=2
    ).values()  # fmt: skip
    assert slow[0].loss[0] == fast[0].loss[0] and slow[0].loss[1] != fast[0].loss[1]


def test_momentum_is_that_of_sgd():
    options = {"seeds": [0], "widths": SMALL, "steps": 3}
    plain, heavy = (
        learning_rate_sweep(["none"], [0.1], toy(), momentum=m, **options)["none"][0][0]
        for m in (0.0, 0.9)
    )
    assert plain.loss[:2] == heavy.loss[:2] and plain.loss[2] != heavy.loss[2]
