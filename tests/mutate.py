"""Do the unit tests notice? Break the module in one place at a time, and see: ``make mutants``.

    python tests/mutate.py                        all of it: an hour on two cores
    python tests/mutate.py --known                the mistakes that people make: minutes
    python tests/mutate.py --file claims.py       every small change of one file
    python tests/mutate.py momentum               those with a word in the name

First the tests run once as they are, to see which lines each of them executes. A mutant is then
shown to the tests that execute its line, in a fork of this process, which has torch loaded, and in
a copy; nothing here is changed. What a run found goes into the record in benchmarks/results/, file
by file, unless it was given words. Exit code 1: a mutant survived that is not listed in mutants.py
with the reason.
"""

import argparse
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from mutants import FILES, PACKAGE, Mutant, every_small_change, known, why_it_lives

ROOT = PACKAGE.parent
RESULT = ROOT / "benchmarks" / "results" / "mutants.json"
OTHER = {
    "architecture", "benchmarks", "claims_sweep", "explorer", "mutate", "notebooks", "plotting",
    "supply_chain", "torchvision",
}  # fmt: skip
MORE = {  # the tests that a file has beside those of its own name
    "functional": ("functional", "gradients", "layers", "properties", "parametrizations"),
    "layers": ("layers",),
    "parametrizations": ("parametrizations",),
    "data": ("data", "mnist"),
}
BUDGET = 20.0  # seconds of tests that a mutant may survive
PATIENCE = 20.0  # more seconds than that, and a mutant that does not end is taken as noticed


class Watch:
    """A plugin of pytest that notes, for each test, its seconds and the lines that it executes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.tests: dict[str, set[str]] = defaultdict(set)  # "file:line" to the tests

    def pytest_runtest_protocol(self, item, nextitem):
        import threading

        test, where = item.nodeid, f"{os.sep}normtutorial{os.sep}"

        def trace(frame, event, _):
            name = frame.f_code.co_filename
            if where not in name:
                return None
            self.tests[f"{os.path.basename(name)}:{frame.f_lineno}"].add(test)
            return trace

        started = time.perf_counter()
        threading.settrace(trace)
        sys.settrace(trace)
        try:
            from _pytest.runner import runtestprotocol

            item.ihook.pytest_runtest_logstart(nodeid=test, location=item.location)
            runtestprotocol(item, nextitem=nextitem)
            item.ihook.pytest_runtest_logfinish(nodeid=test, location=item.location)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
        self.seconds[test] = time.perf_counter() - started
        return True


class Only:
    """A plugin of pytest that runs these tests in this order, and notes the first that fails."""

    def __init__(self, tests: list[str]) -> None:
        self.order = {test: i for i, test in enumerate(tests)}
        self.failed = ""

    def pytest_collection_modifyitems(self, items):
        if self.order:
            items[:] = [item for item in items if item.nodeid in self.order]
            items.sort(key=lambda item: self.order[item.nodeid])

    def pytest_runtest_logreport(self, report):
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report):
        if report.failed and not self.failed:
            self.failed = f"{report.nodeid} (not even loaded)"


def rooms() -> list[str]:
    """The unit tests that are asked, and the examples in the docstrings."""
    files = sorted(path.stem.removeprefix("test_") for path in ROOT.glob("tests/test_*.py"))
    return [f"tests/test_{name}.py" for name in files if name not in OTHER] + ["normtutorial"]


def pytest(folder: Path, plugin: object, arguments: list[str], compiled: bool = False) -> int:
    """Run it in this process, on the copy in ``folder``: without the tests that compile, which
    take seconds each, or those alone."""
    import pytest
    import torch

    os.chdir(folder)
    home = folder / "home"  # a broken cache must not end up in the user's
    os.environ |= {"HOME": str(home), "XDG_CACHE_HOME": str(home), "PYTHONPATH": str(folder)}
    os.environ |= {"NORMTUTORIAL_PROGRESS": "0", "OMP_NUM_THREADS": "1"}
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # to load those of Jupyter takes seconds
    sys.path[:] = [str(folder), *(p for p in sys.path if Path(p).resolve() != ROOT / "tests")]
    torch.set_num_threads(1)
    quiet = ["-q", "--tb=no", "--no-header", "-p", "no:cacheprovider"]
    loaded = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # torch and more are there already
    which = ["-k", "compiled or exported" if compiled else "not compiled and not exported"]
    code = int(pytest.main([*quiet, *loaded, *which, *arguments], plugins=[plugin]))
    return 0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else code


def in_a_fork(work: Callable[[], object], log: Path) -> int:
    """Start ``work`` in a child, which writes what it returns, as JSON, into ``log``."""
    child = os.fork()
    if child:
        return child
    try:
        os.setpgid(0, 0)
        with open(log.with_suffix(".out"), "w") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            log.write_text(json.dumps(work()))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)


def copy_to(folder: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__", "web", "*.ipynb")
    for name in "normtutorial", "tests":
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in "conftest.py", "pyproject.toml":
        shutil.copy(ROOT / name, folder)
    (folder / "home").mkdir()


def watch(folder: Path) -> tuple[dict[str, float], dict[str, list[str]]]:
    """The seconds of each test, and the tests of each line."""

    def work() -> object:
        plugin = Watch()
        code = pytest(folder, plugin, ["-x", *rooms()])
        return [code, plugin.seconds, {where: sorted(t) for where, t in plugin.tests.items()}]

    log = folder / "watch"
    os.waitpid(in_a_fork(work, log), 0)
    said = log.with_suffix(".out").read_text()
    code, seconds, tests = json.loads(log.read_text()) if log.exists() else (-1, {}, {})
    if code:
        raise SystemExit(f"The tests fail as they are.\n{said}")
    return seconds, tests


def asked(mutant: Mutant, seconds: dict[str, float], tests: dict[str, list[str]]) -> list[str]:
    """The tests to show it to: variants of different tests by turns, the short ones first."""
    lines = range(mutant.line, mutant.line + mutant.source_lines)
    names = {name for line in lines for name in tests.get(f"{mutant.file}:{line}", ())}
    if not names:  # executed at import, or by no test
        room = mutant.file.removesuffix(".py")
        near = MORE.get(room, ())
        words = (f"test_{room}.py", f"/{mutant.file}", *(f"test_{name}.py" for name in near))
        names = {name for name in seconds if any(word in name for word in words)}
    variants: dict[str, int] = defaultdict(int)
    order = []
    for name in sorted(names, key=lambda name: seconds[name]):
        base = name.split("[")[0]
        order.append((variants[base], seconds[name], name))
        variants[base] += 1
    chosen, spent = [], 0.0
    for _, one, name in sorted(order):
        spent += one
        if spent > BUDGET and chosen:
            break
        chosen.append(name)
    return chosen


def fates(
    mutants: list[Mutant], folder: Path, jobs: int,
    seconds: dict[str, float], tests: dict[str, list[str]],
) -> Iterator[tuple[Mutant, str]]:  # fmt: skip
    """Each mutant and the test that noticed it, or nothing, as they come in."""
    slots = []
    for number in range(jobs):
        slots.append(folder / f"slot{number}")
        slots[-1].mkdir()
        copy_to(slots[-1])
    waiting, running = list(reversed(mutants)), {}
    while waiting or running:
        while waiting and slots:
            mutant, slot = waiting.pop(), slots.pop()
            for path in PACKAGE.glob("*.py"):
                shutil.copy(path, slot / "normtutorial")
            (slot / "normtutorial" / mutant.file).write_bytes(mutant.applied())
            for cache in slot.glob("normtutorial/**/__pycache__"):
                shutil.rmtree(cache)
            shutil.rmtree(slot / "home")
            (slot / "home").mkdir()
            log = slot / "fate"
            log.unlink(missing_ok=True)
            chosen = asked(mutant, seconds, tests)

            near = f"test_{mutant.file}"  # first the tests of the file itself: less to load

            def work(slot=slot, chosen=chosen, near=near, file=mutant.file) -> str:
                own = [name for name in chosen if near in name]
                for where in own, [name for name in chosen if near not in name]:
                    plugin = Only(where)
                    files = sorted({name.split("::")[0] for name in where})
                    if where and (code := pytest(slot, plugin, ["-x", *files])):
                        return plugin.failed or f"pytest ended with {code}"
                plugin = Only([])
                files = [f"tests/test_{name}.py" for name in MORE.get(file[:-3], ())]
                if files and (code := pytest(slot, plugin, ["-x", *files], compiled=True)):
                    return plugin.failed or f"pytest ended with {code}"
                return ""

            child = in_a_fork(work, log)
            running[child] = mutant, slot, log, time.perf_counter()
        ended, _ = os.waitpid(-1, os.WNOHANG)
        if not ended:
            time.sleep(0.01)
            for child, (*_, started) in running.items():
                if time.perf_counter() - started > PATIENCE + BUDGET:
                    os.killpg(child, signal.SIGKILL)
            continue
        mutant, slot, log, started = running.pop(ended)
        slots.append(slot)
        try:
            fate = json.loads(log.read_text())
        except (OSError, ValueError):
            late = time.perf_counter() - started > PATIENCE + BUDGET
            fate = "it does not end" if late else "the process died"
        yield mutant, fate


def updated(
    record: dict, mistakes: list[Mutant], changes: list[Mutant], alive: dict[Mutant, str]
) -> dict:
    """The record with what a run found; files that it did not try stay as they were."""
    known, files = record.get("known", {}), dict(record.get("files", {}))
    if mistakes:
        killed = [m for m in mistakes if m not in alive]
        known = {"mutants": len(mistakes), "killed": len(killed)}
    tried = {m.file for m in changes}
    for file in tried:
        fates = [m in alive for m in changes if m.file == file]
        files[file] = {"mutants": len(fates), "killed": fates.count(False)}
    survivors = [s for s in record.get("survivors", []) if s["mutant"].split(":")[0] not in tried]
    survivors += [{"mutant": m.name, "reason": why} for m, why in alive.items() if m in changes]
    return {
        "known": known,
        "files": {file: files[file] for file in FILES if file in files},
        "survivors": survivors,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only mutants with one of these in their name")
    parser.add_argument("--known", action="store_true", help="only the mistakes that people make")
    parser.add_argument("--file", action="append", choices=FILES, help="only changes of this file")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (2)")
    options = parser.parse_args()
    mistakes = [] if options.file else list(known())
    changes = [m for f in options.file or FILES for m in every_small_change(f)]
    changes = [] if options.known else changes
    wanted = options.words
    chosen = [m for m in mistakes + changes if not wanted or any(w in m.name for w in wanted)]

    import hypothesis  # noqa: F401  loaded once, for all forks
    import matplotlib.pyplot  # noqa: F401
    import torch  # noqa: F401
    import torchvision  # noqa: F401

    gc.freeze()  # and not looked through by each
    started = time.perf_counter()
    alive = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        copy_to(folder)
        seconds, tests = watch(folder)
        print(f"{len(seconds)} tests in {time.perf_counter() - started:.0f} s", flush=True)
        for mutant, fate in fates(chosen, folder, options.jobs, seconds, tests):
            reason = "" if fate else why_it_lives(mutant)
            word = "killed  " if fate else "alive   " if reason else "SURVIVED"
            print(f"{word}  {mutant.name}   {fate or reason}", flush=True)
            if not fate:
                alive.append((mutant, reason))
    unexplained = [mutant for mutant, reason in alive if not reason]
    if not wanted:
        record = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
        record = updated(record, mistakes, changes, dict(alive))
        RESULT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    killed = len(chosen) - len(alive)
    print(f"{killed} of {len(chosen)} killed in {time.perf_counter() - started:.0f} s, "
          f"{len(unexplained)} survivors without a reason")  # fmt: skip
    return int(bool(unexplained))


if __name__ == "__main__":
    sys.exit(main())
