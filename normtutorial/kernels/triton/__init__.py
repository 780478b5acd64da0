r"""Normalization on a GPU, in kernels that read each number as seldom as can be.

Plain operations walk through the memory of a GPU many times: once for the mean, once for the
variance, and so on. What is here does as much as it can while the numbers are in registers. It is
written in Triton, where a kernel is a program that runs many times at once, each time on a *tile*
of the input. A tile has lengths that are powers of two, so that some of it may lie outside of the
input: a mask, ``inside``, says which of it counts.

``rows`` has the kernels for layer and RMS norm, ``columns`` those for batch norm, ``tiles`` what
they share. All of them take as exact statistics as :func:`normtutorial.functional.statistics`: a
mean is rounded, so numbers deviate from a ``reference`` near it, which costs them no digit, and
then from the mean of these deviations, ``rest``.

On a CPU the same kernels run in Triton's interpreter, one program after the other, for tests:
``TRITON_INTERPRET=1`` must be set before triton is imported.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from ... import functional as NF
from .. import eager

try:
    import triton
except ImportError as error:
    raise ImportError(
        "kernels.use('triton') needs the package triton, which comes with torch for CUDA on Linux; "
        "here there is none. Without it the layers run as they are."
    ) from error

from . import columns, rows

__all__ = ["INTERPRETED", "fits", "normalize"]

INTERPRETED = bool(triton.knobs.runtime.interpret)
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
LONGEST_ROW = 1 << 16  # bytes: more does not fit into the registers of a program


def normalize(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    dims: NF.Dims,
    eps: float,
    *,
    centered: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`normtutorial.functional.normalize` on a GPU, of what :func:`fits`."""
    return Fused.apply(x, weight, bias, tuple(dims), float(eps), centered)


def fits(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, dims: NF.Dims, centered: bool
) -> bool:
    """Whether there is a kernel for it: rows, or columns of a batch, on a GPU, with no transform of
    :mod:`torch.func` and no derivative in forward mode."""
    tensors = [t for t in (x, weight, bias) if t is not None]
    plain = all(
        type(t) in (Tensor, torch.nn.Parameter)
        and t.layout == torch.strided
        and t.device == x.device
        and t.dtype in DTYPES
        for t in tensors
    )
    transformed = torch._C._functorch.get_dynamic_layer_stack_depth() > 0
    forward_mode = forward_ad._current_level >= 0
    if not (x.is_cuda or INTERPRETED) or not plain or transformed or forward_mode or not x.numel():
        return False
    return are_rows(x, weight, bias, dims) or (centered and are_columns(x, weight, bias, dims))


def are_rows(x: Tensor, weight: Tensor | None, bias: Tensor | None, dims: NF.Dims) -> bool:
    """Whether the last dims share a mean, and each number of them has its own weight."""
    first = x.ndim - len(dims)
    shape = x.shape[first:]
    return (
        sorted(d % x.ndim for d in dims) == list(range(first, x.ndim))
        and all(p is None or p.shape == shape for p in (weight, bias))
        and shape.numel() * x.itemsize <= LONGEST_ROW
    )


def are_columns(x: Tensor, weight: Tensor | None, bias: Tensor | None, dims: NF.Dims) -> bool:
    """Whether all dims but the second share a mean, and a weight."""
    if x.ndim < 2 or sorted(d % x.ndim for d in dims) != [0, *range(2, x.ndim)]:
        return False
    per_channel = x.shape[1], *[1] * (x.ndim - 2)
    return all(p is None or p.shape in (per_channel, (1, *per_channel)) for p in (weight, bias))


class Fused(Function):
    """``y, mean, var``. What is derived twice is derived in plain operations."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        dims: tuple[int, ...],
        eps: float,
        centered: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        layout = rows if are_rows(x, weight, bias, dims) else columns
        dense: Any = [None if t is None else t.contiguous() for t in (x, weight, bias)]
        with torch.cuda.device_of(x):
            y, stats = layout.forward(*dense, dims, eps, centered)
        shared = {d % x.ndim for d in dims}
        one = [1 if d in shared else n for d, n in enumerate(x.shape)]
        reference, rest, var = (s.view(one) for s in stats)
        mean = reference + rest
        ctx.how = dims, eps, centered
        ctx.mark_non_differentiable(mean, var)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, bias, stats)
        return y, mean, var

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple:
        if grad is None:
            return (None,) * 6
        x, weight, bias, stats = ctx.saved_tensors
        if torch.is_grad_enabled():  # it is to be derived again
            return *derivable(grad, (x, weight, bias), *ctx.how), None, None, None
        layout = rows if are_rows(x, weight, bias, ctx.how[0]) else columns
        dense: Any = [None if t is None else t.contiguous() for t in (grad, x, weight, bias)]
        with torch.cuda.device_of(grad):
            return *layout.backward(*dense, stats, *ctx.how), None, None, None


def derivable(
    grad: Tensor, inputs: Sequence[Any], dims: tuple[int, ...], eps: float, centered: bool
) -> list[Tensor | None]:
    """The gradients with a graph of their own, by the kernel that autograd can follow."""
    own: list[Any] = [None if t is None else t.view_as(t) for t in inputs]  # one may be of another
    x, weight, bias = own
    y, _, _ = eager.normalize(x, weight, bias, dims, eps, centered=centered)
    asked = [t for t in own if t is not None and t.requires_grad]
    found = iter(torch.autograd.grad(y, asked, grad, create_graph=True))
    return [next(found) if t is not None and t.requires_grad else None for t in own]
