"""One sample in company and among copies of itself: where the others make a difference."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..probes.outputs import tensors
from .batches import Batch, call, floats, pick, scores, size
from .watching import PassFailed, passing, watched

__all__ = ["Company", "company"]

FEW = 4  # samples, in float64
TOLERANCE = {torch.float64: 1e-5}  # more than rounding, less than any mixing
ELSE = 1e-2


@dataclass
class Company:
    """What the others do to a sample.

    Attributes:
        difference: of its output, relative; 0 if it is rounding.
        layer: where it shows first, as the calls of modules end; None if nowhere.
        at_layer: how large it is there, relative.
        width: of the output, if it is (N, width), else None.
        samples: how many there were together.
    """

    difference: float
    layer: str | None
    at_layer: float
    width: int | None
    samples: int


def company(model: nn.Module, batch: Batch) -> Company | None:
    """What the others do to the first sample of a batch; None where nothing can be told.

    In evaluation mode and, if the model can, in float64. Both batches have one shape, so that even
    the order of the sums is the same.
    """
    n = min(FEW, size(batch))
    if n < 2:
        return None
    try:
        return _compared(model, batch, n, torch.float64)
    except PassFailed:  # the model can't be in float64
        return _compared(model, batch, n, None)


def _compared(model: nn.Module, batch: Batch, n: int, dtype: torch.dtype | None) -> Company | None:
    x = pick(batch.x, slice(n), size(batch))
    copies = pick(x, [0] * n, n)
    with passing("With few samples", model) as within, torch.no_grad():
        model.eval()
        if dtype is not None:
            for value in [*model.parameters(), *model.buffers()]:
                value.data = floats(value.data, dtype)
            x, copies = floats(x, dtype), floats(copies, dtype)
        together, width = _first_rows(model, x, n, within)
        again = scores(call(model, x))
        if again is not None and again.ndim and len(again) % n == 0:
            row = _first_row(again)
            if _difference(row, together.get(("", 1))):
                return None  # it draws numbers
        by_itself, _ = _first_rows(model, copies, n, within)
    limit = TOLERANCE.get(dtype, ELSE) if dtype else ELSE
    found = Company(0.0, None, 0.0, width, n)
    for key, row in together.items():
        apart = _difference(row, by_itself.get(key))
        if apart > limit:
            if found.layer is None:
                found.layer, found.at_layer = key[0], apart
            if key == ("", 1):
                found.difference = apart
    return found


def _first_rows(
    model: nn.Module, x: Any, n: int, within: list[str]
) -> tuple[dict[tuple[str, int], Tensor], int | None]:
    """What each call of a module puts out for the first of n samples, by name and number."""
    rows: dict[tuple[str, int], Tensor] = {}
    calls: Counter[str] = Counter()

    def see(name: str, module: nn.Module, args: Any, output: Any) -> None:
        calls[name] += 1
        y = scores(output) if name == "" else tensors(output).get("")
        if y is not None and y.ndim and len(y) % n == 0 and y.is_floating_point():
            rows[name, calls[name]] = _first_row(y)

    with watched(model, within, after=see):
        output = scores(call(model, x))
    return rows, output.shape[1] if output is not None and output.ndim == 2 else None


def _first_row(y: Tensor) -> Tensor:
    """Where a sample has several rows, they may lie together or be dealt out; row 0 is always the
    first sample's."""
    return y.detach()[0].flatten().float()


def _difference(a: Tensor, b: Tensor | None) -> float:
    if b is None or a.shape != b.shape or not a.numel():
        return 0.0
    size = float(torch.maximum(a.abs().max(), b.abs().max()))
    return float((a - b).abs().max()) / size if size > 0 else 0.0
