"""The intervals hold the truth as often as they say, and the numbers needed are enough."""

import pytest
import torch

from normtutorial.inference import images_needed, over_images, over_seeds, seeds_needed

DRAWS = 2000


def drawn(*shape: int, skewed: bool) -> torch.Tensor:
    """Numbers of mean 0 and variance 1."""
    if skewed:
        return torch.empty(shape, dtype=torch.float64).exponential_() - 1
    return torch.randn(shape, dtype=torch.float64)


def covered(differences: torch.Tensor, truth: float = 0.0) -> float:
    """The share of rows whose interval holds the truth."""
    nothing = torch.zeros(differences.shape[1])
    found = [over_seeds(row, nothing) for row in differences]
    return sum(one.low <= truth <= one.high for one in found) / len(found)


@pytest.mark.parametrize("n", [3, 5, 8, 9, 10, 20])
@pytest.mark.parametrize("skewed", [False, True], ids=["normal", "skewed"])
def test_the_interval_of_a_difference_of_two_of_one_shape_holds_it_in_95_of_100_cases(n, skewed):
    a, b = drawn(2, DRAWS, n, skewed=skewed)  # the difference of two skewed ones is symmetric
    assert 0.93 < covered(a + 0.3 - b, truth=0.3) < 0.97


@pytest.mark.parametrize("n, stated", [(3, 0.88), (5, 0.88), (9, 0.9), (20, 0.92), (60, 0.94)])
def test_where_the_differences_are_skewed_themselves_few_seeds_miss_it_too_often(n, stated):
    assert covered(drawn(DRAWS, n, skewed=True)) == pytest.approx(stated, abs=0.02)


@pytest.mark.parametrize("n, disagree", [(1000, 0.1), (1000, 0.04), (10_000, 0.025)])
def test_an_interval_over_images_holds_the_difference_in_95_of_100_cases(n, disagree):
    only_a, only_b = disagree * 0.6, disagree * 0.4
    held = rejected = 0
    for _ in range(DRAWS):
        chance = torch.rand(n)
        found = over_images(chance < 1 - only_b, (chance >= only_a))
        held += found.low <= only_a - only_b <= found.high
        same = over_images(chance < 1 - disagree / 2, (chance >= disagree / 2))
        rejected += same.p < 0.05
    assert 0.92 < held / (DRAWS) < 0.98
    assert rejected / (DRAWS) < 0.07


def seen(ratio: float, n: int) -> float:
    """How often n seeds show a difference so many times as large as it scatters."""
    found = [over_seeds(row + ratio, torch.zeros(n)) for row in drawn(DRAWS, n, skewed=False)]
    return sum(one.p < 0.05 for one in found) / DRAWS


@pytest.mark.parametrize("ratio", [2.0, 1.0, 0.7])
def test_with_the_seeds_needed_a_difference_is_seen_in_80_of_100_cases(ratio):
    n = seeds_needed(ratio, 1)
    assert seen(ratio, n) > 0.77
    assert seen(ratio, n - 1) < 0.81


def test_with_the_images_needed_a_difference_is_seen_in_80_of_100_cases():
    n = images_needed(0.01, 0.03)
    seen = 0
    for _ in range(DRAWS):
        chance = torch.rand(n)
        seen += over_images(chance < 0.99, chance >= 0.02).p < 0.05
    assert 0.73 < seen / (DRAWS) < 0.86
