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

from ..checks import is_finite, whole
from ..runtime import uncompiled
from .hooks import (
    Named,
    Probe,
    Row,
    call_name,
    expect_calls,
    in_backward,
    leaves,
    named_modules,
)
from .outputs import Units, is_real, tensors, unit_dim, units
from .quantiles import percentiles
from .records import ActivationRecord


class ActivationProbe(Probe):
    """Records what layers put out while a model trains.

    It counts the forward passes that the model makes in training mode and records the first, the
    one ``every`` later, and so on; passes in eval mode are neither counted nor recorded. Entered
    again after it was left, it counts on.

    A module that is called several times in a pass has a record for each call: under its name the
    first, under ``name#2``, ``name#3`` the next ones. What backward calls again, for activation
    checkpointing, is none of them. Of a tuple the first tensor is recorded; of a dict each, under
    ``name[key]``. An output with fewer than two dims is one unit; one without values is left out.

    While the probe is at work, what :func:`torch.compile` has made runs uncompiled, since compiled
    code would not call the hooks. So a run with a probe ends with the bits of an uncompiled one.

    Args:
        model: any module, also a compiled one. Its hooks are set on entering and removed on
            leaving, also by an error.
        layers: names as in ``model.named_modules()``. None is every module that is called and calls
            no other (a parametrized one counts as one module, and so does attention of torch),
            and leaves out what cannot be recorded.
        every: passes from one record to the next.
        unit_dim: the dim of an output that holds the units. None takes it from the layer: the
            features are last behind linear and recurrent layers, embeddings, attention, layer and
            RMS norm, so a unit of a sequence (N, T, D) is one of its D features; they are in dim 1
            behind convolutions, batch, instance and group norm, as in (N, C, H, W). What does not
            say, such as a ReLU or a block, has them where the last layer called before it has its
            own; in dim 1 if there is none.
        bins: number of bins of the histograms.
        range: lower and upper end of the histograms.

    Attributes:
        passes: the recorded ones, counted from 0.
        modules: those that are recorded, by name.

    Raises:
        ValueError: a name that the model does not have, or an option out of bounds. In a forward
            pass: an output of two or more dims without ``unit_dim`` among them, or with other
            units than in the passes before; of a module that was named, an output that holds no
            real tensor. At the end of the first recorded pass: a module that was named was not
            called, or none was.

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
        unit_dim: int | None = None,
        bins: int = 64,
        range: tuple[float, float] = (-4.0, 4.0),
    ) -> None:
        super().__init__(model, every)
        whole("ActivationProbe", "bins", bins)
        low, high = range if isinstance(range, Sequence) and len(range) == 2 else (None, None)
        if not (is_finite(low) and is_finite(high) and low < high):
            raise ValueError(f"ActivationProbe expects a finite range (low, high); got {range}.")
        if unit_dim is not None:
            whole("ActivationProbe", "unit_dim", unit_dim, least=None)
        self.modules = named_modules(self.model, layers)
        self.unit_dim = unit_dim
        self.edges = torch.linspace(low, high, bins + 1)
        self._named = layers is not None
        self._units: Units | None = None  # of the last layer that says which they are
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
        known = {module: units(module) for module in leaves(self.model).values()}
        for module, own in known.items():
            if own:
                yield module.register_forward_hook(partial(self._follow, own))
        for name, module in self.modules.items():
            yield module.register_forward_hook(partial(self._see, name))
        yield self.model.register_forward_hook(self._complete)

    def _follow(self, own: Units, module: nn.Module, args: Any, output: Any) -> None:
        """Remember which are the units of a layer, also for what is called after it."""
        for x in tensors(output).values():
            if x.ndim > 1:
                dim = unit_dim(x, own)
                self._units = dim, x.shape[dim]

    def _see(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        if self._current is None or in_backward():
            return
        call = call_name(name, self._calls)
        found = {end: x for end, x in tensors(output).items() if is_real(x)}
        if self._named and not found:
            raise _no_tensor("ActivationProbe", call, output)
        for end, x in found.items():
            if x.numel() > 0:
                by_unit = self._by_unit(call + end, x.detach())
                self._seen[call + end] = _summary(module, by_unit, self.edges)

    def _complete(self, model: nn.Module, args: Any, output: Any) -> None:
        if self._current is not None and not in_backward():
            if not self.passes:
                expect_calls("ActivationProbe", self._named, self.modules, self._calls)
            self._keep(self._current, self._seen)
            self._end(complete=True)

    def _end(self, complete: bool) -> None:
        self._current, self._seen, self._calls, self._units = None, {}, Counter(), None

    def _by_unit(self, call: str, x: Tensor) -> Tensor:
        """(U, samples) in float32."""
        shape, dim = tuple(x.shape), self.unit_dim
        if x.ndim < 2:
            x, dim = x.reshape(1, -1), 0
        elif dim is None:
            dim = unit_dim(x, self._units)
        rows = self._rows.get(call)
        before = len(rows[0]["mean"]) if rows else None
        if not -x.ndim <= dim < x.ndim or before not in (None, x.shape[dim]):
            wanted = f"units in dim {dim}" if before is None else f"{before} units as before"
            raise ValueError(
                f"ActivationProbe expects {wanted}; {call!r} put out {shape}. "
                f"Choose another unit_dim than {dim}, or name the layers to record."
            )
        return x.float().movedim(dim, 0).flatten(1).contiguous()


@torch.no_grad()
def activations(
    model: nn.Module, x: Tensor, layers: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """What the named modules put out when the model is given ``x``.

    The mode of the model is left as it is, so a batch norm in training mode updates its running
    statistics. A compiled model runs uncompiled.

    Args:
        model: any module.
        x: its input, of whatever shape it takes.
        layers: names as in ``model.named_modules()``; None is every module that calls no other, as
            for :class:`ActivationProbe`, and leaves out what is no tensor.

    Returns:
        Copies of the outputs on the model's device, by name, in the order of the calls. Of a module
        that is called several times, the first output has its name, the next ones ``name#2``,
        ``name#3``. Of a tuple it is the first tensor; of a dict each, under ``name[key]``.

    Raises:
        ValueError: a name that the model does not have; a module that was named was not called, or
            put out no tensor; none of the modules was called.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.ReLU())
        >>> activations(model, torch.tensor([[-1.0, 2.0]]), ["1"])
        {'1': tensor([[0., 2.]])}
    """
    model = getattr(model, "_orig_mod", model)
    modules, outputs, calls = named_modules(model, layers), Named(), Counter[str]()

    def keep(name: str, module: nn.Module, args: Any, output: Any) -> None:
        call = call_name(name, calls)
        found = tensors(output)
        if layers is not None and not found:
            raise _no_tensor("activations", call, output)
        for end, tensor in found.items():
            outputs[call + end] = tensor.clone()  # the next module may work in place

    with uncompiled(), ExitStack() as handles:  # a handle is a context that removes its hook
        for name, module in modules.items():
            handles.enter_context(module.register_forward_hook(partial(keep, name)))
        model(x)
    expect_calls("activations", layers is not None, modules, calls)
    return outputs


def _no_tensor(who: str, call: str, output: Any) -> ValueError:
    return ValueError(
        f"{who} expects a tensor of real numbers, a tuple that begins with one, or a dict; "
        f"{call!r} put out {_kind(output)}. Name a module inside or around it."
    )


def _kind(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"one of {output.dtype} and layout {output.layout}"
    if isinstance(output, (tuple, list)):
        return (
            f"{type(output).__name__} of {', '.join(type(x).__name__ for x in output) or 'nothing'}"
        )
    return type(output).__name__


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
