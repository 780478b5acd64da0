"""Studies over seeds and settings."""

import json

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.testing import assert_close

import normtutorial as nt
from helpers import toy
from normtutorial import (
    History,
    OriginalNet,
    ResidualMLP,
    Transformer,
    WeightNormLinear,
    fit,
    training,
)
from normtutorial.norms import NORMS
from normtutorial.studies import (
    AUDIT,
    DEEP,
    NAMES,
    PLACED,
    WIDTHS,
    audit,
    build,
    compare,
    deep,
    learning_rate_sweep,
    placed,
    recorded,
    repaired,
)

SMALL = (16, 24, 24, 10)


def linear_weights(model):
    kinds = (nn.Linear, WeightNormLinear)
    return [m.weight.detach() for m in model.modules() if isinstance(m, kinds)]


@pytest.mark.parametrize("std", [None, "kaiming", 0.1])
@pytest.mark.parametrize("norm", NORMS)
def test_all_normalizations_start_with_the_same_weights(norm, std):
    plain = linear_weights(build("none", SMALL, seed=3, std=std))
    weights = linear_weights(build(norm, SMALL, seed=3, std=std))
    assert len(weights) == 3
    assert_close(weights, plain)


@pytest.mark.parametrize("norm", NAMES)
def test_the_same_seed_is_the_same_network_and_another_is_another(norm):
    widths = WIDTHS if norm == "original" else SMALL
    a, b, c = (torch.nn.utils.parameters_to_vector(build(norm, widths, seed=s).parameters())
               for s in (0, 0, 1))  # fmt: skip
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize("norm", NAMES)
def test_every_network_maps_images_to_ten_logits(norm):
    model = build(norm)
    assert model(torch.rand(4, 1, 28, 28)).shape == (4, 10)


def test_the_global_random_state_is_untouched():
    before = torch.get_rng_state()
    build("batch", SMALL, seed=3, std="kaiming")
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


def test_what_is_made_has_the_norm_the_seed_and_the_options():
    model = build("batch", make=nt.ConvNet, seed=3, std="kaiming", channels=(4, 6))
    again = build("batch", make=nt.ConvNet, seed=3, std="kaiming", channels=(4, 6))
    assert type(model) is nt.ConvNet and model.norm2.num_features == 6
    assert_close(model.state_dict(), again.state_dict(), rtol=0, atol=0)
    assert_close(model.conv2.weight.std().item(), (2 / 36) ** 0.5, rtol=0.2, atol=0)


@pytest.mark.parametrize("arguments", [{"widths": SMALL}, {"skips": True}], ids=str)
def test_what_is_made_has_neither_widths_nor_skips(arguments):
    with pytest.raises(ValueError, match="build expects widths and skips for an MLP"):
        build("batch", make=nt.ConvNet, **arguments)


def test_an_unknown_name_is_refused_with_those_that_are_known():
    match = "Unknown normalization 'btach'. Known ones: none, weight, batch, layer, .*, original"
    with pytest.raises(ValueError, match=match):
        build("btach")


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: build("batch", seed=1.5), "build expects a whole number for seed; got 1.5"),
        (lambda: build("batch", SMALL, std=float("inf")), "positive std.*got inf"),
        (lambda: compare(["none", "bach"], images(), seeds=[0]), "Unknown normalization 'bach'"),
        (lambda: compare(["none"], images(), seeds=[0, True]), "for each seed; got True"),
        (lambda: compare(["none"], images(), seeds=[0], lr=float("nan")), "for lr; got nan"),
        (lambda: made(["none", "rms"]), "ConvNet knows no norm 'rms'"),
        (lambda: made(["none", "instance"]), "more than one position per channel"),
        (lambda: rates_of(["bach"], [0.1]), "Unknown normalization 'bach'"),
        (lambda: rates_of(["none"], [0.1, -1]), "number for each rate; got -1"),
        (lambda: rates_of(["none"], [0.1], seeds=[True]), "number for each seed; got True"),
        (lambda: rates_of(["none"], [0.1], momentum=1), "momentum from 0 to below 1; got 1"),
        (lambda: rates_of(["none"], [0.1], momentum=float("nan")), "to below 1; got nan"),
    ],
)
def test_what_is_out_of_bounds_is_refused_before_the_first_run(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def made(norms, **options):
    return compare(norms, images(), seeds=[0], make=nt.ConvNet, **options)


def rates_of(norms, rates, seeds=(0,), **options):
    return learning_rate_sweep(norms, rates, images(), seeds=seeds, **options)


@pytest.mark.parametrize("arguments", [{"widths": SMALL}, {"activation": nn.Tanh}], ids=str)
def test_the_original_comes_in_one_size(arguments):
    with pytest.raises(ValueError, match=r"original network has widths \(784, .* no options"):
        build("original", **arguments)


def test_the_networks_have_the_size_of_the_originals():
    assert WIDTHS == (784, 512, 512, 256, 10)
    assert sum(p.numel() for p in build("none").parameters()) == 798_474


def images():
    return toy(32, 16, side=28)


def test_compare_runs_every_normalization_with_every_seed():
    runs = list(compare(["batch", "original"], images(), seeds=[0, 5], epochs=1, batch_size=16))
    expected = [("batch", 0), ("batch", 5), ("original", 0), ("original", 5)]
    assert [(run.norm, run.seed) for run in runs] == expected
    alone = fit(build("batch", seed=5), images(), epochs=1, batch_size=16, seed=5)
    assert runs[1].history.train_loss == alone.train_loss and runs[1].lr == 1e-3


def test_compare_trains_what_is_made():
    (run,) = made(["batch"], steps=2)
    model = build("batch", make=nt.ConvNet)
    assert run.history.train_loss == fit(model, images(), steps=2).train_loss


def test_a_run_is_there_before_the_next_one_begins(monkeypatch):
    begun = []
    monkeypatch.setattr("normtutorial.studies.runs.fit", lambda *_, seed, **__: begun.append(seed))
    for run in compare(["none"], images(), seeds=[0, 1, 2]):
        assert begun[-1] == run.seed
    assert begun == [0, 1, 2]


def test_the_rate_is_that_of_adam():
    (run,) = compare(["none"], images(), seeds=[0], epochs=1, lr=0.01)
    alone = fit(build("none"), images(), epochs=1, lr=0.01)
    assert run.lr == 0.01 and run.history.train_loss == alone.train_loss


def test_an_interrupted_run_is_the_last(monkeypatch):
    def interrupted_the_second_time(*_, seed, history, **__):
        history.interrupted = seed == 1

    monkeypatch.setattr("normtutorial.studies.runs.fit", interrupted_the_second_time)
    runs = list(compare(["none", "batch"], images(), seeds=[0, 1, 2]))
    assert [(run.norm, run.seed) for run in runs] == [("none", 0), ("none", 1)]


@pytest.mark.parametrize("study", [compare, learning_rate_sweep], ids=lambda f: f.__name__)
def test_a_run_that_an_error_ends_is_there_before_the_error(monkeypatch, study):
    def fails_the_second_time(*_, seed, history, **__):
        history.train_loss.append(1.0)
        if seed == 1:
            raise MemoryError("no more")

    monkeypatch.setattr("normtutorial.studies.runs.fit", fails_the_second_time)
    rates = [[0.1]] if study is learning_rate_sweep else []
    runs = []
    with pytest.raises(MemoryError, match="no more"):
        runs.extend(study(["none", "batch"], *rates, images(), seeds=[0, 1, 2]))
    assert [(run.norm, run.seed, run.history.train_loss) for run in runs] == [
        ("none", 0, [1.0]),
        ("none", 1, [1.0]),
    ]


def test_an_error_before_the_first_step_leaves_no_run(monkeypatch):
    def fails(*_, **__):
        raise MemoryError("no more")

    monkeypatch.setattr("normtutorial.studies.runs.build", fails)
    with pytest.raises(MemoryError, match="no more"):
        next(compare(["none"], images(), seeds=[0]))


def test_steps_take_the_place_of_epochs():
    (run,) = compare(["none"], images(), seeds=[0], steps=3, batch_size=16)
    assert len(run.history.train_loss) == 3


@pytest.mark.parametrize("setting", [{"optimizer": None}, {"seed": 1}, {"history": History()}])
def test_what_a_study_sets_itself_cannot_be_set(setting):
    study = learning_rate_sweep(["none"], [0.1], toy(), seeds=[0], widths=SMALL, **setting)
    with pytest.raises(TypeError, match="multiple values"):
        next(study)


def test_a_learning_rate_sweep_goes_over_names_rates_and_seeds():
    runs = list(
        learning_rate_sweep(
            ["none", "layer"],
            [1e-3, 1e20],
            toy(),
            seeds=[0, 1],
            widths=SMALL,
            steps=6,
            batch_size=16,
        )
    )
    assert [run[:3] for run in runs] == [
        (norm, lr, seed) for norm in ("none", "layer") for lr in (1e-3, 1e20) for seed in (0, 1)
    ]
    diverged = [run.history.diverged for run in runs if run.norm == "none"]
    assert diverged == [False, False, True, True]


def sweep(**options) -> list[History]:
    settings = {"seeds": [0], "widths": SMALL, "steps": 3} | options
    return [run.history for run in learning_rate_sweep(["none"], data=toy(), **settings)]


def test_the_runs_of_a_sweep_start_from_the_same_weights():
    slow, fast = (history.train_loss for history in sweep(rates=[1e-3, 1e-2]))
    assert slow[0] == fast[0] and slow[1] != fast[1]


def test_momentum_is_that_of_sgd():
    (plain,), (heavy,) = (sweep(rates=[0.1], momentum=m) for m in (0.0, 0.9))
    assert plain.train_loss[:2] == heavy.train_loss[:2]
    assert plain.train_loss[2] != heavy.train_loss[2]


def test_each_network_is_compiled_as_if_it_were_the_first(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: calls.append("reset"))
    monkeypatch.setattr(nn.Module, "compile", lambda model: calls.append(type(model).__name__))
    list(compare(["none", "rms"], images(), seeds=[0], epochs=1, compile=True))
    assert calls == ["reset", "MLP"] * 2
    calls.clear()
    list(compare(["none"], images(), seeds=[0], epochs=1))
    assert calls == []


def test_the_bar_of_each_run_says_which_it_is(monkeypatch):
    labels, bar = [], training._progress_bar

    def spy(total, label):
        labels.append(label)
        return bar(total, label)

    monkeypatch.setattr(training, "_progress_bar", spy)
    list(learning_rate_sweep(["none"], [0.1, 1e-5], toy(), seeds=[3], widths=SMALL, steps=1))
    assert labels == ["rate 0.1, none, seed 3, run 1 of 2", "rate 1e-05, none, seed 3, run 2 of 2"]
    labels.clear()
    list(
        learning_rate_sweep(
            ["none"], [0.1], toy(), seeds=[3], widths=SMALL, steps=1, progress=False
        )
    )
    list(compare(["none"], images(), seeds=[3], epochs=1, progress=False))
    assert labels == [False, False]


@pytest.fixture
def record(tmp_path):
    runs = [{"seed": seed, "loss": seed / 10} for seed in (0, 1, 100_000)]
    path = tmp_path / "study.json"
    path.write_text(json.dumps({"runs": {"mnist": {"none": runs, "batch": runs[:2]}}}))
    return path


@pytest.mark.parametrize(
    "block, seeds", [("", [0, 1]), ("0", [0, 1]), ("100", [100_000]), ("3", [0, 1])]
)
def test_a_recorded_study_is_read_at_the_seeds_of_the_book(record, monkeypatch, block, seeds):
    monkeypatch.setenv("NORMTUTORIAL_SEED", block)
    assert [run["seed"] for run in recorded(record, "mnist")["none"]] == seeds


def test_recorded_runs_stand_in_the_order_of_their_seeds(record):
    stored = json.loads(record.read_text())
    stored["runs"]["mnist"]["none"].reverse()
    record.write_text(json.dumps(stored))
    assert [run["seed"] for run in recorded(record, "mnist")["none"]] == [0, 1]


def test_a_source_that_was_not_recorded_is_named(record):
    with pytest.raises(ValueError, match="recorded expects a source among mnist; got 'synthetic'"):
        recorded(record, "synthetic")


def test_with_skips_a_network_starts_with_the_same_weights():
    plain, residual = (build("batch", (16, 24, 24, 10), seed=3, skips=s) for s in (False, True))
    assert type(residual) is ResidualMLP
    assert_close(residual.state_dict(), plain.state_dict())


def test_a_deep_network_is_the_one_that_its_name_says():
    assert len(DEEP) == 16
    starts = {"default": ("none", None), "He": ("none", "kaiming")}
    starts |= {norm: (norm, "kaiming") for norm in ("batch", "layer")}
    for name, setting in DEEP.items():
        assert (setting.norm, setting.std) == starts[name.split(",")[0]]
        assert f"{setting.depth} layers" in name and ("skips" in name) == setting.skips
        assert setting.lr in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3), "of a coarse grid"


def test_a_deep_network_is_trained_at_its_rate_from_its_seed():
    setting = "layer, 20 layers, skips"
    run = deep(setting, toy(side=28), seed=1, steps=2)
    assert (run.norm, run.lr, run.seed) == ("layer", DEEP[setting].lr, 1)
    widths = (784, *[64] * 20, 10)
    model = build("layer", widths, seed=1, std="kaiming", skips=True)
    by_hand = fit(
        model, toy(side=28), steps=2, seed=1, optimizer=torch.optim.SGD(model.parameters(), 0.1)
    )
    assert run.history.train_loss == by_hand.train_loss


def test_an_unknown_setting_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match=r"Unknown setting 'batch'\. Known ones: default, 20 lay"):
        deep("batch", toy(), seed=0)


def test_a_placed_transformer_is_the_one_that_its_name_says():
    assert len(PLACED) == 18
    for name, s in PLACED.items():
        assert name.startswith(f"{s.placement}, {s.norm}, {s.depth} blocks, {s.lr}")
        assert name.endswith(", warm-up") == (s.warmup > 0)


def test_a_placed_transformer_is_trained_at_its_rate_from_its_seed():
    data = toy(side=28)
    run = placed("post, layer, 4 blocks, 0.01", data, seed=1, steps=2)
    assert (run.norm, run.lr, run.seed) == ("layer", 0.01, 1)
    model = build("layer", make=Transformer, placement="post", patch=14, seed=1)
    adam = torch.optim.Adam(model.parameters(), 0.01)
    by_hand = fit(model, data, steps=2, batch_size=32, optimizer=adam, seed=1)
    assert run.history.train_loss == by_hand.train_loss


def test_a_warm_up_begins_below_the_rate_and_ends_at_it():
    rates = []

    def watch(optimizer, *_):
        rates.append(optimizer.param_groups[0]["lr"])

    handle = register_optimizer_step_pre_hook(watch)
    placed("post, layer, 4 blocks, 0.02, warm-up", toy(side=28), seed=0, steps=52)
    handle.remove()
    assert_close(rates, [*(0.02 * (i + 1) / 50 for i in range(50)), 0.02, 0.02])


def test_an_unknown_place_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match=r"Unknown setting 'post'\. Known ones: pre, layer, 4 bl"):
        placed("post", toy(), seed=0)


WEIGHTS = (784 * 512, 512 * 512, 512 * 256, 256 * 10)
UNITS = 512 + 512 + 256 + 10


@pytest.mark.parametrize(
    "repairs, learned",
    [
        ((), 2 * sum(WEIGHTS) + UNITS + 6),
        (("gains",), 2 * sum(WEIGHTS) + UNITS + 6),
        (("weight norm",), sum(WEIGHTS) + 2 * UNITS + 6),
        (("weight norm", "gains", "norms"), sum(WEIGHTS) + 2 * UNITS + 2 * (UNITS - 10)),
        (("gains", "biases"), 2 * sum(WEIGHTS) + 6),
    ],
    ids=str,
)
def test_a_repaired_network_learns_as_many_numbers_as_it_should(repairs, learned):
    model = repaired(*repairs)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == learned
    assert model(torch.rand(4, 1, 28, 28)).shape == (4, 10)


def test_without_repairs_it_is_the_original():
    assert_close(repaired(seed=3).state_dict(), build("original", seed=3).state_dict())


def test_repairs_keep_what_the_seed_has_drawn():
    old, new = repaired(seed=3), repaired("weight norm", "gains", seed=3)
    for i in range(1, 5):
        before, after = old.get_submodule(f"p{i}"), new.get_submodule(f"p{i}")
        assert_close(after.weight, before.weight)  # the length of each row is its own
        assert_close(after.bias, before.bias)
    gains = [p.item() for name, p in new.named_parameters() if "gamma" in name or "beta" in name]
    assert sorted(gains) == [0, 0, 0, 1, 1, 1]


def test_without_biases_they_are_zero_and_stay():
    model = repaired("biases")
    biases = [p for name, p in model.named_parameters() if "bias" in name]
    assert len(biases) == 4 and all(not b.any() and not b.requires_grad for b in biases)


def test_the_norms_of_the_papers_come_before_the_relus():
    kinds = [type(m) for m in repaired("weight norm", "gains", "norms").children()]
    layers = [(WeightNormLinear, n, nn.ReLU) for n in (nt.LayerNorm, nt.BatchNorm, nt.LayerNorm)]
    assert kinds == [nn.Flatten, *sum(layers, ()), WeightNormLinear]


def test_an_unknown_repair_or_arm_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match=r"repaired knows 'weight norm', .*; got 'gain'"):
        repaired("gain")
    with pytest.raises(ValueError, match=r"Unknown setting 'gains'\. Known ones: original, Adam"):
        audit("gains", toy(), seed=0)


@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
def test_an_audited_network_is_trained_from_its_seed(optimizer):
    run = audit(f"gains, {optimizer}", images(), seed=1, steps=2)
    model = repaired("gains", seed=1)
    parameters = model.parameters()
    by_hand = torch.optim.SGD(parameters, 0.1) if optimizer == "SGD" else None
    again = fit(model, images(), steps=2, seed=1, optimizer=by_hand)
    assert run.history.train_loss == again.train_loss and run.seed == 1
    assert len(AUDIT) == 12
