"""One batch ruined it."""

import torch
from torch import nn
from torch.nn import functional as F

from .parts import batches, fault, points, trained


@fault("statistics-nonfinite")
def one_sample_was_infinite(broken):
    model = trained()
    x, _ = points()
    x[3, 5] = torch.inf if broken else 0.0
    model(x)
    return {"model": model, "batches": batches()}


@fault("statistics-nonfinite")
def the_variance_was_too_large_for_half_precision(broken):
    model = trained()
    model[1].running_var[2] = 1e5 if broken else 1.0
    return {"model": model.to(torch.float16 if broken else torch.bfloat16), "batches": batches()}


@fault("statistics-nonfinite")
def two_checkpoints_were_extrapolated(broken):
    a, b = trained(), trained(steps=10)
    share = 20 if broken else 0.5
    for mine, other in zip(a.buffers(), b.buffers(), strict=True):
        if mine.is_floating_point():
            mine += share * (other - mine)
    return {"model": a if broken else trained(), "batches": batches()}


class LogOf(nn.Module):
    def __init__(self, safe):
        super().__init__()
        self.safe = safe

    def forward(self, x):
        return (x.relu() + (1e-3 if self.safe else 0)).log()


@fault("nonfinite-activation")
def the_logarithm_of_a_zero(broken):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 8), LogOf(not broken), nn.Linear(8, 8), nn.LayerNorm(8))
    return {"model": model, "batches": batches()}


@fault("nonfinite-activation")
def one_picture_of_the_data_is_broken(broken):
    data = batches()
    data[2][0][7, 3] = torch.nan if broken else 0.0
    return {"model": trained(), "batches": data}


class HalfRMSNorm(nn.Module):
    def __init__(self, width, wide):
        super().__init__()
        self.weight, self.wide = nn.Parameter(torch.ones(width)), wide

    def forward(self, x):
        y = x.float() if self.wide else x
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * y.to(x.dtype)


@fault("low-precision")
def rms_norm_by_hand_in_half_precision(broken):
    model = nn.Sequential(HalfRMSNorm(12, wide=not broken), nn.Linear(12, 4)).half()
    return {"model": model, "batches": [300 + 10 * x for x, _ in batches()]}


class OnePassLayerNorm(nn.Module):
    def __init__(self, width, two):
        super().__init__()
        self.width, self.two = width, two

    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        if self.two:
            return F.layer_norm(x, (self.width,))
        var = (x * x).mean(-1, keepdim=True) - mean**2
        return (x - mean) / (var.clamp_min(0) + 1e-5).sqrt()


@fault("low-precision")
def the_mean_of_the_squares_minus_the_square_of_the_mean(broken):
    model = nn.Sequential(OnePassLayerNorm(12, two=not broken), nn.Linear(12, 4))
    return {"model": model, "batches": [x + 1e4 for x, _ in batches()]}
