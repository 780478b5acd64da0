"""Do the claims hold at other seeds? Every chapter, again and again, and how narrowly each holds.

    make claims-sweep                              seeds 0 to 9, both sources: hours
    python tools/sweep.py batch_norm --seeds 3     some of it
    python tools/sweep.py --status                 what is recorded, and of which code

A claim that fails does not end its chapter here. Its margin in a run is the distance to its
threshold, as a fraction of the larger side: of ``0.97 > 0.6`` it is 0.38; what compares nothing
with ``<`` or ``>`` has none. A claim is thin when, on one of the sources, its mean margin is less
than three times the standard deviation of its margins: some other seed will break it. A claim that
begins with "Recorded" reads a record; it has no seed and is left out.

The record in records/ is written after each run. A run that is there is not repeated while the
chapter's code is the same, and what it uses of the module: a sweep may be cut off and gone on with.
When they have changed, the new runs gather beside the old ones, and take their place once there is
a new one for each. Exit code 1: a claim failed, or a chapter did not run to its end.
"""

import argparse
import ast
import contextlib
import hashlib
import io
import itertools
import json
import multiprocessing
import operator
import os
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import chapters
import closure
import records

RECORD = chapters.ROOT / "records" / "claims-sweep.json"
SOURCES = ("mnist", "synthetic")
ORDER = {"Lt": operator.lt, "LtE": operator.le, "Gt": operator.gt, "GtE": operator.ge}
PROCESSES = multiprocessing.get_context("forkserver")  # each run in its own; torch is loaded once
PROCESSES.set_forkserver_preload(["matplotlib.pyplot", "nbformat", "normtutorial"])


class Comparisons(ast.NodeTransformer):
    """In what a claim rests on, ``a < b`` becomes ``_compared([a, b], ["Lt"])``."""

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "claim" and len(node.args) > 1:
            node.args[1] = Inside().visit(node.args[1])
        return node


class Inside(ast.NodeTransformer):
    """The same, below the condition of a claim."""

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        names = [type(op).__name__ for op in node.ops]
        if not set(names) <= set(ORDER):
            return node
        sides = ast.List([node.left, *node.comparators], ast.Load())
        operators = ast.List([ast.Constant(name) for name in names], ast.Load())
        return ast.Call(ast.Name("_compared", ast.Load()), [sides, operators], [])

    # Where a comparison may fail and the claim still holds, it is left as it is.

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        return node if isinstance(node.op, ast.Not) else self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        return node if isinstance(node.op, ast.Or) else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        return node if name in ("any", "sum") else self.generic_visit(node)


def run_chapter(name: str) -> list[dict]:
    """Execute the cells of a chapter in this process. Returns its claims."""
    import matplotlib
    import nbformat
    import torch

    import normtutorial
    from normtutorial.claims import Claim, Comparison

    matplotlib.use("Agg")
    found: list[dict] = []
    margins: list[float] = []

    def compared(sides: list, names: list[str]) -> Any:
        truth = True
        for left, right, name in zip(sides[:-1], sides[1:], names, strict=True):
            truth = truth & ORDER[name](left, right)
            with contextlib.suppress(TypeError, ValueError):
                a, b = (torch.as_tensor(side, dtype=torch.float64) for side in (left, right))
                distance = (b - a) if name.startswith("L") else (a - b)
                scale = torch.maximum(a.abs(), b.abs()).clamp_min(1e-300)
                margins.append((distance / scale).min().item())
        return truth

    def note(
        statement: str,
        holds: Any,
        *,
        measured: object = None,
        seeds: Any = None,
        record: Any = None,
    ) -> None:
        if isinstance(holds, Comparison):
            margins.append(holds.margin)
        if record or statement.startswith("Recorded"):  # it reads a record, and has no seed
            margins.clear()
            return
        found.append({
            "claim": statement, "holds": bool(holds),
            "measured": Claim.of(statement, measured).measured or "",
            "margin": min(margins) if margins else None,
        })  # fmt: skip
        margins.clear()

    normtutorial.claim = note  # chapters import it from here
    path = chapters.find(name)
    os.chdir(path.parent)
    space: dict = {"__name__": "__main__", "_compared": compared}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                expected = "raises-exception" in cell.metadata.get("tags", [])
                tree = ast.fix_missing_locations(Comparisons().visit(ast.parse(cell.source)))
                with contextlib.suppress(*[Exception] * expected):
                    exec(compile(tree, f"<{name}>", "exec"), space)  # noqa: S102
    return found


def send_claims(sender: Any, chapter: str, seed: int, source: str, threads: int) -> None:
    """Run a chapter at a seed, on a source, with so many threads, and send its claims."""
    import torch

    torch.set_num_threads(threads)
    torch.set_num_threads = lambda nthreads: None  # most chapters ask for one
    os.environ["NORMTUTORIAL_SEED"] = str(seed)
    os.environ["NORMTUTORIAL_SOURCE"] = source
    os.environ["TQDM_DISABLE"] = "1"
    sender.send(run_chapter(chapter))


def digest(chapter: str) -> str:
    """Of all code that decides what the chapter measures: its cells', and that of the files of the
    module which they use."""
    cells = json.loads(chapters.find(chapter).read_text("utf-8"))["cells"]
    codes = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    codes += [path.read_text("utf-8") for path in sorted(closure.used(*codes))]
    text = "\n".join(map(closure.bare, codes))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def one(job: tuple[str, int, str, int]) -> tuple[tuple, list[dict] | None]:
    """The claims of a run, from a process of its own; None where it did not come to its end."""
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=send_claims, args=(sender, *job))
    process.start()
    sender.close()  # the other end is the process's now: when it dies, recv ends
    try:
        return job, receiver.recv()
    except EOFError:
        return job, None
    finally:
        process.join()


def made_with(code: str, entry: dict[str, Any]) -> dict[str, Any] | None:
    """The runs of a chapter that were made with the code of this digest."""
    parts = (entry, entry.get("next", {}))
    return next((part for part in parts if part.get("digest") == code), None)


def add(record: dict[str, Any], job: tuple[str, int, str, int], claims: list[dict]) -> None:
    """Enter a run into the record. Where that holds runs of the chapter as it was before, the new
    ones stand beside them, under "next", until there is a new one for each."""
    chapter, *run = job
    code = digest(chapter)
    fresh: dict[str, Any] = {"digest": code, "runs": [], "claims": {}}
    entry = record.setdefault(chapter, fresh)
    part = made_with(code, entry)
    if part is None:
        part = entry["next"] = fresh
    enter(part, run, claims)
    if part is entry:
        entry.pop("next", None)  # the code is again what it was
    elif all(old in part["runs"] for old in entry["runs"]):
        record[chapter] = part


def enter(part: dict[str, Any], run: list, claims: list[dict]) -> None:
    """Enter a run among those that were made with the same code."""
    source = run[1]
    part["runs"].append(run)
    for claim in claims:
        empty: dict[str, Any] = {"failed": [], "margins": {}, "worst": None, "thin": False}
        row = part["claims"].setdefault(claim["claim"], empty)
        if not claim["holds"]:
            row["failed"].append([*run, claim["measured"]])
        if claim["margin"] is not None:
            margin = round(claim["margin"], 4)
            row["margins"].setdefault(source, []).append(margin)
            if margin == min(itertools.chain(*row["margins"].values())):
                row["worst"] = [*run, claim["measured"]]
            row["thin"] = thin(row["margins"])


def thin(margins: dict[str, list[float]]) -> bool:
    """Whether another seed is likely to break a claim with these margins on each source."""
    return any(
        statistics.mean(found) < 3 * statistics.stdev(found)
        for found in margins.values()
        if len(found) >= 5
    )


def status(record: dict[str, Any], names: list[str]) -> Iterator[str]:
    """Of each chapter how many runs there are, and whether its code is still the same."""
    same = 0
    for name in names:
        entry = record.get(name, {"runs": []})
        now = made_with(digest(name), entry)
        how = "with the code as it is"
        if now is not entry:
            how = f"with earlier code, {len(now['runs']) if now else 0} with the code as it is"
        same += now is entry
        yield f"{name:20s} {len(entry['runs']):3d} runs {how}"
    yield f"{same} of {len(names)} chapters were swept with the code as it is."


def summary(record: dict[str, Any], names: list[str]) -> tuple[int, str]:
    """How many failures these chapters had with their code as it is, or else with that which was
    recorded, and what their runs say in all."""
    there = [name for name in names if name in record]
    newest = [made_with(digest(name), record[name]) or record[name] for name in there]
    rows = [row for part in newest for row in part["claims"].values()]
    runs = sum(len(part["runs"]) for part in newest)
    failures = sum(len(row["failed"]) for row in rows)
    narrow = sum(row["thin"] for row in rows)
    text = f"{len(rows)} claims, {runs} runs of a chapter, {failures} failures, {narrow} thin"
    return failures, text


def sweep(record: dict[str, Any], wanted: list[tuple], jobs: int) -> int:
    """Make the wanted runs that are not there. Returns how many did not come to their end.

    The module is loaded once, at the start, so that code which changes meanwhile ends the sweep.
    """
    codes = {name: digest(name) for name in {job[0] for job in wanted}}
    there = {
        (name, *run)
        for name in codes.keys() & record.keys()
        for run in (made_with(codes[name], record[name]) or {"runs": []})["runs"]
    }
    broken = 0
    with ThreadPoolExecutor(jobs) as pool:
        for job, claims in pool.map(one, [job for job in wanted if job not in there]):
            if digest(job[0]) != codes[job[0]]:
                pool.shutdown(cancel_futures=True)
                raise SystemExit(
                    f"sweep: the code of {job[0]} has changed meanwhile. Begin again; what is "
                    "recorded stays."
                )
            if claims is None:
                broken += 1
                print("BROKEN ", *job, flush=True)
                continue
            add(record, job, claims)
            records.write(RECORD, record)
            for claim in claims:
                if not claim["holds"]:
                    print("FAILED ", *job, claim["claim"], claim["measured"], flush=True)
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="file names without ending; default: all")
    parser.add_argument("--seeds", type=int, default=10, help="seeds from 0 (10)")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (2)")
    parser.add_argument("--status", action="store_true", help="run nothing, say what is recorded")
    options = parser.parse_args()
    known = [path.stem for path in chapters.notebooks()]
    try:
        names = [chapters.find(name).stem for name in options.chapters] or known
    except LookupError as error:
        parser.error(str(error))
    record = records.read(RECORD) if RECORD.exists() else {}
    record = {name: entry for name, entry in record.items() if name in known}
    if options.status:
        print(*status(record, names), sep="\n")
        return 0
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # who waits leaves the core to other runs
    settings = (options.threads, range(options.seeds), options.sources, names)
    wanted = [(c, seed, s, t) for t, seed, s, c in itertools.product(*settings)]
    started = time.perf_counter()
    broken = sweep(record, wanted, options.jobs)
    failures, text = summary(record, names)
    print(f"{text}, {broken} chapters broken, {time.perf_counter() - started:.0f} s")
    return int(bool(failures or broken))


if __name__ == "__main__":
    sys.exit(main())
