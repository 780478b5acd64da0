"""What chance alone would show: the sampling distributions that the thresholds come from.

The chance that a healthy model gets any fault by accident is to be below one in a thousand. There
is none unless some test is the first to find something. So what has to stay below it is the sum of
the levels of all tests that are made for as long as none finds anything.

Student's t takes samples for independent and their mean for normal, which few samples are not. So
it was tried: 1472 checkups of 23 random networks that were well, half of them without targets, with
two or three batches of 16 or 32, found one fault, of averaged weights (seeds 50001 to 50050 of
``tests/checkup_random.py``). What keeps the level there is not the t test alone but that a fall has
to be worth it, too.
"""

import math

import torch
from torch import Tensor, nn

__all__ = ["LEVEL", "differ", "falls", "share_between"]

TESTS = (  # what chance has a say in; where there are several of one kind, they share its level
    "batch-composition",  # of labels, and of activations
    "one-norm-two-domains",  # of layers by the sizes of their calls
    "momentum-convention",
    "statistics-untouched",
    "statistics-young",
    "statistics-stale",  # or dropout-before-batch-norm
    "input-scale",  # of maps
    "averaged-statistics",
)
LEVEL = 1e-3 / len(TESTS)


def falls(before: Tensor, after: Tensor, worth: float, level: float = LEVEL) -> bool:
    """Whether a number falls, over all samples, by more than chance and by what is worth saying.

    Chance is Student's t of the differences, sample by sample, one-sided. Of many samples it would
    find the smallest difference, which every network has: so the fall must be ``worth`` it, too.

    Args:
        before, after: of the same samples, shape (n,).
        worth: the least mean difference that counts.
        level: the chance of a fall like this, were there none.

    Example:
        >>> before, noise = torch.ones(64), torch.linspace(-0.5, 0.5, 64)
        >>> [falls(before, before - fall + noise, worth=0.1) for fall in (0.01, 0.11, 0.5)]
        [False, False, True]
    """
    from scipy import stats

    if not after.isfinite().all() or len(after) < 2:
        return False
    if not before.isfinite().all():  # whatever is finite is less
        return True
    d = before.double() - after.double()
    fall, error = float(d.mean()), float(d.std()) / len(d) ** 0.5
    return bool(fall > worth and fall > error * stats.t.isf(level, len(d) - 1))


def differ(rows: Tensor, groups: Tensor, level: float = LEVEL) -> bool:
    """Whether groups of samples are apart by more than if they had been dealt out at random.

    Args:
        rows: of each sample some numbers, shape (N, K).
        groups: which group it is in, shape (N,).
        level: the chance of it, were there no difference.

    Example:
        >>> groups = torch.arange(40) // 10
        >>> differ(torch.arange(40.0)[:, None], groups), differ(torch.ones(40, 1), groups)
        (True, False)
    """
    if not rows.isfinite().all():
        return False
    rows, generator = _alike(rows), torch.Generator().manual_seed(0)
    observed = _between(rows, groups[None])
    left = math.ceil(1 / level) - 1  # deals, none of which may be as far apart
    many = 200
    while left > 0:
        order = torch.rand(min(many, left), len(groups), generator=generator).argsort(1)
        if (_between(rows, groups[order]) >= observed - 1e-9 * observed.abs()).any():
            return False
        left, many = left - len(order), 1000
    return True


def share_between(rows: Tensor, groups: Tensor) -> float:
    """The share of the variance that lies between groups."""
    rows = _alike(rows)
    return float(_between(rows, groups[None]) / rows.square().sum().clamp_min(1e-30))


def _alike(rows: Tensor) -> Tensor:
    """Each column in its own standard deviations; in place of more columns than there are samples
    so many that have the same products."""
    rows = rows.double().cpu()
    spread = rows.std(0)
    rows = (rows - rows.mean(0)) / spread.where(spread > 0, 1.0)
    return torch.linalg.qr(rows.T, mode="r").R.T if rows.shape[1] > len(rows) else rows


def _between(rows: Tensor, groups: Tensor) -> Tensor:
    """The sum of squares between groups, for each of P ways to deal out N samples: (P,)."""
    members = nn.functional.one_hot(groups).double()  # (P, N, G)
    sums = torch.einsum("png,nk->pgk", members, rows).square().sum(2)
    return (sums / members.sum(1)).sum(1)
