r"""Every normalization of the book, as pure functions of tensors.

All of them are one computation. They differ in *which elements share a mean*, that is, in ``dims``:

========================  =========================  =====================================
function                  input                      elements averaged together
========================  =========================  =====================================
:func:`batch_norm`        :math:`(N, C, *)`          one feature: dims ``(0, 2, ...)``
:func:`layer_norm`        :math:`(*, D)`             one sample: the trailing dims
:func:`instance_norm`     :math:`(N, C, *)`          one feature of one sample: ``(2, ...)``
:func:`group_norm`        :math:`(N, C, *)`          ``C / G`` features of one sample
:func:`rms_norm`          :math:`(*, D)`             one sample, and no mean is subtracted
:func:`weight_norm`       a weight, not activations  one slice of the weight, its length only
========================  =========================  =====================================

Statistics of half-precision inputs are computed in float32; outputs have the input's dtype.
"""

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

Dims = Sequence[int]

__all__ = [
    "batch_norm", "group_norm", "instance_norm", "layer_norm", "lengths", "moments", "rms_norm",
    "standardize", "standardize_backward", "weight_norm", "weight_norm_backward",
]  # fmt: skip


def _widen(x: Tensor) -> Tensor:
    """``x`` in a dtype that can hold a sum: half precision becomes float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def moments(x: Tensor, dims: Dims, *, correction: int = 0) -> tuple[Tensor, Tensor]:
    r"""Mean and variance of ``x`` over ``dims``, kept broadcastable against ``x``.

    .. math:: \mu = \frac1n \sum_i x_i, \qquad
              \sigma^2 = \frac{1}{n - \text{correction}} \sum_i (x_i - \mu)^2

    Two passes on purpose: :math:`E[x^2] - E[x]^2` cancels when the mean is large.

    Args:
        x: any shape, floating point.
        dims: the dimensions whose elements are averaged together.
        correction: 0 divides by ``n``, as every normalization does; 1 by ``n - 1``, as the
            running variance of batch norm does.

    Returns:
        ``mean, var``, each of ``x``'s shape with ``dims`` reduced to 1.

    Example:
        >>> mean, var = moments(torch.tensor([[1.0, 3.0]]), dims=(1,))
        >>> mean.item(), var.item()
        (2.0, 1.0)

    References:
        Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983.
    """
    x = _widen(x)
    n = math.prod([x.shape[d] for d in dims])
    mean = x.mean(tuple(dims), keepdim=True)
    var = (x - mean).square().sum(tuple(dims), keepdim=True) / (n - correction)
    return mean, var


def standardize(x: Tensor, mean: Tensor, var: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    r"""Shift and rescale ``x`` to mean 0 and variance 1 (a little less, because of ``eps``).

    .. math:: \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}

    Args:
        x: any shape.
        mean, var: broadcastable against ``x``.
        eps: added to the variance, inside the root.

    Returns:
        ``x_hat`` and ``rstd``, the factor :math:`1 / \sqrt{\sigma^2 + \varepsilon}`.

    Example:
        >>> x = torch.tensor([[1.0, 3.0]])
        >>> x_hat, rstd = standardize(x, *moments(x, (1,)), eps=0.0)
        >>> x_hat.tolist(), rstd.item()
        ([[-1.0, 1.0]], 1.0)
    """
    rstd = torch.rsqrt(var + eps)
    return (x - mean) * rstd, rstd


def standardize_backward(
    grad_x_hat: Tensor, x_hat: Tensor, rstd: Tensor, dims: Dims, *, centered: bool = True
) -> Tensor:
    r"""Gradient with respect to ``x``: drop what a shift or a rescale of ``x`` would undo.

    .. math:: \frac{\partial L}{\partial x} = \frac{1}{\sqrt{\sigma^2 + \varepsilon}} \left(
              g - \overline{g} - \hat x\, \overline{g \hat x} \right),
              \qquad g = \frac{\partial L}{\partial \hat x},

    where the bar is the mean over ``dims``. RMS norm subtracts no mean, and loses the middle term
    (``centered=False``).

    Args:
        grad_x_hat: gradient with respect to ``x_hat``, same shape.
        x_hat, rstd: what :func:`standardize` returned.
        dims: the dims its moments were taken over.
        centered: whether a mean was subtracted.

    Example:
        >>> x = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
        >>> x_hat, rstd = standardize(x, *moments(x, (0,)), eps=1e-5)
        >>> g = torch.randn_like(x)
        >>> by_autograd, = torch.autograd.grad(x_hat, x, g)
        >>> torch.allclose(by_autograd, standardize_backward(g, x_hat, rstd, (0,)))
        True

    References:
        Ioffe and Szegedy 2015, section 3 (the same gradient, in six steps).
    """
    dims = tuple(dims)
    scale = (grad_x_hat * x_hat).mean(dims, keepdim=True)
    shift = grad_x_hat.mean(dims, keepdim=True) if centered else None
    return _without(grad_x_hat, x_hat, rstd, shift, scale)


def _without(g: Tensor, x_hat: Tensor, rstd: Tensor, shift: Tensor | None, scale: Tensor) -> Tensor:
    """``rstd * (g - shift - x_hat * scale)``, with a single new tensor of that size."""
    lost = x_hat * scale
    if shift is not None:
        lost.add_(shift)
    return lost.sub_(g).mul_(-rstd)


class _Normalize(Function):
    """A whole layer: :func:`moments`, :func:`standardize`, scale and shift; and its backward.

    Autograd by itself would keep every intermediate result for backward. The closed form of
    :func:`standardize_backward` needs ``x_hat``, and ``rstd``, which has one number per mean. They
    are outputs too, for the derivatives of backward itself; the last output is the layer's.
    """

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
        mean = x.mean(dims, keepdim=True) if centered else x.new_zeros(())
        deviation = x - mean if centered else x
        var = deviation.square().mean(dims, keepdim=True)
        rstd = torch.rsqrt(var + eps)
        x_hat = deviation.mul_(rstd) if centered else x * rstd
        if weight is None:
            return mean, var, rstd, x_hat
        return mean, var, rstd, x_hat, _affine(x_hat, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        _, weight, bias, ctx.dims, _, ctx.centered = inputs
        mean, var, rstd, x_hat, *_ = output
        ctx.has_bias = bias is not None
        ctx.mark_non_differentiable(mean, var)  # else running statistics would keep every graph
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x_hat, rstd, weight)
        ctx.save_for_forward(x_hat, rstd, weight)

    @staticmethod
    def backward(
        ctx: Any,
        _mean: None,
        _var: None,
        grad_rstd: Tensor | None,
        grad_x_hat: Tensor | None,
        grad: Tensor | None = None,
    ) -> tuple:
        x_hat, rstd, weight = ctx.saved_tensors
        n = math.prod([x_hat.shape[d] for d in ctx.dims])
        grad_x = grad_weight = grad_bias = None
        if grad is not None:  # there is a weight
            if all(weight.shape[d] == 1 for d in ctx.dims):
                # What shares a mean shares a weight, too. Then the two means of the formula are the
                # gradients of bias and weight, divided by n.
                shift, scale = (g.mean(ctx.dims, keepdim=True) for g in (grad, grad * x_hat))
                grad_bias, grad_weight = _sum_to(shift * n, weight), _sum_to(scale * n, weight)
                grad_x = _without(
                    grad, x_hat, rstd * weight, shift if ctx.centered else None, scale
                )
            else:
                grad_bias, grad_weight = _sum_to(grad, weight), _sum_to(grad * x_hat, weight)
                grad_x_hat = _plus(grad * weight, grad_x_hat)
        if grad_x_hat is not None:
            through = standardize_backward(grad_x_hat, x_hat, rstd, ctx.dims, centered=ctx.centered)
            grad_x = _plus(through, grad_x)
        if grad_rstd is not None:
            grad_x = _plus(-x_hat * (grad_rstd * rstd.square() / n), grad_x)
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
        # The Jacobian of x_hat is symmetric: forward is the same formula as backward.
        along_x_hat = standardize_backward(tangent, x_hat, rstd, ctx.dims, centered=ctx.centered)
        along_rstd = -rstd.square() * (tangent * x_hat).mean(ctx.dims, keepdim=True)
        if weight is None:
            return None, None, along_rstd, along_x_hat
        along = along_x_hat * weight
        if tangent_weight is not None:
            along = along + x_hat * tangent_weight
        if tangent_bias is not None:
            along = along + tangent_bias
        return None, None, along_rstd, along_x_hat, along


class _NormalizeCompiled(_Normalize):
    """Without a forward mode, which ``torch.compile`` refuses to trace."""

    jvp = Function.jvp  # type: ignore[assignment]


# Function.apply asks for the signature in every call, and building it takes longer than a mean.
_Normalize.forward.__signature__ = inspect.signature(_Normalize.forward)  # type: ignore[attr-defined]


def _plus(a: Tensor, b: Tensor | None) -> Tensor:
    return a if b is None else a + b


def _sum_to(x: Tensor, weight: Tensor) -> Tensor:
    """``x`` summed to the shape of ``weight``, which was broadcast against it."""
    rows = math.prod(x.shape[: x.ndim - weight.ndim])
    if rows % 8 == 0 and torch.compiler.is_compiling() and x.device.type == "cpu":
        # What is compiled adds up one column after the other. Eight rows of all stay in the cache.
        x = x.reshape(-1, 8, *weight.shape).sum(1)
    return x.sum_to_size(weight.shape)


def _affine(x_hat: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """``weight * x_hat + bias``."""
    if weight is not None and bias is not None:
        return torch.addcmul(bias, x_hat, weight)  # both in one pass over memory
    if weight is not None:
        x_hat = x_hat * weight
    if bias is not None:
        x_hat = x_hat + bias
    return x_hat


def _normalize(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    dims: Dims,
    eps: float,
    *,
    centered: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """``x`` standardized over ``dims``, scaled and shifted by what can be broadcast against it;
    and the mean and variance that were used, at least in float32."""
    function = _NormalizeCompiled if torch.compiler.is_compiling() else _Normalize
    wide, dims = _widen(x), tuple(dims)
    if weight is None:
        mean, var, _, x_hat = function.apply(wide, None, None, dims, eps, centered)
        return _affine(x_hat, None, bias).to(x.dtype), mean, var
    mean, var, _, _, y = function.apply(wide, weight, bias, dims, eps, centered)
    return y.to(x.dtype), mean, var


def _viewed(
    shape: Dims, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Both in a shape that can be broadcast against the input."""
    shape = tuple(shape)
    if weight is not None and weight.shape != shape:
        weight = weight.view(shape)
    if bias is not None and bias.shape != shape:
        bias = bias.view(shape)
    return weight, bias


def _channel_shape(x: Tensor) -> tuple[int, ...]:
    return (1, x.shape[1], *[1] * (x.ndim - 2))  # one number per channel of (N, C, *)


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    r"""Standardize each feature over the batch (and over positions), then scale and shift it.

    In training the statistics are the batch's own, and the running ones, when given, move toward
    them **in place**, the variance in its unbiased form. Otherwise the running ones are used.

    .. math:: y = \gamma \frac{x - \mu_c}{\sqrt{\sigma_c^2 + \varepsilon}} + \beta, \qquad
              \text{running} \leftarrow (1 - m)\,\text{running} + m\,\text{batch}

    Args:
        x: shape :math:`(N, C, *)`.
        running_mean, running_var: shape :math:`(C)`, or None (training only).
        weight, bias: :math:`\gamma` and :math:`\beta`, shape :math:`(C)`, or None.
        training: take the statistics from ``x``.
        momentum: :math:`m`, the share of the *new* value.
        eps: added to the variance, inside the root.

    Example:
        >>> batch_norm(torch.tensor([[1.0], [3.0]]), None, None, training=True, eps=0.0).tolist()
        [[-1.0], [1.0]]

    References:
        Ioffe and Szegedy 2015, algorithms 1 and 2.
    """
    shape = _channel_shape(x)
    weight, bias = _viewed(shape, weight, bias)
    if training:
        dims = (0, *range(2, x.ndim))  # everything but the feature axis
        count = math.prod([x.shape[d] for d in dims])
        if count < 2:
            raise ValueError(
                f"Batch norm in training needs more than one value per channel; got input of shape "
                f"{tuple(x.shape)}. Use a larger batch, or call .eval() to use the running "
                f"statistics."
            )
        y, mean, var = _normalize(x, weight, bias, dims, eps)
        _track(running_mean, running_var, mean, var, count, momentum)
        return y
    if running_mean is None or running_var is None:
        raise ValueError("batch_norm needs running_mean and running_var when training is False.")
    mean, var = _widen(running_mean).view(shape), _widen(running_var).view(shape)
    x_hat, _ = standardize(_widen(x), mean, var, eps)
    return _affine(x_hat, weight, bias).to(x.dtype)


def _track(
    running_mean: Tensor | None,
    running_var: Tensor | None,
    mean: Tensor,
    var: Tensor,
    count: int,
    momentum: float,
) -> None:
    """Move the running statistics toward a batch of ``count`` values per feature."""
    if running_mean is not None:
        running_mean.lerp_(mean.view(-1).to(running_mean.dtype), momentum)
    if running_var is not None:
        unbiased = var.view(-1) * (count / (count - 1))  # the variance to expect of the population
        running_var.lerp_(unbiased.to(running_var.dtype), momentum)


def layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    r"""Standardize each sample over its own features, then scale and shift each feature.

    Args:
        x: shape :math:`(*, \text{normalized\_shape})`.
        normalized_shape: the trailing shape that shares a mean.
        weight, bias: shape ``normalized_shape``, or None.
        eps: added to the variance, inside the root.

    Example:
        >>> layer_norm(torch.tensor([[1.0, 3.0]]), (2,), eps=0.0).tolist()
        [[-1.0, 1.0]]

    References:
        Ba, Kiros and Hinton 2016, equations 3 and 4.
    """
    dims = tuple(range(-len(normalized_shape), 0))
    return _normalize(x, *_viewed(normalized_shape, weight, bias), dims, eps)[0]


def rms_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    r"""Divide each sample by its root mean square. No mean is subtracted, no bias added.

    .. math:: y = \gamma \frac{x}{\sqrt{\frac1D \sum_i x_i^2 + \varepsilon}}

    Args:
        x: shape :math:`(*, \text{normalized\_shape})`.
        normalized_shape: the trailing shape that shares a root mean square.
        weight: shape ``normalized_shape``, or None.
        eps: added inside the root; None is the machine epsilon of the dtype that is computed in.

    Example:
        >>> rms_norm(torch.tensor([[3.0, 4.0, 0.0, 0.0]]), (4,), eps=0.0).tolist()
        [[1.2000000476837158, 1.600000023841858, 0.0, 0.0]]

    References:
        Zhang and Sennrich 2019, equation 4.
    """
    dims = tuple(range(-len(normalized_shape), 0))
    eps = torch.finfo(_widen(x).dtype).eps if eps is None else eps
    weight, _ = _viewed(normalized_shape, weight, None)
    return _normalize(x, weight, None, dims, eps, centered=False)[0]


def instance_norm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    r"""Standardize each feature of each sample over its positions.

    Args:
        x: shape :math:`(N, C, *)` with at least one position dimension.
        weight, bias: shape :math:`(C)`, or None.
        eps: added to the variance, inside the root.

    Example:
        >>> instance_norm(torch.tensor([[[1.0, 3.0], [10.0, 50.0]]]), eps=0.0).tolist()
        [[[-1.0, 1.0], [-1.0, 1.0]]]

    References:
        Ulyanov, Vedaldi and Lempitsky 2016, equation 4.
    """
    dims = tuple(range(2, x.ndim))
    return _normalize(x, *_viewed(_channel_shape(x), weight, bias), dims, eps)[0]


def group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    r"""Standardize each group of features of each sample, over the group and all positions.

    One group is layer norm over :math:`(C, *)`; as many groups as features is instance norm.

    Args:
        x: shape :math:`(N, C, *)`.
        num_groups: divides :math:`C`.
        weight, bias: shape :math:`(C)`, or None.
        eps: added to the variance, inside the root.

    Example:
        >>> x = torch.tensor([[1.0, 3.0, 10.0, 50.0]])
        >>> group_norm(x, 2, eps=0.0).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]

    References:
        Wu and He 2018, equations 1 and 7.
    """
    n, c, *positions = x.shape
    grouped = x.reshape(n, num_groups, c // num_groups, math.prod(positions))
    weight, bias = _viewed((1, num_groups, c // num_groups, 1), weight, bias)
    return _normalize(grouped, weight, bias, (2, 3), eps)[0].view(x.shape)


def _any(condition: Tensor) -> bool:
    """Whether it holds anywhere; False where nobody can look: compiled, on `meta`, under vmap."""
    if torch.compiler.is_compiling():
        return False
    try:
        return bool(condition.any())
    except RuntimeError:
        return False


def lengths(v: Tensor, dim: int | None) -> Tensor:
    r"""Euclidean length of each slice of ``v`` along ``dim``, kept broadcastable against ``v``.

    Args:
        v: any shape.
        dim: the dimension that is kept; None takes the tensor as one vector.

    Raises:
        ValueError: a slice of length zero (it has no direction), or a ``dim`` that is not there.

    Example:
        >>> lengths(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), dim=0).tolist()
        [[5.0], [2.0]]
    """
    if dim is not None and not 0 <= dim < v.ndim:
        raise ValueError(
            f"weight_norm expects dim from 0 to {v.ndim - 1}, the dimension to keep, or None for "
            f"the whole tensor; got dim={dim}."
        )
    dims = tuple(d for d in range(v.ndim) if d != dim)  # dim=None: all of them
    length = torch.linalg.vector_norm(v, dim=dims, keepdim=True)
    if _any(length == 0):
        where = "" if dim is None else f" at {(length == 0).flatten().nonzero().flatten().tolist()}"
        raise ValueError(
            f"weight_norm expects directions of non-zero length; v of shape {tuple(v.shape)} has a "
            f"zero slice (dim={dim}){where}."
        )
    return length


def weight_norm(v: Tensor, g: Tensor, dim: int | None = 0) -> Tensor:
    r"""A weight from its direction ``v`` and its length ``g``.

    .. math:: w = g \frac{v}{\lVert v \rVert}

    Args:
        v: the direction, of the weight's shape; its own length has no effect.
        g: the length of each slice, of ``v``'s shape with every dim but ``dim`` reduced to 1
            (``dim=None``: any shape with one element).
        dim: the dimension that is *kept*: 0 gives each output unit its own length. None takes the
            tensor as one vector.

    Example:
        >>> weight_norm(torch.tensor([[3.0, 4.0]]), torch.tensor([[10.0]])).tolist()
        [[6.0, 8.0]]

    Raises:
        ValueError: a direction of length zero, or a ``dim`` that ``v`` does not have.

    References:
        Salimans and Kingma 2016, equation 2.
    """
    function = _WeightNormCompiled if torch.compiler.is_compiling() else _WeightNorm
    return function.apply(v, g, dim)


def weight_norm_backward(
    grad_weight: Tensor, v: Tensor, g: Tensor, dim: int | None = 0
) -> tuple[Tensor, Tensor]:
    r"""Gradients with respect to ``v`` and ``g``.

    .. math:: \nabla_g L = \frac{\nabla_w L \cdot v}{\lVert v \rVert}, \qquad
              \nabla_v L = \frac{g}{\lVert v \rVert} \left(\nabla_w L -
              \nabla_g L \frac{v}{\lVert v \rVert}\right)

    The second is :math:`\nabla_w L` without its component along ``v``, so it is orthogonal to
    ``v``.

    Args:
        grad_weight: gradient with respect to the weight.
        v, g, dim: as in :func:`weight_norm`.

    Returns:
        ``grad_v`` and ``grad_g``.

    Example:
        >>> v, g = torch.tensor([[3.0, 4.0]]), torch.tensor([[10.0]])
        >>> grad_v, grad_g = weight_norm_backward(torch.tensor([[1.0, 0.0]]), v, g)
        >>> abs((grad_v * v).sum().item()) < 1e-6, round(grad_g.item(), 6)
        (True, 0.6)

    References:
        Salimans and Kingma 2016, equation 3.
    """
    length = lengths(v, dim)
    dims = tuple(d for d in range(v.ndim) if d != dim)
    along = (grad_weight * v).sum(dims, keepdim=True) / length  # the gradient of g
    rest = torch.addcmul(grad_weight, v, along / length, value=-1)  # without its part along v
    return rest.mul_(g / length), along.reshape(g.shape)


class _WeightNorm(Function):
    """:func:`weight_norm`, with :func:`weight_norm_backward` for backward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(v: Tensor, g: Tensor, dim: int | None) -> Tensor:
        return v * (g / lengths(v, dim))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        v, g, ctx.dim = inputs
        ctx.save_for_backward(v, g)
        ctx.save_for_forward(v, g)

    @staticmethod
    def backward(ctx: Any, grad_weight: Tensor) -> tuple:
        v, g = ctx.saved_tensors
        return *weight_norm_backward(grad_weight, v, g, ctx.dim), None

    @staticmethod
    def jvp(ctx: Any, tangent_v: Tensor | None, tangent_g: Tensor | None, _: None) -> Tensor:
        v, g = ctx.saved_tensors
        along = torch.zeros_like(v)
        if tangent_v is not None:  # the Jacobian with respect to v is symmetric, as that of x_hat
            along = weight_norm_backward(tangent_v, v, g, ctx.dim)[0]
        if tangent_g is not None:
            along = along + v * (tangent_g / lengths(v, ctx.dim))
        return along


class _WeightNormCompiled(_WeightNorm):
    """Without a forward mode, as above."""

    jvp = Function.jvp  # type: ignore[assignment]
