"""What the cases are made of: the lists that hold them, data, and networks that learn fast."""

import copy
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Arguments = dict[str, Any]


class Fault(NamedTuple):
    finds: str
    make: Callable[[bool], Arguments]


FAULTS: dict[str, Fault] = {}
HEALTHY: dict[str, Callable[[], Arguments]] = {}


def fault(finds: str):
    def enter(make):
        FAULTS[make.__name__] = Fault(finds, make)
        return make

    return enter


def healthy(make):
    HEALTHY[make.__name__] = make
    return make


CLASSES = 4


def points(n: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points of 12 numbers that have scales and offsets of their own, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 12, generator=generator)
    return z * torch.linspace(0.5, 2, 12) + torch.linspace(-1, 2, 12), z[:, :CLASSES].argmax(1)


def images(n: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Small pictures with colors from 0 to 1: which corner is bright?"""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (n,), generator=generator)
    x = 0.3 * torch.rand(n, 3, 8, 8, generator=generator) + 0.3
    for i, label in enumerate(labels.tolist()):
        x[i, :, 4 * (label // 2) :, 4 * (label % 2) :][..., :4, :4] += 0.04
    return x, labels


def tokens(n: int = 32, seed: int = 0, length: int = 12) -> tuple[Tensor, Tensor]:
    """Sequences of words, of which 1 to 4 tell the class."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(5, 20, (n, length), generator=generator)
    labels = torch.randint(CLASSES, (n,), generator=generator)
    x[:, :3] = labels[:, None] + 1
    return x, labels


def series(n: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Series of 10 times 6 numbers, and which of the first four is largest."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 10, 6, generator=generator)
    return x, x[:, :, :CLASSES].mean(1).argmax(1)


def batches(draw=points, count: int = 8, n: int = 32, first: int = 1000) -> list:
    return [draw(n, first + i) for i in range(count)]


def plain_step(model: nn.Module, optimizer: torch.optim.Optimizer):
    def step(batch):
        x, y = batch
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def train(model: Any, draw=points, steps: int = 150, n: int = 32, lr: float = 0.01) -> Any:
    step = plain_step(model, torch.optim.Adam(model.parameters(), lr))
    model.train()
    for i in range(steps):
        step(draw(n, i))
    return model


def mlp(norm=nn.BatchNorm1d, dropout: float = 0.0, width: int = 32) -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(12, width, bias=False),
        norm(width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, width, bias=False),
        norm(width),
        nn.ReLU(),
        nn.Linear(width, CLASSES),
    )


def convnet(norm=nn.BatchNorm2d) -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        norm(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1, bias=False),
        norm(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, CLASSES),
    )


@functools.cache
def _trained(make, draw, steps, options) -> Any:
    return train(make(**dict(options)), draw, steps)


def trained(make=mlp, draw=points, steps: int = 150, **options) -> Any:
    """A copy of a network that has learned, made once."""
    return copy.deepcopy(_trained(make, draw, steps, tuple(options.items())))


def norms_of(model: nn.Module) -> list:
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
