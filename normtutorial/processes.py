"""Several processes that work on one batch: started, in touch, and each with its share."""

import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.parallel import DistributedDataParallel

from .checks import positive, whole

__all__ = ["SplitBatches", "all_sum", "run_processes"]


def all_sum(x: Tensor, process_group: Any = None, who: str = "all_sum") -> Tensor:
    """The sum of what all processes have of ``x``, by one message.

    It is symmetric, so that its derivative, and each further one, is the same sum.

    Args:
        x: of one shape and dtype in all of them.
        process_group: which processes; None is all.
        who: complains.

    Raises:
        RuntimeError: the others did not answer.

    Example:
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> all_sum(torch.tensor([1.0, 2.0]))  # of one process
        tensor([1., 2.])
        >>> dist.destroy_process_group()
    """
    return _AllSum.apply(x, process_group, who)


class _AllSum(Function):
    @staticmethod
    def forward(x: Tensor, process_group: Any, who: str) -> Tensor:
        x = x.clone()
        try:
            dist.all_reduce(x, group=process_group)
        except RuntimeError as error:
            raise RuntimeError(
                f"{who} in process {dist.get_rank()} got no answer from the others. One of them "
                f"may have ended, hang, be in eval mode or not go back to the input; what it said "
                f"last may tell. ({str(error).splitlines()[0]})"
            ) from error
        return x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        _, ctx.process_group, ctx.who = inputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        return all_sum(grad, ctx.process_group, ctx.who), None, None


class SplitBatches(nn.Module):
    """``model``, so wrapped that each process computes its share of a batch.

    All processes give it the same batch and get the outputs for all of it, so that losses and
    whatever else is made of these are the same everywhere, and those of a single process. Backward
    adds up the gradients of the parameters. What in the model looks at the batch must look at the
    shares of all, as :class:`~normtutorial.SyncBatchNorm` does.

    Args:
        model: images to outputs, a row for each. Its parameters are made those of process 0.

    Shape:
        - Input :math:`(N, *)`, output :math:`(N, *)`, the same in all processes.

    Example:
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> model, x = nn.Linear(3, 2), torch.randn(5, 3)
        >>> torch.equal(SplitBatches(model)(x), model(x))  # a share that is the whole
        True
        >>> dist.destroy_process_group()
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.share = DistributedDataParallel(model)
        self.share.register_comm_hook(None, _added_up)

    def forward(self, x: Tensor) -> Tensor:
        rank, world = dist.get_rank(), dist.get_world_size()
        shares = x.tensor_split(world)  # of sizes that differ by one at most
        y = self.share(shares[rank])
        before = sum(map(len, shares[:rank]))
        after = len(x) - before - len(y)
        return _Joined.apply(y, before, after)


class _Joined(Function):
    """The rows of all processes: forward adds up what each has, with zeros around it. The loss is
    the same in all processes, and so is its gradient: backward takes one's own rows of it."""

    @staticmethod
    def forward(y: Tensor, before: int, after: int) -> Tensor:
        rest = y.shape[1:]
        rows = torch.cat([y.new_zeros(before, *rest), y, y.new_zeros(after, *rest)])
        dist.all_reduce(rows)
        return rows

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        y, ctx.before, _ = inputs
        ctx.rows = len(y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        return grad.narrow(0, ctx.before, ctx.rows), None, None


def _added_up(_: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """Gradients of the shares of one loss add up, where those of several losses are averaged."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda future: future.value()[0])


def run_processes(
    function: Callable[..., Any], ranks: int, *args: Any, timeout: float = 60.0
) -> list[Any]:
    """Run ``function(*args)`` in several new processes that can send each other messages.

    Each has a process group of all, by gloo on this machine's own network, in which
    ``torch.distributed.get_rank()`` says which one it is. They share the cores. What they print is
    shown only in an error.

    Args:
        function: one that can be imported: a function of a module, not of a notebook's cell.
        ranks: how many processes.
        args: of the function, the same in all of them; they are pickled.
        timeout: after so many seconds all are ended.

    Returns:
        What the function returned in each process. Of two that call ``torch.distributed.get_rank``
        it is ``[0, 1]``.

    Raises:
        ValueError: a function that the processes could not import, or a number out of bounds.
        RuntimeError: one of them raised an error, ended before it had returned, or ended with an
            exit code other than 0; or there is no network of this machine's own. It is named, with
            what it said, and the others are ended.
        TimeoutError: not all of them had returned in time.

    Example:
        >>> run_processes(lambda: torch.distributed.get_rank(), 2)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: run_processes expects a function that other processes can import; ...
    """
    ranks = whole("run_processes", "ranks", ranks)
    timeout = positive("run_processes", "timeout", timeout)
    call = _importable(function), args
    with tempfile.TemporaryDirectory(prefix="normtutorial-") as name:
        folder = Path(name)
        (folder / "call").write_bytes(pickle.dumps((*call, timeout)))
        processes: list[subprocess.Popen] = []
        try:
            for rank in range(ranks):
                processes.append(_start(folder, rank, ranks))
            _wait(processes, folder, timeout)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        return [_read(folder / f"result-{rank}") for rank in range(ranks)]


def _importable(function: Any) -> tuple[str, str]:
    """Module and name of a function, under which another process finds it."""
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", "<nameless>")
    if module in (None, "__main__") or "<" in name:
        raise ValueError(
            f"run_processes expects a function that other processes can import; got {name} of "
            f"{module}. Write it into a file, and import it from there."
        )
    return module, name


def _start(folder: Path, rank: int, ranks: int) -> subprocess.Popen:
    own = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if loopback:  # Windows has none that gloo knows by name
        own["GLOO_SOCKET_IFNAME"] = loopback[0]
    code = f"from {__name__} import _child; _child()"
    with open(folder / f"said-{rank}", "wb") as said:
        return subprocess.Popen(  # noqa: S603  this Python, and code of our own
            [sys.executable, "-c", code, str(folder), str(rank), str(ranks)],
            env={**os.environ, **own},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )


def _child() -> None:
    """What each process does: its arguments are the folder, its rank, and how many there are."""
    folder, rank, ranks = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    (module, name), args, timeout = _read(folder / "call")
    try:
        _connect(folder, rank, ranks, timeout)
        function: Any = __import__(module, fromlist=["_"])
        for part in name.split("."):
            function = getattr(function, part)
        result = function(*args)
        _write(folder / f"result-{rank}", result)
    except BaseException as error:
        _write(folder / f"error-{rank}", (f"{type(error).__name__}: {error}", time.time()))
        traceback.print_exc()
        os._exit(1)  # at once, for the others wait
    dist.destroy_process_group()


def _connect(folder: Path, rank: int, ranks: int, timeout: float) -> None:
    """Make the process group of all."""
    store = dist.FileStore(str(folder / "store"), ranks)
    limit = timedelta(seconds=timeout)
    try:
        dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks, timeout=limit)
    except RuntimeError as error:
        raise RuntimeError(
            f"run_processes expects this machine's own network (the loopback), over which its "
            f"processes send each other messages; it could not be used here. A sandbox or a "
            f"container may have none, or forbid it. ({str(error).splitlines()[0]})"
        ) from error


def _write(path: Path, value: Any) -> None:
    unready = path.with_suffix(".part")
    unready.write_bytes(pickle.dumps(value))
    unready.replace(path)


def _read(path: Path) -> Any:
    return pickle.loads(path.read_bytes())  # noqa: S301  written by ourselves, a moment ago


def _wait(processes: list[subprocess.Popen], folder: Path, timeout: float) -> None:
    """Until all have ended well; or until one has not, which is said."""
    end, running = time.monotonic() + timeout, True
    while running:
        codes = [process.poll() for process in processes]
        failed = [
            rank for rank, code in enumerate(codes)
            if code or (code == 0 and not (folder / f"result-{rank}").exists())
        ]  # fmt: skip
        if failed:
            raise RuntimeError(_fault(processes, folder, failed))
        running = None in codes
        if running and time.monotonic() > end:
            late = [str(rank) for rank, code in enumerate(codes) if code is None]
            raise TimeoutError(
                f"run_processes waited {timeout:g} s for process {', '.join(late)} of "
                f"{len(processes)}. It hangs, or needs a longer timeout."
            )
        time.sleep(0.01)


def _fault(processes: list[subprocess.Popen], folder: Path, failed: list[int]) -> str:
    """What happened to the first that failed: one that had no time for a word, or the earliest."""
    faults = {}
    for rank in failed:
        path = folder / f"error-{rank}"
        word, moment = _read(path) if path.exists() else ("", 0.0)
        faults[rank] = moment, word or f"it ended with exit code {processes[rank].returncode}"
    rank = min(faults, key=lambda rank: faults[rank])
    said = (folder / f"said-{rank}").read_text("utf-8", errors="replace").strip()
    return (
        f"Process {rank} of the {len(processes)} that run_processes started failed: "
        f"{faults[rank][1]}\n\n{said}"
    ).rstrip()
