"""Studies over seeds: what several chapters and the command line both run."""

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from .data import ImageData
from .layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from .models import MLP, init_normal_
from .original import OriginalNet
from .parametrizations import WeightNormLinear
from .training import History, fit

__all__ = [
    "NORMS", "WIDTHS", "build", "compare", "learning_rate_sweep", "machine", "seeds", "threads",
]  # fmt: skip

WIDTHS = (784, 512, 512, 256, 10)
"""The original notebook's network."""


def _instance_norm(features: int) -> nn.Module:
    """Instance norm of a vector: its features taken as the positions of a single channel."""
    return nn.Sequential(nn.Unflatten(1, (1, features)), InstanceNorm(1), nn.Flatten())


NORMS: dict[str, Callable[..., nn.Module]] = {
    "none": MLP,
    "weight": partial(MLP, linear=WeightNormLinear),
    "batch": partial(MLP, norm=BatchNorm),
    "layer": partial(MLP, norm=LayerNorm),
    "instance": partial(MLP, norm=_instance_norm),
    "group": partial(MLP, norm=partial(GroupNorm, 8)),
    "rms": partial(MLP, norm=RMSNorm),
}
"""The normalizations by name, each a maker of networks from their widths. A vector has no
positions, so ``instance`` takes its features for the positions of one channel: layer norm without
scale and shift. ``group`` has 8 groups. (``original`` is :class:`~normtutorial.OriginalNet`.)"""


def seeds(n: int = 3) -> list[int]:
    """``n`` seeds, all of them shifted by ``$NORMTUTORIAL_SEED``.

    Raises:
        ValueError: if the variable is set to anything but a whole number from 0.

    Example:
        >>> os.environ["NORMTUTORIAL_SEED"] = "2"
        >>> seeds(3)
        [2000, 2001, 2002]
        >>> del os.environ["NORMTUTORIAL_SEED"]
        >>> seeds(3)
        [0, 1, 2]
    """
    shift = os.environ.get("NORMTUTORIAL_SEED") or "0"
    if not shift.isdecimal():
        raise ValueError(f"NORMTUTORIAL_SEED expects a whole number from 0; got {shift!r}.")
    return [1000 * int(shift) + i for i in range(n)]


def machine() -> dict[str, Any]:
    """The machine and the versions that a study ran with, for its file.

    Example:
        >>> machine()["torch"] == torch.__version__
        True
    """
    processor = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):  # Linux names only the architecture
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
        processor = names[0] if names else processor
    return {
        "system": platform.system(),
        "processor": processor,
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Let torch use ``n`` threads for a while. Small networks are fastest with one.

    Example:
        >>> with threads(1):
        ...     torch.get_num_threads()
        1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def build(
    norm: str,
    widths: Sequence[int] = WIDTHS,
    *,
    seed: int = 0,
    std: float | str | None = None,
    device: torch.device | str | None = None,
    **options: Any,
) -> nn.Module:
    """A network with the named normalization, its weights drawn from ``seed``.

    The global random state is left as it was.

    Args:
        norm: a key of :data:`NORMS`, or ``"original"``.
        widths: features from input to output.
        seed: of the initial weights.
        std: None keeps torch's initialization; else as for :func:`~normtutorial.init_normal_`.
        device: where the network goes, after it was made on the CPU.
        options: further arguments of :class:`~normtutorial.MLP`, such as ``activation``.

    Raises:
        ValueError: an unknown name, or ``"original"`` with other widths.

    Example:
        >>> build("batch", (784, 32, 10)).norm1
        BatchNorm(32, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
    """
    if norm == "original" and (tuple(widths) != WIDTHS or options):
        raise ValueError(f"The original network has widths {WIDTHS} and no options.")
    if norm != "original" and norm not in NORMS:
        known = ", ".join([*NORMS, "original"])
        raise ValueError(f"Unknown normalization {norm!r}. Known ones: {known}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = OriginalNet() if norm == "original" else NORMS[norm](widths, **options)
        if std is not None:
            init_normal_(model, std)
    return model.to(device)


def compare(
    norms: Sequence[str],
    data: ImageData,
    *,
    seeds: Sequence[int],
    epochs: int = 5,
    **settings: Any,
) -> dict[str, list[History]]:
    """Train the original's network with each normalization, once for each seed.

    The seed draws the weights and the order of the batches, so all normalizations see the same
    batches.

    Args:
        norms: keys of :data:`NORMS`, or ``"original"``.
        data: what to train on.
        seeds: one run each.
        epochs: passes over the training images.
        settings: further arguments of :func:`~normtutorial.fit`.

    Returns:
        For each name, the histories in the order of ``seeds``. An interrupt ends the study with
        what there is; an error that ends it carries what there is as ``error.runs``.
    """
    device = data.train_images.device
    runs: dict[str, list[History]] = {norm: [] for norm in norms}
    for norm in norms:
        for seed in seeds:
            try:
                model = build(norm, seed=seed, device=device)
                runs[norm].append(fit(model, data, epochs=epochs, seed=seed, **settings))
            except Exception as error:
                runs[norm] += [error.history] if hasattr(error, "history") else []
                error.runs = runs  # type: ignore[attr-defined]
                raise
            if runs[norm][-1].interrupted:
                return runs
    return runs


def learning_rate_sweep(
    norms: Sequence[str],
    rates: Sequence[float],
    data: ImageData,
    *,
    seeds: Sequence[int],
    widths: Sequence[int] = (784, 128, 128, 128, 128, 10),
    std: float | str | None = "he",
    steps: int = 200,
    momentum: float = 0.0,
    **settings: Any,
) -> dict[str, list[list[History]]]:
    """Train with SGD at one learning rate after another, until it breaks and beyond.

    Args:
        norms: keys of :data:`NORMS`.
        rates: the learning rates.
        data: what to train on.
        seeds: one run each, for every normalization and rate.
        widths, std: as for :func:`build`.
        steps: batches per run.
        momentum: of SGD.
        settings: further arguments of :func:`~normtutorial.fit`.

    Returns:
        For each name a list over ``rates`` of lists over ``seeds``.
    """

    def run(norm: str, rate: float, seed: int) -> History:
        model = build(norm, widths, seed=seed, std=std, device=data.train_images.device)
        sgd = torch.optim.SGD(model.parameters(), rate, momentum=momentum)
        return fit(model, data, steps=steps, optimizer=sgd, seed=seed, **settings)

    return {norm: [[run(norm, r, s) for s in seeds] for r in rates] for norm in norms}
