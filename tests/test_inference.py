"""Differences are paired, their intervals turn around with their sides, and nonsense is refused."""

import itertools

import pytest
import torch

from normtutorial.inference import holm, images_needed, over_images, over_seeds, seeds_needed

DIFFERENCES = [0.317, -0.129, 0.431, 0.833, 0.207, 0.941, -0.373, 0.557, 0.719]


@pytest.mark.parametrize("n", [4, 9])
def test_what_a_seed_does_to_both_does_not_count(n):
    a = torch.tensor(DIFFERENCES[:n], dtype=torch.float64)
    of_the_seed = torch.arange(n, dtype=torch.float64) ** 2
    alone, moved = over_seeds(a, torch.zeros(n)), over_seeds(a + of_the_seed, of_the_seed)
    assert moved[:4] == pytest.approx(alone[:4])


@pytest.mark.parametrize("n", [4, 9])
def test_the_sides_may_be_exchanged(n):
    a, b = DIFFERENCES[:n], [0.1] * n
    there, back = over_seeds(a, b), over_seeds(b, a)
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))
    assert back.p == pytest.approx(there.p)


def test_below_nine_seeds_it_is_the_paired_t_test():
    stats = pytest.importorskip("scipy.stats")
    a, b = DIFFERENCES[:8], [0.1, 0.2] * 4
    found, known = over_seeds(a, b), stats.ttest_rel(a, b)
    assert found.p == pytest.approx(known.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(known.confidence_interval()))
    assert found.method == "t" and found.least_p is None
    assert "at least" not in str(found)


@pytest.mark.parametrize("more", [[], [0.115, -0.229, 0.61, 0.302]], ids=["9 seeds", "13 seeds"])
def test_from_nine_seeds_on_p_is_the_share_of_signs_with_a_mean_as_far_from_zero(more):
    differences = DIFFERENCES + more
    n = len(differences)
    found = over_seeds(differences, [0.0] * n)
    signs = torch.tensor(list(itertools.product([1.0, -1.0], repeat=n)), dtype=torch.float64)
    signed = (signs @ torch.tensor(differences, dtype=torch.float64)).abs()
    as_far = (signed >= sum(differences) - 1e-12).sum().item()
    assert found.method == "permutations" and found.least_p == 2.0 ** (1 - n)
    assert found.p == pytest.approx(as_far / 2**n)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6, -1.0])
def test_a_sum_that_is_zero_but_for_rounding_counts_at_any_scale_and_on_both_sides(scale):
    differences = [0.1, 0.2, -0.3, 0.3, 0.6, 0.2, 0.5, -0.4, 0.1]
    exact = over_seeds([10 * round(d * 10) / 10 for d in differences], [0.0] * 9)
    assert over_seeds([scale * d for d in differences], [0.0] * 9).p == exact.p < 1


def test_two_seeds_are_enough_for_an_interval():
    found = over_seeds([1.0, 2.0], [0.0, 0.0])
    assert found.low < found.mean == 1.5 < found.high


@pytest.mark.parametrize("end", ["low", "high"])
def test_the_interval_ends_where_the_test_begins_to_reject(end):
    limit = getattr(over_seeds(DIFFERENCES, [0.0] * 9), end)
    inward = 1e-6 if end == "low" else -1e-6
    assert over_seeds(DIFFERENCES, [limit + inward] * 9).p > 0.05
    assert over_seeds(DIFFERENCES, [limit - inward] * 9).p <= 0.05


def test_many_seeds_are_permuted_at_random_and_always_the_same():
    d = torch.randn(40, dtype=torch.float64) + 0.5
    found = over_seeds(d, torch.zeros(40))
    assert found == over_seeds(d, torch.zeros(40))
    half = 2.02 * d.std().item() / 40**0.5
    assert (found.low, found.high) == pytest.approx(
        (found.mean - half, found.mean + half), abs=half / 8
    )


@pytest.mark.parametrize("n", [3, 10])
@pytest.mark.parametrize("shift, p", [(0.0, 1.0), (1.0, None)])
def test_differences_that_do_not_scatter_have_an_interval_of_one_point(n, shift, p):
    found = over_seeds([shift] * n, [0.0] * n)
    assert found.mean == found.low == found.high == shift
    assert found.p == (2.0 ** (1 - n) if p is None else p)


@pytest.mark.parametrize("n", [5, 9])
@pytest.mark.parametrize("b", [0.0, 0.3], ids=["apart", "the same"])
@pytest.mark.parametrize("scale", [2.0**-20, 1.0, 2.0**20])
def test_differences_that_scatter_by_rounding_alone_do_not_scatter(n, b, scale):
    numbers = [0.1 + 0.2, *[0.3] * (n - 1)]
    found = over_seeds([scale * x for x in numbers], [scale * b] * n)
    assert found[:3] == pytest.approx([scale * (0.3 - b)] * 3, abs=scale * 1e-12)
    assert found.p == (1.0 if b else 2.0 ** (1 - n))


@pytest.mark.parametrize(
    "a, b",
    [([1.0], [2.0]), ([1.0, 2.0], [1.0]), ([[1.0]], [[1.0]]), ([1.0, torch.nan], [0.0, 1.0])],
)
def test_seeds_without_two_numbers_are_refused(a, b):
    with pytest.raises(ValueError, match=r"^over_seeds expects (two numbers for|finite numbers)"):
        over_seeds(a, b)


def right(*numbers: int) -> torch.Tensor:
    """Of 100 images, all but these are right."""
    return torch.tensor([n not in numbers for n in range(100)])


def test_only_images_count_that_one_of_two_gets_right():
    found = over_images(right(1, 2), right(2, 3, 4, 5, 6, 7))
    assert found.mean == pytest.approx(0.04)
    assert found.p == pytest.approx(2 * (1 + 6) / 2**6)  # six heads of coins, or five, of six
    assert found.least_p == 2**-5
    assert found.low < 0.04 < found.high


def test_two_that_are_right_on_the_same_images_do_not_differ():
    found = over_images(right(1, 2), right(1, 2))
    assert found[:5] == (0, 0, 0, 1, 1)


@pytest.mark.parametrize(
    "a, b", [(right(1), right(1)[:50]), (right(1).float(), right(1)), (right(1)[:0], right(1)[:0])]
)
def test_images_that_are_no_pairs_are_refused(a, b):
    with pytest.raises(ValueError, match=r"^over_images expects"):
        over_images(a, b)


@pytest.mark.parametrize(
    "p, adjusted",
    [
        ([], []),
        ([0.04], [0.04]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([0.01, 0.02, 0.03, 0.04], [0.04, 0.06, 0.06, 0.06]),
        ([0.5, 0.001, 0.9], [1.0, 0.003, 1.0]),
        ([0.6, 0.7], [1.0, 1.0]),
    ],
)
def test_each_p_pays_for_the_comparisons_that_were_made(p, adjusted):
    assert holm(p) == pytest.approx(adjusted)


@pytest.mark.parametrize("p", [[-0.1], [1.1], [float("nan")], ["0.1"]])
def test_what_is_no_chance_is_refused(p):
    with pytest.raises(ValueError, match=r"^holm expects each p from 0 to 1"):
        holm(p)


def test_a_smaller_effect_needs_more_seeds_and_images():
    assert [seeds_needed(effect, 1) for effect in (2, 1, 0.5)] == [5, 10, 34]  # as in any table
    assert images_needed(0.001, 0.025) == pytest.approx(4 * images_needed(0.002, 0.025), rel=0.01)
    assert images_needed(0.1, 0.1) == 77  # (1.96 √0.1 + 0.8416 √(0.1 - 0.1²))² / 0.1²
    assert seeds_needed(1, 1, power=0.9) > seeds_needed(1, 1)
    assert images_needed(0.01, 0.1, power=0.9) > images_needed(0.01, 0.1)


def test_the_larger_a_difference_is_the_fewer_seeds_it_needs():
    needed = [seeds_needed(ratio, 1) for ratio in (1e-3, 1, 2, 3, 5, 8, 10, 15, 20, 40, 80)]
    assert needed == sorted(needed, reverse=True)
    assert needed[0] == pytest.approx((1.96 + 0.8416) ** 2 / 1e-6, rel=1e-4)
    assert needed[-3:] == [2, 2, 2]


@pytest.mark.parametrize(
    "numbers, what",
    [((0, 1), "effect"), ((1, 0), "spread"), ((1, 1, 1), "power"), ((torch.nan, 1), "effect")],
)
def test_what_needs_no_number_of_seeds_is_refused(numbers, what):
    with pytest.raises(ValueError, match=rf"^seeds_needed expects .*\b{what}\b"):
        seeds_needed(*numbers)


def test_the_number_of_seeds_is_the_least_that_sees_the_difference():
    stats = pytest.importorskip("scipy.stats")
    for effect in (0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1, 2.4, 2.7):
        n = seeds_needed(effect, 1)
        power = [
            stats.nct.sf(stats.t.isf(0.025, m - 1), m - 1, effect * m**0.5) for m in (n - 1, n)
        ]
        assert power[0] < 0.8 <= power[1]


@pytest.mark.parametrize(
    "numbers, what",
    [((0, 1), "effect"), ((0.2, 0.1), "share"), ((0.1, 1.1), "share"), ((0.1, 0.2, 0), "power")],
)
def test_what_needs_no_number_of_images_is_refused(numbers, what):
    with pytest.raises(ValueError, match=rf"^images_needed expects .*\b{what}\b"):
        images_needed(*numbers)
