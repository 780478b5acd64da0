"""Looking inside a network while it trains: hooks under ``with``, plain tensors afterwards.

The probes know any :class:`torch.nn.Module` and any training loop. They read and never write, so a
run with them ends with the same bits as a run without.
"""

from .activation import ActivationProbe, activations
from .curvature import Sharpness, sharpness
from .gradient import GradientProbe
from .records import PERCENTILES, ActivationRecord, GradientRecord

__all__ = [
    "PERCENTILES",
    "ActivationProbe",
    "ActivationRecord",
    "GradientProbe",
    "GradientRecord",
    "Sharpness",
    "activations",
    "sharpness",
]
