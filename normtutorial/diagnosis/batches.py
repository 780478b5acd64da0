"""Batches of the user's: their inputs and targets, some of the samples, the loss of each."""

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .findings import counted

__all__ = [
    "Batch",
    "LossFunction",
    "all_tensors",
    "call",
    "compared",
    "first_floats",
    "floats",
    "guess",
    "join",
    "losses",
    "pick",
    "scores",
    "size",
    "step_loss",
    "take",
]

LossFunction = Callable[[Any, Any], Tensor]
KEPT = 4096  # so many numbers of each sample's output stand for it


class Batch(NamedTuple):
    """What the model is called with, and what is to come out; None where that is not known."""

    x: Any
    target: Any = None


def take(batches: Iterable[Any], model: nn.Module, limit: int) -> tuple[list[Any], list[Batch]]:
    """The first batches as they are; and on the device of the model, floats in its dtype.

    Raises:
        ValueError: if there are none, or they are no batches.
    """
    if isinstance(batches, (Tensor, Mapping)):
        kind = type(batches).__name__
        raise ValueError(
            f"checkup expects batches, in a list or a loader; got one {kind}. For a single batch "
            "give [x] or [(x, target)]."
        )
    expected = _inputs(model)
    given = list(islice(batches, limit))
    taken = [_parted(batch, expected) for batch in given]
    if not taken or not all(size(batch) for batch in taken):
        raise ValueError(
            "checkup expects at least one batch, each with at least one sample; got "
            f"{counted(len(taken), 'batch', 'es')}. A list of (x, target) is best."
        )
    values = [*model.parameters(), *model.buffers()]
    device = values[0].device if values else torch.device("cpu")
    dtypes = {value.dtype for value in model.parameters() if value.is_floating_point()}
    dtype = dtypes.pop() if len(dtypes) == 1 else None

    def moved(x: Tensor) -> Tensor:
        return x.detach().to(device, dtype if x.is_floating_point() else None)

    return given, [
        Batch(_map(moved, batch.x), _map(lambda t: t.detach().to(device), batch.target))
        for batch in taken
    ]


def _inputs(model: nn.Module) -> int:
    """How many arguments its forward must have."""
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = inspect.signature(model.forward).parameters.values()
    needed = [one for one in parameters if one.kind in kinds and one.default is one.empty]
    return max(1, len(needed))


def _parted(batch: Any, inputs: int) -> Batch:
    if not isinstance(batch, (tuple, list)):
        return Batch(batch)
    if len(batch) == 2 and not isinstance(batch[0], Tensor):
        return Batch(batch[0], batch[1])
    if len(batch) == inputs + 1:
        return Batch(batch[0] if inputs == 1 else tuple(batch[:-1]), batch[-1])
    return Batch(batch[0] if len(batch) == 1 else tuple(batch))


def call(model: nn.Module, x: Any) -> Any:
    """What the model puts out for an input: ``model(x)``, ``model(*x)`` or ``model(**x)``."""
    if isinstance(x, Mapping):
        return model(**x)
    if isinstance(x, (tuple, list)):
        return model(*x)
    return model(x)


def _map(change: Callable[[Tensor], Any], x: Any) -> Any:
    """With each tensor changed: of a tensor, a tuple, list or dict, or of an object's attributes.

    Example:
        >>> _map(len, {"a": torch.ones(2), "b": (torch.ones(3), None)})
        {'a': 2, 'b': (3, None)}
    """
    if isinstance(x, Tensor):
        return change(x)
    if isinstance(x, Mapping):
        changed = {key: _map(change, value) for key, value in x.items()}
        return changed if type(x) is dict else _like(x, changed)
    if isinstance(x, (tuple, list)):
        items = [_map(change, item) for item in x]
        return type(x)(*items) if hasattr(x, "_fields") else type(x)(items)
    if hasattr(x, "__dict__") and not isinstance(x, (type, nn.Module)):
        return _like(x, {key: _map(change, value) for key, value in vars(x).items()})
    return x


def _like(x: Any, values: dict[Any, Any]) -> Any:
    new = copy.copy(x)
    for key, value in values.items():
        if isinstance(x, Mapping):
            new[key] = value
        else:
            setattr(new, key, value)
    return new


def all_tensors(x: Any) -> list[Tensor]:
    """In a tensor, tuple, list, dict or object."""
    found: list[Tensor] = []
    _map(found.append, x)
    return found


def size(batch: Batch) -> int:
    """The number of samples: the length of its first tensor."""
    tensors = [x for x in all_tensors(batch.x) if x.ndim]
    return len(tensors[0]) if tensors else 0


def pick(x: Any, index: Any, n: int) -> Any:
    """Some of n samples, of all tensors that have so many."""
    return _map(lambda t: t[index] if t.ndim and len(t) == n else t, x)


def floats(x: Any, dtype: torch.dtype) -> Any:
    """With all floating numbers in another dtype."""
    return _map(lambda t: t.to(dtype) if t.is_floating_point() else t, x)


def join(batches: list[Batch]) -> Batch | None:
    """All of them as one, if their samples are of one shape."""
    parts = [all_tensors(tuple(batch)) for batch in batches]
    shapes = [[(t.shape[1:], t.dtype) for t in part] for part in parts]
    if any(shape != shapes[0] for shape in shapes):
        return None
    n = [size(batch) for batch in batches]
    if any(t.ndim == 0 or len(t) != k for part, k in zip(parts, n, strict=True) for t in part):
        return None if len(batches) > 1 else batches[0]
    columns = iter([torch.cat(column) for column in zip(*parts, strict=True)])
    return Batch(*_map(lambda _: next(columns), tuple(batches[0])))


def scores(output: Any) -> Tensor | None:
    """The tensor that is compared: the output itself, its ``logits``, or else its first tensor."""
    if isinstance(output, Tensor):
        return output
    logits = output.get("logits") if isinstance(output, Mapping) else None
    found = getattr(output, "logits", logits)
    return found if isinstance(found, Tensor) else next(iter(all_tensors(output)), None)


def compared(output: Any, n: int) -> Tensor:
    """Of each sample so many numbers that stand for its output, in float64, shape (n, K).

    Raises:
        ValueError: if the output is not one of so many samples.
    """
    score = scores(output)
    if score is None or score.ndim == 0 or len(score) % n:
        raise ValueError("the output has no tensor with a row for each sample.")
    rows = score.detach().reshape(n, -1)
    if rows.shape[1] > KEPT:
        rows = rows[:, torch.linspace(0, rows.shape[1] - 1, KEPT).long()]
    return rows.double()


def losses(loss: LossFunction | None, output: Any, target: Any, n: int) -> Tensor | None:
    """The loss of each sample, float64, shape (n,); None where the targets fit no loss."""
    if target is None:
        return None
    if loss is not None:
        rows = [_given(loss, pick(output, [i], n), pick(target, [i], n)) for i in range(n)]
        return torch.stack([row.detach().double().mean() for row in rows])
    score = scores(output)
    if not isinstance(target, Tensor) or score is None:
        return None
    each = _usual(score.detach().double(), target)
    return None if each is None or len(each) != n else each.reshape(n, -1).mean(1)


def _given(loss: LossFunction, output: Any, target: Any) -> Tensor:
    value = loss(output, target)
    if not isinstance(value, Tensor):
        raise TypeError(f"loss is to return a tensor; it returned {type(value).__name__}.")
    return value


def _usual(score: Tensor, target: Tensor) -> Tensor | None:
    """Cross entropy for indices of classes, the squared error for floats."""
    if target.is_floating_point():
        if target.numel() != score.numel():
            return None
        return F.mse_loss(score, target.double().reshape(score.shape), reduction="none")
    if target.dtype == torch.bool or score.ndim < 2:
        return None
    if score.ndim > 2 and target.shape == score.shape[:-1]:
        score = score.movedim(-1, 1)
    target = target.squeeze(1) if target.ndim == score.ndim else target
    if target.shape != (len(score), *score.shape[2:]) or target.max() >= score.shape[1]:
        return None
    return F.cross_entropy(score, target.long(), reduction="none")


def guess(batches: list[Batch]) -> float:
    """The loss of the best constant guess: the entropy of the classes, or the variance of numbers.

    That is so for the usual losses; for another one it is a scale all the same. 0 without targets.

    Example:
        >>> round(guess([Batch(None, torch.tensor([0, 1, 1, 0]))]), 3)
        0.693
    """
    targets = [batch.target for batch in batches if isinstance(batch.target, Tensor)]
    if len(targets) < len(batches):
        return 0.0
    if targets[0].is_floating_point():
        shapes = {t.shape[1:] for t in targets}
        rows = torch.cat(targets if len(shapes) == 1 else [t.flatten() for t in targets])
        return float(rows.double().var(0, correction=0).mean())
    counts = torch.cat([t.flatten() for t in targets]).unique(return_counts=True)[1].double()
    return float(torch.special.entr(counts / counts.sum()).sum())


def step_loss(loss: LossFunction | None, output: Any, target: Any) -> Tensor:
    """A number to differentiate: the loss of a batch or, without one, the mean square."""
    score = scores(output)
    if target is not None and loss is not None:
        return _given(loss, output, target).mean()
    each = None
    if isinstance(target, Tensor) and score is not None:
        each = _usual(score, target)
    if each is None:
        if score is None:
            raise ValueError("the output has no tensor.")
        each = score.float().square()
    return each.mean()


def first_floats(change: Callable[[Tensor], Tensor], x: Any) -> Any:
    """With its first tensor of floats changed."""
    done = False

    def once(t: Tensor) -> Tensor:
        nonlocal done
        if done or not t.is_floating_point():
            return t
        done = True
        return change(t)

    return _map(once, x)
