"""When is a difference a difference? Paired comparisons with their intervals, thin over scipy.

Two networks that were trained from the same seeds, or tested on the same images, are compared pair
by pair: what a seed or an image does to both of them does not count. All intervals have 95 %.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .checks import is_finite, positive

__all__ = ["Difference", "holm", "images_needed", "over_images", "over_seeds", "seeds_needed"]

ALPHA = 0.05
MANY = 9  # from so many seeds on, an interval by permutations has fine enough steps
EXHAUSTIBLE = 13  # up to so many seeds, all permutations are tried
RESAMPLES = 9999

Numbers = Sequence[float] | Tensor


class Difference(NamedTuple):
    """How much larger one side of a paired comparison is, and how sure that is.

    Attributes:
        mean: of the differences.
        low, high: the ends of its 95 % interval.
        p: the chance of a mean at least as far from zero, were there no difference; two-sided.
        least_p: the smallest p that so many pairs can show, where p counts the signs that the
            differences could have had. None for Student's t, which supposes a normal distribution
            and has no such bound: by the signs of five differences alone p is above 0.05.
        pairs: what was paired, such as ``"9 seeds"``.
        method: how the interval was found.
    """

    mean: float
    low: float
    high: float
    p: float
    least_p: float | None
    pairs: str
    method: str

    def __str__(self) -> str:
        bound = "" if self.least_p is None else f", at least {self.least_p:.2g}"
        return (
            f"{self.mean:+.3g} [{self.low:+.3g}, {self.high:+.3g}] over {self.pairs} "
            f"({self.method}; p = {self.p:.2g}{bound})"
        )


def over_seeds(a: Numbers, b: Numbers) -> Difference:
    """The difference a - b over seeds, each of which made one number of a and one of b.

    Below nine seeds this is Student's paired t interval. From nine on it is made of the permutation
    test that turns the sign of each difference around: the interval holds all values that this test
    would not reject as the difference. It supposes that the differences lie alike on both sides of
    their middle, as they do when a and b have any one distribution, shifted: the difference of two
    skewed numbers of one shape is not skewed. Where the differences themselves are, both intervals
    miss the mean too often: of exponential differences the interval holds it in 88 % of all cases
    with three or five seeds, in 90 % with nine, in 92 % with twenty, and in 94 % with sixty.

    Args:
        a, b: a number for each seed, in the same order.

    Returns:
        The :class:`Difference`.

    Raises:
        ValueError: if there are fewer than two pairs, or what is no finite number.

    Example:
        >>> print(over_seeds([5.0, 6.0, 8.0], [4.0, 4.0, 5.0]))
        +2 [-0.484, +4.48] over 3 seeds (t; p = 0.074)
        >>> print(over_seeds(range(1, 10), [0.0] * 9))
        +5 [+2.75, +7.25] over 9 seeds (permutations; p = 0.0039, at least 0.0039)

    References:
        J. A. Hartigan, *Using subsample values as typical values*, 1969: the ends of the second
        interval are two of the means over all subsets of the differences.
    """
    d = _differences("over_seeds", a, b)
    n = len(d)
    if n < MANY:
        return Difference(d.mean().item(), *_student(d), None, f"{n} seeds", "t")
    means = _subset_means(d)
    rejected = int(ALPHA / 2 * (len(means) + 1))
    ends = means.kthvalue(rejected).values, means.kthvalue(len(means) + 1 - rejected).values
    low, high = (end.item() for end in ends)
    slack = 1e-12 * d.abs().max()  # a sum that is zero but for rounding counts on both sides
    fewer = min(int((means <= slack).sum()), int((means >= -slack).sum()))
    p, least_p = (min(1.0, 2 * (1 + k) / (len(means) + 1)) for k in (fewer, 0))
    return Difference(d.mean().item(), low, high, p, least_p, f"{n} seeds", "permutations")


def over_images(a: Tensor, b: Tensor) -> Difference:
    """The difference in accuracy of a and b on the images of one test set.

    Only images count that exactly one of the two gets right: p is McNemar's, exact, and the
    interval is a bootstrap over the images. It says what other images would change, and nothing
    about other seeds. Where few images tell the two apart, below about twenty, it is too short.

    Args:
        a, b: whether each image was classified right, shape (N,), bool.

    Returns:
        The :class:`Difference`.

    Raises:
        ValueError: if they are no such tensors of one length.

    Example:
        >>> a = torch.arange(1000) < 900
        >>> b = torch.arange(1000) >= 120
        >>> print(over_images(a, b))
        +0.02 [-0.009, +0.049] over 1000 images (bootstrap; p = 0.2, at least 1.2e-66)

    References:
        Q. McNemar, *Note on the sampling error of the difference between correlated proportions or
        percentages*, 1947.
    """
    from scipy import stats

    if not all(isinstance(x, Tensor) and x.dtype == torch.bool and x.ndim == 1 for x in (a, b)):
        raise ValueError("over_images expects two tensors (N,) of bool: whether each was right.")
    n = len(a)
    if n != len(b) or n == 0:
        raise ValueError(f"over_images expects both on the same images; got {n} and {len(b)}.")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    # Of a resample only the numbers of three kinds of images matter: they are drawn.
    shares = [only_a / n, only_b / n, (n - only_a - only_b) / n]
    drawn = stats.multinomial.rvs(n, shares, size=RESAMPLES, random_state=0)
    resampled = torch.as_tensor(drawn[:, 0] - drawn[:, 1], dtype=torch.float64) / n
    low, high = resampled.quantile(torch.tensor([ALPHA / 2, 1 - ALPHA / 2]).double()).tolist()
    told = only_a + only_b
    p = float(stats.binomtest(only_a, told).pvalue) if told else 1.0
    mean, least_p = (only_a - only_b) / n, min(1.0, 2.0 ** (1 - told))
    return Difference(mean, low, high, p, least_p, f"{n} images", "bootstrap")


def holm(p: Sequence[float]) -> list[float]:
    """What is left of each p when several comparisons were made, by Holm's correction.

    The chance that any of those which stay below 0.05 is an accident is below 0.05, in all.

    Args:
        p: one of each comparison.

    Returns:
        The corrected ones, in the same order, none above 1.

    Raises:
        ValueError: if one is no number from 0 to 1.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    References:
        S. Holm, *A simple sequentially rejective multiple test procedure*, 1979.
    """
    for one in p:
        if not (is_finite(one) and 0 <= one <= 1):
            raise ValueError(f"holm expects each p from 0 to 1; got {one!r}.")
    adjusted, least = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        adjusted[i] = least = min(1.0, max(least, (len(p) - rank) * p[i]))
    return adjusted


def seeds_needed(effect: float, spread: float, power: float = 0.8) -> int:
    """How many seeds it takes to see a difference that is there.

    Args:
        effect: the mean difference that is to be seen.
        spread: the standard deviation of the differences, seed by seed.
        power: the chance to see it, on its side of zero, as p below 0.05 in :func:`over_seeds`.

    Returns:
        The number of seeds by Student's t, at least 2. The test by permutations needs about one
        more where they are few.

    Raises:
        ValueError: if an argument is out of bounds.

    Example:
        >>> seeds_needed(0.002, 0.002)  # as large as it scatters
        10
        >>> seeds_needed(0.001, 0.002)
        34
    """
    from scipy import stats

    ratio = positive("seeds_needed", "effect", effect) / positive("seeds_needed", "spread", spread)
    _expect_power("seeds_needed", power)

    def seen(n: int) -> bool:
        limit = stats.t.isf(ALPHA / 2, n - 1)
        return bool(stats.nct.sf(limit, n - 1, ratio * n**0.5) >= power)

    most = 2
    while not seen(most):
        most *= 2
    few = max(2, most // 2)
    return few + bisect_left(range(few, most), True, key=seen)


def images_needed(effect: float, disagree: float, power: float = 0.8) -> int:
    """How many test images it takes to see a difference in accuracy that is there.

    Args:
        effect: the difference in accuracy that is to be seen.
        disagree: the share of images that exactly one of the two gets right, at least ``effect``.
        power: the chance to see it, as p below 0.05 in McNemar's test.

    Returns:
        The number of images, by the normal approximation. The exact test of :func:`over_images`
        is a little harder to pass.

    Raises:
        ValueError: if an argument is out of bounds.

    Example:
        >>> images_needed(0.002, 0.025)  # 98.2 % against 98.0 %
        49054

    References:
        R. J. Connor, *Sample size for testing differences in proportions for the paired-sample
        design*, 1987.
    """
    from scipy import stats

    positive("images_needed", "effect", effect)
    if not (is_finite(disagree) and effect <= disagree <= 1):
        raise ValueError(
            f"images_needed expects a share that disagrees from the effect, {effect}, to 1; got "
            f"{disagree!r}."
        )
    _expect_power("images_needed", power)

    false, missed = stats.norm.isf(ALPHA / 2), stats.norm.ppf(power)
    root = (false * disagree**0.5 + missed * (disagree - effect**2) ** 0.5) / effect
    return int(-(-(root**2) // 1))


def _expect_power(who: str, power: float) -> None:
    if not (is_finite(power) and 0 < power < 1):
        raise ValueError(f"{who} expects a power between 0 and 1; got {power!r}.")


def _differences(who: str, a: Numbers, b: Numbers) -> Tensor:
    """a - b in float64, shape (n,): without what is nothing but rounding of a and b."""
    left, right = (torch.as_tensor(x, dtype=torch.float64) for x in (a, b))
    if left.ndim != 1 or left.shape != right.shape or len(left) < 2:
        raise ValueError(
            f"{who} expects two numbers for each of at least two seeds; got shapes "
            f"{tuple(left.shape)} and {tuple(right.shape)}."
        )
    d = left - right
    if not d.isfinite().all():
        raise ValueError(f"{who} expects finite numbers; got {a!r} and {b!r}.")
    rounding = 1e-12 * torch.maximum(left.abs(), right.abs()).max()
    if (d - d[0]).abs().max() <= rounding:
        d = d[:1].expand(len(d))
    return d.where(d.abs() > rounding, 0.0)


def _student(d: Tensor) -> tuple[float, float, float]:
    """The ends of the t interval of a mean, and its p."""
    from scipy import stats

    mean, error = d.mean().item(), (d.std() / len(d) ** 0.5).item()
    half = stats.t.isf(ALPHA / 2, len(d) - 1) * error
    if error == 0:  # all differences are the same, which is no more than their signs say
        return mean, mean, 2.0 ** (1 - len(d)) if mean else 1.0
    p = 2 * stats.t.sf(abs(mean) / error, len(d) - 1)
    return float(mean - half), float(mean + half), float(p)


def _subset_means(d: Tensor) -> Tensor:
    """The mean over each subset of the differences but the empty one; of many, over 2^13 - 1 of
    them, drawn at random."""
    n = len(d)
    if n <= EXHAUSTIBLE:
        numbers = torch.arange(1, 2**n)
        members = (numbers[:, None] >> torch.arange(n)) & 1
    else:
        generator = torch.Generator().manual_seed(0)
        members = torch.randint(2, (2**EXHAUSTIBLE - 1, n), generator=generator)
        members = members[members.any(1)]
    members = members.double()
    return members @ d / members.sum(1)
