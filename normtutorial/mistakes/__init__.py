"""Mistakes that people make with these formulas, each a working stand-in for what is right.

A stand-in has the signature of the public function or class that it replaces, and one thing wrong
with it. Most of them train, and that is the trouble. The unit tests of the module are asked whether
they notice each: ``python tools/mutate.py --known``.
"""

from . import formulas, modules
from .collection import MISTAKES, Mistake, mistake

__all__ = ["MISTAKES", "Mistake", "formulas", "mistake", "modules"]
