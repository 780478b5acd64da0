"""The command line as a process."""

import subprocess
import sys
from pathlib import Path


def test_it_runs_as_a_module_and_its_exit_code_is_the_process_s(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "normtutorial", "train", "--json", str(tmp_path / "no" / "x.json")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert run.returncode == 1 and run.stdout == ""
    assert run.stderr.startswith("normtutorial: ") and run.stderr.count("\n") == 1
