"""Studies over seeds and settings, run by run: what several chapters and the command line share.

One file for each study, so that the record of one stays good when another is added.
"""

from .depth import DEEP, Deep, deep
from .placement import PLACED, Placed, placed
from .records import recorded
from .repairs import AUDIT, Audit, audit, repaired
from .runs import NAMES, WIDTHS, Run, build, compare, learning_rate_sweep
from .without import LEFT_OUT, RELU_GAIN, LeftOut, left_out, scaled_conv, standardized

__all__ = [
    "AUDIT",
    "DEEP",
    "LEFT_OUT",
    "NAMES",
    "PLACED",
    "RELU_GAIN",
    "WIDTHS",
    "Audit",
    "Deep",
    "LeftOut",
    "Placed",
    "Run",
    "audit",
    "build",
    "compare",
    "deep",
    "learning_rate_sweep",
    "left_out",
    "placed",
    "recorded",
    "repaired",
    "scaled_conv",
    "standardized",
]
