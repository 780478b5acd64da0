"""The kernels in Triton beside the definition in float64: compiled on a GPU, interpreted on a CPU.

``test_triton.py`` runs this file, in a process of its own: there the interpreter can be chosen
before triton is imported. It takes as long for each program as for a thousand numbers, so that on a
CPU the inputs are small.
"""

import copy
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from helpers import assert_same_step, randomize_
from normtutorial import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm, kernels
from normtutorial import functional as NF
from normtutorial.kernels import triton as fused

# torch's own, when it first takes a forward-mode derivative
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # of numbers behind a mask
]

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
WIDTHS = [2**k for k in range(8, 15)]


def rows_and_columns(rows, columns):
    """Cases by name: shape of x, shape of weight and bias, dims, centered."""
    found = {}
    for shape in rows:
        found[f"layer {shape}"] = shape, shape[-1:], (-1,), True
        found[f"rms {shape}"] = shape, shape[-1:], (-1,), False
    for shape in columns:
        dims = 0, *range(2, len(shape))
        found[f"batch {shape}"] = shape, (1, shape[1], *[1] * (len(shape) - 2)), dims, True
    return found


CASES = {
    **rows_and_columns(
        [(1, 1), (16, 7), (2, 3, 64), (4, 1000), (7, 2049)],
        [(2, 1), (9, 3), (150, 40), (3, 4, 3, 3), (2, 2, 3, 350)],
    ),
    "layer of two dims": ((2, 3, 4), (3, 4), (1, 2), True),
    "a single vector": ((5,), (5,), (0,), True),
}
LARGE = rows_and_columns(
    [*((64, width) for width in WIDTHS), (4096, 2048), (3, 5000), (10_000, 257)],
    [*((64, width) for width in WIDTHS), (40_000, 257), (32, 64, 56, 56)],
)
SMALL = [
    CASES[name] for name in ("layer (16, 7)", "rms (16, 7)", "batch (9, 3)", "batch (3, 4, 3, 3)")
]
EACH = pytest.mark.parametrize("case", SMALL, ids=str)
FEW = pytest.mark.parametrize("case", [SMALL[0], SMALL[2]], ids=str)
CENTERED = pytest.mark.parametrize("case", [SMALL[0], *SMALL[2:]], ids=str)


def arguments(case, dtype, scale=2.0, shift=3.0) -> Any:
    shape, affine, _, _ = case
    x = (scale * torch.randn(shape, dtype=torch.float64) + shift).to(DEVICE, dtype)
    weight, bias = (torch.randn(affine, dtype=torch.float64).to(DEVICE, dtype) for _ in range(2))
    return [x, weight, bias]


def results(normalize, inputs, upstream, dims, centered, eps=1e-5):
    leaves = [None if t is None else t.detach().requires_grad_() for t in inputs]
    y, mean, var = normalize(*leaves, dims, eps, centered=centered)
    asked = [t for t in leaves if t is not None]
    grads = torch.autograd.grad(y, asked, upstream.to(y.dtype))
    return dict(
        zip(("y", "mean", "var", "x", "weight", "bias"), (y, mean, var, *grads), strict=False)
    )


def check(inputs, case, upstream=None, **options):
    """The kernel does what the definition does in float64, up to the rounding of its results."""
    _, _, dims, centered = case
    if upstream is None:
        upstream = torch.randn(inputs[0].shape, dtype=torch.float64).to(inputs[0])
    assert fused.fits(*inputs, dims=dims, centered=centered)
    ours = results(fused.normalize, inputs, upstream, dims, centered, **options)
    exact = [None if t is None else t.double() for t in inputs]
    wanted = results(NF.normalize, exact, upstream, dims, centered, **options)
    dtype = inputs[0].dtype
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    parameters = [t for t in inputs[1:] if t is not None]
    dtypes = [dtype, wide, wide, dtype, *(p.dtype for p in parameters)]
    size = sizes(inputs, upstream, wanted, options.get("eps", 1e-5))
    for (name, one), dtype in zip(ours.items(), dtypes, strict=True):
        other = wanted[name]
        assert one.dtype == dtype and one.shape == other.shape, name
        # half precision: the interpreter cuts digits off where a GPU rounds
        eps = max(16 * torch.finfo(wide).eps, torch.finfo(dtype).eps * (dtype != wide))
        assert_close(
            one.double(), other, rtol=0, atol=eps * size[name], msg=lambda m, n=name: f"{n}: {m}"
        )


def sizes(inputs, upstream, wanted, eps) -> dict[str, float]:
    """How large the numbers are whose sum each result is; the result may be smaller."""
    x, weight, _ = inputs
    found = {name: t.abs().max().item() for name, t in wanted.items()}
    g = upstream.abs().max().item()
    w = 1.0 if weight is None else weight.abs().max().item()
    summed = (x.numel() / wanted["bias"].numel()) ** 0.5 if "bias" in wanted else 0.0
    least = {
        "y": 1.0, "mean": x.abs().max().item(), "var": 0.0,
        "weight": g * summed, "bias": g * summed,
        "x": g * w / (wanted["var"].min().item() + eps) ** 0.5,
    }  # fmt: skip
    return {name: max(size, least[name]) for name, size in found.items()}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_forward_and_backward_are_the_definition_in_float64(case, dtype):
    check(arguments(case, dtype), case)


@pytest.mark.skipif(DEVICE == "cpu", reason="in the interpreter it takes minutes")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", LARGE.values(), ids=LARGE)
def test_on_a_gpu_large_inputs_too(case, dtype):
    check(arguments(case, dtype), case)


@EACH
@pytest.mark.parametrize("has", [(True, False), (False, True), (False, False)], ids=str)
def test_without_weight_or_bias_too(case, has):
    x, *affine = arguments(case, torch.float32)
    check([x, *(p if there else None for p, there in zip(affine, has, strict=True))], case)


@EACH
def test_weights_may_have_more_digits_than_the_input(case):
    x, *affine = arguments(case, torch.bfloat16)
    check([x, *(p.float() for p in affine)], case)


@EACH
@pytest.mark.parametrize("how", ["transposed", "every other", "from an offset", "one upstream"])
def test_however_the_input_lies_in_memory(case, how):
    (x, *affine), upstream = arguments(case, torch.float32), None
    if how == "transposed":
        x = x.mT.contiguous().mT
    elif how == "every other":
        x = x.repeat_interleave(2, -1)[..., ::2]
    elif how == "from an offset":
        x = torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape)
    else:
        upstream = x.new_ones(()).expand(x.shape)
    check([x, *affine], case, upstream)


@CENTERED
@pytest.mark.parametrize("value", [1 / 3, 12345.678, -1e-20, 0.0])
def test_what_is_constant_becomes_0_exactly(case, value):
    shape, _, dims, _ = case
    x = torch.full(shape, value, device=DEVICE)
    y, mean, var = fused.normalize(x, None, None, dims, 1e-5)
    assert not y.any() and not var.any() and (mean == x.flatten()[0]).all()


@CENTERED
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_an_offset_costs_no_digits(case, dtype):
    check(arguments(case, dtype, scale=1.0, shift=1e6), case)


def test_one_far_number_costs_the_others_no_digits():
    x, weight, bias = arguments(((16, 64), (64,), (-1,), True), torch.float32)
    x[:, 0] = 1e4  # the first, which could have been the reference
    check([x, weight, bias], (x.shape, (64,), (-1,), True))


@EACH
@pytest.mark.parametrize("eps", [0.0, 1.0])
def test_eps_is_added_to_the_variance(case, eps):
    check(arguments(case, torch.float64), case, eps=eps)


@FEW
def test_derivatives_are_those_of_finite_differences_once_and_twice(case):
    shape, affine, dims, centered = case
    case = (2, *shape[1:]), affine, dims, centered
    inputs = [t.requires_grad_() for t in arguments(case, torch.float64)]

    def function(*inputs):
        return fused.normalize(*inputs, dims=case[2], eps=1e-2, centered=case[3])[0]

    assert gradcheck(function, inputs, fast_mode=True)
    assert gradgradcheck(function, inputs, fast_mode=True)


def test_a_weight_that_is_made_of_the_input_counts_once_when_derived_twice():
    x = torch.randn(3, 5, dtype=torch.float64, device=DEVICE, requires_grad=True)

    def function(x, normalize):
        return normalize(x, x[0] * x[1], None, (-1,), 1e-2)[0]

    grads = []
    for normalize in fused.normalize, NF.normalize:
        (slope,) = torch.autograd.grad(function(x, normalize).pow(3).sum(), x, create_graph=True)
        grads.append(torch.autograd.grad(slope.pow(2).sum(), x))
    assert_close(*grads)


@FEW
@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_what_is_frozen_gets_no_gradient_and_does_no_harm(case, frozen):
    inputs = arguments(case, torch.float64)
    for number, t in enumerate(inputs):
        t.requires_grad_(number != frozen)
    leaves = [t for t in inputs if t.requires_grad]
    for again in False, True:
        grads = []
        for normalize in fused.normalize, NF.normalize:
            y = normalize(*inputs, dims=case[2], eps=1e-5, centered=case[3])[0]
            grads.append(torch.autograd.grad(y.pow(3).sum(), leaves, create_graph=again))
        assert_close(*grads)


def is_fused(y) -> bool:
    """Whether a kernel of ours is what autograd goes back through first."""
    return "Fused" in str(y.grad_fn)


@pytest.mark.parametrize(
    "layer, shape",
    [
        (LayerNorm(6), (16, 6)),
        (LayerNorm((6, 5), bias=False), (3, 6, 5)),
        (RMSNorm(6), (16, 6)),
        (BatchNorm(6), (16, 6)),
        (BatchNorm(6, momentum=None), (4, 6, 3, 3)),
        (BatchNorm(6, affine=False), (4, 6, 3)),
    ],
    ids=str,
)
def test_a_layer_takes_the_kernel_while_it_is_in_use_and_is_the_same(layer, shape):
    layer = randomize_(layer).to(DEVICE)
    plain = copy.deepcopy(layer)
    x = torch.randn(shape, device=DEVICE, requires_grad=True)
    with kernels.use("triton"):
        y = layer(x)
        with kernels.use("eager"):
            wanted = plain(x)
        assert is_fused(layer(x))
    assert is_fused(y) and not is_fused(wanted) and not is_fused(layer(x))
    assert_close(y, wanted)


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (LayerNorm(6), nn.LayerNorm(6)),
        (RMSNorm(6), nn.RMSNorm(6)),
        (BatchNorm(6), nn.BatchNorm1d(6)),
    ],
    ids=str,
)
def test_a_step_with_the_kernel_is_one_of_torch_s_layer(ours, theirs):
    theirs.load_state_dict(randomize_(ours).state_dict())
    with kernels.use("triton"):
        assert_same_step(ours.to(DEVICE), theirs.to(DEVICE), torch.randn(16, 6, device=DEVICE))


@pytest.mark.parametrize(
    "layer, shape",
    [
        (GroupNorm(2, 6), (4, 6, 3)),
        (InstanceNorm(6, affine=True), (4, 6, 3)),
        (BatchNorm(6).eval(), (4, 6)),
        (LayerNorm(6), (0, 6)),
        (LayerNorm(40_000), (2, 40_000)),
    ],
    ids=str,
)
def test_what_there_is_no_kernel_for_runs_as_without_it(layer, shape):
    x, layer = torch.randn(shape, device=DEVICE, requires_grad=True), layer.to(DEVICE)
    with kernels.use("triton"):
        y = layer(x)
    assert not is_fused(y)
    assert torch.equal(y, layer(x))


def test_function_transforms_and_forward_mode_run_as_without_it():
    layer = LayerNorm(6).to(DEVICE).double()
    x = torch.randn(4, 3, 6, dtype=torch.float64, device=DEVICE)

    def found():
        each = torch.func.vmap(torch.func.grad(lambda x: layer(x).pow(3).sum()))(x)
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(x, x.cos())
            return each, torch.autograd.forward_ad.unpack_dual(layer(dual)).tangent

    with kernels.use("triton"):
        with_it = found()
    assert_close(with_it, found())


FAULTS = {  # what stands in the kernels, and what is wrong in its place
    "rows": {
        "tl.where(inside, deviation - reference, 0)": "deviation - reference",
        "tl.where(inside, deviation - rest, 0)": "deviation - rest",
        "result = g - x_hat": "result = g + x_hat",
        "var = tl.sum(deviation * deviation, 1, keep_dims=True) / width":
        "var = tl.sum(deviation * deviation, 1, keep_dims=True) / WIDTH",
        "result -= shift": "result -= 0",
        "        total_along += g * x_hat": "        total_along = g * x_hat",
        "(parts + part) * width": "part * width",
        "tl.cdiv(rows, ROWS)": "rows // ROWS",
    },
    "columns": {
        "tl.where(inside, deviation - its_mean, 0)": "deviation - its_mean",
        "size = tl.minimum(SAMPLES, samples - sample)": "size = SAMPLES",
        " + way * way * (count * share)": "",
        "squares + counts * way * way": "squares",
        "- x_hat * (total_along / n)": "+ x_hat * (total_along / n)",
        "inside, wide) - total / n": "inside, wide)",
        "total_along += g * x_hat": "total_along = g * x_hat",
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "name, right, wrong",
    [(name, *texts) for name, faults in FAULTS.items() for texts in faults.items()],
)
def test_a_fault_in_a_kernel_is_noticed(name, right, wrong, tmp_path, monkeypatch):
    source = Path(getattr(fused, name).__file__).read_text("utf-8")
    assert source.count(right) == 1
    path = tmp_path / f"{name}.py"
    path.write_text(source.replace(right, wrong), "utf-8")
    spec = importlib.util.spec_from_file_location(f"{fused.__name__}.faulty", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(fused, name, module)
    with pytest.raises(AssertionError):
        some_of_the_tests(name)


def some_of_the_tests(name):
    some = {  # with several parts, and with several tiles in a part
        "rows": ["layer (16, 7)", "layer (7, 2049)"],
        "columns": ["batch (150, 40)", "batch (2, 2, 3, 350)"],
    }
    cases = [CASES[case] for case in some[name]]
    if name == "rows" and not fused.INTERPRETED:  # so many that each program has several tiles
        cases.append(((200_000, 7), (7,), (-1,), True))
    for case in cases:
        check(arguments(case, torch.float32), case)
        check(arguments(case, torch.float32, shift=1e6), case)
