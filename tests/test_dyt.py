"""Dynamic tanh: no normalization, but it stands where one would."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from helpers import rand, randomize_
from normtutorial import DyT
from normtutorial.layers import Tracer


@pytest.mark.parametrize("shape", [5, (3, 5)])
def test_dyt_is_its_formula(shape):
    layer = randomize_(DyT(shape).double())
    x = rand(4, 3, 5, scale=2.0)
    assert_close(layer(x), layer.weight * torch.tanh(layer.alpha * x) + layer.bias)


def test_the_gradients_of_dyt_are_right():
    layer = randomize_(DyT(5).double())
    inputs = rand(4, 5).requires_grad_(), *layer.parameters()
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), inputs)
    assert torch.autograd.gradgradcheck(lambda x, *_: layer(x), inputs)


def test_dyt_starts_as_a_tanh_and_starts_so_again():
    layer = DyT(5, alpha=0.8)
    fresh = {name: p.detach().clone() for name, p in layer.named_parameters()}
    x = torch.randn(4, 5)
    assert_close(layer(x), torch.tanh(0.8 * x))
    randomize_(layer).reset_parameters()
    assert_close(dict(layer.named_parameters()), fresh)
    assert [tuple(p.shape) for p in layer.parameters()] == [(1,), (5,), (5,)]
    assert DyT(5).alpha.item() == 0.5


def test_dyt_looks_at_one_number_at_a_time():
    layer, x = DyT(5), torch.randn(4, 5)
    moved = x.clone()
    moved[1, 2] += 1
    assert (layer(moved) != layer(x)).nonzero().tolist() == [[1, 2]]


def test_dyt_is_a_leaf_of_a_graph_and_copies_are_the_same():
    model = nn.Sequential(nn.Linear(3, 5), DyT(5))
    x = torch.randn(4, 3)
    assert [node.target for node in Tracer().trace(model).nodes] == ["input", "0", "1", "output"]
    assert_close(torch.fx.symbolic_trace(model)(x), model(x))
    assert_close(copy.deepcopy(model)(x), model(x))
    assert repr(model[1]) == "DyT((5,), alpha=0.5)"
    on_meta = DyT(5, device="meta", dtype=torch.float64)
    assert {(p.device.type, p.dtype) for p in on_meta.parameters()} == {("meta", torch.float64)}


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: DyT(0), "^DyT expects each size of at least 1; got 0"),
        (lambda: DyT(5, alpha=-1.0), "^DyT expects a positive, finite number for alpha; got -1.0"),
        (
            lambda: DyT(5)(torch.zeros(4, 6)),
            r"DyT\(\(5,\)\) expects input \(..., 5\); got .* \(4, 6\)",
        ),
        (
            lambda: DyT(5)(torch.zeros(4, 5, dtype=torch.int64)),
            "floating-point input; got torch.int",
        ),
    ],
)
def test_what_dyt_cannot_take_is_a_sentence(call, match):
    with pytest.raises(ValueError, match=match):
        call()
