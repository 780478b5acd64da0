"""What happened to somebody, in a few lines each; its repaired twin; and networks that are well.

A case is a function that makes the arguments of ``checkup``: of a fault broken, or repaired.
"""

from . import company, numbers, statistics, steps, well
from .parts import (
    CLASSES,
    FAULTS,
    HEALTHY,
    batches,
    convnet,
    images,
    mlp,
    plain_step,
    points,
    series,
    tokens,
    train,
    trained,
)

__all__ = [
    "CLASSES", "FAULTS", "HEALTHY", "batches", "company", "convnet", "images", "mlp", "numbers",
    "plain_step", "points", "series", "statistics", "steps", "tokens", "train", "trained", "well",
]  # fmt: skip
