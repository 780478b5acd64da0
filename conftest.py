"""Settings for every ``pytest`` and ``pytest --nbval``, from whichever folder it is run."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

CELL_SECONDS = 600
if not find_spec("triton"):  # it comes with torch where a GPU can be
    collect_ignore_glob = ["normtutorial/kernels/triton/*", "tests/slow/triton_cases.py"]


def pytest_configure(config: pytest.Config) -> None:
    # Notebooks run in their own folder, where a relative path would mean something else.
    if folder := os.environ.get("NORMTUTORIAL_DATA"):
        os.environ["NORMTUTORIAL_DATA"] = str(Path(folder).expanduser().absolute())
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.pop("MPLBACKEND", None)  # a notebook's figures are drawn inline
    option = config.option
    if getattr(option, "nbval", False) or getattr(option, "nbval_lax", False):
        if not option.nbval_sanitize_with:
            option.nbval_sanitize_with = str(config.rootpath / "tests" / "sanitize.cfg")
        option.nbval_current_env = not option.nbval_kernel_name
        option.nbval_cell_timeout = min(option.nbval_cell_timeout, CELL_SECONDS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First the tests that say in words what they hold, of all files; then the grids of cases.

    What breaks a layer breaks a hundred cases of a grid. The first failure is to name the fault.
    """
    items.sort(key=lambda item: (not isinstance(item, pytest.Function), hasattr(item, "callspec")))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random numbers in every run and in any order of the tests."""
    if torch := sys.modules.get("torch"):  # a file without torch is not made to wait for it
        torch.default_generator.manual_seed(0)  # the CPU's; to note it for a GPU takes longer
