"""Settings for every ``pytest`` and ``pytest --nbval``, from whichever folder it is run."""

import os
from pathlib import Path

import pytest

CELL_SECONDS = 600


def pytest_configure(config: pytest.Config) -> None:
    # Notebooks run in their own folder, where a relative path would mean something else.
    if folder := os.environ.get("NORMTUTORIAL_DATA"):
        os.environ["NORMTUTORIAL_DATA"] = str(Path(folder).expanduser().absolute())
    os.environ.setdefault("NORMTUTORIAL_PROGRESS", "0")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.pop("MPLBACKEND", None)  # a notebook's figures are drawn inline
    option = config.option
    if getattr(option, "nbval", False) or getattr(option, "nbval_lax", False):
        if not option.nbval_sanitize_with:
            option.nbval_sanitize_with = str(config.rootpath / "tests" / "sanitize.cfg")
        option.nbval_current_env = not option.nbval_kernel_name
        option.nbval_cell_timeout = min(option.nbval_cell_timeout, CELL_SECONDS)
