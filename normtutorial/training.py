"""The training loop, for any module and any data that fit on the device."""

import inspect
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from itertools import count, islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .checks import classes, pairs, positive, whole, whole_data
from .data import ImageData

__all__ = ["History", "accuracy", "evaluate", "fit"]

Compare = Callable[[Tensor, Tensor], Tensor]  # outputs and targets


@dataclass
class History:
    """What a run leaves behind: plain numbers and lists, ready for JSON.

    Attributes:
        train_loss: loss of the batch in each step; cross entropy is in nats.
        eval_steps: after how many steps the test set was evaluated.
        test_loss: mean loss on the test set, at those steps.
        test_metric: mean metric on the test set, at those steps; NaN without a metric.
        metric: its name; ``"accuracy"`` is the fraction that is classified correctly.
        epoch_seconds: wall time of each epoch (whole or begun), training only.
        diverged: the loss of the last step was no longer finite.
        interrupted: the run was stopped before its end, from the keyboard or by an error.

    Example:
        >>> History(test_metric=[0.91, 0.97]).final_accuracy
        0.97
    """

    train_loss: list[float] = field(default_factory=list)
    eval_steps: list[int] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    test_metric: list[float] = field(default_factory=list)
    metric: str | None = "accuracy"
    epoch_seconds: list[float] = field(default_factory=list)
    diverged: bool = False
    interrupted: bool = False

    @property
    def test_accuracy(self) -> list[float]:
        """The test metric, where that is accuracy.

        Raises:
            ValueError: if another metric was recorded.
        """
        if self.metric != "accuracy":
            raise ValueError(
                f"The metric of this run is {self.metric}, not accuracy; see test_metric."
            )
        return self.test_metric

    @property
    def final_accuracy(self) -> float:
        """The last test accuracy.

        Raises:
            ValueError: if the test set was never evaluated, or another metric was recorded.
        """
        if not self.test_accuracy:
            raise ValueError("This run was stopped before the test set was evaluated.")
        return self.test_accuracy[-1]

    def to_dict(self) -> dict[str, Any]:
        """All fields, as a new dictionary."""
        return asdict(self)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Which predictions are right; their mean is the accuracy.

    Args:
        logits: shape :math:`(N, K, *)`, a score for each of K classes, as for cross entropy.
        labels: shape :math:`(N, *)`, int64.

    Returns:
        Of the labels' shape, bool.

    Raises:
        ValueError: labels that are no classes, whole numbers from 0 to K - 1.

    Example:
        >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([1, 1]))
        tensor([False,  True])
    """
    classes("accuracy", "", logits, labels, entropy=False)
    return logits.argmax(1) == labels


@torch.no_grad()
def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    loss: Compare = F.cross_entropy,
    metric: Compare | None = accuracy,
    batch_size: int = 1000,
) -> tuple[float, float]:
    """Mean loss and mean metric in eval mode: by default cross entropy (nats) and accuracy.

    Each module is left in the mode it was found in.

    Args:
        model: images to outputs, such as logits.
        images: shape :math:`(N, *)`, on the model's device; any other inputs will do.
        labels: shape :math:`(N, *)`, what the loss and the metric compare the outputs with.
        loss: of outputs and labels, the mean over a batch.
        metric: of outputs and labels, a value for each of them or the mean over a batch.
            None for none.
        batch_size: images per forward pass; in eval mode it does not change the result.

    Returns:
        The two means over all images; the second is NaN without a metric.

    Raises:
        ValueError: if there are no images, or not a label for each; where accuracy or cross entropy
            is asked for, labels that are no classes of the model.

    Example:
        >>> loss, accuracy = evaluate(nn.Identity(), torch.eye(4) * 100, torch.arange(4))
        >>> accuracy
        1.0
    """
    pairs("evaluate", "", images, labels)
    if len(images) == 0:
        raise ValueError("evaluate expects at least one image; got none.")
    batch_size = whole("evaluate", "batch_size", batch_size)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        total_images, total_loss, total_metric = 0, 0.0, 0.0 if metric else math.nan
        for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            outputs = model(x)
            if not total_images:
                _expect_classes("evaluate", outputs, labels, loss, metric)
            total_images += len(y)
            total_loss += len(y) * loss(outputs, y).item()
            if metric is not None:
                values = metric(outputs, y).double()
                total_metric += values.sum().item() * (len(y) / values.numel())
    finally:
        for module, mode in modes.items():
            module.training = mode
    return total_loss / total_images, total_metric / total_images


def fit(
    model: nn.Module,
    data: ImageData,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 128,
    optimizer: torch.optim.Optimizer | None = None,
    lr: float = 1e-3,
    loss: Compare = F.cross_entropy,
    metric: Compare | None = accuracy,
    seed: int = 0,
    probes: Sequence[AbstractContextManager] = (),
    evaluate_every: int | None = None,
    on_evaluation: Callable[[History], None] | None = None,
    history: History | None = None,
    progress: bool | str = True,
) -> History:
    """Train ``model``, by default to classify, by cross entropy.

    The data are tensors on the device, and a batch is an index into them. The test set is only
    reported on; it chooses nothing. On one machine and number of threads, the same seed gives the
    same bits.

    What was frozen before stays as it was. A module that was put into eval mode runs in eval mode,
    and so does one whose parameters require no gradient, all of them, so that its running
    statistics stay, too. Only where all of the model is in eval mode, as a network is that was
    loaded or evaluated, is it put into training mode.

    Args:
        model: images to outputs, on the data's device; also a compiled one. It is called, so its
            hooks run. It is left in training mode, its frozen modules in eval mode.
        data: what :func:`~normtutorial.digits` returns, or four tensors of one's own: inputs and
            targets of any shape and type that model, loss and metric take.
        epochs: passes over the training images. Give this or ``steps``.
        steps: batches.
        batch_size: images per step. A last batch of a single image is left out.
        optimizer: over the model's parameters. None is Adam at ``lr``. One that calls for the loss
            itself, such as LBFGS, does so on one batch in each step.
        lr: learning rate of the default optimizer.
        loss: of outputs and labels, the mean over a batch; what is minimized.
        metric: as for :func:`evaluate`; what is recorded beside the loss. None for none.
        seed: of the order of the batches. (The weights are drawn when the model is made.)
        probes: context managers, such as :class:`~normtutorial.ActivationProbe`, entered for the
            time of the run.
        evaluate_every: steps from one evaluation on the test set to the next; None is one epoch.
            The last step is always followed by one.
        on_evaluation: called with the history after each evaluation.
        history: an empty one to fill, so that the caller has the record of a run that an error
            ends. None makes one.
        progress: show a bar, in a terminal or a live notebook; a string stands before it.
            ``$TQDM_DISABLE=1`` never shows one.

    Returns:
        The :class:`History`. A loss that is no longer finite ends the run (``diverged``), and so
        does an interrupt (``interrupted``); what was recorded is there. An error is raised on, and
        its run is in the caller's ``history``.

    Raises:
        ValueError: both or neither of ``epochs`` and ``steps``, or a number out of bounds; data
            that are not four tensors, a label for each image; no training images, or fewer than
            two for batches of two or more; no parameter to train; a history that is not empty.
            Before the first update: labels that are no classes of the model, where accuracy or
            cross entropy is asked for.

    Example:
        >>> x, y = torch.randn(64, 1, 4, 4), torch.randint(10, (64,))
        >>> data = ImageData(x, y, x, y, source="noise")
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 10))
        >>> history = fit(model, data, epochs=3, batch_size=16, progress=False)
        >>> len(history.train_loss), history.eval_steps
        (12, [4, 8, 12])
    """
    n = whole_data("fit", data)
    batch_size, seed = whole("fit", "batch_size", batch_size), whole("fit", "seed", seed, least=0)
    total, evaluate_every = _schedule(n, epochs, steps, batch_size, evaluate_every)
    optimizer = _optimizer(model, optimizer, lr)
    history = _begun(history, metric)
    update = _trainer(model, optimizer, _checking(loss, metric, data, history), data)
    bar = _progress_bar(total, progress)
    with ExitStack() as stack:
        for probe in probes:
            stack.enter_context(probe)
        stack.callback(bar.close)
        try:
            batches = islice(_batches(n, batch_size, seed), total)
            for step, (epoch, batch) in enumerate(batches, start=1):
                _add_step(history, epoch, *update(batch))
                if step % evaluate_every == 0 or step == total or history.diverged:
                    test = data.test_images, data.test_labels
                    scores = evaluate(model, *test, loss=loss, metric=metric)
                    _add_evaluation(history, step, *scores)
                    bar.set_postfix_str(f"test {history.metric} {scores[1]:.4f}")
                    if on_evaluation is not None:
                        on_evaluation(history)
                bar.update()
                if history.diverged:
                    break
        except KeyboardInterrupt:
            history.interrupted = True
        except Exception:  # such as a lack of memory
            history.interrupted = True
            raise
    return history


def _expect_classes(
    who: str, outputs: Any, labels: Tensor, loss: Compare, metric: Compare | None
) -> None:
    """Where accuracy or cross entropy is asked for: labels are classes that have a score."""
    entropy = loss is F.cross_entropy or isinstance(loss, nn.CrossEntropyLoss)
    if metric is accuracy:
        classes(who, "accuracy", outputs, labels, entropy)
    elif entropy and not labels.is_floating_point():  # else they are probabilities of classes
        ignored = getattr(loss, "ignore_index", -100)
        classes(who, "cross entropy", outputs, labels, entropy, ignored)


def _checking(loss: Compare, metric: Compare | None, data: ImageData, history: History) -> Compare:
    """The loss; the first time it is called, all labels are compared with the outputs."""

    def checked(outputs: Tensor, targets: Tensor) -> Tensor:
        if not history.train_loss:
            for labels in data.train_labels, data.test_labels:
                _expect_classes("fit", outputs, labels, loss, metric)
        return loss(outputs, targets)

    return checked


def _optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer | None, lr: float
) -> torch.optim.Optimizer:
    """The one that is given, or Adam; either has something to train."""
    lr = positive("fit", "lr", lr)
    given = [] if optimizer is None else [p for g in optimizer.param_groups for p in g["params"]]
    parameters = given or list(model.parameters())
    if not any(p.requires_grad for p in parameters):
        which = "are frozen (requires_grad is False)" if parameters else "are none"
        raise ValueError(
            f"fit expects parameters to train; those of {type(model).__name__} {which}."
        )
    return optimizer or torch.optim.Adam(parameters, lr, fused=True)


def _frozen(model: nn.Module) -> list[nn.Module]:
    """The modules that stay in eval mode: those that are, unless all are, and those without a
    parameter that requires a gradient, with what is inside them."""
    model = getattr(model, "_orig_mod", model)  # of a compiled one
    modules = list(model.modules())
    frozen = [m for m in modules if not m.training] if any(m.training for m in modules) else []
    for module in modules:
        requires = [p.requires_grad for p in module.parameters()]
        if requires and not any(requires):
            frozen.extend(module.modules())
    return [module for module in frozen if module is not model]


def _schedule(
    images: int, epochs: int | None, steps: int | None, batch_size: int, every: int | None
) -> tuple[int, int]:
    """Steps in all, and from one evaluation to the next."""
    if (epochs is None) == (steps is None):
        raise ValueError("fit expects either epochs or steps: give exactly one of them.")
    for name, value in dict(epochs=epochs, steps=steps, evaluate_every=every).items():
        if value is not None:
            whole("fit", name, value)
    if images < min(batch_size, 2):
        raise ValueError(f"fit expects at least two training images; got {images}.")
    per_epoch = images // batch_size + (images % batch_size > 1)
    total = steps if epochs is None else epochs * per_epoch
    assert total is not None  # noqa: S101  for the type checker
    return total, every or per_epoch


def _begun(history: History | None, metric: Compare | None) -> History:
    """The record of a run that has done nothing yet."""
    history = History() if history is None else history
    if history != History(metric=history.metric):
        raise ValueError(
            f"fit expects an empty history; got one of {len(history.train_loss)} steps."
        )
    if metric is None:
        history.metric = None
    else:
        history.metric = getattr(metric, "__name__", type(metric).__name__)
    return history


def _batches(images: int, batch_size: int, seed: int) -> Iterator[tuple[int, Tensor]]:
    """Epoch and indices of each batch, for ever, every epoch in a new random order. A last batch of
    one is left out: batch norm has no use for it, and one sample in an epoch is missed by nobody.
    """
    generator = torch.Generator().manual_seed(seed)
    for epoch in count():
        for batch in torch.randperm(images, generator=generator).split(batch_size):
            if len(batch) > 1 or batch_size == 1:
                yield epoch, batch


def _trainer(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Compare, data: ImageData
) -> Callable[[Tensor], tuple[float, float]]:
    """One update of the parameters on a batch: the batch's loss before it, and its seconds."""
    frozen = _frozen(model)
    closures = inspect.signature(optimizer.step).parameters.get("closure")
    asks = closures is not None and closures.default is inspect.Parameter.empty  # as LBFGS does

    def update(batch: Tensor) -> tuple[float, float]:
        started = time.perf_counter()
        batch = batch.to(data.train_images.device)
        model.train()
        for module in frozen:
            module.training = False

        def closure() -> Tensor:
            value = loss(model(data.train_images[batch]), data.train_labels[batch])
            optimizer.zero_grad()
            value.backward()
            return value

        if asks:
            value: Any = optimizer.step(closure)  # type: ignore[arg-type]  # when it first asks
        else:
            value = closure()
            optimizer.step()
        return value.item(), time.perf_counter() - started

    return update


def _add_step(history: History, epoch: int, loss: float, seconds: float) -> None:
    history.train_loss.append(loss)
    history.diverged = not math.isfinite(loss)
    if epoch == len(history.epoch_seconds):
        history.epoch_seconds.append(0.0)
    history.epoch_seconds[epoch] += seconds


def _add_evaluation(history: History, step: int, loss: float, metric: float) -> None:
    history.eval_steps.append(step)
    history.test_loss.append(loss)
    history.test_metric.append(metric)


def _progress_bar(total: int, wanted: bool | str) -> Any:
    """A tqdm bar: of text in a terminal, a widget in a live notebook, none where nobody looks."""
    label = wanted if isinstance(wanted, str) else None
    options: dict[str, Any] = dict(total=total, desc=label, unit="step", leave=False)
    shown = wanted and not os.environ.get("TQDM_DISABLE")  # which a widget of tqdm does not read
    live = "ipykernel" in sys.modules
    if shown and live and find_spec("ipywidgets"):  # without it, tqdm complains
        return _widget(**options)
    from tqdm import tqdm

    return tqdm(disable=not shown or not (live or sys.stderr.isatty()), **options)


def _widget(**options: Any) -> Any:
    """tqdm's bar for notebooks. It takes its place in the output along when it is closed: from a
    file it would come back as an error.
    """
    from tqdm.notebook import display, tqdm

    class Bar(tqdm):
        def close(self) -> None:
            if not self.disable:
                super().close()
                place.update({"text/plain": ""}, raw=True)

    bar = Bar(display=False, **options)
    place = display(bar.container, display_id=True)
    return bar
