r"""Normalization as functions of autograd, for torch's own operations.

Autograd by itself keeps every intermediate result of :func:`normtutorial.functional.normalize` for
backward. The closed form of :func:`normtutorial.functional.standardize_backward` needs one tensor
of the size of the input. A new tensor costs as much as a pass over memory, so that what is used up
is used again: the squares of forward become the output, a product of backward the gradient.

- :class:`ScaledSets`: where what shares a mean shares a weight, or there is none, :math:`\hat x` is
  never formed. The output is the deviation times one number for each mean, and the two sums that
  the gradient of ``x`` needs are the gradients of bias and weight.
- :class:`ScaledElements`: elsewhere the product of gradient and :math:`\hat x` serves both the
  gradient of the weight and that of ``x``.

What they return beside ``y`` is for second derivatives, and for running statistics.
"""

import inspect
import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from .. import functional as NF

__all__ = ["normalize"]


def normalize(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    dims: NF.Dims,
    eps: float,
    *,
    centered: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`normtutorial.functional.normalize`, faster."""
    wide, dims = NF.widen(x), tuple(dims)
    compiled = torch.compiler.is_compiling()
    scale = bias if weight is None else weight
    shared = scale is None or not any(varies(scale, d if d < 0 else d - x.ndim) for d in dims)
    if shared and centered:
        sets = ScaledSetsCompiled if compiled else ScaledSets
        y, _, _, mean, var = sets.apply(wide, weight, bias, dims, eps)
    else:
        elements = ScaledElementsCompiled if compiled else ScaledElements
        y, _, _, mean, var = elements.apply(wide, weight, bias, dims, eps, centered)
    return y.to(x.dtype), mean, var


def varies(parameter: Tensor, dim: int) -> bool:
    """Whether it has more than one value along a dim of what it is broadcast against."""
    return -dim <= parameter.ndim and parameter.shape[dim] != 1


class ScaledSets(Function):
    """``y, deviation, rstd, mean, var``, for weights that are shared by what shares a mean."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor | None, bias: Tensor | None, dims: tuple[int, ...], eps: float
    ) -> tuple[Tensor, ...]:
        y = memory_for_output(x, weight, bias)
        deviation, mean, var = statistics(x, dims, out=y)
        rstd = torch.rsqrt(var + eps)
        factor = rstd if weight is None else rstd * weight
        y = scale_and_shift(deviation, factor, bias, out=y)
        return y, deviation, rstd, mean, var

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        _, weight, ctx.bias, ctx.dims, _ = inputs
        _, deviation, rstd, mean, var = output
        ctx.bias = None if ctx.bias is None else ctx.bias.shape
        ctx.mark_non_differentiable(mean, var)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(deviation, rstd, weight)
        ctx.save_for_forward(deviation, rstd, weight)

    @staticmethod
    def backward(
        ctx: Any,
        grad: Tensor | None,
        grad_deviation: Tensor | None,
        grad_rstd: Tensor | None,
        *_: None,
    ) -> tuple:
        deviation, rstd, weight = ctx.saved_tensors
        grad_x = grad_weight = grad_bias = None
        n = NF.count(deviation, ctx.dims)
        if grad is not None:
            along = grad * deviation
            total, total_along = (g.sum(ctx.dims, keepdim=True) for g in (grad, along))
            total_along = total_along * rstd
            if ctx.bias is not None:
                grad_bias = total.sum_to_size(ctx.bias)
            factor = rstd
            if weight is not None:
                grad_weight, factor = total_along.sum_to_size(weight.shape), rstd * weight
            spare = along if may_be_overwritten(along) else None
            scale = total_along * rstd / n
            grad_x = project(grad, deviation, total / n, scale, factor, out=spare)
        if grad_deviation is not None:
            centered = grad_deviation - grad_deviation.mean(ctx.dims, keepdim=True)
            grad_x = centered if grad_x is None else grad_x + centered
        if grad_rstd is not None:
            along = -deviation * (grad_rstd * rstd.pow(3) / n)
            grad_x = along if grad_x is None else grad_x + along
        return grad_x, grad_weight, grad_bias, None, None

    @staticmethod
    def jvp(
        ctx: Any,
        tangent: Tensor | None,
        tangent_weight: Tensor | None,
        tangent_bias: Tensor | None,
        *_: None,
    ) -> tuple:
        deviation, rstd, weight = ctx.saved_tensors
        x_hat = deviation * rstd
        tangent = torch.zeros_like(x_hat) if tangent is None else tangent
        along_x_hat, along_rstd = standardize_tangents(tangent, x_hat, rstd, ctx.dims)
        along = tangent_of_scaled(along_x_hat, x_hat, weight, tangent_weight, tangent_bias)
        return along, tangent - tangent.mean(ctx.dims, keepdim=True), along_rstd, None, None


class ScaledElements(Function):
    """``y, x_hat, rstd, mean, var``, for weights that differ within what shares a mean."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        dims: tuple[int, ...],
        eps: float,
        centered: bool,
    ) -> tuple[Tensor, ...]:
        y = memory_for_output(x, weight, bias)
        deviation, mean, var = statistics(x, dims, centered=centered, out=y)
        rstd = torch.rsqrt(var + eps)
        x_hat = deviation.mul_(rstd) if centered else deviation * rstd
        y = scale_and_shift(x_hat, weight, bias, out=y)
        return y, x_hat, rstd, mean, var

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        _, weight, ctx.bias, ctx.dims, _, ctx.centered = inputs
        _, x_hat, rstd, mean, var = output
        ctx.bias = None if ctx.bias is None else ctx.bias.shape
        ctx.mark_non_differentiable(mean, var)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x_hat, rstd, weight)
        ctx.save_for_forward(x_hat, rstd, weight)

    @staticmethod
    def backward(
        ctx: Any,
        grad: Tensor | None,
        grad_x_hat: Tensor | None,
        grad_rstd: Tensor | None,
        *_: None,
    ) -> tuple:
        x_hat, rstd, weight = ctx.saved_tensors
        grad_x = grad_weight = grad_bias = None
        if grad is not None:
            grad_bias = None if ctx.bias is None else sum_to(grad, ctx.bias)
            product = grad
            if weight is not None:
                along = grad * x_hat
                grad_weight = sum_to(along, weight.shape)
                if may_be_overwritten(along):
                    scale = along.mul_(weight).mean(ctx.dims, keepdim=True)
                    product = torch.mul(grad, weight, out=along)
                    shift = product.mean(ctx.dims, keepdim=True) if ctx.centered else None
                    grad_x = project(product, x_hat, shift, scale, rstd, out=product)
                else:
                    product = grad * weight
            if grad_x is None:
                grad_x_hat = product if grad_x_hat is None else product + grad_x_hat
        if grad_x_hat is not None:
            through = NF.standardize_backward(
                grad_x_hat, x_hat, rstd, ctx.dims, centered=ctx.centered
            )
            grad_x = through if grad_x is None else grad_x + through
        if grad_rstd is not None:
            along = -x_hat * (grad_rstd * rstd.square() / NF.count(x_hat, ctx.dims))
            grad_x = along if grad_x is None else grad_x + along
        return grad_x, grad_weight, grad_bias, None, None, None

    @staticmethod
    def jvp(
        ctx: Any,
        tangent: Tensor | None,
        tangent_weight: Tensor | None,
        tangent_bias: Tensor | None,
        *_: None,
    ) -> tuple:
        x_hat, rstd, weight = ctx.saved_tensors
        tangent = torch.zeros_like(x_hat) if tangent is None else tangent
        along_x_hat, along_rstd = standardize_tangents(
            tangent, x_hat, rstd, ctx.dims, centered=ctx.centered
        )
        along = tangent_of_scaled(along_x_hat, x_hat, weight, tangent_weight, tangent_bias)
        return along, along_x_hat, along_rstd, None, None


class ScaledSetsCompiled(ScaledSets):
    """Without a forward mode, which ``torch.compile`` refuses to trace."""

    jvp = Function.jvp  # type: ignore[assignment]


class ScaledElementsCompiled(ScaledElements):
    """Without a forward mode, as above."""

    jvp = Function.jvp  # type: ignore[assignment]


def _remember_signature(function: Any) -> None:
    """Function.apply asks for it in every call, and building it takes longer than a mean."""
    function.forward.__signature__ = inspect.signature(function.forward)


_remember_signature(ScaledSets)
_remember_signature(ScaledElements)


def statistics(
    x: Tensor, dims: tuple[int, ...], *, centered: bool = True, out: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`normtutorial.functional.statistics`, in fewer passes where the mean is small.

    The rounding of a mean matters where it is large beside the spread. Up to eight times the spread
    its error is below that of the output, and the correction is left out. A CPU can look; another
    device would have to wait for the answer, so there the correction is always made.
    """
    may_look = centered and x.device.type == "cpu" and may_be_overwritten(x)
    if not may_look or NF.count(x, dims) == 0:
        return NF.statistics(x, dims, centered=centered, out=out)
    mean = x.mean(dims, keepdim=True)
    deviation = x - mean
    var = torch.square(deviation, out=out).mean(dims, keepdim=True)
    if (mean.abs() > 8 * var.sqrt()).any():
        return NF.statistics(x, dims, out=out)
    return deviation, mean, var


def scale_and_shift(
    x_hat: Tensor, weight: Tensor | None, bias: Tensor | None, out: Tensor | None
) -> Tensor:
    """``weight * x_hat + bias``, in a new tensor or in ``out``, and never ``x_hat`` itself."""
    if weight is None:
        zero = x_hat.new_zeros(()) if bias is None else bias
        return torch.add(x_hat, zero, out=out)
    if bias is None:
        return torch.mul(x_hat, weight, out=out)
    return torch.addcmul(bias, x_hat, weight, out=out)


def project(
    g: Tensor,
    x_hat: Tensor,
    shift: Tensor | None,
    scale: Tensor,
    factor: Tensor,
    out: Tensor | None = None,
) -> Tensor:
    """``factor * (g - shift - x_hat * scale)``, in a new tensor or in ``out``."""
    rest = torch.addcmul(g, x_hat, scale, value=-1, out=out)
    if shift is not None:
        rest.sub_(shift)
    return rest.mul_(factor)


def standardize_tangents(
    tangent: Tensor, x_hat: Tensor, rstd: Tensor, dims: tuple[int, ...], *, centered: bool = True
) -> tuple[Tensor, Tensor]:
    """How ``x_hat`` and ``rstd`` move when ``x`` moves along ``tangent``. The Jacobian of ``x_hat``
    is symmetric: forward is the same formula as backward."""
    along = NF.standardize_backward(tangent, x_hat, rstd, dims, centered=centered)
    return along, -rstd.square() * (tangent * x_hat).mean(dims, keepdim=True)


def tangent_of_scaled(
    along_x_hat: Tensor,
    x_hat: Tensor,
    weight: Tensor | None,
    tangent_weight: Tensor | None,
    tangent_bias: Tensor | None,
) -> Tensor:
    """How ``weight * x_hat + bias`` moves when all three do, or some."""
    along = along_x_hat.clone() if weight is None else along_x_hat * weight
    if tangent_weight is not None:
        along = along + x_hat * tangent_weight
    if tangent_bias is not None:
        along = along + tangent_bias
    return along


def may_be_overwritten(x: Tensor) -> bool:
    """Whether a result of our own is ours alone: not recorded for a second derivative, no symbol of
    a compiler, no stand-in for many tensors, as under ``vmap``."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    try:
        x.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return False
    return True


def memory_for_output(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor | None:
    """A new tensor that can hold the output of a layer; None where torch had better make it."""
    wide = any(p is not None and p.dtype.itemsize > x.dtype.itemsize for p in (weight, bias))
    return torch.empty_like(x) if may_be_overwritten(x) and not wide else None


def sum_to(x: Tensor, shape: torch.Size) -> Tensor:
    """``x`` summed to a shape that was broadcast against it; a new tensor."""
    if torch.compiler.is_compiling() and x.device.type == "cpu":
        from torch.fx.experimental.symbolic_shapes import statically_known_true  # slow to import

        rows = math.prod(x.shape[: x.ndim - len(shape)])
        if statically_known_true(rows % 8 == 0):
            # A compiled sum goes down one column after the other. Eight rows stay in the cache.
            x = x.reshape(-1, 8, *shape).sum(1)
    return x[None].sum_to_size(shape)
