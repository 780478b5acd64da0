"""The networks of the book."""

from .averaging import interpolate, match_units, reorder_units
from .convnet import ConvNet
from .mlp import MLP, init_normal_
from .original import OriginalNet
from .residual import ResidualMLP
from .residual_conv import ResidualConvNet
from .transformer import Attention, Residual, Transformer

__all__ = [
    "MLP",
    "Attention",
    "ConvNet",
    "OriginalNet",
    "Residual",
    "ResidualConvNet",
    "ResidualMLP",
    "Transformer",
    "init_normal_",
    "interpolate",
    "match_units",
    "reorder_units",
]
