"""What is wrong with my network? A checkup of its normalization, on a few batches.

It knows the norms of torch, by their classes, and norms of other kinds by their names and buffers.
One file per kind of evidence; each check is one function, from what was seen to findings.
"""

from .examination import checkup
from .findings import Finding, Report

__all__ = ["Finding", "Report", "checkup"]
