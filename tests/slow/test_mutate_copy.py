import subprocess
import sys

import mutate


def test_the_tests_that_are_shown_mutants_need_nothing_that_is_not_copied(tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    mutate.copy_to(folder)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *mutate.unit_tests()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
