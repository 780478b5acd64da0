"""The networks of the book."""

from .mlp import MLP, init_normal_
from .original import OriginalNet
from .residual import ResidualMLP

__all__ = ["MLP", "OriginalNet", "ResidualMLP", "init_normal_"]
