"""On a GPU: how near each way to normalize comes to what the memory of the card can move.

A normalization is limited by memory, not by arithmetic: forward has to read the input and to write
the output, backward to read the input and the gradient of the output and to write that of the
input. Batch norm has to read what it reads twice, since a channel does not fit into a
multiprocessor. These bytes over the time, over what a copy moves in the same run, is the share that
is printed; 1 is the limit.

Ways: torch's own kernel, ours in Triton, ours as it runs by default, ours compiled. Each time is
the median of those that the card's own events report. The result goes to benchmarks/results/ after
each row, so that a run that is cut short leaves what it has measured.
"""

import argparse
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from normtutorial import functional as NF
from normtutorial import kernels
from normtutorial.runtime import machine
from timing import RESULTS

ELEMENTS = 1 << 26
WIDTHS = [4096, 1024, 16384, 256, 8192, 2048, 512]  # what matters most comes first
WAYS = [("torch", "triton", "eager"), ("compiled",)]  # to compile takes longest
TENSORS = {"layer": (2, 5), "rms": (2, 5), "batch": (3, 8)}  # moved forward, and with backward


def functions(norm: str, width: int) -> tuple[Callable, Callable]:
    """Torch's and ours, of the input and its parameters."""
    name = f"{norm}_norm"
    ours, theirs = partial(getattr(NF, name), normalize=kernels.normalize), getattr(F, name)
    if norm == "batch":

        def made(f: Callable) -> Callable:
            return lambda x, *parameters: f(x, None, None, *parameters, training=True)
    else:

        def made(f: Callable) -> Callable:
            return lambda x, *parameters: f(x, (width,), *parameters, eps=1e-5)

    return made(theirs), made(ours)


def milliseconds(run: Callable[[], Any], budget: int) -> float:
    """The median over runs that take about ``budget`` milliseconds together. The card's cache is
    emptied before each."""
    from triton.testing import do_bench

    return float(do_bench(run, warmup=budget // 4 + 1, rep=budget, return_mode="median"))


def bandwidth(elements: int, budget: int) -> float:
    """Bytes a second that a copy moves, those read and those written."""
    source = torch.randn(elements, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / milliseconds(lambda: target.copy_(source), budget) * 1e3


def cases(elements: int, widths: list[int]) -> Iterator[dict[str, Any]]:
    """What is to be normalized, in the order of importance."""
    for width in widths:
        for norm in TENSORS:
            for dtype in "bfloat16", "float32":
                yield {"norm": norm, "dtype": dtype, "rows": elements // width, "width": width}


def measure(case: dict[str, Any], ways: tuple[str, ...], limit: float, budget: int) -> list[dict]:
    """Forward, and forward with backward, in each of the ways."""
    theirs, ours = functions(case["norm"], case["width"])
    options: dict[str, Any] = {"device": "cuda", "dtype": getattr(torch, case["dtype"])}
    x = torch.randn(case["rows"], case["width"], **options).requires_grad_()
    upstream = torch.randn(case["rows"], case["width"], **options)
    parameters = torch.randn(1 if case["norm"] == "rms" else 2, case["width"], **options)
    inputs = [x, *(p.clone().requires_grad_() for p in parameters)]
    found = []
    for way in ways:
        torch.compiler.reset()
        function = {"torch": theirs, "compiled": torch.compile(ours)}.get(way, ours)

        def forward(function: Callable = function) -> None:
            with torch.no_grad():
                function(*inputs)

        def both(function: Callable = function) -> None:
            torch.autograd.grad(function(*inputs), inputs, upstream)

        for step, run in enumerate((forward, both)):
            row = {**case, "way": way, "step": ("forward", "forward and backward")[step]}
            try:
                with kernels.use("triton" if way == "triton" else "eager"):
                    row["milliseconds"] = milliseconds(run, budget)
            except Exception as error:  # that it fails is a result, too
                row["error"] = f"{type(error).__name__}: {error}"[:1000]
            else:
                moved = TENSORS[case["norm"]][step] * x.nbytes
                row["share"] = moved / row["milliseconds"] * 1e3 / limit
            found.append(row)
    return found


def line(rows: list[dict]) -> str:
    """The shares of one case in a row of the table: forward in each way, then with backward."""
    first = rows[0]
    half = len(rows) // 2
    cells = [f"{row['share']:9.2f}" if "share" in row else f"{'fails':>9}" for row in rows]
    shares = "".join(cells[::2]), "".join(cells[1::2])
    name = f"{first['norm']:6}{first['dtype']:9}{first['rows']:7} x {first['width']:<6}"
    return f"{name} {shares[0]:{9 * half}}   {shares[1]}"


def heads(ways: tuple[str, ...]) -> str:
    names = "".join(f"{way:>9}" for way in ways)
    return f"{'':31} {names}   {names}"


def about() -> dict[str, Any]:
    """The machine, with the versions that matter on a GPU."""
    import triton

    driver = None
    if shutil.which("nvidia-smi"):
        ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(ask, capture_output=True, text=True).stdout.split()[0]
    versions = {"cuda": torch.version.cuda, "driver": driver, "triton": triton.__version__}
    return {**machine(), **versions}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, help="the file to write, results/gpu.json by default")
    options.add_argument("--seconds", type=float, default=170, help="begin no row after these")
    options.add_argument("--quick", action="store_true", help="small, to see that it runs")
    args = options.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks/gpu.py needs a GPU, and torch finds none.")
    if not args.quick and not args.out:
        args.out = RESULTS / "gpu.json"
    began = time.monotonic()
    elements, widths, budget = (1 << 18, [256], 4) if args.quick else (ELEMENTS, WIDTHS, 30)
    limit = bandwidth(elements, 10 * budget)
    record: dict[str, Any] = {"machine": about(), "copy_bytes_per_second": limit, "measured": []}
    print(f"{record['machine']['device']}: a copy moves {limit / 1e12:.3f} TB/s.")
    print("Share of it, forward, and forward with backward:", flush=True)
    for ways in WAYS:
        print(heads(ways), flush=True)
        for case in cases(elements, widths):
            if time.monotonic() - began > args.seconds:
                print(f"stopped after {args.seconds:.0f} s")
                return
            rows = measure(case, ways, limit, budget)
            record["measured"] += rows
            print(line(rows), flush=True)
            if args.out:
                args.out.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
