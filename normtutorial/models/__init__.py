"""The networks of the book."""

from .mlp import MLP, init_normal_
from .original import OriginalNet

__all__ = ["MLP", "OriginalNet", "init_normal_"]
