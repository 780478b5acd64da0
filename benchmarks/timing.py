"""What both parts of `make bench` share: how a time is taken, a ratio made, a record written."""

import json
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from normtutorial.runtime import machine

RESULTS = Path(__file__).parent / "results"
Run = Callable[[], None]


def elapsed(run: Run, repeats: int = 1) -> float:
    """Seconds that ``run`` takes, on average: by the clock, on a GPU by the device's own events."""
    if not torch.cuda.is_available():
        started = time.perf_counter()
        for _ in range(repeats):
            run()
        return (time.perf_counter() - started) / repeats
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    for _ in range(repeats):
        run()
    after.record()
    after.synchronize()
    return before.elapsed_time(after) / 1e3 / repeats


def alternate(runs: dict[str, Run], rounds: int, least: float = 0.0) -> dict[str, list[float]]:
    """Seconds of one run of each in each round; a round repeats it for about ``least`` seconds.

    What runs for the first time does not count. Every other round goes backward, so that none
    always follows the same one.
    """
    repeats = {}
    for name, run in runs.items():
        run()
        repeats[name] = max(1, round(least / elapsed(run))) if least else 1
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds):
        for name in list(runs)[:: -1 if turn % 2 else 1]:
            seconds[name].append(elapsed(runs[name], repeats[name]))
    return seconds


def graphed(run: Run) -> Run:
    """The same work recorded once as a CUDA graph, and replayed without Python."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # what is made in the first runs is not to be recorded
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def summary(name: str, values: list[float], target: float | None = None) -> dict:
    """A row of the table. A target is an upper bound."""
    row = {"name": name, "median": statistics.median(values), "min": min(values)}
    met = None if target is None else row["median"] <= target
    return {**row, "max": max(values), "target": target, "met": met}


def ratio(name: str, above: list[float], below: list[float], target: float | None = None) -> dict:
    """The ratio of two ways to do the same, round by round."""
    return summary(name, [a / b for a, b in zip(above, below, strict=True)], target)


def table(rows: list[dict]) -> None:
    width = max(len(row["name"]) for row in rows)
    print(f"{'':{width}}{'median':>8}{'min':>8}{'max':>8}{'target':>8}")
    for row in rows:
        figures = "".join(f"{row[key]:8.3f}" for key in ("median", "min", "max"))
        target = "" if row["target"] is None else f"{row['target']:8.3f}"
        verdict = {None: "", True: "  met", False: "  MISSED"}[row["met"]]
        print(f"{row['name']:{width}}{figures}{target}{verdict}")


def write(part: str, record: dict) -> None:
    """Into results/, named after the part and the device it ran on."""
    record = {"machine": machine(), **record}
    gpu = record["machine"]["device"] != "cpu"
    device = record["machine"]["device" if gpu else "processor"]
    name = "-".join(re.findall(r"[a-z0-9]+", device.lower()))
    at = "" if gpu else f"-{record['machine']['threads']}-threads"
    where = RESULTS / f"{'gpu-' if gpu else ''}{part}-{name}{at}.json"
    RESULTS.mkdir(exist_ok=True)
    where.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\nwritten to benchmarks/results/{where.name}")
