"""The registry of normalizations: what each is called, how it is made, how it is drawn.

Studies, the command line, figures, tables and the scripts of the pages all look here, so a further
normalization is one further entry.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from .layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from .parametrizations import WeightNormLinear

__all__ = ["NORMS", "ORIGINAL", "Norm"]


@dataclass(frozen=True)
class Norm:
    """A normalization.

    Attributes:
        name: the key in :data:`NORMS`, and the word on the command line.
        label: the words for people.
        color: of its curves, in hexadecimal.
        marker, linestyle: of its curves, in matplotlib's words.
        factory: makes the layer that normalizes a number of features; None where there is none.
        linear: makes the linear layers of a network with this normalization.

    Example:
        >>> NORMS["group"].label, NORMS["group"].factory(32)
        ('group norm', GroupNorm(8, 32, eps=1e-05, affine=True, bias=True))
    """

    name: str
    label: str
    color: str
    marker: str
    linestyle: Any
    factory: Callable[[int], nn.Module] | None = None
    linear: Callable[[int, int], nn.Module] = nn.Linear


def _instance_norm(features: int) -> nn.Module:
    """Instance norm of a vector: its features taken as the positions of a single channel."""
    return nn.Sequential(nn.Unflatten(1, (1, features)), InstanceNorm(1), nn.Flatten())


# Colors after Okabe and Ito (2008), the light ones darkened to stand out from white at 3 to 1.
NORMS: dict[str, Norm] = {
    norm.name: norm
    for norm in (
        Norm("none", "no norm", "#222222", "o", "-"),
        Norm("weight", "weight norm", "#009E73", "^", (0, (5, 1.5)), linear=WeightNormLinear),
        Norm("batch", "batch norm", "#0072B2", "s", "-", BatchNorm),
        Norm("layer", "layer norm", "#D55E00", "D", "-.", LayerNorm),
        Norm("instance", "instance norm", "#3795CC", "v", (0, (3, 1, 1, 1, 1, 1)), _instance_norm),
        Norm("group", "group norm", "#BF5F93", "P", (0, (7, 2)), partial(GroupNorm, 8)),
        Norm("rms", "RMS norm", "#B27D00", "X", (0, (2, 1)), RMSNorm),
    )
}
"""The normalizations by name. A vector has no positions, so ``instance`` takes its features for the
positions of one channel: layer norm without scale and shift. ``group`` has 8 groups."""

ORIGINAL = Norm("original", "the original", "#7A7A7A", "*", ":")
"""How the original notebook's network is drawn. It mixes three normalizations and is a network of
its own, :class:`~normtutorial.OriginalNet`, so nothing here makes it."""
