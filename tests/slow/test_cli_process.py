"""The command line as a process, and where it meets other consoles, users and machines."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals, users and locales")


def run(*argv: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """``python *argv`` with these changes of the environment; None takes a variable away."""
    changed = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, *argv],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        cwd=ROOT,
        env={name: value for name, value in changed.items() if value is not None},
        timeout=120,
    )


def test_it_runs_as_a_module_and_its_exit_code_is_the_process_s(tmp_path):
    ended = run("-m", "normtutorial", "train", "--json", str(tmp_path / "no" / "x.json"))
    assert ended.returncode == 1 and ended.stdout == ""
    assert ended.stderr.startswith("normtutorial: ") and ended.stderr.count("\n") == 1


# Before torch is there


@pytest.fixture
def stub(tmp_path):
    """Put a module in place of torch; returns the folder that must come first on the path."""

    def put(code: str) -> str:
        (tmp_path / "torch.py").write_text(code, "utf-8")
        return os.pathsep.join([str(tmp_path), str(ROOT)])

    return put


@pytest.mark.parametrize("argv", [("--help",), ("--version",), ("compare", "--help"), ("sing",)])
def test_help_and_usage_errors_do_not_wait_for_torch(argv, stub):
    path = stub("print('it was loaded', flush=True)\nraise SystemExit(3)")
    for command in ("-m", "normtutorial"), ("-c", "from normtutorial.cli import main; main()"):
        ended = run(*command, *argv, PYTHONPATH=path)
        assert ended.returncode == (2 if argv == ("sing",) else 0)
        assert "it was loaded" not in ended.stdout
    assert run("-m", "normtutorial", "data", PYTHONPATH=path).stdout == "it was loaded\n"


@pytest.mark.parametrize("given, found", [(None, "passive"), ("active", "active")])
def test_torch_finds_threads_that_do_not_spin_while_they_wait(given, found, stub):
    path = stub("import os\nprint(os.environ['OMP_WAIT_POLICY'], flush=True)\nraise SystemExit")
    ended = run("-m", "normtutorial", "data", PYTHONPATH=path, OMP_WAIT_POLICY=given)
    assert ended.stdout == f"{found}\n"


@posix
def test_an_interrupt_while_torch_loads_is_quiet_also_where_an_exception_would_be_lost(stub):
    path = stub(
        "import os, signal\n"
        "try: os.kill(os.getpid(), signal.SIGINT)\n"
        "except BaseException: pass\n"
        "print('it goes on', flush=True)"
    )
    ended = run("-m", "normtutorial", "train", PYTHONPATH=path)
    assert ended.returncode == 130 and ended.stdout == ""
    assert ended.stderr == "normtutorial: interrupted.\n"


@posix
def test_an_interrupt_that_is_to_be_ignored_is_ignored(stub):
    path = stub("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit(3)")
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from normtutorial.cli import main; main(['data'])"
    )
    assert run("-c", code, PYTHONPATH=path).returncode == 3


# Consoles

CONSOLES = [
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": None},
]


@pytest.mark.parametrize("console", CONSOLES, ids=str)
def test_a_claim_is_made_on_any_console(console):
    code = "from normtutorial import claim; claim('\\u03b2 is 0.', True, measured=1.5)"
    ended = run("-c", code, **console)
    assert ended.stdout == "[ok] \\u03b2 is 0. (measured 1.5)\n", ended.stderr


@pytest.mark.parametrize("console", CONSOLES, ids=str)
def test_a_folder_that_the_console_cannot_show_is_no_error(console, tmp_path):
    caches = tmp_path / "кэш"
    environment = {**console, "XDG_CACHE_HOME": str(caches)}
    code = (
        "import torch; from normtutorial.data import synthetic; synthetic.COUNTS = 6, 4\n"
        "synthetic._glyphs = lambda: torch.linspace(-3, 3, 84).expand(10, 2, 84, 84)\n"
        "from normtutorial.cli import main; raise SystemExit(main())"
    )
    ended = run("-c", code, "data", "--source", "synthetic", **environment)
    assert ended.returncode == 0, ended.stderr
    assert len(list(caches.rglob("synthetic-digits-1"))) == 1
    assert ended.stdout.splitlines()[1].startswith("cached in ")
    root = str(tmp_path / "опечатка")
    ended = run("-m", "normtutorial", "train", "--root", root, **environment)
    assert ended.returncode == 1
    assert ended.stderr.startswith("normtutorial: digits expects four archives in ")


# Users


@posix
def test_a_user_without_home_and_entry_trains_also_where_nothing_can_be_kept(tmp_path):
    (tmp_path / "normtutorial").touch()  # where the cache would be
    code = (
        "import pwd, torch; from normtutorial.data import synthetic\n"
        "def getpwuid(uid): raise KeyError(f'getpwuid(): uid not found: {uid}')\n"
        "pwd.getpwuid = getpwuid\n"
        "synthetic.COUNTS = 256, 64\n"
        "synthetic._glyphs = lambda: torch.linspace(-3, 3, 84).expand(10, 2, 84, 84)\n"
        "from normtutorial.cli import main\n"
        "for argv in ['data'], ['train', '--epochs', '1']:\n"
        "    assert main([*argv, '--source', 'synthetic']) == 0\n"
    )
    nobody = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "USER", "LOGNAME", "USERNAME", "LNAME"))
    ended = run("-c", code, **nobody, TMPDIR=str(tmp_path))
    assert ended.returncode == 0 and ended.stderr == "", ended.stderr
    said = ended.stdout.splitlines()
    assert said[1] == f"not cached: {tmp_path / 'normtutorial'} cannot be written"
    assert said[2].startswith("epoch : 1, test acc : ")
