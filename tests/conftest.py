"""What every test starts from."""

import sys

import pytest


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random numbers in every run and in any order of the tests."""
    if torch := sys.modules.get("torch"):  # a file without torch is not made to wait for it
        torch.manual_seed(0)
