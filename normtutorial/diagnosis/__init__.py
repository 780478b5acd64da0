"""What is wrong with my network? A checkup of its normalization, on a few batches.

A check is one function, from what was seen to findings, and stands with those whose evidence is of
its kind: ``configuration`` (no pass), ``structure`` (which calls there are), ``precision``
(digits), ``buffers`` (what is remembered), ``perturbation`` (what moves what), ``samples`` (whether
they are alike) and ``steps`` (what training moves). ``examination`` runs them all on a ``patient``,
who is looked at by ``evaluation``, ``company``, ``stepping`` and ``repair``; the rest are tools.
"""

from .examination import checkup
from .findings import Finding, Report

__all__ = ["Finding", "Report", "checkup"]
