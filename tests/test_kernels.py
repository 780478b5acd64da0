"""Each kernel beside the definition: the same values and derivatives, in every mode of autograd."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from helpers import rand
from normtutorial import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm, kernels
from normtutorial import functional as NF
from normtutorial.kernels import eager

# torch's own, when it first takes a forward-mode derivative
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:Warning")

CASES = {  # shape of x, shape of weight and bias, dims, centered
    "batch": ((4, 3), (1, 3), (0,), True),
    "batch of images": ((3, 4, 2, 2), (1, 4, 1, 1), (0, 2, 3), True),
    "layer": ((3, 4), (4,), (-1,), True),
    "layer of two dims": ((2, 3, 4), (3, 4), (-2, -1), True),
    "layer of a single vector": ((4,), (4,), (-1,), True),
    "layer of single numbers": ((3, 1), (1,), (-1,), True),
    "instance": ((2, 3, 4), (1, 3, 1), (2,), True),
    "group": ((2, 2, 3, 2), (1, 2, 3, 1), (2, 3), True),
    "rms": ((3, 4), (4,), (-1,), False),
    "dims from the front": ((3, 4), (4,), (1,), True),
    "a vector for each feature": ((5, 4), (4,), (0,), True),
    "some dims shared": ((2, 3, 4), (3, 1), (1, 2), True),
    "rms of single numbers": ((3, 1), (1,), (-1,), False),
    "nothing": ((0, 4), (4,), (-1,), True),
    "a batch of nothing": ((0, 4), (1, 4), (0,), True),
}
BARE = {  # no weight; some with a bias
    "batch": ((4, 3), None, (0,), True),
    "layer": ((3, 4), None, (-1,), True),
    "layer, bias": ((3, 4), (4,), (-1,), True),
    "group, bias": ((2, 2, 3, 2), (1, 2, 3, 1), (2, 3), True),
    "instance, bias": ((2, 3, 4), (1, 3, 1), (2,), True),
    "rms": ((3, 4), None, (-1,), False),
}
EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
BIAS = pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])


def arguments(case, bias, dtype=torch.float64) -> Any:
    shape, affine, dims, centered = case
    x, weight = (rand(*s).to(dtype).requires_grad_() for s in (shape, affine))
    shift = rand(*affine).to(dtype).requires_grad_() if bias else None
    return (x, weight, shift), dims, centered


def results(normalize, inputs, dims, centered, upstream):
    """Outputs, first derivatives, and second derivatives of a function of them."""
    y, mean, var = normalize(*inputs, dims=dims, eps=1e-5, centered=centered)
    leaves = [t for t in inputs if t is not None]
    plain = torch.autograd.grad(y, leaves, upstream, retain_graph=True)
    grads = torch.autograd.grad(y, leaves, upstream, create_graph=True)
    of_grads = sum((g**3).sum() for g in grads)
    twice = torch.autograd.grad(of_grads, [*leaves, upstream], materialize_grads=True)
    return y, mean, var, plain, grads, twice


@EACH
@BIAS
@pytest.mark.parametrize("kernel", [eager.normalize, kernels.normalize], ids=["eager", "chosen"])
def test_a_kernel_is_the_definition_forward_backward_and_twice(case, bias, kernel):
    inputs, dims, centered = arguments(case, bias)
    upstream = rand(*inputs[0].shape).requires_grad_()
    ours, wanted = (results(f, inputs, dims, centered, upstream) for f in (kernel, NF.normalize))
    if inputs[0].numel() == 0:  # the mean of nothing, and what is derived from it twice, is NaN
        ours, wanted = ((r[0], *r[3:5]) for r in (ours, wanted))
    assert_close(ours, wanted)


@pytest.mark.parametrize("case", BARE.values(), ids=BARE)
def test_without_a_weight_it_is_the_definition_too(case):
    shape, affine, dims, centered = case
    x, upstream = rand(*shape).requires_grad_(), rand(*shape).requires_grad_()
    bias = None if affine is None else rand(*affine).requires_grad_()
    inputs = x, None, bias
    ours, wanted = (
        results(f, inputs, dims, centered, upstream) for f in (eager.normalize, NF.normalize)
    )
    assert_close(ours, wanted)

    def function(x, *bias):
        return eager.normalize(x, None, *(bias or [None]), dims=dims, eps=1e-2, centered=centered)[
            0
        ]

    leaves = [t for t in inputs if t is not None]
    assert gradcheck(function, leaves, check_forward_ad=True, check_batched_grad=True)


@EACH
@BIAS
def test_its_derivatives_are_those_of_finite_differences(case, bias):
    inputs, dims, centered = arguments(case, bias)
    if inputs[0].numel() == 0:
        pytest.skip("there is nothing to move")

    def function(*inputs):
        return eager.normalize(
            *inputs, *[None] * (not bias), dims=dims, eps=1e-2, centered=centered
        )[0]

    inputs = [t for t in inputs if t is not None]
    assert gradcheck(function, inputs, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(function, inputs, check_fwd_over_rev=True)


@EACH
def test_function_transforms_agree_with_the_definition(case):
    (x, weight, bias), dims, centered = arguments(case, True)
    x, weight, bias = x.detach(), weight.detach(), bias.detach()
    each = torch.stack([x, 2 * x, -x])

    def gradient(normalize):
        def loss(x, weight, bias):
            return normalize(x, weight, bias, dims, 1e-5, centered=centered)[0].pow(3).sum()

        gradient = torch.func.grad(loss, argnums=(0, 1, 2))
        return torch.func.vmap(gradient, in_dims=(0, None, None))(each, weight, bias)

    assert_close(gradient(eager.normalize), gradient(NF.normalize))


@EACH
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("parameters", ["half", "float32"])
def test_in_half_precision_it_is_the_definition_too(case, half, parameters):
    (x, weight, bias), dims, centered = arguments(case, True, half)
    if parameters == "float32":
        weight, bias = (p.detach().float().requires_grad_() for p in (weight, bias))
    grads = []
    upstream = rand(*x.shape).to(half)
    for normalize in eager.normalize, NF.normalize:
        y, _, _ = normalize(x, weight, bias, dims, 1e-5, centered=centered)
        grads.append((y, *torch.autograd.grad(y, (x, weight, bias), upstream)))
        assert all(g.dtype == p.dtype for g, p in zip(grads[-1], (x, x, weight, bias), strict=True))
    eps = torch.finfo(half).eps
    assert_close(*grads, rtol=2 * eps, atol=2 * eps)


@pytest.mark.parametrize("name", ["batch", "layer", "group", "rms"])
def test_a_frozen_weight_or_input_gets_no_gradient_and_does_no_harm(name):
    inputs, dims, centered = arguments(CASES[name], True)
    upstream = rand(*inputs[0].shape)
    y, _, _ = eager.normalize(*inputs, dims=dims, eps=1e-5, centered=centered)
    wanted = torch.autograd.grad(y, inputs, upstream)
    for i in range(3):
        leaves = [t if i == j else t.detach() for j, t in enumerate(inputs)]
        y, _, _ = eager.normalize(*leaves, dims=dims, eps=1e-5, centered=centered)
        assert_close(*torch.autograd.grad(y, leaves[i], upstream), wanted[i])


@EACH
def test_what_backward_gets_is_not_changed_by_it(case):
    inputs, dims, centered = arguments(case, True)
    upstream = rand(*inputs[0].shape)
    before = upstream.clone()
    y, _, _ = eager.normalize(*inputs, dims=dims, eps=1e-5, centered=centered)
    first = torch.autograd.grad(y, inputs, upstream, retain_graph=True)
    assert torch.equal(upstream, before)
    assert_close(torch.autograd.grad(y, inputs, upstream), first, rtol=0, atol=0)


@pytest.mark.parametrize(
    "case, scaled",
    [*((case, True) for case in CASES.values()), *((case, False) for case in BARE.values())],
    ids=str,
)
def test_backward_keeps_one_tensor_of_the_size_of_the_input(case, scaled):
    shape, affine, dims, centered = case
    x, kept = rand(*shape).requires_grad_(), {}
    weight = rand(*affine).requires_grad_() if scaled else None
    bias = None if affine is None else rand(*affine).requires_grad_()

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y, _, _ = eager.normalize(x, weight, bias, dims, 1e-5, centered=centered)
    assert y.untyped_storage().data_ptr() not in kept or y.numel() == 0
    rest = 0 if weight is None else weight.numel()
    assert sum(kept.values()) <= x.numel() + rest + NF.moments(x, dims)[0].numel()
    y.sum().backward()


class New(TorchDispatchMode):
    """Counts the tensors that operations make of so many elements, each in memory of its own."""

    def __init__(self, numel: int, *old: torch.Tensor) -> None:
        super().__init__()
        self.numel, self.old = numel, {t.untyped_storage().data_ptr() for t in old}
        self.made: dict[int, torch.Tensor] = {}  # kept, so that their memory is not used again

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for t in tree_leaves(result):
            if isinstance(t, torch.Tensor) and t.numel() == self.numel:
                where = t.untyped_storage().data_ptr()
                if where not in self.old:
                    self.made[where] = t
        return result


@EACH
@pytest.mark.parametrize("scaled", [True, False], ids=["scaled", "bare"])
def test_forward_makes_two_tensors_of_the_size_of_the_input_and_backward_one(case, scaled):
    (x, *affine), dims, centered = arguments(case, True)
    weight, bias = affine if scaled else (None, None)
    leaves = [x, *affine] if scaled else [x]
    small = [NF.moments(x, dims)[0], *leaves[1:]]
    if x.numel() in [0, *(t.numel() for t in small)]:
        pytest.skip("the rest is as large as the input")
    upstream = rand(*x.shape)
    with New(x.numel(), x) as forward:
        y, _, _ = eager.normalize(x, weight, bias, dims, 1e-5, centered=centered)
    with New(x.numel(), upstream, *forward.made.values()) as backward:
        torch.autograd.grad(y, leaves, upstream)
    assert len(forward.made) == 2
    if scaled or centered:  # backward of RMS norm without a weight is the plain formula
        assert len(backward.made) == 1


@pytest.mark.parametrize("times, corrected", [(7.5, False), (8.5, True)])
def test_from_eight_times_the_spread_on_a_mean_is_corrected_in_one_more_tensor(
    times, corrected, monkeypatch
):
    x = NF.normalize(rand(3, 50), None, None, (1,), eps=0.0)[0]
    x[1] += times  # one row is enough
    calls, exact = [], NF.statistics

    def noted(*inputs, **options):
        calls.append(inputs)
        return exact(*inputs, **options)

    monkeypatch.setattr(NF, "statistics", noted)
    with New(x.numel(), x) as forward:
        eager.normalize(x, None, None, (1,), 1e-5)
    assert (len(calls), len(forward.made)) == (corrected, 2 + corrected)


def test_for_exporters_the_definition_runs(monkeypatch):
    def fail(*args, **options):
        raise AssertionError

    monkeypatch.setattr(eager, "normalize", fail)
    x, ones = torch.randn(3, 4), torch.ones(4)
    with pytest.raises(AssertionError):
        kernels.normalize(x, ones, None, (1,), 1e-5)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    kernels.normalize(x, ones, None, (1,), 1e-5)


@pytest.mark.parametrize(
    "layer, shape",
    [
        (BatchNorm(6), (16, 6)),
        (InstanceNorm(6, affine=True), (4, 6, 9)),
        (GroupNorm(2, 6), (4, 6, 9)),
        (LayerNorm(6), (16, 6)),
        (RMSNorm(6), (16, 6)),
    ],
    ids=str,
)
def test_a_layer_runs_the_kernel_and_keeps_one_tensor_for_backward(layer, shape):
    x, kept = torch.randn(shape, requires_grad=True), []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(x)
    large = {t.untyped_storage().data_ptr() for t in kept if t.numel() == x.numel()}
    assert len(large) == 1


@EACH
@pytest.mark.parametrize("scaled", [True, False], ids=["scaled", "bare"])
@pytest.mark.parametrize("again", [False, True], ids=["", "to be derived again"])
def test_a_loss_with_a_penalty_on_its_gradient_has_the_derivatives_of_the_definition(
    case, scaled, again
):
    inputs, dims, centered = arguments(case, True)
    inputs = inputs if scaled else (inputs[0], None, None)
    leaves = [t for t in inputs if t is not None]
    upstream, results = rand(*inputs[0].shape), []
    for normalize in NF.normalize, eager.normalize:
        y, _, _ = normalize(*inputs, dims=dims, eps=1e-5, centered=centered)
        (slope,) = torch.autograd.grad(y, inputs[0], upstream, create_graph=True)
        loss = (y * upstream.cos()).sum() + slope.square().sum()
        results.append(torch.autograd.grad(loss, leaves, create_graph=again))
    assert_close(*results)


def test_the_kernel_in_use_has_a_known_name():
    with pytest.raises(ValueError, match="use expects eager or triton; got 'cuda'"):
        kernels.use("cuda").__enter__()


@pytest.fixture
def stub(monkeypatch):
    """In place of the kernels for a GPU: it says what it does, and takes centered inputs only."""
    kernel = SimpleNamespace(
        INTERPRETED=True, fits=lambda x, weight, bias, dims, centered: centered
    )
    kernel.normalize = lambda *inputs, centered: "fused"
    monkeypatch.setitem(sys.modules, "normtutorial.kernels.triton", kernel)
    return kernel


def taken(x, **options):
    made = kernels.normalize(x, None, None, (1,), 1e-5, **options)
    return "eager" if isinstance(made, tuple) else made


def test_a_kernel_is_taken_while_it_is_in_use_where_there_is_one(stub, monkeypatch):
    x = torch.randn(3, 4)
    with kernels.use("triton"):
        assert (taken(x), taken(x, centered=False)) == ("fused", "eager")
        with kernels.use("eager"):
            assert taken(x) == "eager"
        assert taken(x) == "fused"
        with monkeypatch.context() as compiling:
            compiling.setattr(torch.compiler, "is_compiling", lambda: True)
            assert taken(x) == "eager"
    assert taken(x) == "eager"
    with pytest.raises(KeyError), kernels.use("triton"):
        raise KeyError
    assert taken(x) == "eager"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_kernels_for_one_say_so(stub):
    stub.INTERPRETED = False
    with pytest.raises(RuntimeError, match="needs a GPU, and torch finds none"):
        kernels.use("triton").__enter__()


def test_without_triton_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "normtutorial.kernels.triton", raising=False)
    with pytest.raises(ImportError, match="needs the package triton, which comes with torch"):
        kernels.use("triton").__enter__()
