"""The study of networks without a normalization: what is trained, from which weights, on what."""

import importlib

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from helpers import toy
from normtutorial import DyT, History, ResidualConvNet, Transformer
from normtutorial.studies import LEFT_OUT, RELU_GAIN, left_out, scaled_conv, standardized


@pytest.fixture
def trained(monkeypatch):
    """The model, the images and the options of each run, which trains nothing."""
    seen = []

    def fit(model, data, **options):
        seen.append((model, data, options))
        return History()

    monkeypatch.setattr(importlib.import_module("normtutorial.studies.without"), "fit", fit)
    return seen


def test_filters_are_centered_and_drawn_as_long_as_they_are_used():
    torch.manual_seed(0)
    conv = scaled_conv(16, 8, 3, padding=1)
    drawn = conv.parametrizations.weight.original1.flatten(1).norm(dim=1)
    assert_close(conv.weight.flatten(1).norm(dim=1), torch.ones(8))
    assert_close(conv.weight.mean((1, 2, 3)), torch.zeros(8), atol=1e-6, rtol=0)
    assert drawn.min() > 0.8 and drawn.max() < 1.2
    assert not conv.bias.any()


def test_the_gain_gives_the_relu_of_a_normal_number_variance_1():
    z = torch.linspace(-12, 12, 100_001, dtype=torch.float64)
    density = torch.distributions.Normal(0.0, 1.0).log_prob(z).exp()
    y = RELU_GAIN * z.relu()
    mean, square = (torch.trapezoid(v * density, z) for v in (y, y.square()))
    assert_close(square - mean**2, torch.tensor(1.0, dtype=torch.float64), rtol=1e-6, atol=0)


def test_pixels_are_standardized_as_those_of_the_training_images():
    data = toy(side=28)
    found = standardized(data)
    std, mean = torch.std_mean(data.train_images)
    assert_close(found.test_images, (data.test_images - mean) / std)
    assert found.train_labels is data.train_labels
    block = found.test_images[0, 0, :2, 26:].mean()
    assert_close(standardized(data, pool=2).test_images[0, 0, 0, 13], block)


@pytest.mark.parametrize("setting", LEFT_OUT)
def test_every_setting_has_a_network_and_a_rate(setting, trained):
    run = left_out(setting, toy(side=28), seed=1)
    ((model, data, options),) = trained
    convolves = setting.startswith("conv")
    assert type(model) is (ResidualConvNet if convolves else Transformer)
    assert data.train_images.shape[-1] == (14 if convolves else 28)
    assert (options["steps"], options["batch_size"]) == (80 if convolves else 60, 32)
    assert options["optimizer"].param_groups[0]["lr"] == run.lr == LEFT_OUT[setting].lr
    blocks = [name for name, _ in model.named_modules() if name.split(".")[-1].startswith("block")]
    expected = 4 if "4 blocks" in setting else 12
    assert len(blocks if convolves else model.blocks) == expected


def test_a_network_without_a_norm_has_the_weights_of_the_one_with_batch_norm(trained):
    for setting in ("conv, none", "conv, batch"):
        left_out(setting, toy(side=28), seed=3)
    none, batch = ([m.weight for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
                   for model, *_ in trained)  # fmt: skip
    assert len(none) == 27 and all(map(torch.equal, none, batch))
    assert abs(none[3].std() * (none[3][0].numel() / 2) ** 0.5 - 1) < 0.1  # He's


def test_scaled_networks_divide_by_what_is_foretold(trained):
    left_out("conv, scaled", toy(side=28), seed=0)
    ((model, *_),) = trained
    beta = [model.get_submodule(f"block{i}").beta ** 2 for i in range(1, 13)]
    assert beta == pytest.approx([1, 2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6])
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            assert_close(module.weight.flatten(1).norm(dim=1), torch.ones(len(module.weight)))


def test_raw_pixels_are_left_and_others_are_not(trained):
    data = toy(side=28)
    for setting in ("transformer, none, raw pixels", "transformer, none"):
        left_out(setting, data, seed=0)
    (_, raw, _), (_, even, _) = trained
    assert raw is data and abs(even.train_images.mean()) < 1e-4


def test_dyt_stands_where_the_layer_norm_did(trained):
    left_out("transformer, DyT", toy(side=28), seed=0)
    ((model, *_),) = trained
    assert sum(isinstance(m, DyT) for m in model.modules()) == 2 * 12 + 1
    assert not any(isinstance(m, nn.LayerNorm) for m in model.modules())


def test_it_trains_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    run = left_out("conv, SkipInit", toy(side=28), seed=0, steps=2)
    assert len(run.history.train_loss) == 2 and (run.norm, run.seed) == ("none", 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValueError, match=r"Unknown setting 'conv'\. Known ones: conv, none; conv"):
        left_out("conv", toy(side=28), seed=0)
