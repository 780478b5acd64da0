"""Whether one affine map of the input makes it what the first norm remembers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .batches import Batch, call, first_floats
from .kinds import memory
from .measures import moments
from .watching import passing, tensor_in

__all__ = ["Affine", "maps"]

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
MNIST = (0.1307,), (0.3081,)
LEFT = 0.25  # of the first distance, at most, is left by a map that fits


@dataclass(frozen=True)
class Affine:
    """``scale * x + shift``, for each channel or for all."""

    name: str
    scale: tuple[float, ...]
    shift: tuple[float, ...]

    def apply(self, x: Any) -> Any:
        """The input of a model, its first tensor of floats mapped."""
        return first_floats(self._map, x)

    def _map(self, x: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (x.ndim - 2)) if len(self.scale) > 1 else (1,) * x.ndim
        scale, shift = (x.new_tensor(one).reshape(shape) for one in (self.scale, self.shift))
        return x * scale + shift


class _Enough(Exception):
    pass


def maps(model: nn.Module, batches: list[Batch], layer: nn.Module) -> Iterator[Affine]:
    """Those with which a layer gets what it remembers, if any; first those with a name."""
    remembered, first = memory(layer), _first(batches[0].x)
    if remembered is None or first is None:
        return
    mean, var = (one.detach().double().flatten() for one in remembered)
    eps = float(getattr(layer, "eps", 1e-5))

    def distance(found: tuple[Tensor, Tensor]) -> float:
        off = (found[0] - mean).square() / (var + eps)
        logs = ((found[1] + eps) / (var + eps)).log()
        return float((off + logs.square()).mean())

    def at(change: Affine) -> tuple[Tensor, Tensor]:
        return _moments_at(model, batches, layer, change)

    start = at(Affine("x", (1.0,), (0.0,)))
    for family in list(_known(first)), list(_fitted(start, (mean, var + eps), at)):
        scored = {change: distance(at(change)) for change in family}
        fitting = [change for change in family if scored[change] < LEFT * distance(start)]
        yield from sorted(fitting, key=lambda change: scored[change])[:2]


def _first(x: Any) -> Tensor | None:
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    first_floats(keep, x)
    return found[0] if found else None


def _known(x: Tensor | None) -> Iterator[Affine]:
    """Maps that people forget, or make twice."""
    yield Affine("x / 255", (1 / 255,), (0.0,))
    yield Affine("255 * x", (255.0,), (0.0,))
    yield Affine("2 * x - 1", (2.0,), (-1.0,))
    yield Affine("(x + 1) / 2", (0.5,), (0.5,))
    yield Affine("x / 127.5 - 1", (1 / 127.5,), (-1.0,))
    yield Affine("1 - x", (-1.0,), (1.0,))
    for title, (mean, std) in {"ImageNet": IMAGENET, "CIFAR": CIFAR, "MNIST": MNIST}.items():
        if x is None or x.ndim < 3 or x.shape[1] != len(mean):
            continue
        pairs = list(zip(mean, std, strict=True))
        does, undoes = tuple(1 / s for s in std), tuple(-m / s for m, s in pairs)
        what = f"(x - mean) / std of {title}"
        yield Affine(what, does, undoes)
        yield Affine(f"{what}, x / 255 in place of x", tuple(d / 255 for d in does), undoes)
        half = tuple((0.5 - m) / s for m, s in pairs)
        yield Affine(f"{what}, (x + 1) / 2 in place of x", tuple(d / 2 for d in does), half)
        yield Affine(f"x * std + mean of {title}", std, mean)


def _fitted(start: tuple[Tensor, Tensor], goal: tuple[Tensor, Tensor], at: Any) -> Iterator[Affine]:
    """The scale that the variances ask for, of either sign, with the shift that the means do."""
    size = float((goal[1] / start[1].clamp_min(1e-12)).log().median().exp()) ** 0.5
    zeros, ones = (at(Affine("", (0.0,), (value,)))[0] for value in (0.0, 1.0))
    along = (ones - zeros) / goal[1].sqrt()
    for scale in size, -size:
        left = goal[0] - zeros - scale * (start[0] - zeros)
        power = float(along.square().sum())
        shift = float((along * left / goal[1].sqrt()).sum()) / power if power > 0 else 0.0
        yield Affine(
            f"{scale:.3g} * x {'-' if shift < 0 else '+'} {abs(shift):.3g}", (scale,), (shift,)
        )


def _moments_at(
    model: nn.Module, batches: list[Batch], layer: nn.Module, change: Affine
) -> tuple[Tensor, Tensor]:
    """What comes into a layer in evaluation mode, over the first two batches."""
    seen: list[tuple[Tensor, Tensor]] = []

    def see(module: nn.Module, args: Any, kwargs: Any) -> None:
        x = tensor_in((args, kwargs))
        if x is not None:
            seen.append(moments(x, 1))
        raise _Enough

    with passing("With another input", model), torch.no_grad():
        model.eval()
        with layer.register_forward_pre_hook(see, with_kwargs=True):
            for batch in batches[:2]:
                try:
                    call(model, change.apply(batch.x))
                except _Enough:
                    continue
    means = torch.stack([mean for mean, _ in seen])
    within = torch.stack([var for _, var in seen]).mean(0)
    return means.mean(0), within + means.var(0, correction=0)
