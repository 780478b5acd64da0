"""Runs of a chapter at a block of seeds, each in a process of its own, and what they claim.

A claim that fails does not end its chapter here.
"""

import contextlib
import io
import linecache
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import chapters
import identity

SOURCES = ("mnist", "synthetic")
NOT_A_NUMBER = -2.0  # as far on the wrong side as a margin can be
PROCESSES = multiprocessing.get_context("forkserver")  # torch is loaded once
PROCESSES.set_forkserver_preload(["matplotlib.pyplot", "nbformat", "normtutorial"])


class Job(NamedTuple):
    """A run of a chapter."""

    chapter: str
    block: int
    source: str


class Made(NamedTuple):
    """What a run made of a claim."""

    identity: str
    kind: str
    holds: bool
    measured: str
    margin: float | None
    asked: bool  # False where a record does not have the seeds of the block


class Run(NamedTuple):
    """The claims of a run by their sentences, and what ended it before its end, if anything did."""

    claims: dict[str, Made]
    error: str | None


def run_chapter(name: str, block: int) -> Run:
    """Execute the cells of a chapter in this process.

    Raises:
        OSError, MemoryError, DataError: where not the chapter is at fault but what it runs on.
    """
    import matplotlib
    import nbformat

    import normtutorial
    from normtutorial.claims import Claim, ClaimFailed, Comparison
    from normtutorial.data.files import DataError

    matplotlib.use("Agg")
    notebook = nbformat.read(chapters.find(name), as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    codes = [cell.source for cell in cells]
    found: dict[str, Made] = {}
    true_claim = normtutorial.claim

    def note(statement: str, holds: Any, **behind: Any) -> None:
        made = Claim.of(statement, **behind)
        try:
            true_claim(statement, holds, **behind)
        except ClaimFailed:
            held = False
        else:
            held = True
        of_block = made.seeds is None or {seed // 1000 for seed in made.seeds} == {block}
        if made.kind == "measured" and not of_block:
            raise ValueError(f"the seeds {made.seeds} of {statement!r} are none of block {block}.")
        margin = holds.margin if isinstance(holds, Comparison) else None
        margin = NOT_A_NUMBER if margin == -float("inf") else margin
        asked = of_block and (made.kind != "recorded" or made.seeds is not None)
        if statement in found:
            raise ValueError(f"it makes the claim {statement!r} twice.")
        of = identity.identity(codes, number, statement)
        found[statement] = Made(of, made.kind, held, made.measured or "", margin, asked)

    normtutorial.claim = note  # chapters import it from here
    os.chdir(chapters.find(name).parent)
    space: dict = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()):
        for number, cell in enumerate(cells):
            file = f"<{name}, cell {number}>"
            lines = cell.source.splitlines(keepends=True)
            linecache.cache[file] = (len(cell.source), None, lines, file)  # as IPython does
            try:
                exec(compile(cell.source, file, "exec"), space)  # noqa: S102
            except Exception as error:
                if "raises-exception" not in cell.metadata.get("tags", []):
                    if isinstance(error, OSError | MemoryError | DataError):
                        raise
                    return Run(found, f"{type(error).__name__}: {error}".splitlines()[0])
    return Run(found, None)


def send(sender: Any, job: Job) -> None:
    """Run a chapter, and send what it claims."""
    import torch

    torch.set_num_threads(1)
    os.environ["NORMTUTORIAL_SEED"] = str(job.block)
    os.environ["NORMTUTORIAL_SOURCE"] = job.source
    os.environ["TQDM_DISABLE"] = "1"
    sender.send(run_chapter(job.chapter, job.block))


def one(job: Job) -> Run:
    """A run, in a process of its own.

    Raises:
        SystemExit: if the process dies, which says nothing about the claims.
    """
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=send, args=(sender, job))
    process.start()
    sender.close()  # the other end is the process's now: when it dies, recv ends
    try:
        return receiver.recv()
    except EOFError:
        raise SystemExit(
            f"sweep: the process of {job.chapter} at block {job.block} on {job.source} died. This "
            "block is not recorded; the same command goes on with it."
        ) from None
    finally:
        process.join()


def of_blocks(chapter: str, blocks: list[int], jobs: int) -> Iterator[tuple[int, dict[str, Run]]]:
    """Each block with its runs by source, in their order.

    Raises:
        SystemExit: if the chapter or the module changes meanwhile, since it is loaded only once.
    """
    before = identity.code(chapter), identity.read(chapter)[0]
    wanted = [Job(chapter, block, source) for block in blocks for source in SOURCES]
    with ThreadPoolExecutor(jobs) as pool:
        found = pool.map(one, wanted)
        for block in blocks:
            made = {source: next(found) for source in SOURCES}
            if before != (identity.code(chapter), identity.read(chapter)[0]):
                pool.shutdown(cancel_futures=True)
                raise SystemExit(
                    f"sweep: {chapter}, or what it uses of the module, has changed meanwhile. "
                    "Begin again; what is recorded stays."
                )
            for source, run in made.items():
                how = run.error or f"{sum(c.holds for c in run.claims.values())} claims held"
                print(f"{chapter}, block {block}, {source}: {how}", flush=True)
            yield block, made
