"""Networks with each normalization, trained over seeds and learning rates, run by run."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import nn

from ..checks import is_finite, positive, whole
from ..data import ImageData
from ..models import MLP, OriginalNet, ResidualMLP, init_normal_
from ..norms import NORMS
from ..training import History, fit

__all__ = ["NAMES", "WIDTHS", "Run", "build", "compare", "learning_rate_sweep"]

WIDTHS = (784, 512, 512, 256, 10)
"""The original notebook's network."""

NAMES = (*NORMS, "original")
"""What :func:`~normtutorial.studies.build` knows: a network with one of the
:data:`~normtutorial.norms.NORMS`, and the original notebook's, which mixes three."""


class Run(NamedTuple):
    """One training of a study.

    Attributes:
        norm: the name of its normalization.
        lr: its learning rate.
        seed: of its weights and batches.
        history: what was recorded.
    """

    norm: str
    lr: float
    seed: int
    history: History


def build(
    norm: str,
    widths: Sequence[int] = WIDTHS,
    *,
    make: Callable[..., nn.Module] | None = None,
    seed: int = 0,
    std: float | str | None = None,
    skips: bool = False,
    device: torch.device | str | None = None,
    **options: Any,
) -> nn.Module:
    """A network with the named normalization, its weights drawn from ``seed``.

    The global random state is left as it was.

    Args:
        norm: one of :data:`~normtutorial.studies.runs.NAMES`.
        widths: features from input to output.
        make: makes a network of another kind from ``norm=``, such as
            :class:`~normtutorial.ConvNet`. None is an :class:`~normtutorial.MLP`, or the original.
        seed: of the initial weights.
        std: None keeps torch's initialization; else as for :func:`~normtutorial.init_normal_`.
        skips: make it a :class:`~normtutorial.ResidualMLP`, which has the same weights.
        device: where the network goes, after it was made on the CPU.
        options: further arguments of :class:`~normtutorial.MLP`, such as ``activation``, or of
            ``make``.

    Raises:
        ValueError: a name that is unknown, or that ``make`` does not know; a number out of bounds;
            ``"original"`` with other widths; widths or skips beside ``make``.

    Example:
        >>> build("batch", (784, 32, 10)).norm1
        BatchNorm(32, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
    """
    _expect_known([norm])
    seed = whole("build", "seed", seed, least=0)
    original = norm == "original" and make is None
    if original and (tuple(widths) != WIDTHS or skips or options):
        raise ValueError(f"The original network has widths {WIDTHS} and no options.")
    if make is None:
        make = partial(ResidualMLP if skips else MLP, widths)
    elif tuple(widths) != WIDTHS or skips:
        raise ValueError(
            "build expects widths and skips for an MLP; what is made by make has none."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = OriginalNet() if original else make(norm=norm, **options)
        if std is not None:
            init_normal_(model, std)
    return model.to(device)


def compare(
    norms: Sequence[str],
    data: ImageData,
    *,
    seeds: Sequence[int],
    epochs: int | None = 5,
    lr: float = 1e-3,
    make: Callable[..., nn.Module] | None = None,
    compile: bool = False,
    progress: bool = True,
    **settings: Any,
) -> Iterator[Run]:
    """Train a network with each normalization, once for each seed.

    The seed draws the weights and the order of the batches, so all normalizations see the same
    batches.

    Args:
        norms: of :data:`~normtutorial.studies.runs.NAMES`.
        data: what to train on.
        seeds: one run each.
        epochs: passes over the training images, unless ``steps`` are among the settings.
        lr: the learning rate of Adam.
        make: as for :func:`build`; None is a network with the original's widths.
        compile: with ``torch.compile``.
        progress: show a bar that says which run it is of, where :func:`~normtutorial.fit` does.
        settings: further arguments of :func:`~normtutorial.fit`.

    Yields:
        Each :class:`Run` when it ends, all seeds of a normalization before the next one. An
        interrupted run is the last. So is one that an error ends after its first step: the error
        is raised when the next run is asked for.

    Raises:
        ValueError: a name that is unknown or of which ``make`` makes nothing that takes these
            images, or a number out of bounds; before the first run.

    Example:
        >>> images, labels = torch.rand(40, 1, 28, 28), torch.arange(40) % 10
        >>> data = ImageData(images, labels, images, labels, "noise")
        >>> for run in compare(["none", "batch"], data, seeds=[0, 1], steps=1, progress=False):
        ...     print(run.norm, run.seed, len(run.history.train_loss))
        none 0 1
        none 1 1
        batch 0 1
        batch 1 1
    """
    _expect_known(norms)
    seeds = [whole("compare", "each seed", seed, least=0) for seed in seeds]
    positive("compare", "lr", lr)
    for norm in norms if make else ():
        build(norm, make=make, device=data.device)(data.test_images[:2])
    epochs = None if settings.get("steps") else epochs

    def train(run: Run, label: str) -> None:
        model = build(run.norm, make=make, seed=run.seed, device=data.device)
        own: dict[str, Any] = {
            "seed": run.seed,
            "history": run.history,
            "progress": progress and label,
        }
        if compile:
            torch.compiler.reset()  # it compiles eight times at most, then runs as ever
            model.compile()
        fit(model, data, epochs=epochs, lr=lr, **own, **settings)

    return _runs(product(norms, [lr], seeds), train)


def learning_rate_sweep(
    norms: Sequence[str],
    rates: Sequence[float],
    data: ImageData,
    *,
    seeds: Sequence[int],
    widths: Sequence[int] = (784, 128, 128, 128, 128, 10),
    std: float | str | None = "kaiming",
    steps: int = 200,
    momentum: float = 0.0,
    progress: bool = True,
    **settings: Any,
) -> Iterator[Run]:
    """Train with SGD at one learning rate after another, until it breaks and beyond.

    Args:
        norms: of :data:`~normtutorial.studies.runs.NAMES`.
        rates: the learning rates.
        data: what to train on.
        seeds: one run each, for every normalization and rate.
        widths: features from input to output. Default: the plain network of the book.
        std: of the initial weights, as for :func:`~normtutorial.init_normal_`.
        steps: batches per run.
        momentum: of SGD.
        progress: as for :func:`compare`.
        settings: further arguments of :func:`~normtutorial.fit`.

    Yields:
        Each :class:`Run` when it ends, as :func:`compare` does.

    Raises:
        ValueError: an unknown name or a number out of bounds, before the first run.

    Example:
        >>> images, labels = torch.rand(40, 1, 28, 28), torch.arange(40) % 10
        >>> data = ImageData(images, labels, images, labels, "noise")
        >>> how = {"seeds": [0], "steps": 2, "progress": False}
        >>> for run in learning_rate_sweep(["none"], [0.1, 1e30], data, **how):
        ...     print(run.lr, run.history.diverged)
        0.1 False
        1e+30 True
    """
    _expect_known(norms)
    seeds = [whole("learning_rate_sweep", "each seed", seed, least=0) for seed in seeds]
    for rate in rates:
        positive("learning_rate_sweep", "each rate", rate)
    if not (is_finite(momentum) and 0 <= momentum < 1):
        raise ValueError(
            f"learning_rate_sweep expects a momentum from 0 to below 1; got {momentum!r}."
        )

    def train(run: Run, label: str) -> None:
        model = build(run.norm, widths, seed=run.seed, std=std, device=data.device)
        sgd = torch.optim.SGD(model.parameters(), run.lr, momentum=momentum)
        label = f"rate {run.lr:g}, {label}"
        own: dict[str, Any] = {
            "seed": run.seed,
            "history": run.history,
            "progress": progress and label,
        }
        fit(model, data, steps=steps, optimizer=sgd, **own, **settings)

    return _runs(product(norms, rates, seeds), train)


def _expect_known(norms: Iterable[str]) -> None:
    for norm in norms:
        if norm not in NAMES:
            raise ValueError(f"Unknown normalization {norm!r}. Known ones: {', '.join(NAMES)}.")


def _runs(
    settings: Iterable[tuple[str, float, int]], train: Callable[[Run, str], object]
) -> Iterator[Run]:
    """Each run when it has ended, in whatever way; then the error that ended it, if one did."""
    settings = list(settings)
    for number, (norm, lr, seed) in enumerate(settings, start=1):
        run = Run(norm, lr, seed, History())
        try:
            train(run, f"{norm}, seed {seed}, run {number} of {len(settings)}")
        except Exception:
            if run.history.train_loss:  # else there is nothing to have
                yield run
            raise
        yield run
        if run.history.interrupted:
            return
