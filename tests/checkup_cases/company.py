"""It depends on the others."""

import functools

import torch
from torch import nn
from torch.nn import functional as F

from .parts import (
    CLASSES,
    batches,
    convnet,
    fault,
    images,
    mlp,
    points,
    series,
    tokens,
    train,
    trained,
)


@fault("batch-leak")
def without_running_statistics(broken):
    def norm(width):
        return nn.BatchNorm1d(width, track_running_stats=not broken)

    return {"model": train(mlp(norm)).eval(), "batches": batches()}


class NormOverTheBatch(nn.Module):
    def __init__(self, width, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        return (x - x.mean(self.dim, keepdim=True)) / (x.std(self.dim, keepdim=True) + 1e-3)


@fault("batch-leak")
def a_layer_norm_by_hand_over_dim_0(broken):
    model = mlp(functools.partial(NormOverTheBatch, dim=0 if broken else 1))
    return {"model": model, "batches": batches()}


class Attends(nn.Module):
    def __init__(self, batch_first):
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=batch_first)
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.head(self.norm(x + self.attention(x, x, x)[0]).mean(1))


@fault("batch-leak")
def attention_took_the_samples_for_positions(broken):
    return {"model": Attends(batch_first=not broken), "batches": batches(series)}


@fault("batch-composition")
def the_batches_were_sorted_by_class(broken):
    x, y = images(256, 7)
    order = y.argsort() if broken else torch.arange(256)
    data = [(x[part], y[part]) for part in order.chunk(8)]
    return {"model": trained(convnet, images), "batches": data}


@fault("batch-composition")
def every_batch_was_of_one_patient(broken):
    shifts = torch.randn(8, 12, generator=torch.Generator().manual_seed(0))
    data = [(x + shift * broken, y) for (x, y), shift in zip(batches(), shifts, strict=True)]
    return {"model": mlp(), "batches": data}


class TwoEyes(nn.Module):
    def __init__(self, own):
        super().__init__()
        self.first = mlp()
        self.second = mlp() if own else self.first

    def forward(self, a, b):
        return self.first(a) + self.second(b)


@fault("one-norm-two-domains")
def color_and_depth_share_their_norms(broken):
    data = [((x, 5 - 2 * points(32, i)[0]), y) for i, (x, y) in enumerate(batches())]
    return {"model": TwoEyes(own=not broken), "batches": data}


@fault("one-norm-two-domains")
def source_and_target_are_two_passes(broken):
    model = trained().train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def step(batch):
        x, y = batch
        target = points(32, 77)[0] * 3 - 4
        if broken:
            out, other = model(x), model(target)
        else:
            out, other = model(torch.cat([x, target])).split(32)
        optimizer.zero_grad()
        (F.cross_entropy(out, y) + other.mean().square()).backward()
        optimizer.step()

    return {"model": model, "batches": batches(), "step": step}


@fault("degenerate-set")
def group_norm_of_single_channels_behind_a_pooling(broken):
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.GroupNorm(8 if broken else 1, 8)
    )
    return {"model": model, "batches": batches(images)}


@fault("degenerate-set")
def layer_norm_of_one_feature(broken):
    width = 1 if broken else 16
    model = nn.Sequential(nn.Linear(12, width), nn.LayerNorm(width), nn.Linear(width, 1))
    return {"model": model, "batches": batches()}


@fault("degenerate-set")
def batches_of_two(broken):
    return {"model": mlp().train(), "batches": batches(n=2 if broken else 16)}


@fault("degenerate-set")
def the_last_batch_has_one_sample(broken):
    data = [*batches(count=3), points(1 if broken else 20, 5)]
    return {"model": trained().train(), "batches": data}


class OverTime(nn.Module):
    def __init__(self, norm, turned):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.turned = nn.Conv1d(6, 16, 3, padding=1), norm, turned
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x):
        y = self.conv(x.mT)
        y = self.norm(y.mT).mT if self.turned else self.norm(y)
        return self.head(y.relu().mean(2))


@fault("wrong-axis")
def layer_norm_of_the_sequence_behind_a_convolution(broken):
    norm = nn.LayerNorm(10 if broken else 16)
    return {"model": OverTime(norm, turned=not broken), "batches": batches(series)}


class Reads(nn.Module):
    def __init__(self, norm, turned=False):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.norm, self.turned = nn.Embedding(20, 16), norm, turned
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x):
        y = self.embedding(x)
        y = self.norm(y.mT).mT if self.turned else self.norm(y)
        return self.head(y.relu().mean(1))


@fault("wrong-axis")
def batch_norm_took_the_words_for_features(broken):
    model = Reads(nn.BatchNorm1d(12 if broken else 16), turned=not broken)
    return {"model": model, "batches": batches(tokens)}


@fault("wrong-axis")
def a_layer_norm_by_hand_along_the_words(broken):
    model = Reads(NormOverTheBatch(16, dim=1 if broken else 2))
    return {"model": model, "batches": batches(tokens)}


@fault("padding-counted")
def padding_takes_part_in_the_mean(broken):
    data = batches(tokens)
    for i, (x, _) in enumerate(data):
        lengths = torch.randint(3, 13, (32, 1), generator=torch.Generator().manual_seed(i))
        x[torch.arange(12) >= lengths] = 0
    norm = nn.BatchNorm1d(16) if broken else nn.LayerNorm(16)
    model = Reads(norm, turned=broken)
    with torch.no_grad():
        model.embedding.weight[0] = 1.0
    return {"model": model, "batches": data}
