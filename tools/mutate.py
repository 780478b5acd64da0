"""Do the unit tests notice? Break the module in one place at a time, and see: ``make mutants``.

    python tools/mutate.py                        what has changed since it was last asked
    python tools/mutate.py --all                  all of it: hours
    python tools/mutate.py --known                the mistakes that people make: minutes
    python tools/mutate.py --file data/mnist.py   every small change of one file
    python tools/mutate.py momentum               those with a word in the name; not recorded
    python tools/mutate.py --status               what is recorded, and of which code

First the tests run once as they are, to see which lines each of them executes. A mutant is then
shown to the tests that execute its lines, in a fork of this process, which has torch loaded, and in
a copy; nothing here is changed. A mistake of ``normtutorial.mistakes`` is shown to the tests that
execute what it stands in for. The record is written after each file, so a run may be cut off and
gone on with. Exit code 1: a mutant survived that is not listed in mutants.py with the reason.
"""

import argparse
import atexit
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import records
from chapters import ROOT
from mutants import MISTAKES, PACKAGE, Mutant, digest, every_small_change, files, why_it_lives

RECORD = ROOT / "records" / "mutants.json"
KNOWN = [*MISTAKES, *files()]  # a mistake takes the place of what is in any of these
OTHER = {  # they ask the repository, the book or the tools, or start programs that take long
    "api", "architecture", "benchmarks", "bibliography", "changelog", "choosing", "cli_process",
    "closure", "extensions", "first_aid", "identity", "inference_coverage", "lab", "lab_data",
    "mistakes", "mutate", "mutate_copy", "notebook_bar", "notebooks", "page_rules", "pdf",
    "quick_benchmarks", "reader_extensions", "readme", "readme_runs", "refresh", "study",
    "supply_chain", "sweep", "sweep_of_the_book", "teaching", "teaching_pages",
    "torchvision", "transformers_table", "wheel",
}  # fmt: skip
COMPILED = {
    "functional.py", "kernels/__init__.py", "kernels/eager.py", "layers.py", "parametrizations.py",
}  # fmt: skip
# The tests that compile take seconds each. They are asked last, about these files alone.
COMPILING = ["tests/slow/test_compile.py", "tests/slow/test_compiled_cases.py"]
LOADED = {"chapters", "closure", "normtutorial", "records"}  # by this program, as they are
BUDGET = 20.0  # seconds of tests that a mutant may survive
PATIENCE = 20.0  # more seconds than that, and a mutant that does not end is taken as noticed
COMPILING_TAKES = 120.0

Alive = tuple[str, str]  # the name of a mutant that nobody noticed, and the reason or nothing


@dataclass(frozen=True)
class Known:
    """A mistake of the gallery, and the lines that it stands in for."""

    name: str
    file: str
    lines: range


@dataclass
class Survey:
    """What the tests do as they are."""

    seconds: dict[str, float] = field(default_factory=dict)  # of each test
    tests: dict[str, dict[int, list[str]]] = field(default_factory=dict)  # by file and line
    known: list[Known] = field(default_factory=list)
    strict: set[str] = field(default_factory=set)  # these notice steps without a mistake

    def asked(self, mutant: Mutant | Known) -> list[str]:
        """The tests to show it to: variants of different tests by turns, the short ones first."""
        lines = self.tests.get(mutant.file, {})
        found = {name for line in mutant.lines for name in lines.get(line, ())}
        names = found - {""} or {name for names in lines.values() for name in names} - {""}
        if not found or "" in found:  # at import, while tests were made, or by no test
            names |= named_after(mutant.file, self.seconds)
        if not names:
            names = set(self.seconds)
        if isinstance(mutant, Known):
            names = {name for name in names if name.split("[")[0] not in self.strict}
        variants: dict[str, int] = defaultdict(int)
        order = []
        for name in sorted(names, key=lambda name: (self.seconds[name], name)):
            base = name.split("[")[0]
            order.append((variants[base], self.seconds[name], name))
            variants[base] += 1
        chosen: list[str] = []
        spent = 0.0
        for _, one, name in sorted(order):
            spent += one
            if spent > BUDGET and chosen:
                break
            chosen.append(name)
        return chosen


def named_after(file: str, tests: Iterable[str]) -> set[str]:
    """Those of the tests that are in a file named after it or its folder, and its examples."""
    path = Path(file)
    words = [f"/test_{name}.py" for name in (path.stem, path.parent.name)]
    return {test for test in tests if any(w in test for w in [*words, f"normtutorial/{path}"])}


class Watch:
    """A plugin of pytest that notes for each test its seconds and, with coverage, its lines."""

    def __init__(self, coverage: Any) -> None:
        self.coverage = coverage
        self.seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] += report.duration


class Only:
    """A plugin of pytest that runs these tests in this order, and notes those that fail."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.order = {test: i for i, test in enumerate(tests)}
        self.failed: list[str] = []

    def pytest_collection_finish(self, session: Any) -> None:
        if self.order:
            items = [item for item in session.items if item.nodeid in self.order]
            session.items[:] = sorted(items, key=lambda item: self.order[item.nodeid])

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(f"{report.nodeid} (not even loaded)")


def unit_tests() -> list[str]:
    """The files that are asked, and the examples in the docstrings."""
    paths = [*ROOT.glob("tests/test_*.py"), *ROOT.glob("tests/slow/test_*.py")]
    asked = [p for p in sorted(paths) if p.stem.removeprefix("test_") not in {*OTHER, "compile"}]
    return [*(path.relative_to(ROOT).as_posix() for path in asked), "normtutorial"]


def pytest(folder: Path, plugin: object, arguments: Sequence[str]) -> int:
    """Run it in this process, on the copy in ``folder``."""
    import pytest
    import torch

    os.chdir(folder)
    home = folder / "home"  # a broken cache must not end up in the user's
    os.environ |= {"HOME": str(home), "XDG_CACHE_HOME": str(home), "PYTHONPATH": str(folder)}
    os.environ |= {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # to load those of Jupyter takes seconds
    sys.dont_write_bytecode = True  # the next mutant may be of the same length and second
    torch.set_num_threads(1)
    quiet = ["-q", "--tb=no", "--no-header", "-p", "no:cacheprovider"]
    loaded = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # torch and more are there already
    code = int(pytest.main([*quiet, *loaded, *arguments], plugins=[plugin]))
    return 0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else code


def in_a_fork(folder: Path, log: Path, work: Callable[[], object]) -> int:
    """Start ``work`` in a child, which writes what it returns, as JSON, into ``log``."""
    child = os.fork()
    if child:
        return child
    try:
        os.setpgid(0, 0)
        ours = {ROOT, ROOT / "tools", ROOT / "tests"}
        sys.path[:] = [
            str(folder),
            *(path for path in sys.path if Path(path).resolve() not in ours),
        ]
        for name in [name for name in sys.modules if name.split(".")[0] in LOADED]:
            del sys.modules[name]  # so that the copy is loaded
        with open(log.with_suffix(".out"), "w") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            log.write_text(json.dumps(work()))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)


def answer(folder: Path, name: str, work: Callable[[], Any]) -> Any:
    """What ``work`` returns in a fork."""
    log = folder / name
    os.waitpid(in_a_fork(folder, log, work), 0)
    if not log.exists():
        raise SystemExit(f"The tests cannot be asked.\n{log.with_suffix('.out').read_text()}")
    return json.loads(log.read_text())


def copy_to(folder: Path) -> None:
    """Copy what belongs to the repository, also what is not committed yet."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(lambda name: name and (ROOT / name).exists(), listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "home").mkdir()


def survey(folder: Path) -> Survey:
    """Run the tests as they are."""

    def lines() -> object:
        import coverage

        os.environ["COVERAGE_CORE"] = "ctrace"  # the others know no contexts in every Python
        measured = coverage.Coverage(data_file=None, config_file=False, source=[str(folder)])
        watch = Watch(measured)
        measured.start()
        code = pytest(folder, watch, unit_tests())
        measured.stop()
        data, package = measured.get_data(), (folder / "normtutorial").resolve()
        paths = {Path(path): path for path in data.measured_files()}
        tests = {
            path.relative_to(package).as_posix(): {
                line: sorted(found) for line, found in data.contexts_by_lineno(name).items()
            }
            for path, name in paths.items()
            if path.is_relative_to(package)
        }
        return [code, watch.seconds, tests]

    code, seconds, tests = answer(folder, "lines", lines)
    if code:
        said = (folder / "lines.out").read_text()
        raise SystemExit(f"The tests fail as they are.\n{said}")
    tests = {file: {int(line): t for line, t in found.items()} for file, found in tests.items()}
    return Survey(seconds, tests)


def gallery(folder: Path, found: Survey) -> None:
    """Add the mistakes, and the tests that notice the formulas in steps without any mistake, by the
    memory that they take, say: these would notice all that is written by hand, and are not asked.
    """

    def mistakes() -> object:
        import inspect

        from normtutorial.mistakes import MISTAKES

        rows = []
        for name, mistake in MISTAKES.items():
            seam = inspect.unwrap(mistake.seam)
            path = Path(inspect.getsourcefile(seam) or "").relative_to(folder / "normtutorial")
            code, first = inspect.getsourcelines(seam)
            rows.append((name, path.as_posix(), first, first + len(code)))
        return rows

    for name, file, first, end in answer(folder, "mistakes", mistakes):
        found.known.append(Known(name, file, range(first, end)))
    asked = {test for known in found.known for test in found.asked(known)}

    def steps_alone() -> object:
        from normtutorial.mistakes import Mistake
        from normtutorial.mistakes.steps import IN_STEPS

        with ExitStack() as stack:
            for seam, steps in IN_STEPS.items():
                stack.enter_context(Mistake("none", seam, steps).made())
            only = Only(sorted(asked))
            pytest(folder, only, sorted({test.split("::")[0] for test in asked}))
        return sorted({test.split("[")[0] for test in only.failed})

    found.strict = set(answer(folder, "steps", steps_alone))


def fate(slot: Path, mutant: Mutant | Known, chosen: list[str]) -> str:
    """The test that notices it, or nothing; in a fork."""
    with ExitStack() as stack:
        if isinstance(mutant, Known):
            from normtutorial.mistakes import MISTAKES

            stack.enter_context(MISTAKES[mutant.name].made())
        after = named_after(mutant.file, chosen)
        own, rest = ([name for name in chosen if (name in after) == its] for its in (True, False))
        for tests in own, rest:  # first the tests of the file itself: less to load
            only, where = Only(tests), sorted({name.split("::")[0] for name in tests})
            if tests and (code := pytest(slot, only, ["-x", *where])):
                return only.failed[0] if only.failed else f"pytest ended with {code}"
        if isinstance(mutant, Mutant) and mutant.file in COMPILED:
            only = Only([])
            if code := pytest(slot, only, ["-x", *COMPILING]):
                return only.failed[0] if only.failed else f"pytest ended with {code}"
    return ""


def fates(
    mutants: Sequence[Mutant | Known], slots: list[Path], found: Survey
) -> Iterator[tuple[Mutant | Known, str]]:
    """Each mutant and the test that noticed it, or nothing, as they come in."""
    waiting, free = list(reversed(mutants)), list(slots)
    running: dict[int, tuple[Mutant | Known, Path, float]] = {}
    while waiting or running:
        while waiting and free:
            mutant, slot = waiting.pop(), free.pop()
            shutil.rmtree(slot / "home")
            (slot / "home").mkdir()
            (slot / "fate").unlink(missing_ok=True)
            if isinstance(mutant, Mutant):
                (slot / "normtutorial" / mutant.file).write_bytes(mutant.applied())
            chosen = found.asked(mutant)
            log = slot / "fate"
            child = in_a_fork(slot, log, lambda s=slot, m=mutant, c=chosen: fate(s, m, c))  # type: ignore[misc]
            limit = PATIENCE + BUDGET + COMPILING_TAKES * (mutant.file in COMPILED)
            running[child] = mutant, slot, time.perf_counter() + limit
        ended, _ = os.waitpid(-1, os.WNOHANG)
        late = {child for child, (*_, end) in running.items() if time.perf_counter() > end}
        for child in late - {ended}:
            os.killpg(child, signal.SIGKILL)
        if not ended:
            time.sleep(0.01)
            continue
        mutant, slot, _ = running.pop(ended)
        free.append(slot)
        shutil.copy(PACKAGE / mutant.file, slot / "normtutorial" / mutant.file)
        try:
            yield mutant, json.loads((slot / "fate").read_text())
        except (OSError, ValueError):
            yield mutant, "it does not end" if ended in late else "the process died"


def ask(mutants: Sequence[Mutant | Known], slots: list[Path], found: Survey) -> list[Alive]:
    """Those that nobody noticed."""
    alive = []
    for mutant, test in fates(mutants, slots, found):
        reason = why_it_lives(mutant) if isinstance(mutant, Mutant) else ""
        word = "killed  " if test else "alive   " if reason else "SURVIVED"
        print(f"{word}  {mutant.name}  (line {mutant.lines[0]})  {test or reason}", flush=True)
        if not test:
            alive.append((mutant.name, reason))
    return alive


def with_file(record: dict, file: str, mutants: int, alive: list[Alive]) -> dict:
    """The record with what was found about a file; files that are no longer there go."""
    there = files()
    entries = record.get("files", {}) | {file: counted(mutants, alive, file)}
    old = [s for s in record.get("survivors", []) if s["mutant"].split()[0] in {*there} - {file}]
    new = [{"mutant": name, "reason": reason} for name, reason in alive]
    return record | {
        "files": {name: entry for name, entry in entries.items() if name in there},
        "survivors": sorted(old + new, key=lambda survivor: survivor["mutant"]),
    }


def counted(mutants: int, alive: list[Alive], *paths: str) -> dict[str, Any]:
    """An entry of the record, good for as long as these files are as they are."""
    return {"digest": digest(*paths), "mutants": mutants, "killed": mutants - len(alive)}


def stale(record: dict) -> list[str]:
    """The files that have changed since they were asked about, or never were."""
    entries = record.get("files", {})
    return [file for file in files() if entries.get(file, {}).get("digest") != digest(file)]


def status(record: dict) -> Iterator[str]:
    """A line for the mistakes, for each file, and for all of them."""
    entries = {"": record.get("known")} | {f: record.get("files", {}).get(f) for f in files()}
    for file, entry in entries.items():
        told = "never asked about"
        if entry:
            now = digest(*([file] if file else KNOWN))
            code = "the code as it is" if entry.get("digest") == now else "earlier code"
            told = f"{entry['killed']:4} of {entry['mutants']:4} noticed, in {code}"
        yield f"{file or 'mistakes':22} {told}"
    every = len(files())
    yield f"{every - len(stale(record))} of {every} files were asked about as they are."


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only mutants with these words in their name")
    parser.add_argument("--all", action="store_true", help="also what has not changed")
    parser.add_argument("--known", action="store_true", help="only the mistakes that people make")
    parser.add_argument(
        "--file", action="append", choices=files(), help="only changes of this file"
    )
    parser.add_argument("--status", action="store_true", help="what is recorded, and of which code")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (2)")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    record = records.read(RECORD) if RECORD.exists() else {}
    if options.status:
        print(*status(record), sep="\n")
        return 0
    everything = options.all or bool(options.words)
    known = record.get("known", {}).get("digest") != digest(*KNOWN) or everything
    wanted = files() if everything else stale(record)
    if options.known or options.file:
        known, wanted = options.known, options.file or []

    import hypothesis  # noqa: F401  loaded once, for all forks
    import matplotlib.pyplot  # noqa: F401
    import torch  # noqa: F401
    import torchvision  # noqa: F401

    gc.freeze()  # and not looked through by each
    atexit.register(gc.unfreeze)
    started, asked, unexplained = time.perf_counter(), 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        whole, *slots = (Path(temporary).resolve() / str(i) for i in range(options.jobs + 1))
        for folder in whole, *slots:
            copy_to(folder)
        found = survey(whole)
        print(f"{len(found.seconds)} tests in {time.perf_counter() - started:.0f} s", flush=True)
        if known:
            gallery(whole, found)
            print("Not asked about mistakes:", *sorted(found.strict), sep="\n  ")
        for file in ["", *wanted] if known else wanted:  # the mistakes first
            mutants = every_small_change(file) if file else found.known
            chosen = [m for m in mutants if all(word in m.name for word in options.words)]
            alive = ask(chosen, slots, found)
            asked += len(chosen)
            unexplained += [reason for _, reason in alive].count("")
            if not options.words:
                record = (
                    with_file(record, file, len(chosen), alive)
                    if file
                    else record | {"known": counted(len(chosen), alive, *KNOWN)}
                )
                records.write(RECORD, record)
    seconds = time.perf_counter() - started
    print(f"{asked} mutants in {seconds:.0f} s, {unexplained} survivors without a reason")
    return int(bool(unexplained))


if __name__ == "__main__":
    sys.exit(main())
