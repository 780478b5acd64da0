"""The original notebook's network, against its formulas written out once more."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from helpers import gradients, rand
from normtutorial import OriginalNet
from normtutorial.models.original import (
    OriginalBatchNorm,
    OriginalLayerNorm,
    OriginalWeightNormLinear,
)


def weight_normalized(state, name, x):
    g, v, b = (state[f"{name}.{part}"] for part in ("g", "weight", "bias"))
    return x @ (g * v / torch.norm(v, dim=0)).T + b


def whole_tensor_norm(state, name, x):
    difference = x - torch.mean(x)
    z = difference / torch.sqrt(torch.mean(difference * difference) + 0.000001)
    return state[f"{name}.gamma"] * z + state[f"{name}.beta"]


def row_norm(state, name, x):
    difference = x - torch.mean(x, dim=1).reshape(-1, 1)
    variance = torch.mean(difference * difference, dim=1).reshape(-1, 1)
    z = difference / torch.sqrt(variance + 0.000001)
    return state[f"{name}.gamma"] * z + state[f"{name}.beta"]


def net(state, x):
    x = row_norm(state, "ln1", torch.relu(weight_normalized(state, "p1", x)))
    x = whole_tensor_norm(state, "bn2", torch.relu(weight_normalized(state, "p2", x)))
    x = row_norm(state, "ln3", torch.relu(weight_normalized(state, "p3", x)))
    return weight_normalized(state, "p4", x)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_the_network_computes_what_the_notebook_computed(training):
    model, x = OriginalNet().double().train(training), rand(5, 784)
    state = dict(model.named_parameters())
    ours, theirs, upstream = model(x), net(state, x), rand(5, 10)
    assert_close(ours, theirs)
    parameters = list(model.parameters())
    assert_close(gradients(ours, parameters, upstream), gradients(theirs, parameters, upstream))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_each_layer_computes_what_the_notebook_computed(scale):
    x = rand(6, 5, scale=scale, shift=scale)
    for layer, formula in (
        (OriginalWeightNormLinear(5, 3), weight_normalized),
        (OriginalBatchNorm(), whole_tensor_norm),
        (OriginalLayerNorm(), row_norm),
    ):
        state = {f"layer.{k}": v for k, v in layer.double().named_parameters()}
        assert_close(layer(x), formula(state, "layer", x))


def test_it_has_1595664_parameters():
    # each weight twice; 1290 biases; a scale and a shift of one number in each of three layers
    assert sum(p.numel() for p in OriginalNet().parameters()) == 2 * 797_184 + 1290 + 6 == 1_595_664


def test_the_parameters_have_the_notebooks_names():
    names = [name for name, _ in OriginalNet().named_parameters()]
    linear = [[f"p{i}.g", f"p{i}.weight", f"p{i}.bias"] for i in range(1, 5)]
    norms = [[f"{n}.beta", f"{n}.gamma"] for n in ("ln1", "bn2", "ln3")]
    assert sorted(names) == sorted(name for group in linear + norms for name in group)


def test_from_one_seed_it_starts_as_the_notebook_did():
    torch.manual_seed(5)
    ours = dict(OriginalNet().named_parameters())
    torch.manual_seed(5)
    for name in (
        "p1",
        "ln1",
        "p2",
        "bn2",
        "p3",
        "ln3",
        "p4",
    ):  # in the order of the notebook
        if name.startswith("p"):
            for part in "g", "weight":
                expected = torch.empty_like(ours[f"{name}.{part}"])
                nn.init.kaiming_uniform_(expected, a=math.sqrt(5))
                assert_close(ours[f"{name}.{part}"].detach(), expected)
            bound = 1 / math.sqrt(expected.shape[1])
            expected = nn.init.uniform_(torch.empty(len(expected)), -bound, bound)
            assert_close(ours[f"{name}.bias"].detach(), expected)
        else:
            for part in "beta", "gamma":
                expected = nn.init.uniform_(torch.empty(1))
                assert_close(ours[f"{name}.{part}"].detach(), expected)


def test_images_are_flattened():
    model, x = OriginalNet(), torch.randn(5, 1, 28, 28)
    assert_close(model(x), model(x.reshape(-1, 784)))


def test_its_batch_norm_remembers_nothing():
    assert not list(OriginalNet().buffers())


def test_its_batch_norm_has_one_mean_for_all():
    layer, x = OriginalBatchNorm(), torch.randn(6, 5)
    assert_close(layer(x.T.contiguous()).T, layer(x))


def test_its_weight_norm_divides_by_the_length_of_columns():
    layer = OriginalWeightNormLinear(5, 3)
    nn.init.ones_(layer.g)
    assert_close(layer.effective_weight().norm(dim=0), torch.ones(5))
