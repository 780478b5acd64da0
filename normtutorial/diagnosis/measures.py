"""What one call of a norm shows by itself: moments, sets, digits, axes, padding."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..probes.outputs import tensors
from .batches import floats
from .kinds import is_batch_norm, is_instance_norm, memory

__all__ = [
    "Padding",
    "channel_dim",
    "eps_rules",
    "is_constant",
    "makes_nonfinite",
    "moments",
    "moved_by_padding",
    "normalized_axes",
    "padding",
    "per_sample",
    "relative_error",
    "values_per_set",
]

FEW = 4  # samples for what is done in float64


def channel_dim(module: nn.Module, x: Tensor) -> int:
    """1 for (N, C, *); the last where layer norm has its features."""
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        return x.ndim - 1
    return 1


def moments(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Mean and variance per channel, float64; of at least float32 numbers."""
    wide = x.detach() if x.dtype in (torch.float32, torch.float64) else x.detach().float()
    dims = [d for d in range(x.ndim) if d != dim]
    var, mean = torch.var_mean(wide, dims, correction=0)
    return mean.double(), var.double()


def per_sample(x: Tensor, dim: int, n: int) -> Tensor | None:
    """The mean of each sample and channel, (N, C), if the first dim holds the samples."""
    if n == 0 or len(x) % n or dim == 0:
        return None
    rows = x.detach().float().movedim(dim, 1).flatten(2) if x.ndim > 2 else x.detach().float()
    rows = rows.mean(2) if rows.ndim > 2 else rows
    return rows.reshape(n, -1, rows.shape[1]).mean(1)


def values_per_set(module: nn.Module, x: Tensor) -> int | None:
    """How many numbers share a mean."""
    if is_batch_norm(module):
        return x.numel() // x.shape[1]
    if is_instance_norm(module):
        return x[0, 0].numel()
    if isinstance(module, nn.GroupNorm):
        return x[0].numel() // module.num_groups
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        return torch.Size(module.normalized_shape).numel()
    return None


class Padding(NamedTuple):
    """How many of its T positions each sample fills: (N,)."""

    lengths: Tensor
    positions: int


def padding(x: Any) -> Padding | None:
    """Of the input of a model, if it looks padded: sequences (N, T) of indices, or (N, T, D) or
    (N, C, T) of floats.

    Padding is a run of positions at the end that are all alike, in all samples, and not of one
    length. Of floats, that may as well be the margin of a picture: so the longest sample must have
    none, or no position before the end be like it in any sample.

    Example:
        >>> padding(torch.tensor([[5, 6, 7], [5, 0, 0]])).lengths
        tensor([3, 1])
    """
    first = x
    if isinstance(x, (tuple, list)):
        first = x[0]
    elif isinstance(x, dict):
        first = next(iter(x.values()))
    if not isinstance(first, Tensor) or first.is_complex() or first.ndim not in (2, 3):
        return None
    indices = not first.is_floating_point() and first.ndim == 2
    if not indices and not (first.is_floating_point() and first.ndim == 3):
        return None
    for view in [first] if indices else [first, first.mT]:
        (filled, only), total = _filled(view), view.shape[1]
        if filled.min() == filled.max():
            continue
        if indices or (total > 1 + filled.min() and (filled.max() == total or only)):
            return Padding(filled, total)
    return None


def _filled(x: Tensor) -> tuple[Tensor, bool]:
    """How many positions come before the run at the end that is like the longest such run; and
    whether none of those is like it."""

    def run(last: Tensor) -> tuple[Tensor, Tensor]:
        alike = (x == last).reshape(*x.shape[:2], -1).all(2)
        return alike.flip(1).long().cumprod(1).sum(1), alike.sum(1)

    longest = int(run(x[:, -1:])[0].argmax())
    length, everywhere = run(x[longest : longest + 1, -1:])
    return x.shape[1] - length, torch.equal(length, everywhere)


def moved_by_padding(module: nn.Module, x: Tensor, padded: Padding | None) -> float | None:
    """By how many standard deviations of the rest padding moves the mean, over all channels the
    root of the mean square; None where no positions share a mean."""
    if padded is None or not (is_batch_norm(module) or isinstance(module, nn.GroupNorm)):
        return None
    n, total, filled = len(padded.lengths), padded.positions, padded.lengths
    if x.ndim == 2 and len(x) == n * total:
        rows = x.reshape(n, total, -1)
    elif x.ndim == 3 and len(x) == n and 1 < x.shape[2] <= total:
        rows = x.mT
        filled = (filled * x.shape[2] / total).ceil()  # after a stride, or without a margin
        total = x.shape[2]
    else:
        return None
    rows = rows.double()  # (N, T, C)
    kept = torch.arange(total, device=x.device) < filled.to(x.device)[:, None]
    valid = rows[kept]
    if len(valid) < 2:
        return None
    sd = valid.std(0).clamp_min(1e-12)
    return float(((rows.mean((0, 1)) - valid.mean(0)) / sd).square().mean().sqrt())


def makes_nonfinite(x: Tensor, output: Any) -> float:
    """What a layer makes of numbers that are finite: NaN if there are NaN or infinity; minus
    infinity if there is nothing but that, which may be a mask; 0 if there is nothing.

    Example:
        >>> ones = torch.ones(3)
        >>> [makes_nonfinite(ones, y) for y in (ones / 0, -ones / 0, ones)]
        [nan, -inf, 0.0]
    """
    found = [y.detach() for y in tensors(output).values() if y.is_floating_point()]
    sums = [
        y.sum(dtype=torch.float64 if y.dtype == torch.float64 else torch.float32) for y in found
    ]
    if all(bool(one.isfinite()) for one in sums) or all(bool(y.isfinite().all()) for y in found):
        return 0.0
    if x.is_floating_point() and not x.isfinite().all():
        return 0.0
    return -torch.inf if all(bool((y < torch.inf).all()) for y in found) else torch.nan


def eps_rules(module: nn.Module, x: Tensor) -> float | None:
    """The share of sets, or of channels that are remembered, whose variance is below eps."""
    eps = getattr(module, "eps", None)
    if not isinstance(eps, float):
        return None
    x = x.detach().float()
    if (remembered := memory(module)) is not None:
        var = remembered[1]
    elif is_batch_norm(module):
        var = moments(x, 1)[1]
    elif isinstance(module, nn.GroupNorm):
        var = x.reshape(len(x), module.num_groups, -1).var(2, correction=0)
    elif is_instance_norm(module):
        var = x.flatten(2).var(2, correction=0)
    elif isinstance(module, nn.LayerNorm) and x.shape[-1] == module.normalized_shape[-1]:
        var = x.var([-1 - i for i in range(len(module.normalized_shape))], correction=0)
    else:
        return None
    return float((var < eps).double().mean())


def is_constant(x: Tensor, output: Any) -> bool:
    """Whether all samples have become one, though they came in different."""
    y = tensors(output).get("")
    if y is None or len(x) < 2 or len(y) < 2 or not y.is_floating_point():
        return False
    comes, goes = (float(t.detach()[:FEW].double().var(0).max()) for t in (x, y))
    return comes > 1e-6 and goes < 1e-6 * min(1.0, comes)


def relative_error(module: nn.Module, x: Tensor) -> float | None:
    """Of its output for a few samples, against the same layer in float64 on the same numbers."""
    few = x.detach()[:FEW]
    exact = _in_double(module, few.double())
    if exact is None or not exact.isfinite().all() or not few.isfinite().all():
        return None
    output = tensors(module.forward(few)).get("")
    if output is None or output.shape != exact.shape:
        return None
    if not output.isfinite().all():
        return torch.inf
    gain = getattr(module, "weight", None)
    size = float(gain.detach().double().square().mean()) if isinstance(gain, Tensor) else 1.0
    scale = max(size, float(exact.square().mean())) ** 0.5
    wrong = float((output.double() - exact).square().mean().sqrt())
    return wrong / scale if scale else None


def normalized_axes(module: nn.Module, x: Tensor) -> frozenset[int] | None:
    """The dims along which one number that comes in moves others that go out.

    Example:
        >>> normalized_axes(nn.LayerNorm(4), torch.randn(2, 3, 4))
        frozenset({2})
    """
    few = x.detach()[:2].double()
    place = tuple(n // 2 for n in few.shape)
    other = few.clone()
    other[place] += 1 + few.abs().max()
    first, second = _in_double(module, few), _in_double(module, other)
    if first is None or second is None or first.shape != few.shape:
        return None
    moved = ((first - second).abs() > 1e-9).nonzero()
    return frozenset(d for d, at in enumerate(place) if (moved[:, d] != at).any())


def _in_double(module: nn.Module, x: Tensor) -> Tensor | None:
    """The same layer in float64; None where it cannot be called so."""
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    try:
        with torch.autocast(x.device.type, enabled=False):
            output = functional_call(module, floats(state, torch.float64), (x,))
    except Exception:  # it wants more arguments, or another dtype
        return None
    found = tensors(output).get("")
    return found.detach() if found is not None and found.dtype == torch.float64 else None
