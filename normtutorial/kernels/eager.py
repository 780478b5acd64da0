r"""Normalization with scale and shift in one function of autograd, for torch's own operations.

:func:`normtutorial.functional.normalize` leaves scale and shift to autograd. That is two passes
over memory more in backward: where what shares a mean shares a weight, too, the two means that the
gradient of ``x`` needs are the gradients of bias and weight, divided by ``n``; elsewhere the
product of gradient and :math:`\hat x` serves both. A new tensor costs as much as a pass over it, so
that what is used up is used again.
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
    weight: Tensor,
    bias: Tensor | None,
    dims: NF.Dims,
    eps: float,
    *,
    centered: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`normtutorial.functional.normalize`, for a layer that has a weight."""
    function = NormalizeCompiled if torch.compiler.is_compiling() else Normalize
    y, _, _, mean, var = function.apply(NF.widen(x), weight, bias, tuple(dims), eps, centered)
    return y.to(x.dtype), mean, var


class Normalize(Function):
    """Its outputs are ``y``, and behind it those of ``Standardize``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        dims: tuple[int, ...],
        eps: float,
        centered: bool,
    ) -> tuple[Tensor, ...]:
        deviation, mean, var = NF.statistics(x, dims, centered=centered)
        x_hat, rstd = NF.rescale(deviation, var, eps, in_place=centered)
        return NF.scale_and_shift(x_hat, weight, bias), x_hat, rstd, mean, var

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        _, weight, bias, ctx.dims, _, ctx.centered = inputs
        _, x_hat, rstd, mean, var = output
        ctx.has_bias = bias is not None
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
            along, n = grad * x_hat, NF.count(x_hat, ctx.dims)
            spare = along if may_be_overwritten(along) else None
            if all(weight.shape[d] == 1 for d in ctx.dims):
                # What shares a mean shares a weight: two sums make three gradients.
                sums = [g.sum(ctx.dims, keepdim=True) for g in (grad, along)]
                grad_bias, grad_weight = (s.sum_to_size(weight.shape) for s in sums)
                shift, scale = (s / n for s in sums)
                shift = shift if ctx.centered else None
                grad_x = NF.project(grad, x_hat, shift, scale, rstd * weight, out=spare)
            else:
                grad_bias, grad_weight = sum_to(grad, weight), sum_to(along, weight)
                if spare is None:
                    product = grad * weight
                    grad_x_hat = product if grad_x_hat is None else product + grad_x_hat
                else:
                    scale = spare.mul_(weight).mean(ctx.dims, keepdim=True)
                    product = torch.mul(grad, weight, out=spare)
                    shift = product.mean(ctx.dims, keepdim=True) if ctx.centered else None
                    grad_x = NF.project(product, x_hat, shift, scale, rstd, out=spare)
        through = NF.standardize_gradient(ctx, grad_x_hat, grad_rstd, x_hat, rstd)
        if through is not None:
            grad_x = through if grad_x is None else grad_x + through
        return grad_x, grad_weight, grad_bias if ctx.has_bias else None, None, None, None

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
        along_x_hat, along_rstd = NF.standardize_tangents(ctx, tangent, x_hat, rstd)
        along = along_x_hat * weight
        if tangent_weight is not None:
            along = along + x_hat * tangent_weight
        if tangent_bias is not None:
            along = along + tangent_bias
        return along, along_x_hat, along_rstd, None, None


class NormalizeCompiled(Normalize):
    """Without a forward mode, which ``torch.compile`` refuses to trace."""

    jvp = Function.jvp  # type: ignore[assignment]


# As in functional: the signature is asked for in every call.
Normalize.forward.__signature__ = inspect.signature(Normalize.forward)  # type: ignore[attr-defined]


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


def sum_to(x: Tensor, weight: Tensor) -> Tensor:
    """``x`` summed to the shape of ``weight``, which was broadcast against it; a new tensor."""
    if torch.compiler.is_compiling() and x.device.type == "cpu":
        from torch.fx.experimental.symbolic_shapes import statically_known_true  # slow to import

        rows = math.prod(x.shape[: x.ndim - weight.ndim])
        if statically_known_true(rows % 8 == 0):
            # A compiled sum goes down one column after the other. Eight rows stay in the cache.
            x = x.reshape(-1, 8, *weight.shape).sum(1)
    return x[None].sum_to_size(weight.shape)
