"""Derivatives: by hand against autograd, and autograd against finite differences."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from helpers import gradients, rand
from normtutorial import functional as NF

# torch's own, when it first takes a forward-mode derivative
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:Warning")


def leaf(*shape, scale=1.0):
    return rand(*shape, scale=scale).requires_grad_()


def running():
    return rand(4), rand(4).square() + 0.5


FUNCTIONS = {
    "batch norm": (lambda x, w, b: NF.batch_norm(x, None, None, w, b, True), (3, 4, 2), (4,)),
    "batch norm of a matrix": (
        lambda x, w, b: NF.batch_norm(x, None, None, w, b, True),
        (5, 4),
        (4,),
    ),
    "layer norm": (lambda x, w, b: NF.layer_norm(x, (4, 2), w, b), (3, 4, 2), (4, 2)),
    "instance norm": (lambda x, w, b: NF.instance_norm(x, w, b), (2, 4, 3), (4,)),
    "group norm": (lambda x, w, b: NF.group_norm(x, 2, w, b), (2, 4, 3), (4,)),
    "rms norm": (lambda x, w, b: NF.rms_norm(x, (4, 2), w) + 0 * b, (3, 4, 2), (4, 2)),
    "batch norm, no bias": (
        lambda x, w, b: NF.batch_norm(x, None, None, w, None, True) + 0 * b[:, None],
        (3, 4, 2),
        (4,),
    ),
    "layer norm, no bias": (lambda x, w, b: NF.layer_norm(x, (4, 2), w) + 0 * b, (3, 4, 2), (4, 2)),
    "layer norm, no weight": (
        lambda x, w, b: NF.layer_norm(x, (4, 2), None, b) + 0 * w,
        (3, 4, 2),
        (4, 2),
    ),
    "group norm, bare": (
        lambda x, w, b: NF.group_norm(x, 2) + 0 * (w + b)[:, None],
        (2, 4, 3),
        (4,),
    ),
}


@pytest.mark.parametrize("scale", [0.003, 1.0], ids=["eps counts", "eps is small"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_first_derivatives_are_those_of_finite_differences(name, scale):
    function, shape, affine = FUNCTIONS[name]
    inputs = leaf(*shape, scale=scale), leaf(*affine), leaf(*affine)
    assert gradcheck(function, inputs, check_forward_ad=True, check_batched_grad=True)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_transforms_agree_with_each_other(name):
    function, shape, affine = FUNCTIONS[name]
    x, w, b = rand(2, *shape), rand(*affine), rand(*affine)

    def loss(x):
        return function(x, w, b).pow(3).sum()

    one_by_one = torch.stack([torch.func.grad(loss)(a) for a in x])
    assert_close(torch.func.vmap(torch.func.grad(loss))(x), one_by_one)
    jacobians = [
        j(lambda a: function(a, w, b))(x[0]) for j in (torch.func.jacrev, torch.func.jacfwd)
    ]
    assert_close(*jacobians)
    both = (w, torch.zeros_like(b)), (torch.zeros_like(w), b)
    for tangents in both:  # and none of x
        _, along = torch.func.jvp(lambda w, b: function(x[0], w, b), (w, b), tangents)
        moved = function(x[0], w + tangents[0], b + tangents[1])
        assert_close(along, moved - function(x[0], w, b))


def test_rms_norm_of_single_numbers_has_the_derivatives_of_finite_differences():
    inputs = leaf(3, 1), leaf(1)  # one weight for all that share a mean, and no mean subtracted
    assert gradcheck(lambda x, w: NF.rms_norm(x, (1,), w, eps=0.1), inputs)


def test_in_half_precision_the_gradient_is_rounded_once():
    for half in torch.float16, torch.bfloat16:
        x = torch.randn(512, 8).to(half).requires_grad_()
        upstream = torch.ones(512, 8).to(half) + torch.randn(512, 8).to(half) / 64
        for function in (
            lambda x: NF.batch_norm(x, None, None, training=True),
            lambda x: NF.layer_norm(x, (8,)),
            lambda x: NF.group_norm(x, 2),
            lambda x: NF.instance_norm(x[None].mT)[0].mT,
            lambda x: NF.rms_norm(x, (8,), eps=1e-5),
        ):
            (grad,) = gradients(function(x), [x], upstream)
            wide = x.detach().double().requires_grad_()
            (exact,) = gradients(function(wide), [wide], upstream.double())
            error = (grad - exact).abs().max() / exact.abs().max()
            assert error < torch.finfo(half).eps


def test_batch_norm_in_eval_has_the_derivatives_of_an_affine_map():
    mean, var = running()

    def function(x, w, b):
        return NF.batch_norm(x, mean, var, w, b)

    inputs = leaf(3, 4, 2), leaf(4), leaf(4)
    assert gradcheck(function, inputs) and gradgradcheck(function, inputs)


@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm_has_the_derivatives_of_finite_differences(dim):
    inputs = leaf(3, 4), leaf(*{0: (3, 1), 1: (1, 4), None: (1, 1)}[dim])

    def function(v, g):
        return NF.weight_norm(v, g, dim)

    assert gradcheck(function, inputs, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(function, inputs, check_fwd_over_rev=True)


@pytest.mark.parametrize("eps", [0.0, 1e-5, 1.0])
@pytest.mark.parametrize("dims", [(0,), (1,), (0, 2), (1, 2), (0, 1, 2)], ids=str)
def test_standardize_backward_is_what_autograd_finds(dims, eps):
    x, upstream = leaf(4, 3, 5), rand(4, 3, 5)
    x_hat, rstd = NF.standardize(x, *NF.moments(x, dims), eps)
    by_hand = NF.standardize_backward(upstream, x_hat, rstd, dims)
    assert_close(by_hand, *gradients(x_hat, [x], upstream))


def test_standardize_backward_without_centering_is_the_gradient_of_rms_norm():
    x, upstream = leaf(4, 6), rand(4, 6)
    rstd = torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-2)
    y = x * rstd
    by_hand = NF.standardize_backward(upstream, y, rstd, (1,), centered=False)
    assert_close(by_hand, *gradients(y, [x], upstream))


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2, 2)], ids=str)
@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm_backward_is_what_autograd_finds(shape, dim):
    kept = [n if d == dim else 1 for d, n in enumerate(shape)]
    v, g, upstream = leaf(*shape), leaf(*kept), rand(*shape)
    dims = [d for d in range(v.ndim) if d != dim]
    w = g * v / v.square().sum(dims, keepdim=True).sqrt()
    by_autograd = gradients(w, [v, g], upstream)
    assert_close(NF.weight_norm_backward(upstream, v, g, dim), by_autograd)


def test_weight_norm_backward_gives_g_the_shape_that_it_came_in():
    v = rand(3, 4)
    for shape in (), (1,), (1, 1):
        assert NF.weight_norm_backward(v, v, torch.ones(shape), None)[1].shape == shape


def test_the_gradient_of_v_is_orthogonal_to_v():
    v, upstream = rand(3, 4), rand(3, 4)
    grad_v, _ = NF.weight_norm_backward(upstream, v, rand(3, 1))
    assert_close((grad_v * v).sum(1), torch.zeros(3).double())


@pytest.mark.parametrize("name", ["batch norm", "layer norm", "instance norm"])
def test_no_gradient_is_left_along_a_shift_or_a_rescale(name):
    function, shape, affine = FUNCTIONS[name]
    dims = {"batch norm": (0, 2), "layer norm": (1, 2), "instance norm": (2,)}[name]
    x = leaf(*shape, scale=1e3)  # eps does not count
    ones, zeros = torch.ones(affine).double(), torch.zeros(affine).double()
    (grad,) = gradients(function(x, ones, zeros), [x], rand(*shape))
    scaled = grad * 1e3
    assert_close(scaled.sum(dims), torch.zeros_like(scaled.sum(dims)))
    centered = (x - x.mean(dims, keepdim=True)) / 1e3
    along = (scaled * centered).sum(dims)
    assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-8)


def test_no_gradient_flows_into_the_running_statistics():
    x, (mean, var) = leaf(6, 4), running()
    NF.batch_norm(x, mean, var, training=True)
    assert not mean.requires_grad and not var.requires_grad
    assert mean.grad_fn is None and var.grad_fn is None
