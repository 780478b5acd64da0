"""Residual networks without a normalization, and with what may take its place, trained."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data import ImageData
from ..layers import DyT
from ..models import ResidualConvNet, Transformer, init_normal_
from ..parametrizations import weight_standardization
from ..training import fit
from .runs import Run

__all__ = ["LEFT_OUT", "RELU_GAIN", "LeftOut", "left_out", "scaled_conv", "standardized"]

RELU_GAIN = math.sqrt(2 / (1 - 1 / math.pi))
"""What gives the ReLU of a standard normal number variance 1."""


def scaled_conv(*arguments: Any, **options: Any) -> nn.Module:
    """A convolution with scaled weight standardization, whose filters are drawn about as long as
    they are used: from a normal distribution of variance 1 over the fan-in.

    Args:
        arguments, options: of :class:`torch.nn.Conv2d`.

    Example:
        >>> scaled_conv(4, 2, 3).weight.flatten(1).norm(dim=1).detach().round(decimals=3)
        tensor([1., 1.])
    """
    conv = nn.Conv2d(*arguments, **options)
    nn.init.normal_(conv.weight, std=conv.weight[0].numel() ** -0.5)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return weight_standardization(conv)


def standardized(data: ImageData, pool: int = 1) -> ImageData:
    """The same images, their pixels less the mean of all training pixels, over their standard
    deviation, and averaged over squares of ``pool`` by ``pool``.

    Args:
        data: H by W pixels.
        pool: the side of a square.

    Returns:
        New data, of ``H // pool`` by ``W // pool`` pixels.

    Example:
        >>> images, labels = torch.rand(40, 1, 28, 28), torch.arange(40) % 10
        >>> data = ImageData(images, labels, images, labels, "noise")
        >>> standardized(data, pool=2).train_images.shape
        torch.Size([40, 1, 14, 14])
        >>> abs(standardized(data).train_images.std().item() - 1) < 1e-4
        True
    """
    std, mean = torch.std_mean(data.train_images)

    def change(images: Tensor) -> Tensor:
        return F.avg_pool2d((images - mean) / std, pool)

    return replace(
        data, train_images=change(data.train_images), test_images=change(data.test_images)
    )


class LeftOut(NamedTuple):
    """A network of residual blocks, and the learning rate that it is trained with.

    Attributes:
        norm: its name, as of a :class:`Run`.
        options: of :class:`~normtutorial.Transformer` if they name a placement, or else of
            :class:`~normtutorial.ResidualConvNet`, whose weights are He's.
        lr: of Adam with betas 0.9 and 0.98, or of SGD with momentum 0.9.
        raw: leave pixels between 0 and 1.
    """

    norm: str
    options: dict[str, Any]
    lr: float
    raw: bool = False


_SCALED = {"conv": scaled_conv, "alpha": 1.0, "gain": RELU_GAIN}
_NONE = {"norm": "none", "placement": "none"}

LEFT_OUT = {
    "conv, none": LeftOut("none", {}, 0.05),
    "conv, none, rate / 100": LeftOut("none", {}, 0.0005),
    "conv, batch": LeftOut("batch", {"norm": "batch"}, 0.05),
    "conv, scaled": LeftOut("scaled", _SCALED, 0.05),
    "conv, scaled without gain": LeftOut("scaled", _SCALED | {"gain": 1.0}, 0.05),
    "conv, small branches": LeftOut("none", {"alpha": 0.2}, 0.05),
    "conv, SkipInit": LeftOut("none", {"skip_init": True}, 0.05),
    "transformer, 4 blocks, none": LeftOut("none", _NONE | {"depth": 4}, 0.003),
    "transformer, 4 blocks, layer": LeftOut("layer", {"placement": "pre", "depth": 4}, 0.003),
    "transformer, none": LeftOut("none", _NONE, 0.003),
    "transformer, none, raw pixels": LeftOut("none", _NONE, 0.003, raw=True),
    "transformer, layer": LeftOut("layer", {"placement": "pre"}, 0.003),
    "transformer, DyT": LeftOut("DyT", {"norm": DyT, "placement": "pre"}, 0.003),
    "transformer, ReZero": LeftOut("none", {"norm": "none", "placement": "rezero"}, 0.003),
}
"""What :func:`~normtutorial.studies.left_out` knows. Where nothing else is said, a network has
twelve blocks, and its pixels are standardized."""


def left_out(setting: str, data: ImageData, *, seed: int, steps: int | None = None) -> Run:
    """Train a network without a normalization, or with what takes its place: does it begin?

    Args:
        setting: one of :data:`~normtutorial.studies.without.LEFT_OUT`.
        data: what to train on. It is standardized here.
        seed: of the weights and the batches.
        steps: batches of 32. None is 80 for convolutions, which see images of half the size, and 60
            for transformers.

    Returns:
        The :class:`Run`.

    Raises:
        ValueError: an unknown setting, or a number out of bounds.

    Example:
        >>> images, labels = torch.rand(40, 1, 28, 28), torch.arange(40) % 10
        >>> data = ImageData(images, labels, images, labels, "noise")
        >>> run = left_out("conv, none", data, seed=0, steps=1)
        >>> run.norm, run.lr
        ('none', 0.05)
    """
    if setting not in LEFT_OUT:
        raise ValueError(f"Unknown setting {setting!r}. Known ones: {'; '.join(LEFT_OUT)}.")
    norm, options, lr, raw = LEFT_OUT[setting]
    attends = "placement" in options
    optimizer: torch.optim.Optimizer
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if attends:
            model: nn.Module = Transformer(**{"depth": 12} | options)
        else:
            model = ResidualConvNet(blocks=6, **options)
            init_normal_(model if "conv" not in options else model.get_submodule("linear"))
    model.to(data.device)
    if attends:
        optimizer = torch.optim.Adam(model.parameters(), lr, betas=(0.9, 0.98))
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9)
    history = fit(
        model,
        data if raw else standardized(data, pool=1 if attends else 2),
        steps=steps or (60 if attends else 80),
        batch_size=32,
        optimizer=optimizer,
        seed=seed,
        evaluate_every=1000,  # at the end alone
        progress=False,
    )
    return Run(norm, lr, seed, history)
