"""What a run takes from its surroundings: the machine, threads and compiler of torch, seeds."""

import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from .checks import whole

__all__ = ["machine", "seed_list", "threads", "uncompiled"]


def seed_list(n: int = 3) -> list[int]:
    """The seeds of a study, all of them shifted by ``$NORMTUTORIAL_SEED``, a thousand for each 1.

    Args:
        n: how many.

    Raises:
        ValueError: if ``n`` or the variable is anything but a whole number from 0.

    Example:
        >>> os.environ["NORMTUTORIAL_SEED"] = "2"
        >>> seed_list(3)
        [2000, 2001, 2002]
        >>> del os.environ["NORMTUTORIAL_SEED"]
        >>> seed_list(3)
        [0, 1, 2]
    """
    whole("seed_list", "n", n, least=0)
    block = os.environ.get("NORMTUTORIAL_SEED") or "0"
    if not block.isdecimal():
        raise ValueError(f"NORMTUTORIAL_SEED expects a whole number from 0; got {block!r}.")
    return [1000 * int(block) + i for i in range(n)]


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Let torch use so many threads for a while. Small networks are fastest with one.

    Args:
        n: of the CPU, at least one.

    Raises:
        ValueError: if it is no such number.

    Example:
        >>> with threads(1):
        ...     torch.get_num_threads()
        1
    """
    whole("threads", "n", n)
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_users = 0  # how many are inside ``uncompiled``
_lock = Lock()
_eager = ExitStack()


@contextmanager
def uncompiled() -> Iterator[None]:
    """Let what :func:`torch.compile` has made run as it was written, so that hooks are called.

    A graph that was compiled before a hook was set does not call it. Contexts may overlap, as those
    of two threads do: the last one that is left lets compiled code run again.

    Example:
        >>> with uncompiled():
        ...     torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(2))
        tensor([1., 1.])
    """
    global _users
    with _lock:
        if _users == 0:
            _eager.enter_context(torch.compiler.set_stance("force_eager"))
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _eager.close()


def machine() -> dict[str, Any]:
    """The machine and the versions that a study ran with, for its file.

    Example:
        >>> machine()["torch"] == torch.__version__
        True
    """
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")  # Linux's platform names only the architecture
    if cpuinfo.exists():
        lines = cpuinfo.read_text("utf-8").splitlines()
        models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        processor = models[0] if models else processor
    return {
        "system": platform.system(),
        "processor": processor,
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
