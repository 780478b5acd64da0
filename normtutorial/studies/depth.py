"""Deep networks, trained: can they be trained at all?"""

from itertools import product
from typing import NamedTuple

import torch

from ..data import ImageData
from ..training import fit
from .runs import Run, build

__all__ = ["DEEP", "Deep", "deep"]


class Deep(NamedTuple):
    """A deep and narrow network, and the learning rate that it is trained with.

    Attributes:
        norm: its name, as for :func:`build`.
        std, skips: as there.
        depth: hidden layers, of 64 units each.
        lr: of plain SGD, the best of a coarse grid in one trial with a seed that no study uses,
            after a pilot with seeds 0 and 1 of the synthetic digits.
    """

    norm: str
    std: str | None
    depth: int
    skips: bool
    lr: float


_STARTS = {  # norm, std; the rates at 20 and 50 layers, then the same with skips
    "default": ("none", None, (0.1, 0.1, 0.03, 0.01)),
    "He": ("none", "kaiming", (0.03, 0.01, 0.001, 0.001)),
    "batch": ("batch", "kaiming", (0.3, 0.3, 0.3, 0.3)),
    "layer": ("layer", "kaiming", (0.03, 0.01, 0.1, 0.1)),
}

DEEP = {
    f"{start}, {depth} layers{skips and ', skips'}": Deep(norm, std, depth, bool(skips), lr)
    for start, (norm, std, rates) in _STARTS.items()
    for (skips, depth), lr in zip(product(("", "skips"), (20, 50)), rates, strict=True)
}
"""What :func:`~normtutorial.studies.deep` knows: ``"batch, 50 layers, skips"`` and 15 others."""


def deep(setting: str, data: ImageData, *, seed: int, steps: int = 100) -> Run:
    """Train a deep network: can it be trained at all?

    Args:
        setting: one of :data:`~normtutorial.studies.depth.DEEP`.
        data: what to train on.
        seed: of the weights and the batches.
        steps: batches of 128.

    Returns:
        The :class:`Run`.

    Raises:
        ValueError: an unknown setting, or a number out of bounds.

    Example:
        >>> images, labels = torch.rand(40, 1, 28, 28), torch.arange(40) % 10
        >>> data = ImageData(images, labels, images, labels, "noise")
        >>> run = deep("batch, 20 layers", data, seed=0, steps=1)
        >>> run.norm, run.lr
        ('batch', 0.3)
    """
    if setting not in DEEP:
        raise ValueError(f"Unknown setting {setting!r}. Known ones: {'; '.join(DEEP)}.")
    norm, std, depth, skips, lr = DEEP[setting]
    widths = (784, *[64] * depth, 10)
    model = build(norm, widths, seed=seed, std=std, skips=skips, device=data.device)
    sgd = torch.optim.SGD(model.parameters(), lr)
    history = fit(model, data, steps=steps, optimizer=sgd, seed=seed, progress=False)
    return Run(norm, lr, seed, history)
