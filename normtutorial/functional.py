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

Each takes the input's :func:`statistics`, and then rescales, scales and shifts: :func:`normalize`.
That function is an argument, for which the layers give one that does the same faster.

Statistics of half-precision inputs are computed in float32; outputs have the input's dtype. Squares
of deviations are summed up as they are, here and in torch: from about 1e18 on, in float32 and
bfloat16, the variance is infinite and the output 0.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd import Function

Dims = Sequence[int]
Normalize = Callable[..., tuple[Tensor, Tensor, Tensor]]  # of the signature of normalize

__all__ = [
    "Group", "batch_norm", "combine", "group_norm", "instance_norm", "layer_norm", "lengths",
    "moments", "normalize", "rms_norm", "standardize", "standardize_backward", "statistics",
    "weight_norm", "weight_norm_backward",
]  # fmt: skip


class Group(Protocol):
    """Processes each of which holds a share of one batch, seen from one of them.

    Attributes:
        rank: which of them this is.
        counts: how many values share a mean in each.

    Example:
        >>> class Alone:  # the only process
        ...     rank, counts = 0, torch.tensor([2])
        ...     def gather(self, *tensors):
        ...         return [t[None] for t in tensors]
        ...     def sum(self, *tensors):
        ...         return tensors
        >>> _, mean, var = statistics(torch.tensor([[1.0], [3.0]]), (0,), group=Alone())
        >>> mean.item(), var.item()
        (2.0, 1.0)
    """

    rank: int
    counts: Tensor

    def gather(self, *tensors: Tensor) -> Sequence[Tensor]:
        """What all of them have of each tensor, in a new dimension 0."""

    def sum(self, *tensors: Tensor) -> Sequence[Tensor]:
        """The sum of what all of them have of each tensor."""


def widen(x: Tensor) -> Tensor:
    """``x`` in a dtype that can hold a sum: half precision becomes float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def count(x: Tensor, dims: Dims) -> int:
    """How many elements of ``x`` share a mean over ``dims``."""
    return math.prod([x.shape[d] for d in dims])


def statistics(
    x: Tensor,
    dims: Dims,
    *,
    centered: bool = True,
    out: Tensor | None = None,
    group: Group | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""How ``x`` deviates from its mean over ``dims``, that mean, and the variance.

    .. math:: d_i = x_i - r, \qquad \mu = r + \overline{d}, \qquad
              \sigma^2 = \overline{(d - \overline{d})^2}

    A mean is rounded, and where the offset of ``x`` is large, its error is not small beside the
    deviations. So they are taken from a reference :math:`r` near the mean, which costs them no
    digit, and then from their own mean. The first element is the reference where it cannot be told
    from the mean: what is constant deviates by 0 exactly.

    Two passes on purpose: :math:`E[x^2] - E[x]^2` cancels when the mean is large.

    Args:
        x: any shape, float32 or wider.
        dims: the dimensions whose elements are averaged together.
        centered: False takes 0 for the mean, as RMS norm does.
        out: memory that is free for the squares, of ``x``'s shape and dtype.
        group: processes that hold the other elements; only if ``centered``.

    Returns:
        ``deviation, mean, var``: a new tensor of ``x``'s shape (``x`` itself if not ``centered``),
        and two with ``dims`` reduced to 1.

    Example:
        >>> deviation, mean, var = statistics(torch.tensor([[1.0, 3.0]]), (1,))
        >>> deviation.tolist(), mean.item(), var.item()
        ([[-1.0, 1.0]], 2.0, 1.0)

    References:
        Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983.
    """
    dims = tuple(dims)
    if not centered:
        var = torch.square(x, out=out).mean(dims, keepdim=True)
        return x, torch.zeros_like(var), var
    if count(x, dims) == 0:
        nothing = x.sum(dims, keepdim=True)  # 0, where a mean would be NaN
        return _together(x - nothing, nothing.detach(), nothing, nothing, group)
    mean = x.mean(dims, keepdim=True)
    if torch.compiler.is_exporting():
        deviation = x - mean
        return deviation, mean, torch.square(deviation, out=out).mean(dims, keepdim=True)
    reference = _reference(x.detach(), mean.detach(), dims)
    deviation = x - reference
    rest = deviation.mean(dims, keepdim=True)
    deviation = deviation.sub_(rest)
    var = torch.square(deviation, out=out).mean(dims, keepdim=True)
    return _together(deviation, reference, rest, var, group)


def _together(
    deviation: Tensor, reference: Tensor, rest: Tensor, var: Tensor, group: Group | None
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`statistics` of the elements here, of mean ``reference + rest``, as those of all that
    the group has. Its means are compared as they lie from one reference, in which no digit of a
    large offset is left."""
    if group is not None:
        references, rests, variances = group.gather(reference, rest, var)
        reference = references[int(group.counts.argmax())]
        means = references - reference + rests
        rest, var = combine(group.counts, means, variances)
        deviation = deviation + (means[group.rank] - rest)
    return deviation, reference + rest, var


def combine(n: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    r"""Mean and variance of several sets together, from those of each.

    .. math:: \mu = \sum_k \frac{n_k}{n} \mu_k, \qquad
              \sigma^2 = \sum_k \frac{n_k}{n} \left( \sigma_k^2 + (\mu_k - \mu)^2 \right),
              \qquad n = \sum_k n_k

    The variance within the sets is not all: their means vary, too.

    Args:
        n: how many elements each set has, shape :math:`(K)`. One without elements, of mean and
            variance 0, changes nothing.
        mean, var: of each set, shape :math:`(K, *)`.

    Returns:
        ``mean, var``, shape :math:`(*)`.

    Example:
        >>> mean, var = combine(torch.tensor([1, 3]), torch.tensor([0.0, 4.0]), torch.zeros(2))
        >>> mean.item(), var.item()  # as of 0, 4, 4, 4
        (3.0, 3.0)

    References:
        Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983.
    """
    share = n.double() / n.sum().clamp(min=1)
    share = share.to(mean).view(-1, *[1] * (mean.ndim - 1))
    together = (share * mean).sum(0)
    return together, (share * (var + (mean - together).square())).sum(0)


def _reference(x: Tensor, mean: Tensor, dims: Dims) -> Tensor:
    """The mean, but exactly the first of the elements over ``dims`` where the two differ by no more
    than the rounding of a mean: a 64th of the way to it, from the mean, leads nowhere then."""
    for d in dims:
        x = x.narrow(d, 0, 1)
    way = mean - torch.lerp(mean, x, 1 / 64)
    return torch.add(x, way, alpha=64)


def moments(x: Tensor, dims: Dims, *, correction: int = 0) -> tuple[Tensor, Tensor]:
    r"""Mean and variance of ``x`` over ``dims``, kept broadcastable against ``x``.

    .. math:: \mu = \frac1n \sum_i x_i, \qquad
              \sigma^2 = \frac{1}{n - \text{correction}} \sum_i (x_i - \mu)^2

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
    """
    _, mean, var = statistics(widen(x), dims)
    n = count(x, dims)
    return mean, var * n / (n - correction) if correction else var


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
    return rescale(x - mean, var, eps)


def rescale(deviation: Tensor, var: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Divide by the root of the variance; also return the factor ``rstd`` that does so."""
    if torch.compiler.is_exporting():  # a division by a root is what onnxruntime recognizes
        std = torch.sqrt(var + eps)
        return deviation / std, 1 / std
    rstd = torch.rsqrt(var + eps)
    return deviation * rstd, rstd


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
    rest = grad_x_hat - x_hat * scale
    if centered:
        rest = rest - grad_x_hat.mean(dims, keepdim=True)
    return rest * rstd


def scale_and_shift(x_hat: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """``weight * x_hat + bias``."""
    if weight is not None and bias is not None:
        return torch.addcmul(bias, x_hat, weight)  # both in one pass over memory
    y = x_hat if weight is None else x_hat * weight
    return y if bias is None else y + bias


def normalize(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    dims: Dims,
    eps: float,
    *,
    centered: bool = True,
    group: Group | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Standardize ``x`` over ``dims``, then scale and shift it.

    .. math:: y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta

    Args:
        x: any shape, floating point.
        weight, bias: :math:`\gamma` and :math:`\beta`, broadcastable against ``x``, or None.
        dims: the dimensions whose elements share a mean.
        eps: added to the variance, inside the root.
        centered: False subtracts no mean, as RMS norm.
        group: as for :func:`statistics`.

    Returns:
        ``y``, of ``x``'s dtype, and the mean and the variance that were used, at least in float32,
        with ``dims`` reduced to 1.

    Example:
        >>> y, mean, var = normalize(torch.tensor([[1.0, 3.0]]), None, None, (1,), eps=0.0)
        >>> y.tolist(), mean.item(), var.item()
        ([[-1.0, 1.0]], 2.0, 1.0)
    """
    deviation, mean, var = statistics(widen(x), dims, centered=centered, group=group)
    x_hat, _ = rescale(deviation, var, eps)
    return scale_and_shift(x_hat, weight, bias).to(x.dtype), mean, var


def per_channel(parameter: Any, x: Tensor) -> Any:
    """A tensor of one number per channel, as it is broadcast against ``x`` of shape (N, C, *)."""
    return None if parameter is None else parameter.view(1, -1, *[1] * (x.ndim - 2))


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
    *,
    group: Group | None = None,
    normalize: Normalize = normalize,
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
        group: processes that hold shares of the batch, of which ``x`` is one; matters in training.
        normalize: does the work; by default :func:`normalize`.

    Raises:
        ValueError: one value per channel in training, or no running statistics otherwise.

    Example:
        >>> batch_norm(torch.tensor([[1.0], [3.0]]), None, None, training=True, eps=0.0).tolist()
        [[-1.0], [1.0]]

    References:
        Ioffe and Szegedy 2015, algorithms 1 and 2.
    """
    weight, bias = per_channel(weight, x), per_channel(bias, x)
    if training:
        dims = (0, *range(2, x.ndim))  # everything but the feature axis
        n = count(x, dims) if group is None else int(group.counts.sum())
        if n == 1:
            hint = ", or call .eval() to use the running statistics"
            among = "" if group is None else " and no other value in all processes"
            raise ValueError(
                f"Batch norm in training needs more than one value per channel; got input of shape "
                f"{tuple(x.shape)}{among}. "
                f"Use a larger batch{'' if running_mean is None else hint}."
            )
        others = {} if group is None else {"group": group}
        y, mean, var = normalize(x, weight, bias, dims, eps, **others)
        move(running_mean, running_var, mean.view(-1), var.view(-1), n, momentum)
        return y
    if running_mean is None or running_var is None:
        raise ValueError("batch_norm needs running_mean and running_var when training is False.")
    mean, var = (per_channel(widen(t), x) for t in (running_mean, running_var))
    x_hat, _ = standardize(widen(x), mean, var, eps)
    return scale_and_shift(x_hat, weight, bias).to(x.dtype)


def move(
    running_mean: Tensor | None,
    running_var: Tensor | None,
    mean: Tensor,
    var: Tensor,
    n: int,
    momentum: float | Tensor,
) -> None:
    """Move running statistics, in place, toward mean and variance of ``n`` values per channel. Of
    no values there is nothing to learn."""
    if n < 2 or (running_mean is None and running_var is None):
        return
    if torch.compiler.is_exporting():
        from torch.onnx._internal.exporter import _flags  # what is public says False when traced

        if _flags._is_onnx_exporting:
            raise ValueError("ONNX cannot move running statistics. Export the model in eval mode.")
    unbiased = var * (n / (n - 1))  # the variance to expect of the population
    for running, new in ((running_mean, mean), (running_var, unbiased)):
        if running is not None:
            wide = torch.promote_types(running.dtype, new.dtype)  # in which neither overflows
            share = momentum.to(wide) if isinstance(momentum, Tensor) else momentum
            new = new.detach().to(wide)
            if wide == running.dtype:
                running.lerp_(new, share)
            else:
                running.copy_(running.to(wide).lerp_(new, share))


def layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    normalize: Normalize = normalize,
) -> Tensor:
    r"""Standardize each sample over its own features, then scale and shift each feature.

    Args:
        x: shape :math:`(*, \text{normalized\_shape})`.
        normalized_shape: the trailing shape that shares a mean.
        weight, bias: shape ``normalized_shape``, or None.
        eps: added to the variance, inside the root.
        normalize: does the work; by default :func:`normalize`.

    Example:
        >>> layer_norm(torch.tensor([[1.0, 3.0]]), (2,), eps=0.0).tolist()
        [[-1.0, 1.0]]

    References:
        Ba, Kiros and Hinton 2016, equations 3 and 4.
    """
    dims = tuple(range(-len(normalized_shape), 0))
    y, _, _ = normalize(x, weight, bias, dims, eps)
    return y


def rms_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
    *,
    normalize: Normalize = normalize,
) -> Tensor:
    r"""Divide each sample by its root mean square. No mean is subtracted, no bias added.

    .. math:: y = \gamma \frac{x}{\sqrt{\frac1D \sum_i x_i^2 + \varepsilon}}

    Args:
        x: shape :math:`(*, \text{normalized\_shape})`.
        normalized_shape: the trailing shape that shares a root mean square.
        weight: shape ``normalized_shape``, or None.
        eps: added inside the root; None is the machine epsilon of the dtype that is computed in.
        normalize: does the work; by default :func:`normalize`.

    Example:
        >>> rms_norm(torch.tensor([[3.0, 4.0, 0.0, 0.0]]), (4,), eps=0.0).tolist()
        [[1.2000000476837158, 1.600000023841858, 0.0, 0.0]]

    References:
        Zhang and Sennrich 2019, equation 4.
    """
    dims = tuple(range(-len(normalized_shape), 0))
    eps = torch.finfo(widen(x).dtype).eps if eps is None else eps
    y, _, _ = normalize(x, weight, None, dims, eps, centered=False)
    return y


def instance_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float | Tensor = 0.1,
    normalize: Normalize = normalize,
) -> Tensor:
    r"""Standardize each feature of each sample over its positions.

    Args:
        x: shape :math:`(N, C, *)` with at least one position dimension.
        weight, bias: shape :math:`(C)`, or None.
        eps: added to the variance, inside the root.
        running_mean, running_var: shape :math:`(C)`, or None. They move toward the average over the
            samples, **in place**, as in :func:`batch_norm`.
        use_input_stats: False standardizes by the running statistics in place of the input's.
        momentum: the share of the new value in them.
        normalize: does the work; by default :func:`normalize`.

    Example:
        >>> instance_norm(torch.tensor([[[1.0, 3.0], [10.0, 50.0]]]), eps=0.0).tolist()
        [[[-1.0, 1.0], [-1.0, 1.0]]]

    References:
        Ulyanov, Vedaldi and Lempitsky 2016, equation 4.
    """
    if not use_input_stats:
        return batch_norm(x, running_mean, running_var, weight, bias, eps=eps)
    dims = tuple(range(2, x.ndim))
    y, mean, var = normalize(x, per_channel(weight, x), per_channel(bias, x), dims, eps)
    if running_mean is not None or running_var is not None:
        mean, var = (t.flatten(1).mean(0) for t in (mean, var))
        move(running_mean, running_var, mean, var, count(x, dims) if x.shape[0] else 0, momentum)
    return y


def group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    normalize: Normalize = normalize,
) -> Tensor:
    r"""Standardize each group of features of each sample, over the group and all positions.

    One group is layer norm over :math:`(C, *)`; as many groups as features is instance norm.

    Args:
        x: shape :math:`(N, C, *)`.
        num_groups: divides :math:`C`.
        weight, bias: shape :math:`(C)`, or None.
        eps: added to the variance, inside the root.
        normalize: does the work; by default :func:`normalize`.

    Example:
        >>> x = torch.tensor([[1.0, 3.0, 10.0, 50.0]])
        >>> group_norm(x, 2, eps=0.0).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]

    References:
        Wu and He 2018, equations 1 and 7.
    """
    n, c, *positions = x.shape
    grouped = x.reshape(n, num_groups, c // num_groups, math.prod(positions))
    weight, bias = (
        None if p is None else p.view(1, num_groups, c // num_groups, 1) for p in (weight, bias)
    )
    y, _, _ = normalize(grouped, weight, bias, (2, 3), eps)
    return y.view(x.shape)


def _known_to_hold(condition: Tensor) -> bool:
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
    if _known_to_hold(length == 0):
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
        grad_weight: gradient with respect to the weight, of the shape of ``v``.
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
