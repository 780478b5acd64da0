"""Normalization in deep learning: the layers by hand, and the instruments to look at them.

The layers are drop-in for :mod:`torch.nn`; the rest trains, probes, measures and plots. The book
explains each.
"""

from .claims import ClaimFailed, claim
from .data import DataError, ImageData, digits
from .layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from .models import MLP, OriginalNet, init_normal_
from .parametrizations import WeightNormLinear, data_dependent_init_, weight_norm
from .probes import ActivationProbe, GradientProbe, activations
from .training import History, evaluate, fit

__version__ = "1.0.0.dev0"

__all__ = [
    "MLP",
    "ActivationProbe",
    "BatchNorm",
    "ClaimFailed",
    "DataError",
    "GradientProbe",
    "GroupNorm",
    "History",
    "ImageData",
    "InstanceNorm",
    "LayerNorm",
    "OriginalNet",
    "RMSNorm",
    "WeightNormLinear",
    "activations",
    "claim",
    "data_dependent_init_",
    "digits",
    "evaluate",
    "fit",
    "init_normal_",
    "weight_norm",
]
