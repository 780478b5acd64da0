"""What modules put out: recorded while a model trains, or caught in a single pass."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .hooks import Named, Probe, Row, call_name, named_modules
from .quantiles import percentiles
from .records import ActivationRecord


class ActivationProbe(Probe):
    """Records what layers put out while a model trains.

    It counts the forward passes that the model makes in training mode and records the first, the
    one ``every`` later, and so on; passes in eval mode are neither counted nor recorded. Entered
    again after it was left, it counts on.

    A module that is called several times in a pass has a record for each call: under its name the
    first, under ``name#2``, ``name#3`` the next ones. An output that is no tensor, or is empty or
    complex, is left out. An output with fewer than two dims is one unit.

    Args:
        model: any module. Its hooks are set on entering and removed on leaving, also by an error.
        layers: names as in ``model.named_modules()``. None is every module without children that
            is called (a parametrized one counts as one module).
        every: passes from one record to the next.
        unit_dim: the dim of an output that holds the units: 1 for vectors (N, U) and images
            (N, C, H, W), -1 for sequences (N, T, D) with their features last.
        bins: number of bins of the histograms.
        range: lower and upper end of the histograms.

    Attributes:
        passes: the recorded ones, counted from 0.
        modules: those that are recorded, by name.

    Raises:
        ValueError: a name that the model does not have, or an option out of bounds. In a forward
            pass: an output of two or more dims without ``unit_dim`` among them, or with other
            units than in the passes before.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
        >>> with ActivationProbe(model, ["1"], every=2) as probe:
        ...     for _ in range(5):
        ...         y = model(torch.ones(8, 3))
        >>> probe.passes
        [0, 2, 4]
        >>> probe.records["1"].mean.shape, probe.records["1"].dead.tolist()
        (torch.Size([3, 4]), [1.0, 1.0, 1.0])
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str] | None = None,
        *,
        every: int = 50,
        unit_dim: int = 1,
        bins: int = 64,
        range: tuple[float, float] = (-4.0, 4.0),
    ) -> None:
        super().__init__(model, every)
        low, high = range
        if bins < 1:
            raise ValueError(f"ActivationProbe expects bins of at least 1; got {bins}.")
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"ActivationProbe expects a finite range (low, high); got {range}.")
        self.modules = named_modules(model, layers)
        self.unit_dim = unit_dim
        self.edges = torch.linspace(low, high, bins + 1)
        self._seen: dict[str, Row] = {}  # in the current pass
        self._calls: Counter[str] = Counter()

    @property
    def records(self) -> dict[str, ActivationRecord]:
        """The record of each module and call, so far. Can be read during the run and after it.

        Raises:
            RuntimeError: if nothing was recorded yet.
        """
        return self._all(ActivationRecord, edges=self.edges.clone())

    def _hooks(self) -> Iterator[RemovableHandle]:
        for name, module in self.modules.items():
            yield module.register_forward_hook(partial(self._see, name))
        yield self.model.register_forward_hook(self._complete)

    def _see(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        if self._current is None:
            return
        call = call_name(name, self._calls)
        if isinstance(output, Tensor) and output.numel() > 0 and not output.is_complex():
            self._seen[call] = _summary(module, self._by_unit(call, output.detach()), self.edges)

    def _complete(self, model: nn.Module, args: Any, output: Any) -> None:
        if self._current is not None:
            self._keep(self._current, self._seen)
            self._end(complete=True)

    def _end(self, complete: bool) -> None:
        self._current, self._seen, self._calls = None, {}, Counter()

    def _by_unit(self, call: str, output: Tensor) -> Tensor:
        """(U, samples) in float32."""
        x, dim = (output, self.unit_dim) if output.ndim > 1 else (output.reshape(1, -1), 0)
        rows = self._rows.get(call)
        units = len(rows[0]["mean"]) if rows else None
        if not -x.ndim <= dim < x.ndim or units not in (None, x.shape[dim]):
            wanted = f"units in dim {dim}" if units is None else f"{units} units as before"
            raise ValueError(
                f"ActivationProbe expects {wanted}; {call!r} put out {tuple(output.shape)}. "
                f"Choose another unit_dim than {dim}, or name the layers to record."
            )
        return x.float().movedim(dim, 0).flatten(1).contiguous()


@torch.no_grad()
def activations(
    model: nn.Module, x: Tensor, layers: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """What the named modules put out when the model is given ``x``.

    The mode of the model is left as it is, so a batch norm in training mode updates its running
    statistics. What is no tensor is left out.

    Args:
        model: any module.
        x: its input.
        layers: names as in ``model.named_modules()``; None is every module without children.

    Returns:
        Copies of the outputs on the model's device, by name, in the order of the calls. Of a module
        that is called several times, the first output has its name, the next ones ``name#2``,
        ``name#3``.

    Raises:
        ValueError: a name that the model does not have.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.ReLU())
        >>> activations(model, torch.tensor([[-1.0, 2.0]]), ["1"])
        {'1': tensor([[0., 2.]])}
    """
    outputs, calls = Named(), Counter[str]()

    def keep(name: str, module: nn.Module, args: Any, output: Any) -> None:
        call = call_name(name, calls)
        if isinstance(output, Tensor):
            outputs[call] = output.clone()  # the next module may work in place

    with ExitStack() as handles:  # a handle is a context that removes its hook
        for name, module in named_modules(model, layers).items():
            handles.enter_context(module.register_forward_hook(partial(keep, name)))
        model(x)
    return outputs


def _summary(module: nn.Module, x: Tensor, edges: Tensor) -> Row:
    """What a record holds of one pass: x is (U, samples), in float32."""
    mean, pooled_mean = x.mean(1), x.mean()
    low, high = x.aminmax(dim=1)
    of_units, pooled = percentiles(x)
    row = {
        "mean": mean,
        "std": (x - mean[:, None]).square_().mean(1).sqrt(),
        "percentiles": of_units,
        "pooled_mean": pooled_mean,
        "pooled_std": (x - pooled_mean).square_().mean().sqrt(),
        "pooled_percentiles": pooled,
        "histogram": _histogram(x, edges),
        "dead": (low == high).float().mean() if x.shape[1] > 1 else torch.tensor(math.nan),
        "saturated": _saturated(module, x),
    }
    return {field: value.cpu() for field, value in row.items()}


def _histogram(x: Tensor, edges: Tensor) -> Tensor:
    low, high, bins = edges[0].item(), edges[-1].item(), len(edges) - 1
    scaled = (x.flatten() - low).mul_(bins / (high - low)).clamp_(0, bins - 1)
    scaled.nan_to_num_(nan=bins)  # a bin of its own, left out
    return scaled.long().bincount(minlength=bins + 1)[:bins]


def _saturated(module: nn.Module, y: Tensor) -> Tensor:
    """From the output y: the derivatives are y (1 - y), at most 1/4, and 1 - y^2, at most 1."""
    if isinstance(module, nn.Sigmoid):
        return (y * (1 - y) < 0.1 / 4).float().mean()
    if isinstance(module, nn.Tanh):
        return (1 - y.square() < 0.1).float().mean()
    return torch.tensor(math.nan)
