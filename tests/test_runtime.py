"""The machine, threads and seeds."""

import pytest
import torch

from normtutorial.runtime import seed_list, threads


@pytest.fixture(autouse=True)
def _no_shift(monkeypatch):
    monkeypatch.delenv("NORMTUTORIAL_SEED", raising=False)


@pytest.mark.parametrize(
    "shift, expected",
    [(None, [0, 1, 2]), ("", [0, 1, 2]), ("0", [0, 1, 2]), ("4", [4000, 4001, 4002])],
)
def test_the_environment_shifts_all_seeds(monkeypatch, shift, expected):
    if shift is not None:
        monkeypatch.setenv("NORMTUTORIAL_SEED", shift)
    assert seed_list() == seed_list(3) == expected


@pytest.mark.parametrize("shift", ["-1", "1.5", "lucky"])
def test_a_shift_that_is_no_whole_number_is_refused(monkeypatch, shift):
    monkeypatch.setenv("NORMTUTORIAL_SEED", shift)
    with pytest.raises(ValueError, match=f"expects a whole number from 0; got '{shift}'"):
        seed_list()


def test_threads_are_given_back_also_after_an_error():
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    with pytest.raises(ZeroDivisionError), threads(before + 1):
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("n", [0, 1.5, True])
def test_a_number_of_threads_is_a_whole_one(n):
    with pytest.raises(ValueError, match=f"threads expects .*; got {n}"), threads(n):
        pass


@pytest.mark.parametrize("n", [-1, 1.5, True])
def test_a_number_of_seeds_is_a_whole_one(n):
    with pytest.raises(ValueError, match=f"seed_list expects .*; got {n}"):
        seed_list(n)
