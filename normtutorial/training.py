"""The training loop, for any module and any data that fit on the device."""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .data import ImageData

__all__ = ["History", "evaluate", "fit"]


@dataclass
class History:
    """What a run leaves behind: plain lists, ready for JSON.

    Attributes:
        loss: cross entropy of the batch in each step, in nats.
        steps: after how many steps the test set was looked at.
        test_loss: cross entropy on the test set, at those steps.
        test_accuracy: fraction of the test set that is classified correctly, at those steps.
        seconds: wall time of each epoch (whole or begun), training only.
        diverged: the loss of the last step was no longer finite.
        interrupted: the run was stopped before its end, from the keyboard or by an error.

    Example:
        >>> History(test_accuracy=[0.91, 0.97]).final_accuracy
        0.97
    """

    loss: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    diverged: bool = False
    interrupted: bool = False

    @property
    def final_accuracy(self) -> float:
        """The last test accuracy.

        Raises:
            ValueError: if the test set was never looked at.
        """
        if not self.test_accuracy:
            raise ValueError("This run was stopped before the test set was looked at.")
        return self.test_accuracy[-1]

    def to_dict(self) -> dict[str, Any]:
        """All fields, as a new dictionary."""
        return asdict(self)


@torch.no_grad()
def evaluate(
    model: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int = 1000
) -> tuple[float, float]:
    """Mean cross entropy (nats) and accuracy (a fraction), in eval mode.

    Each module is left in the mode it was found in.

    Args:
        model: images to logits.
        images: shape (N, ...), on the model's device.
        labels: shape (N,), int64.
        batch_size: images per forward pass; in eval mode it does not change the result.

    Raises:
        ValueError: if there are no images.

    Example:
        >>> loss, accuracy = evaluate(nn.Identity(), torch.eye(4) * 100, torch.arange(4))
        >>> accuracy
        1.0
    """
    if len(images) == 0:
        raise ValueError("evaluate expects at least one image; got none.")
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        loss, correct = 0.0, 0
        for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            correct += int((logits.argmax(1) == y).sum())
    finally:
        for module, mode in modes.items():
            module.training = mode
    return loss / len(images), correct / len(images)


def _batches(n: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices of one epoch in random order. A last batch of one is left out: batch norm has no
    use for it, and one sample in an epoch is missed by nobody."""
    for batch in torch.randperm(n, generator=generator).split(batch_size):
        if len(batch) > 1 or batch_size == 1:
            yield batch


def fit(
    model: nn.Module,
    data: ImageData,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 128,
    optimizer: torch.optim.Optimizer | None = None,
    lr: float = 1e-3,
    seed: int = 0,
    probes: Sequence[AbstractContextManager] = (),
    evaluate_every: int | None = None,
    on_evaluation: Callable[[History], None] | None = None,
    progress: bool = True,
) -> History:
    """Train ``model`` to classify, by cross entropy.

    The data are tensors on the device, and a batch is an index into them. The test set is only
    reported on; it chooses nothing. On one machine and number of threads, the same seed gives the
    same bits.

    Args:
        model: images to logits, on the data's device. It is called, so its hooks run. It is left
            in training mode.
        data: what :func:`~normtutorial.mnist` returns.
        epochs: passes over the training images. Give this or ``steps``.
        steps: batches.
        batch_size: images per step. A last batch of a single image is left out.
        optimizer: over the model's parameters. None is Adam at ``lr``.
        lr: learning rate of the default optimizer.
        seed: of the order of the batches. (The weights are drawn when the model is made.)
        probes: context managers, such as :class:`~normtutorial.ActivationProbe`, entered for the
            time of the run.
        evaluate_every: steps from one look at the test set to the next; None is one epoch. The
            last step is always followed by one.
        on_evaluation: called with the history after each look at the test set.
        progress: show a bar, in a terminal or a live notebook. ``$NORMTUTORIAL_PROGRESS=0`` never
            shows one.

    Returns:
        The :class:`History`. A loss that is no longer finite ends the run (``diverged``), and so
        does an interrupt (``interrupted``); what was recorded is there. An error that ends the run
        carries its history as ``error.history``.

    Raises:
        ValueError: both or neither of ``epochs`` and ``steps``, or a number below 1; no training
            images, or fewer than two for batches of two or more.

    Example:
        >>> x, y = torch.randn(64, 1, 4, 4), torch.randint(10, (64,))
        >>> data = ImageData(x, y, x, y, source="noise")
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 10))
        >>> history = fit(model, data, epochs=3, batch_size=16, progress=False)
        >>> len(history.loss), history.steps
        (12, [4, 8, 12])
    """
    images, labels = data.train_images, data.train_labels
    if (epochs is None) == (steps is None):
        raise ValueError("fit expects either epochs or steps: give exactly one of them.")
    for name, value in dict(epochs=epochs, steps=steps, batch_size=batch_size).items():
        if value is not None and value < 1:
            raise ValueError(f"fit expects {name} of at least 1; got {value}.")
    if evaluate_every is not None and evaluate_every < 1:
        raise ValueError(f"fit expects evaluate_every of at least 1; got {evaluate_every}.")
    if len(images) < min(batch_size, 2):
        raise ValueError(f"fit expects at least two training images; got {len(images)}.")
    generator = torch.Generator().manual_seed(seed)
    per_epoch = len(images) // batch_size + (len(images) % batch_size > 1)
    total = steps if steps is not None else (epochs or 0) * per_epoch
    evaluate_every = evaluate_every or per_epoch
    if optimizer is None:
        optimizer = torch.optim.Adam(model.parameters(), lr, fused=True)

    history = History()
    bar = _progress_bar(total, progress)
    with ExitStack() as stack:
        for probe in probes:
            stack.enter_context(probe)
        stack.callback(bar.close)
        try:
            step = 0
            while step < total:
                history.seconds.append(0.0)
                for batch in _batches(len(images), batch_size, generator):
                    started = time.perf_counter()
                    batch = batch.to(images.device)
                    model.train()
                    loss = F.cross_entropy(model(images[batch]), labels[batch])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    history.loss.append(loss.item())
                    history.seconds[-1] += time.perf_counter() - started
                    step += 1
                    history.diverged = not math.isfinite(history.loss[-1])
                    last = step == total or history.diverged
                    if last or step % evaluate_every == 0:
                        test_loss, accuracy = evaluate(model, data.test_images, data.test_labels)
                        history.steps.append(step)
                        history.test_loss.append(test_loss)
                        history.test_accuracy.append(accuracy)
                        bar.set_postfix_str(f"test accuracy {accuracy:.4f}")
                        if on_evaluation is not None:
                            on_evaluation(history)
                    bar.update()
                    if last:
                        return history
        except KeyboardInterrupt:
            history.interrupted = True
        except Exception as error:  # such as a lack of memory
            history.interrupted = True
            error.history = history  # type: ignore[attr-defined]
            raise
    return history


def _progress_bar(total: int, wanted: bool) -> Any:
    """A tqdm bar: of text in a terminal, a widget in a live notebook, none where nobody looks."""
    live = sys.stderr.isatty() or "ipykernel" in sys.modules
    if os.environ.get("NORMTUTORIAL_PROGRESS") == "0" or not live:
        wanted = False
    if wanted and "ipykernel" in sys.modules:
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm
    return tqdm(total=total, disable=not wanted, unit="step", leave=False)
