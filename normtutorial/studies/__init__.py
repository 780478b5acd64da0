"""Studies over seeds and settings, run by run: what several chapters and the command line share.

One file for each study, so that the record of one stays good when another is added.
"""

from .depth import DEEP, Deep, deep
from .records import recorded
from .runs import NAMES, WIDTHS, Run, build, compare, learning_rate_sweep

__all__ = [
    "DEEP",
    "NAMES",
    "WIDTHS",
    "Deep",
    "Run",
    "build",
    "compare",
    "deep",
    "learning_rate_sweep",
    "recorded",
]
