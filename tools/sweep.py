"""Do the claims hold at other seeds? Every chapter, again and again, and how narrowly each holds.

    make claims-sweep                                      seeds 0 to 9, both sources: hours
    python tests/claims_sweep.py batch_norm --seeds 3      some of it

A claim that fails does not end its chapter here. Its margin in a run is the distance to its
threshold, as a fraction of the larger side: of ``0.97 > 0.6`` it is 0.38; what compares nothing
with ``<`` or ``>`` has none. A claim is thin when, on one of the sources, its mean margin is less
than three times the standard deviation of its margins: some other seed will break it. A claim that
begins with "Recorded" reads a record; it has no seed and is left out.

The table goes to benchmarks/results/ after each run, and a run that is there is not repeated while
the chapter and the module are the same: a sweep may be cut off and gone on with. Exit code 1: a
claim failed, or a chapter did not run to its end.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "claims-sweep.json"
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

    matplotlib.use("Agg")
    found: list[dict] = []
    margins: list[float] = []

    def compared(sides, names):
        truth = True
        for left, right, name in zip(sides[:-1], sides[1:], names, strict=True):
            truth = truth & ORDER[name](left, right)
            with contextlib.suppress(TypeError, ValueError):
                a, b = (torch.as_tensor(side, dtype=torch.float64) for side in (left, right))
                distance = (b - a) if name.startswith("L") else (a - b)
                scale = torch.maximum(a.abs(), b.abs()).clamp_min(1e-300)
                margins.append((distance / scale).min().item())
        return truth

    def note(statement, holds, measured=None):
        if statement.startswith("Recorded"):  # it reads a record, and has no seed
            margins.clear()
            return
        if isinstance(measured, float):
            measured = f"{measured:.3g}"
        found.append({
            "claim": statement, "holds": bool(holds), "measured": str(measured or ""),
            "margin": min(margins) if margins else None,
        })  # fmt: skip
        margins.clear()

    normtutorial.claim = note  # chapters import it from here
    os.chdir(ROOT / "book")
    space: dict = {"__name__": "__main__", "_compared": compared}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in nbformat.read(f"{name}.ipynb", as_version=4).cells:
            if cell.cell_type == "code":
                expected = "raises-exception" in cell.metadata.get("tags", [])
                tree = ast.fix_missing_locations(Comparisons().visit(ast.parse(cell.source)))
                with contextlib.suppress(Exception if expected else ()):
                    exec(compile(tree, f"<{name}>", "exec"), space)
    return found


def send_claims(sender, chapter: str, seed: int, source: str, threads: int) -> None:
    """Run a chapter at a seed, on a source, with so many threads, and send its claims."""
    import torch

    torch.set_num_threads(threads)
    torch.set_num_threads = lambda n: None  # most chapters ask for one
    os.environ["NORMTUTORIAL_SEED"] = str(seed)
    os.environ["NORMTUTORIAL_SOURCE"] = source
    os.environ["NORMTUTORIAL_PROGRESS"] = "0"
    sender.send(run_chapter(chapter))


def digest(chapter: str) -> str:
    """Of all code that decides what the chapter measures: its cells', and the module's, the
    command line left out."""
    cells = json.loads((ROOT / "book" / f"{chapter}.ipynb").read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    rooms = sorted(set(ROOT.glob("normtutorial/*.py")) - {ROOT / "normtutorial" / "__main__.py"})
    code += [path.read_text("utf-8") for path in rooms]
    parsed = "\n".join(ast.dump(ast.parse(text)) for text in code)  # the layout does not count
    return hashlib.sha256(parsed.encode()).hexdigest()[:16]


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


def add(record: dict, job: tuple[str, int, str, int], claims: list[dict]) -> None:
    """Enter a run into the record, which may hold runs of the chapter as it was before."""
    chapter, *run = job
    source = run[1]
    if record.get(chapter, {}).get("digest") != digest(chapter):
        record[chapter] = {"digest": digest(chapter), "runs": [], "claims": {}}
    entry = record[chapter]
    entry["runs"].append(run)
    for claim in claims:
        empty = {"failed": [], "margins": {}, "worst": None, "thin": False}
        row = entry["claims"].setdefault(claim["claim"], empty)
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="file names without ending; default: all")
    parser.add_argument("--seeds", type=int, default=10, help="seeds from 0 (10)")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (2)")
    options = parser.parse_args()
    known = sorted(path.stem for path in ROOT.glob("book/*.ipynb"))
    chapters = options.chapters or known
    if unknown := set(chapters) - set(known):
        parser.error(f"no chapter {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    record = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
    record = {name: entry for name, entry in record.items() if name in known}
    there = {
        (name, *run)
        for name, entry in record.items()
        if entry["digest"] == digest(name)
        for run in entry["runs"]
    }
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # who waits leaves the core to other runs
    settings = (options.threads, range(options.seeds), options.sources, chapters)
    wanted = [(c, seed, s, t) for t, seed, s, c in itertools.product(*settings)]
    broken, started = 0, time.perf_counter()
    with ThreadPoolExecutor(options.jobs) as pool:
        for job, claims in pool.map(one, [job for job in wanted if job not in there]):
            if claims is None:
                broken += 1
                print("BROKEN ", *job, flush=True)
                continue
            add(record, job, claims)
            for claim in claims:
                if not claim["holds"]:
                    print("FAILED ", *job, claim["claim"], claim["measured"], flush=True)
            partial = RESULT.with_suffix(".partial")
            partial.write_text(json.dumps(record, sort_keys=True) + "\n", "utf-8")
            os.replace(partial, RESULT)
    rows = [row for name in chapters for row in record.get(name, {"claims": {}})["claims"].values()]
    failures = sum(len(row["failed"]) for row in rows)
    narrow = sum(row["thin"] for row in rows)
    runs = sum(len(record[name]["runs"]) for name in chapters if name in record)
    print(f"{len(rows)} claims, {runs} runs of a chapter, {failures} failures, {broken} chapters "
          f"broken, {narrow} thin, {time.perf_counter() - started:.0f} s")  # fmt: skip
    return int(bool(failures or broken))


if __name__ == "__main__":
    sys.exit(main())
