"""Values where rounding shows: constants, offsets, outliers, the ends of the formats."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from helpers import rand, randomize_
from normtutorial import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from normtutorial import functional as NF

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
CENTERED: dict[str, Any] = {  # a layer, and the input in which n equal values share a mean
    "batch": lambda n: (BatchNorm(3), (n, 3)),
    "batch, positions": lambda n: (BatchNorm(3), (1, 3, n)),
    "batch, bare": lambda n: (BatchNorm(3, affine=False), (n, 3)),
    "layer": lambda n: (LayerNorm(n), (3, n)),
    "layer, bare": lambda n: (LayerNorm(n, elementwise_affine=False), (3, n)),
    "instance": lambda n: (InstanceNorm(3), (2, 3, n)),
    "group": lambda n: (GroupNorm(1, 3), (2, 3, n)),
}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("value", [0.1, -3.3, 100.1, 1e4 / 3, 1e6 + 0.1, 1e-30, 1e30])
@pytest.mark.parametrize("name", CENTERED)
def test_what_is_constant_becomes_0_at_every_width_and_offset(name, value, dtype):
    if abs(value) > torch.finfo(dtype).max / 4096:
        pytest.skip("the sum is beyond this dtype")
    for n in 2, 3, 7, 100, 784, 1000:
        layer, shape = CENTERED[name](n)
        for eps in layer.eps, 1e-30:
            layer.eps = eps
            y = layer.to(dtype)(torch.full(shape, value, dtype=dtype))
            assert (y == 0).all(), (n, eps)


def test_even_at_the_end_of_float32_a_constant_becomes_0():
    assert (LayerNorm(3)(torch.full((2, 3), 1e38)) == 0).all()


@pytest.mark.parametrize("n", [3, 784, 1000, 100_003])
def test_a_constant_has_itself_for_its_mean_and_no_variance(n):
    for value in 0.1, 100.1, 1e6 + 0.1:
        x = torch.full((n,), value)
        mean, var = NF.moments(x, (0,), correction=1)
        assert (mean.item(), var.item()) == (x[0].item(), 0.0)


@pytest.mark.parametrize("name", CENTERED)
@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6, -1e6])
def test_an_offset_costs_no_digits(name, offset):
    layer, shape = CENTERED[name](1000)
    x = torch.randn(shape) + offset
    exact = copy.deepcopy(layer).double()(x.double())
    assert (layer(x) - exact).abs().max() < 1.5e-6  # torch's layer norm: 0.06 at 1e6


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
def test_the_mean_and_variance_of_many_are_right_to_the_last_digits(offset):
    x = torch.randn(3, 100_000) + offset
    mean, var = NF.moments(x, (1,))
    exact_var, exact_mean = torch.var_mean(x.double(), 1, correction=0, keepdim=True)
    assert_close(mean.double(), exact_mean, rtol=1e-7, atol=1e-7)
    assert_close(var.double(), exact_var, rtol=1e-6, atol=0)


@pytest.mark.parametrize("where", [0, 1, -1])
def test_an_outlier_in_front_costs_no_more_than_elsewhere(where):
    x = torch.randn(1, 1_000_000)
    x[0, where] = 1e6
    layer = LayerNorm(1_000_000)
    exact = copy.deepcopy(layer).double()(x.double())
    assert (layer(x) - exact).abs().max() < 2e-4  # of 1000, the outlier's own value
    assert (layer(x) - exact)[0, 2:-1].abs().max() < 1e-6


def test_a_first_element_near_the_mean_is_as_good_a_reference_as_any():
    x = torch.tensor([[1e6, 1e6 + 1, 1e6 - 1, 1e6 + 2, 1e6 - 1.5]])
    exact = NF.layer_norm(x.double(), (5,))
    assert_close(NF.layer_norm(x, (5,)).double(), exact, rtol=1e-6, atol=1e-6)


def test_the_derivative_does_not_depend_on_the_reference():
    x = (rand(4, 5, scale=1e-9) + 1e3).requires_grad_()  # every first element is near the mean
    upstream = rand(4, 5)
    x_hat, rstd = NF.standardize(x, *NF.moments(x, (1,)), 1e-12)
    (grad,) = torch.autograd.grad(x_hat, x, upstream)
    by_hand = NF.standardize_backward(upstream, x_hat, rstd, (1,))
    assert_close(grad, by_hand, rtol=1e-3, atol=1e-3 * by_hand.abs().max().item())
    assert (grad.sum(1).abs() < 1e-9 * grad.abs().max()).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_squares_beyond_float32_give_0_here_and_in_torch(dtype):
    x = torch.randn(4, 8).mul(1e20).to(dtype)
    for ours, theirs in (LayerNorm(8), nn.LayerNorm(8)), (BatchNorm(8), nn.BatchNorm1d(8)):
        assert (ours.to(dtype)(x) == 0).all()
        assert (theirs.to(dtype)(x).nan_to_num() == 0).all()
    assert "1e18" in NF.__doc__


# --- half-precision buffers -----------------------------------------------------------------------


def extremes(n: int = 64) -> torch.Tensor:
    """In float16, with a variance of 120 000: nearly twice what float16 can hold."""
    return torch.tensor([-1.0, 1.0]).repeat(n // 2).mul(120_000**0.5).half()


@pytest.mark.parametrize(
    "ours, theirs, shape",
    [
        (BatchNorm(1), nn.BatchNorm1d(1), (64, 1)),
        (InstanceNorm(1, track_running_stats=True), None, (1, 1, 64)),
    ],
    ids=["batch", "instance"],
)
def test_a_variance_beyond_float16_enters_a_float16_buffer_as_its_share(ours, theirs, shape):
    ours, x = ours.half(), extremes().view(shape)
    ours(x)
    share = 0.9 + 0.1 * x.double().var()
    assert_close(ours.running_var.double(), share.view(1), rtol=1e-3, atol=0)
    if theirs is not None:
        theirs.half()(x)
        assert torch.equal(ours.running_var, theirs.running_var)
    for _ in range(200):
        ours(torch.randn(shape).half())
    assert 0.5 < ours.running_var.item() < 2  # and is forgotten


def test_momentum_none_averages_in_float32_too():
    ours = BatchNorm(1, momentum=None).half()
    for batch in torch.randn(64).half(), torch.randn(64).half(), extremes():
        ours(batch.view(64, 1))
    assert_close(ours.running_var.double().item(), 40_000.0, rtol=0.02, atol=0)


def test_buffers_wider_than_the_input_keep_their_digits():
    layer, x = BatchNorm(2), torch.randn(8, 2)
    layer.running_mean = torch.tensor([1.0, 2.0], dtype=torch.float64) / 3
    before = layer.running_mean.clone()
    layer.momentum = 0.0
    layer(x)
    assert torch.equal(layer.running_mean, before)


# --- empty batches --------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("shape", [(0, 4), (0, 4, 3), (5, 4, 0)], ids=str)
def test_an_empty_batch_in_training_is_as_in_torch(shape, momentum):
    ours, theirs = (f(4, momentum=momentum).double() for f in (BatchNorm, nn.BatchNorm1d))
    theirs.load_state_dict(randomize_(ours).state_dict())
    for x in rand(6, 4, 3), torch.zeros(shape).double():
        results = []
        for layer in ours, theirs:
            leaf = x.clone().requires_grad_()
            y = layer(leaf)
            y.sum().backward()
            results.append((y, leaf.grad, layer.weight.grad, layer.bias.grad))
        assert_close(*results)
        assert_close(dict(ours.named_buffers()), dict(theirs.named_buffers()))


def test_an_empty_batch_spoils_no_statistics_of_instance_norm():
    layer = InstanceNorm(4, track_running_stats=True)
    assert layer(torch.zeros(0, 4, 5)).shape == (0, 4, 5)
    assert (layer.running_mean == 0).all() and (layer.running_var == 1).all()


# --- neighbours that work in place ----------------------------------------------------------------

BARE = {
    "batch": (BatchNorm(4, affine=False), (6, 4, 5)),
    "batch, eval": (BatchNorm(4, affine=False).eval(), (6, 4, 5)),
    "layer": (LayerNorm(5, elementwise_affine=False), (6, 4, 5)),
    "instance": (InstanceNorm(4), (6, 4, 5)),
    "group": (GroupNorm(2, 4, affine=False), (6, 4, 5)),
    "rms": (nn.Sequential(), (6, 4, 5)),
    "with weight": (LayerNorm(5), (6, 4, 5)),
    "weight alone": (LayerNorm(5, bias=False), (6, 4, 5)),
}


@pytest.mark.parametrize("dtype", FLOATS[:3], ids=str)
@pytest.mark.parametrize("name", BARE)
def test_what_stands_behind_a_layer_may_work_in_place(name, dtype):
    from normtutorial import RMSNorm

    layer, shape = BARE[name]
    layer = RMSNorm(5, elementwise_affine=False) if name == "rms" else copy.deepcopy(layer)
    x, upstream = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
    grads = []
    for in_place in False, True:
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        if in_place:
            y += 1
            y = nn.functional.relu_(y.mul_(2))
        else:
            y = nn.functional.relu((y + 1) * 2)
        grads.append(torch.autograd.grad(y, leaf, upstream)[0])
    assert_close(*grads, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["layer", "instance", "group"])
def test_an_input_may_be_changed_after_the_layer_has_read_it(name):
    layer, shape = BARE[name]
    x = torch.randn(shape, requires_grad=True)
    inner = x * 1
    y = layer(inner)
    inner += 1
    y.sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("ratio", [0.0, 1.0, 7.5, 8.5, 100.0])
@pytest.mark.parametrize("name", ["batch", "layer"])
def test_below_and_above_the_offset_from_which_a_mean_is_corrected(name, ratio):
    x = torch.randn(1024, 64) + ratio
    layer = BatchNorm(64) if name == "batch" else LayerNorm(64)
    error = (layer(x) - copy.deepcopy(layer).double()(x.double())).abs().max().item()
    assert error < 4e-6
