"""Transformers with the norm in several places: up to which rate do they learn, at which depth?"""

from typing import Any, NamedTuple

import torch
from torch.optim.lr_scheduler import LambdaLR

from ..data import ImageData
from ..models import Transformer
from ..training import fit
from .runs import Run, build

__all__ = ["PLACED", "Placed", "placed"]


class Placed(NamedTuple):
    """A transformer that sees an image as its four quarters, and how fast it is to learn.

    Attributes:
        norm: as for :func:`build`.
        placement, depth: as for :class:`~normtutorial.Transformer`.
        lr: of Adam.
        warmup: steps over which the rate rises to ``lr``.
    """

    norm: str
    placement: str
    depth: int
    lr: float
    warmup: int = 0


_SETTINGS = [
    *(Placed("layer", p, 4, lr) for p in ("pre", "post") for lr in (0.001, 0.003, 0.01, 0.02)),
    *(Placed("layer", p, 12, lr) for p in ("pre", "post") for lr in (0.001, 0.003)),
    *(Placed("layer", p, 12, 0.003) for p in ("peri", "deepnorm")),
    *(Placed("layer", "post", depth, lr, 50) for depth, lr in ((4, 0.02), (12, 0.003))),
    *(Placed("rms", "pre", 4, lr) for lr in (0.003, 0.02)),
]

PLACED = {
    f"{s.placement}, {s.norm}, {s.depth} blocks, {s.lr}{', warm-up' if s.warmup else ''}": s
    for s in _SETTINGS
}
"""What :func:`~normtutorial.studies.placement.placed` knows: ``"post, layer, 12 blocks, 0.003"``
and 17 others."""


def placed(setting: str, data: ImageData, *, seed: int, steps: int = 100) -> Run:
    """Train a transformer with its norm in some place, at some rate.

    Args:
        setting: one of :data:`~normtutorial.studies.placement.PLACED`.
        data: what to train on.
        seed: of the weights and the batches.
        steps: batches of 32.

    Returns:
        The :class:`Run`.

    Raises:
        ValueError: an unknown setting, or a number out of bounds.

    Example:
        >>> images, labels = torch.rand(40, 1, 28, 28), torch.arange(40) % 10
        >>> data = ImageData(images, labels, images, labels, "noise")
        >>> run = placed("pre, layer, 4 blocks, 0.001", data, seed=0, steps=1)
        >>> run.norm, run.lr
        ('layer', 0.001)
    """
    if setting not in PLACED:
        raise ValueError(f"Unknown setting {setting!r}. Known ones: {'; '.join(PLACED)}.")
    norm, place, depth, lr, warmup = PLACED[setting]
    how: dict[str, Any] = {"make": Transformer, "placement": place, "depth": depth, "patch": 14}
    model = build(norm, seed=seed, device=data.device, **how)
    adam = torch.optim.Adam(model.parameters(), lr)
    if warmup:
        ramp = LambdaLR(adam, lambda step: min(1.0, (step + 1) / warmup))
        adam.register_step_post_hook(lambda *_: ramp.step())
    loop: dict[str, Any] = {"batch_size": 32, "evaluate_every": steps, "progress": False}
    history = fit(model, data, steps=steps, optimizer=adam, seed=seed, **loop)
    return Run(norm, lr, seed, history)
