"""Random networks that are well: of any kind of norm, new or trained, in any mode."""

import random
from typing import Any

import torch
from torch import nn

from checkup_cases import CLASSES, batches, images, points, series, train

NORMS = {
    1: [
        nn.BatchNorm1d,
        nn.LayerNorm,
        nn.RMSNorm,
        lambda width: nn.BatchNorm1d(width, momentum=0.2),
    ],
    2: [nn.BatchNorm2d, lambda width: nn.GroupNorm(2, width), nn.InstanceNorm2d],
}
ACTIVATIONS = nn.ReLU, nn.GELU, nn.Tanh, nn.SiLU


class Plus(nn.Module):
    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x):
        return x + self.block(x)


class Last(nn.Module):
    """The last position of a recurrent network."""

    def __init__(self, width: int):
        super().__init__()
        self.rnn = nn.GRU(6, width, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0][:, -1]


def random_network(seed: int) -> dict[str, Any]:
    """The arguments of a checkup in which no fault is to be found."""
    chance = random.Random(seed)  # noqa: S311
    torch.manual_seed(seed)
    width, act = chance.choice([8, 16, 32]), chance.choice(ACTIVATIONS)
    kind = chance.choice(["points", "points", "images", "images", "series"])
    norm = chance.choice(NORMS[2 if kind == "images" else 1])
    layers: list[nn.Module]
    if kind == "images":
        layers = [nn.Conv2d(3, width, 3, padding=1), norm(width), act()]
        for _ in range(chance.randint(0, 2)):
            block = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), norm(width), act())
            layers.append(Plus(block) if chance.random() < 0.5 else block)
        layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, CLASSES)]
        draw = images
    else:
        layers = [Last(width) if kind == "series" else nn.Linear(12, width), norm(width), act()]
        for _ in range(chance.randint(0, 2)):
            block = nn.Sequential(nn.Linear(width, width), norm(width), act())
            layers.append(Plus(block) if chance.random() < 0.5 else block)
        layers += [nn.Dropout(chance.choice([0.0, 0.2])), nn.Linear(width, CLASSES)]
        draw = series if kind == "series" else points
    model: nn.Module = nn.Sequential(*layers)
    n = chance.choice([16, 32, 64])
    if chance.random() < 0.7:
        lr = chance.choice([0.001, 0.003, 0.01])
        train(model, draw, steps=chance.randint(100, 250), n=n, lr=lr)
        train(model, draw, steps=40, n=n, lr=lr / 10)  # so that the statistics keep up
    model.train(chance.random() < 0.5)
    data = batches(draw, chance.randint(2, 8), chance.choice([16, 32]), first=10**6 + 100 * seed)
    if chance.random() < 0.3:
        data = [x for x, _ in data]
    return {"model": model, "batches": data}
