"""Images in processes of their own: two at once, one that is killed, one without rights."""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from tiny_mnist import ARCHIVES, FILES, IMAGES, fill, serving

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")


def in_process(call, cache, url="http://localhost:1/", timeout=20.0, before=""):
    """Start a Python process that knows the tiny archives and one mirror, after ``before``.

    ``call`` is an expression; what it returns is printed, or the sentence that it fails with. The
    process gives up the rights of root, who may open any file, after it has read its own modules.
    """
    code = (
        "import encodings.idna, os, socket, sys, threading, tqdm\n"
        "from normtutorial.data import DataError, digits, files, mnist\n"
        "mnist.FILES, mnist.MIRROR, files.TIMEOUT = eval(sys.argv[1])\n"
        f"{before}\n"
        "hasattr(os, 'geteuid') and os.geteuid() == 0 and os.setuid(65534)\n"
        "print('begun', flush=True)\n"
        f"try: print({call})\n"
        "except DataError as error: sys.exit(str(error))"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "no_proxy": "*"}
    for name in "NORMTUTORIAL_DATA", "NORMTUTORIAL_SOURCE":
        environment.pop(name, None)
    run = subprocess.Popen(
        [sys.executable, "-c", code, repr((FILES, url, timeout))],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stdout.readline() == "begun\n"
    return run


@pytest.fixture
def open_folder():
    """A folder that everybody may enter and write to; pytest's own are for one user."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder
        for path in folder.rglob("*"):
            path.chmod(0o777)  # else it could not be removed


def test_two_processes_at_once_do_not_disturb_each_other(open_folder):
    with serving() as mirror:
        both = threading.Barrier(2, timeout=20)  # each has half of the file before one has it all
        mirror.halfway = both.wait
        runs = [in_process("digits('mnist').source", open_folder, mirror.url) for _ in range(2)]
        ends = [run.communicate(timeout=60) for run in runs]
    assert ends == [("mnist\n", "")] * 2
    assert not both.broken
    raw = open_folder / "normtutorial" / "MNIST" / "raw"
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == ARCHIVES


def test_a_process_killed_halfway_through_a_download_leaves_no_archive(open_folder):
    half_sent, killed = threading.Event(), threading.Event()

    def halfway():
        half_sent.set()
        killed.wait(60)
        return "hang up"

    with serving() as mirror:
        mirror.halfway = halfway
        run = in_process("digits('mnist')", open_folder, mirror.url)
        assert half_sent.wait(60)
        run.kill()
        run.communicate(timeout=60)
        killed.set()
    assert run.returncode != 0
    assert not [path for path in open_folder.rglob("*.gz") if path.is_file()]


def test_a_look_up_that_never_ends_does_not_keep_the_program_from_ending(open_folder):
    hangs = "socket.getaddrinfo = lambda *_, **__: threading.Event().wait()"
    run = in_process("digits('mnist')", open_folder, "http://mirror.invalid/", 0.1, hangs)
    _, sentence = run.communicate(timeout=60)
    assert run.returncode == 1 and "no answer in 0.1 seconds" in sentence


@posix
@pytest.mark.parametrize("closed", [IMAGES, "."])
def test_wrong_permissions_end_in_a_sentence(open_folder, closed):
    raw = fill(open_folder)
    (raw / closed).chmod(0)
    run = in_process(f"digits(root={str(open_folder)!r})", open_folder)
    out, sentence = run.communicate(timeout=60)
    assert run.returncode == 1 and out == ""
    assert sentence.startswith(f"digits cannot read {raw / IMAGES} (Permission denied)")
    assert sentence.count("\n") == 1


@posix
def test_a_cache_that_must_not_be_written_ends_in_a_sentence(open_folder):
    open_folder.chmod(0o555)
    with serving() as mirror:
        run = in_process("digits('mnist')", open_folder, mirror.url)
        _, sentence = run.communicate(timeout=60)
    assert run.returncode == 1
    assert sentence.startswith("digits found no files and could not download them: ")
    assert "Permission denied" in sentence and sentence.count("\n") == 1


BAR = """
import io, sys

class Stderr(io.StringIO):
    def isatty(self): return sys.argv[2] == "terminal"

sys.stderr = Stderr()
from normtutorial.data.files import checksum, download
download(sys.argv[1], sys.argv[3])
print(sys.stderr.getvalue())
"""


@pytest.mark.parametrize(
    "place, disable, shown", [("terminal", "", True), ("terminal", "1", False), ("file", "", False)]
)
def test_a_bar_is_shown_in_a_terminal_unless_tqdm_is_told_not_to(place, disable, shown):
    environment = {**os.environ, "no_proxy": "*", "TQDM_DISABLE": disable}
    with serving() as mirror:
        run = subprocess.run(
            [sys.executable, "-c", BAR, f"{mirror.url}{IMAGES}", place, FILES[IMAGES][1]],
            env=environment, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
    assert (f"{IMAGES}: 100%" in run.stdout) == shown
    assert shown or not run.stdout.strip()


def test_the_data_load_neither_torchvision_nor_matplotlib():
    code = (
        "import sys, normtutorial.data; "
        "print({'torchvision', 'matplotlib'} & {m.split('.')[0] for m in sys.modules})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stderr
