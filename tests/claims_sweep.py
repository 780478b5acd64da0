"""Do the claims hold at other seeds? Every chapter, again and again, and what each claim measured.

    make claims-sweep                                      seeds 0 to 9, both sources: hours
    python tests/claims_sweep.py batch_norm --seeds 3      some of it

A claim that fails does not end its chapter here. The table goes to benchmarks/results/; exit code
1: a claim failed, or a chapter did not run to its end.

Each run is noted in _build/claims-sweep.jsonl when it ends, and is not repeated by the next call
while the chapter and the module are the same: a sweep may be cut off and gone on with.
"""

import argparse
import contextlib
import hashlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "claims-sweep.json"
DONE = ROOT / "_build" / "claims-sweep.jsonl"
SOURCES = ("mnist", "synthetic")
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def run_chapter(name: str) -> None:
    """Execute the cells of a chapter in this process and print its claims as JSON lines."""
    import matplotlib
    import nbformat

    import normtutorial

    matplotlib.use("Agg")
    found = []

    def note(statement, holds, measured=None):
        if isinstance(measured, float):
            measured = f"{measured:.3g}"
        found.append({"claim": statement, "holds": bool(holds), "measured": str(measured or "")})

    normtutorial.claim = note  # chapters import it from here
    os.chdir(ROOT / "book")
    cells = nbformat.read(f"{name}.ipynb", as_version=4).cells
    space: dict = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in cells:
            if cell.cell_type == "code":
                expected = "raises-exception" in cell.metadata.get("tags", [])
                with contextlib.suppress(Exception if expected else ()):
                    exec(compile(cell.source, f"<{name}>", "exec"), space)
    print(json.dumps(found))


def digest(chapter: str) -> str:
    """Of all code that decides what the chapter measures: its cells', and the module's."""
    cells = json.loads((ROOT / "book" / f"{chapter}.ipynb").read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    code += [path.read_text("utf-8") for path in sorted(ROOT.glob("normtutorial/*.py"))]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()[:16]


def one(job: tuple[str, int, str, int]) -> tuple[tuple, list[dict], str]:
    """The claims of a chapter at a seed, on a source, with so many threads; and an error."""
    chapter, seed, source, threads = job
    key = json.dumps([*job, digest(chapter)])
    if DONE.exists():
        for line in DONE.read_text("utf-8").splitlines():
            if line.startswith(key):
                return job, json.loads(line[len(key) :]), ""
    env = {
        **os.environ,
        "NORMTUTORIAL_SEED": str(seed),
        "NORMTUTORIAL_SOURCE": source,
        "NORMTUTORIAL_PROGRESS": "0",
        "OMP_NUM_THREADS": str(threads),
    }
    command = [sys.executable, __file__, "--chapter", chapter]
    run = subprocess.run(command, capture_output=True, text=True, env=env)
    if run.returncode:
        return job, [], run.stderr.strip().splitlines()[-1]
    claims = run.stdout.splitlines()[-1]
    DONE.parent.mkdir(exist_ok=True)
    with DONE.open("a", encoding="utf-8") as file:
        file.write(f"{key} {claims}\n")
    return job, json.loads(claims), ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="file names without ending; default: all")
    parser.add_argument("--chapter", help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=int, default=10, help="seeds from 0 (10)")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (2)")
    options = parser.parse_args()
    if options.chapter:
        run_chapter(options.chapter)
        return 0
    known = sorted(path.stem for path in ROOT.glob("book/*.ipynb"))
    chapters = options.chapters or known
    if unknown := set(chapters) - set(known):
        parser.error(f"no chapter {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    settings = (options.threads, options.sources, range(options.seeds), chapters)
    jobs = [(c, seed, s, t) for t, s, seed, c in itertools.product(*settings)]
    table: dict[tuple[str, str], list[dict]] = {}
    broken, started = [], time.perf_counter()
    with ThreadPoolExecutor(options.jobs) as pool:
        for job, claims, error in pool.map(one, jobs):
            chapter, seed, source, threads = job
            if error:
                broken.append(f"{chapter} at seed {seed} on {source}, {threads} threads: {error}")
                print("BROKEN ", broken[-1], flush=True)
            for claim in claims:
                run = {"seed": seed, "source": source, "threads": threads, **claim}
                table.setdefault((chapter, run.pop("claim")), []).append(run)
                if not claim["holds"]:
                    where = f"{chapter} at seed {seed} on {source}, {threads} threads"
                    text = f"{claim['claim']} (measured {claim['measured']})"
                    print(f"FAILED  {where}: {text}", flush=True)
    rows = []
    for (chapter, claim), runs in table.items():
        numbers = [float(m[0]) for run in runs if (m := NUMBER.search(run["measured"]))]
        failed = [[r["seed"], r["source"], r["threads"]] for r in runs if not r["holds"]]
        rows.append({
            "chapter": chapter, "claim": claim, "runs": len(runs), "failed": failed,
            "first_number": [min(numbers), max(numbers)] if numbers else None,
        })  # fmt: skip
    failures = sum(len(row["failed"]) for row in rows)
    if not options.chapters:
        record = {"seeds": options.seeds, "sources": list(options.sources),
                  "threads": options.threads, "broken": broken, "claims": rows}  # fmt: skip
        RESULT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{len(rows)} claims, {len(jobs)} runs of a chapter, {failures} failures, "
          f"{len(broken)} chapters broken, {time.perf_counter() - started:.0f} s")  # fmt: skip
    return int(bool(failures or broken))


if __name__ == "__main__":
    sys.exit(main())
