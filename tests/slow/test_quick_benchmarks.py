"""The benchmarks run; no time is tested."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("part", ["bench.py", "layers.py"])
def test_a_quick_run_prints_ratios_and_records_nothing(part):
    def records():
        found = (FOLDER / "results").glob("*-threads.json")
        return {path: path.stat().st_mtime_ns for path in found}

    before = records()
    run = subprocess.run(
        [sys.executable, FOLDER / part, "--quick"], capture_output=True, text=True, check=True
    )
    assert "our" in run.stdout and "median" in run.stdout
    assert before and records() == before
