"""What chance alone would show: the sampling distributions that the thresholds come from.

The chance that a healthy model gets any fault by accident is to be below one in a thousand. So many
tests as a checkup can make share it.
"""

import torch
from torch import Tensor, nn

__all__ = ["LEVEL", "differ", "falls", "share_between"]

TESTS = 5  # composition, domains; statistics, input, averaged weights
LEVEL = 1e-3 / TESTS
PERMUTATIONS = 9999


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
    gram, generator = _gram(rows), torch.Generator().manual_seed(0)
    observed = _between(gram, groups[None])
    allowed = int(level * (1 + PERMUTATIONS)) - 1  # so many that are as large
    done = as_large = 0
    while done < PERMUTATIONS and as_large <= allowed:
        n = min(200 if done == 0 else 1000, PERMUTATIONS - done)
        order = torch.rand(n, len(groups), generator=generator).argsort(1)
        drawn = _between(gram, groups[order])
        as_large += int((drawn >= observed - 1e-9 * observed.abs()).sum())
        done += n
    return as_large <= allowed


def share_between(rows: Tensor, groups: Tensor) -> float:
    """The share of the variance that lies between groups."""
    gram = _gram(rows)
    return float(_between(gram, groups[None]) / gram.trace().clamp_min(1e-30))


def _gram(rows: Tensor) -> Tensor:
    """The products of all samples with each other, each column in its own standard deviations."""
    rows = rows.double().cpu()
    spread = rows.std(0)
    rows = (rows - rows.mean(0)) / spread.where(spread > 0, 1.0)
    return rows @ rows.T


def _between(gram: Tensor, groups: Tensor) -> Tensor:
    """The sum of squares between groups, for each of P ways to deal out N samples: (P,)."""
    members = nn.functional.one_hot(groups).double()  # (P, N, G)
    sums = torch.einsum("png,nm,pmg->pg", members, gram, members)
    return (sums / members.sum(1)).sum(1)
