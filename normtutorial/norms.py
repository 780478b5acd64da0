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
from .parametrizations import WeightNormLinear, weight_norm

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
        images: makes the layer for images, shape (N, C, H, W), from the number of channels; None
            where there is none.
        conv: makes the convolutions of a network with this normalization, from what
            :class:`torch.nn.Conv2d` takes.
        tokens: makes the layer for tokens, shape (N, T, D), from D; None where there is none.

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
    images: Callable[[int], nn.Module] | None = None
    conv: Callable[..., nn.Module] = nn.Conv2d
    tokens: Callable[[int], nn.Module] | None = None


def _instance_norm(features: int) -> nn.Module:
    """Instance norm of a vector: its features taken as the positions of a single channel."""
    return nn.Sequential(nn.Unflatten(1, (1, features)), InstanceNorm(1), nn.Flatten())


def _weight_norm_conv(*arguments: Any, **options: Any) -> nn.Module:
    return weight_norm(nn.Conv2d(*arguments, **options))


_group_norm = partial(GroupNorm, 8)

# Colors after Okabe and Ito (2008), the light ones darkened to stand out from white at 3 to 1.
NORMS: dict[str, Norm] = {
    norm.name: norm
    for norm in (
        Norm("none", "no norm", "#222222", "o", "-"),
        Norm(
            "weight", "weight norm", "#009E73", "^", (0, (5, 1.5)),
            linear=WeightNormLinear, conv=_weight_norm_conv,
        ),
        Norm("batch", "batch norm", "#0072B2", "s", "-", BatchNorm, images=BatchNorm),
        Norm(
            "layer", "layer norm", "#D55E00", "D", "-.", LayerNorm,
            images=partial(GroupNorm, 1), tokens=LayerNorm,
        ),
        Norm(
            "instance", "instance norm", "#3795CC", "v", (0, (3, 1, 1, 1, 1, 1)), _instance_norm,
            images=InstanceNorm,
        ),
        Norm(
            "group", "group norm", "#BF5F93", "P", (0, (7, 2)), _group_norm, images=_group_norm
        ),
        Norm("rms", "RMS norm", "#B27D00", "X", (0, (2, 1)), RMSNorm, tokens=RMSNorm),
    )
}  # fmt: skip
"""The normalizations by name. A vector has no positions, so ``instance`` takes its features for the
positions of one channel: layer norm without scale and shift. ``group`` has 8 groups.

Of an image, ``layer`` takes all channels and positions together, as one group. ``rms`` has nothing
for images: torch's divides by what trailing dims share, and those of an image are no features."""

ORIGINAL = Norm("original", "the original", "#7A7A7A", "*", ":")
"""How the original notebook's network is drawn. It mixes three normalizations and is a network of
its own, :class:`~normtutorial.OriginalNet`, so nothing here makes it."""

_NO_LAYER = {"factory": ("none", "weight"), "images": ("none", "weight"), "tokens": ("none",)}


def layer_maker(
    who: str, norm: str | Callable[[int], nn.Module] | None, kind: str
) -> Callable[[int], nn.Module] | None:
    """What makes the normalization layers of a network, if it has any.

    Args:
        who: asks.
        norm: a name in :data:`NORMS`, what makes a layer, or None for none.
        kind: which of the fields of a :class:`Norm`: ``"factory"``, ``"images"`` or ``"tokens"``.

    Raises:
        ValueError: a name that is unknown or has no such layer, or what makes no layer.

    Example:
        >>> layer_maker("ConvNet", "layer", "images")(32)
        GroupNorm(1, 32, eps=1e-05, affine=True, bias=True)
    """
    if isinstance(norm, str):
        known = {
            name: getattr(entry, kind)
            for name, entry in NORMS.items()
            if getattr(entry, kind) or name in _NO_LAYER[kind]
        }
        if norm not in known:
            raise ValueError(f"{who} knows no norm {norm!r}. Known ones: {', '.join(known)}.")
        return known[norm]
    if norm is not None and (isinstance(norm, nn.Module) or not callable(norm)):
        raise ValueError(
            f"{who} expects the name of a norm, or what makes one from a number of features, such "
            f"as BatchNorm; got {norm!r}."
        )
    return norm
