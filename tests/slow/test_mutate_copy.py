import subprocess
import sys

import mutate


def test_the_copy_that_is_broken_has_what_its_tests_read(tmp_path):
    folder = tmp_path / "copy"
    mutate.copy_to(folder)
    for asked in (
        ["--collect-only", *mutate.unit_tests()],
        ["tests/test_confusion.py", "tests/test_checkup_report.py", "tests/slow/test_lab_pages.py"],
    ):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *asked]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
