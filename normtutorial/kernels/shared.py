r"""Normalization of a batch of which several processes hold shares, in few messages.

Autograd by itself sends a message for each sum, forward and backward. Here forward sends one, of
the statistics, and backward one, whichever derivative is asked for. With the deviation :math:`d`
from the mean and :math:`r = 1 / \sqrt{\sigma^2 + \varepsilon}` the output is :math:`\gamma r d +
\beta`, and all that the gradient of ``x`` takes from other processes is two sums: of the gradients
with respect to :math:`d`, and of those with respect to :math:`r`.
"""

from typing import Any

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
    group: NF.Group,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`normtutorial.functional.normalize` with a group, in fewer messages."""
    y, _, _, mean, var = SharedSets.apply(NF.widen(x), weight, bias, tuple(dims), eps, group)
    return y.to(x.dtype), mean, var


class SharedSets(Function):
    """``y, deviation, rstd, mean, var``, for weights that are shared by what shares a mean."""

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        dims: tuple[int, ...],
        eps: float,
        group: NF.Group,
    ) -> tuple[Tensor, ...]:
        deviation, mean, var = NF.statistics(x, dims, group=group)
        x_hat, rstd = NF.rescale(deviation, var, eps)
        return NF.scale_and_shift(x_hat, weight, bias), deviation, rstd, mean, var

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        _, weight, bias, ctx.dims, _, ctx.group = inputs
        _, deviation, rstd, mean, var = output
        ctx.bias = None if bias is None else bias.shape
        ctx.mark_non_differentiable(mean, var)
        ctx.save_for_backward(deviation, rstd, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_deviation: Tensor, grad_rstd: Tensor, *_: Any) -> Any:
        deviation, rstd, weight = ctx.saved_tensors
        total, along = (g.sum(ctx.dims, keepdim=True) for g in (grad, grad * deviation))
        # Of the parameters each process has the gradient of its own share: others add them up.
        grad_weight = None if weight is None else (along * rstd).sum_to_size(weight.shape)
        grad_bias = None if ctx.bias is None else total.sum_to_size(ctx.bias)
        grad_x = None
        if ctx.needs_input_grad[0]:
            factor = rstd if weight is None else rstd * weight
            grad_deviation = grad_deviation + grad * factor
            grad_rstd = grad_rstd + (along if weight is None else along * weight)
            shift = grad_deviation.sum(ctx.dims, keepdim=True)
            shift, grad_rstd = ctx.group.sum(shift, grad_rstd)
            n = int(ctx.group.counts.sum())
            grad_x = grad_deviation - shift / n - deviation * (grad_rstd * rstd.pow(3) / n)
        return grad_x, grad_weight, grad_bias, None, None, None
