"""Looking inside a network while it trains: hooks under ``with``, plain tensors afterwards.

The probes know any :class:`torch.nn.Module` and any training loop. They read and never write, so a
run with them ends with the same bits as a run without.
"""

import difflib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

__all__ = [
    "PERCENTILES",
    "ActivationProbe",
    "ActivationRecord",
    "GradientProbe",
    "GradientRecord",
    "activations",
]

PERCENTILES = (5, 15, 50, 85, 95)
"""The percentiles that a record holds. A normal variable has 70 % of its values from the second to
the fourth, about one standard deviation to each side."""

_PER_UNIT = 1024  # samples of a unit that are sorted for its percentiles, at most
_POOLED = 16_384  # values that are sorted for the pooled percentiles, at most

Value = TypeVar("Value")
Record = TypeVar("Record", "ActivationRecord", "GradientRecord")
Probe = TypeVar("Probe", bound="_Probe")


class _Shown:
    """A representation that names the shapes and leaves the numbers out."""

    def __repr__(self) -> str:
        shapes = ((f.name, tuple(getattr(self, f.name).shape)) for f in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(f'{name} {shape}' for name, shape in shapes)})"


@dataclass(repr=False, eq=False)
class ActivationRecord(_Shown):
    """What one layer put out over T recorded steps. Tensors on the CPU.

    A unit is an index of dim 1 of the output; samples are what all its other dims hold together.
    *Pooled* means over all units and samples at once.

    Attributes:
        steps: (T,) the recorded forward passes, counted from 0.
        mean: (T, U) of each unit over the samples.
        std: (T, U) its standard deviation, with the divisor n, as batch norm computes it.
        percentiles: (T, 5, U) at :data:`PERCENTILES`, linearly interpolated. Of a unit with
            more than 1024 samples, from an even subsample of about that many.
        pooled_mean: (T,)
        pooled_std: (T,)
        pooled_percentiles: (T, 5) from an even subsample of at most 16 384 values.
        histogram: (T, bins) counts of all values. A value out of range is counted in the end bin
            on its side; NaN in none.
        edges: (bins + 1,) of the bins.
        dead: (T,) fraction of units with the same value for every sample. Behind a ReLU these are
            the units that are active for none. NaN where there is one sample only.
        saturated: (T,) fraction of values at which the derivative is below a tenth of its maximum,
            for :class:`torch.nn.Sigmoid` and :class:`torch.nn.Tanh`; NaN for any other module.
    """

    steps: Tensor
    mean: Tensor
    std: Tensor
    percentiles: Tensor
    pooled_mean: Tensor
    pooled_std: Tensor
    pooled_percentiles: Tensor
    histogram: Tensor
    edges: Tensor
    dead: Tensor
    saturated: Tensor


@dataclass(repr=False, eq=False)
class GradientRecord(_Shown):
    """Sizes (L2 norms) of one parameter, its gradient and its update over T steps, on the CPU.

    Attributes:
        steps: (T,) the recorded steps, counted from 0.
        grad_norm: (T,) of the gradient as backward left it; NaN where none arrived.
        param_norm: (T,) of the parameter before the update.
        update_norm: (T,) of what the optimizer added.
    """

    steps: Tensor
    grad_norm: Tensor
    param_norm: Tensor
    update_norm: Tensor

    @property
    def grad_ratio(self) -> Tensor:
        """(T,) gradient over parameter; infinite or NaN where the parameter is zero."""
        return self.grad_norm / self.param_norm

    @property
    def update_ratio(self) -> Tensor:
        """(T,) update over parameter, the share by which a step changes it."""
        return self.update_norm / self.param_norm


class _Named(dict[str, Value]):
    """A dict whose KeyError says what is there."""

    def __missing__(self, name: str) -> Value:
        raise KeyError(f"nothing was recorded under {name!r}{_hint(name, self)}")


class _Probe(Generic[Record]):
    """Counts the forward passes in training mode and records every ``every``-th of them."""

    def __init__(self, model: nn.Module, every: int) -> None:
        if every < 1:
            raise ValueError(f"{type(self).__name__} expects every of at least 1; got {every}.")
        self.model = model
        self.every = every
        self.steps: list[int] = []
        self._passes = 0
        self._handles: list[Any] = []
        self._rows: dict[str, list[tuple[Any, ...]]] = {}
        self._records: _Named[Record] | None = None

    def __enter__(self: Probe) -> Probe:
        if self._handles:
            raise RuntimeError(f"This {type(self).__name__} is at work already: leave its with.")
        self._handles = [self.model.register_forward_pre_hook(self._count), *self._hooks()]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._finish(complete=kind is None)

    def _count(self, model: nn.Module, args: Any) -> None:
        if not model.training:
            return
        self._finish(complete=True)
        if self._passes % self.every == 0:
            self._begin(self._passes)
        self._passes += 1

    def _add(self, name: str, *row: Any) -> None:
        self._rows.setdefault(name, []).append(row)
        self._records = None

    @property
    def records(self) -> dict[str, Record]:
        """The record of each name, so far. Can be read during the run and after it.

        Raises:
            RuntimeError: if nothing was recorded yet.
        """
        if self._records is None:
            if not self._rows:
                raise RuntimeError(
                    f"{type(self).__name__} has recorded nothing yet: enter it and run a forward "
                    "pass of the model in training mode inside the with."
                )
            self._records = _Named({name: self._stack(name) for name in self._rows})
        return self._records

    def _hooks(self) -> Iterator[Any]:
        raise NotImplementedError

    def _begin(self, step: int) -> None:
        raise NotImplementedError

    def _finish(self, complete: bool) -> None:
        raise NotImplementedError

    def _stack(self, name: str) -> Record:
        raise NotImplementedError


class ActivationProbe(_Probe[ActivationRecord]):
    """Records what layers put out while a model trains.

    It counts the forward passes that the model makes in training mode and records the first, the
    one ``every`` later, and so on; passes in eval mode are neither counted nor recorded. Entered
    again after it was left, it counts on.

    A module that is called several times in a pass is recorded with its last call. An output that
    is no tensor, or is empty or complex, is left out. An output without dim 1 is one unit.

    Args:
        model: any module. Its hooks are set on entering and removed on leaving, also by an error.
        layers: names as in ``model.named_modules()``. None is every module without children that
            is called (a parametrized one counts as one module).
        every: passes from one record to the next.
        bins: number of bins of the histograms.
        range: lower and upper end of the histograms.

    Raises:
        ValueError: a name that the model does not have, or an option out of bounds.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
        >>> with ActivationProbe(model, ["1"], every=2) as probe:
        ...     for _ in range(5):
        ...         y = model(torch.ones(8, 3))
        >>> probe.steps
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
        bins: int = 64,
        range: tuple[float, float] = (-4.0, 4.0),
    ) -> None:
        super().__init__(model, every)
        low, high = range
        if bins < 1:
            raise ValueError(f"ActivationProbe expects bins of at least 1; got {bins}.")
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"ActivationProbe expects a finite range (low, high); got {range}.")
        self.layers = _named_modules(model, layers)
        self.edges = torch.linspace(low, high, bins + 1)
        self._step: int | None = None  # of the pass that is being recorded
        self._rows_of_pass: dict[str, tuple[Tensor, ...]] = {}

    def _hooks(self) -> Iterator[Any]:
        for name, module in self.layers.items():
            yield module.register_forward_hook(self._hook(name))
        yield self.model.register_forward_hook(self._after)

    def _hook(self, name: str) -> Any:
        def record(module: nn.Module, args: Any, output: Any) -> None:
            if self._step is not None and _recordable(output):
                self._rows_of_pass[name] = _summary(module, output.detach(), self.edges)

        return record

    def _begin(self, step: int) -> None:
        self._step = step

    def _after(self, model: nn.Module, args: Any, output: Any) -> None:
        if self._step is None:
            return
        self.steps.append(self._step)
        for name, row in self._rows_of_pass.items():
            self._add(name, torch.tensor(self._step), *row)
        self._finish(complete=True)

    def _finish(self, complete: bool) -> None:
        self._step = None
        self._rows_of_pass = {}  # of a pass that did not get to its end

    def _stack(self, name: str) -> ActivationRecord:
        rows = self._rows[name]
        units = {row[1].shape[0]: int(row[0]) for row in rows}
        if len(units) > 1:
            seen = " and ".join(f"{n} (step {step})" for n, step in units.items())
            raise ValueError(f"ActivationProbe expects the same units always; {name!r} had {seen}.")
        columns = [torch.stack(column) for column in zip(*rows, strict=True)]
        first, last = columns[:-2], columns[-2:]
        return ActivationRecord(*(*first, self.edges.clone(), *last))


class GradientProbe(_Probe[GradientRecord]):
    """Records how large gradients and updates are, for any optimizer.

    At a recorded step the parameters are copied when the forward pass begins, and their gradients
    measured as backward leaves them, before any clipping or unscaling. What the optimizer has added
    is read when the next forward pass in training mode begins, or on leaving; a step that an error
    cuts short is dropped. So one step is one forward pass; with several passes for one step, the
    updates of the recorded ones are partly zero. Steps are counted as by :class:`ActivationProbe`.

    Args:
        model: any module. Its parameters that require a gradient on entering are recorded.
        every: steps from one record to the next.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> model.weight.data.fill_(2.0)
        tensor([[2.]])
        >>> with GradientProbe(model) as probe:
        ...     model(torch.tensor([[3.0]])).backward()
        ...     model.weight.data -= 0.1 * model.weight.grad
        >>> record = probe.records["weight"]
        >>> record.grad_norm.item(), record.param_norm.item(), round(record.update_ratio.item(), 4)
        (3.0, 2.0, 0.15)
    """

    def __init__(self, model: nn.Module, *, every: int = 50) -> None:
        super().__init__(model, every)
        self._step: int | None = None  # of the step whose update is still to come
        self._before: dict[str, tuple[Tensor, Tensor]] = {}  # parameter, and its copy
        self._grads: dict[str, Tensor] = {}  # norms

    def _hooks(self) -> Iterator[Any]:
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                yield parameter.register_post_accumulate_grad_hook(self._hook(name))

    def _hook(self, name: str) -> Any:
        def record(parameter: Tensor) -> None:
            if self._step is not None and parameter.grad is not None:
                self._grads[name] = _norm(parameter.grad)

        return record

    def _begin(self, step: int) -> None:
        self._step = step
        self._before = {
            name: (parameter, parameter.detach().clone())
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad
        }

    def _finish(self, complete: bool) -> None:
        if self._step is not None and complete:
            self.steps.append(self._step)
            for name, (parameter, before) in self._before.items():
                grad = self._grads.get(name, torch.tensor(math.nan))
                norms = (grad, _norm(before), _norm(parameter.detach() - before.to(parameter)))
                self._add(name, self._step, *(norm.item() for norm in norms))
        self._step, self._before, self._grads = None, {}, {}

    def _stack(self, name: str) -> GradientRecord:
        return GradientRecord(*map(torch.tensor, zip(*self._rows[name], strict=True)))


@torch.no_grad()
def activations(
    model: nn.Module, x: Tensor, layers: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """What the named modules put out when the model is given ``x``.

    The mode of the model is left as it is, so a batch norm in training mode updates its running
    statistics. Of a module that is called twice, the last call; what is no tensor is left out.

    Args:
        model: any module.
        x: its input.
        layers: names as in ``model.named_modules()``; None is every module without children.

    Returns:
        Copies of the outputs on the model's device, by name, in the order of the calls.

    Raises:
        ValueError: a name that the model does not have.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.ReLU())
        >>> activations(model, torch.tensor([[-1.0, 2.0]]), ["1"])
        {'1': tensor([[0., 2.]])}
    """
    outputs: _Named[Tensor] = _Named()

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                outputs.pop(name, None)
                outputs[name] = output.clone()  # the next module may work in place

        return hook

    modules = _named_modules(model, layers)
    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def _named_modules(model: nn.Module, names: Sequence[str] | None) -> dict[str, nn.Module]:
    if names is None:
        leaves: dict[str, nn.Module] = {}
        for name, module in model.named_modules():
            if "parametrizations" in name.split("."):
                continue  # it puts out a weight, not an activation
            if is_parametrized(module) or next(module.children(), None) is None:
                leaves[name] = module
        return leaves
    known = dict(model.named_modules(remove_duplicate=False))
    names = [names] if isinstance(names, str) else names
    for name in names:
        if name not in known:
            kind = type(model).__name__
            raise ValueError(f"{kind} has no module named {name!r}{_hint(name, known)}")
    return {name: known[name] for name in names}


def _hint(name: str, known: Iterable[str]) -> str:
    names = [one for one in known if one]  # the root is named ""
    if near := difflib.get_close_matches(name, names):
        return f"; near names are {', '.join(map(repr, near))}."
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"; the names are {', '.join(map(repr, names[:12]))}{more}."


def _recordable(output: Any) -> bool:
    return isinstance(output, Tensor) and output.numel() > 0 and not output.is_complex()


def _summary(module: nn.Module, output: Tensor, edges: Tensor) -> tuple[Tensor, ...]:
    """A row of an :class:`ActivationRecord`, in the order of its fields."""
    x = output.float()
    x = x.transpose(0, 1).flatten(1) if x.ndim > 1 else x.reshape(1, -1)
    x = x.contiguous()  # (U, samples)
    mean = x.mean(1)
    pooled_mean = x.mean()
    low, high = x.aminmax(dim=1)
    percentiles, pooled_percentiles = _percentiles(x)
    row = (
        mean,
        (x - mean[:, None]).square_().mean(1).sqrt(),
        percentiles,
        pooled_mean,
        (x - pooled_mean).square_().mean().sqrt(),
        pooled_percentiles,
        _histogram(x, edges),
        (low == high).float().mean() if x.shape[1] > 1 else torch.tensor(math.nan),
        _saturated(module, x),
    )
    return tuple(value.cpu() for value in row)


def _percentiles(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row of ``x``, and of all of it: (5, U) and (5,)."""
    rows = _sorted(x[:, :: _stride(x.shape[1], _PER_UNIT)])
    flat = rows.flatten()
    step = _stride(len(flat), _POOLED)
    while math.gcd(step, rows.shape[1]) > 1:  # else only a few ranks of each row would be met
        step += 1
    return _quantiles(rows).T.contiguous(), _quantiles(_sorted(flat[None, ::step]))[0]


def _stride(n: int, limit: int) -> int:
    return -(-n // limit)


def _sorted(x: Tensor) -> Tensor:
    """A copy with the rows in order, NaN last."""
    if x.device.type != "cpu":
        return x.sort(1).values
    x = x.clone(memory_format=torch.contiguous_format)
    x.numpy().sort(axis=1)  # vectorized; torch.sort takes up to 50 times as long here
    return x


def _quantiles(rows: Tensor) -> Tensor:
    """Of rows in order, at PERCENTILES: (U, n) -> (U, 5), as torch.quantile would."""
    position = torch.tensor(PERCENTILES, dtype=torch.float64) / 100 * (rows.shape[1] - 1)
    below = position.floor().long()
    weight = (position - below).to(rows.device, rows.dtype)
    above = position.ceil().long()
    values = torch.lerp(rows[:, below], rows[:, above], weight)
    return values.masked_fill_(rows[:, -1:].isnan(), math.nan)


def _histogram(x: Tensor, edges: Tensor) -> Tensor:
    low, high, bins = edges[0].item(), edges[-1].item(), len(edges) - 1
    scaled = (x.flatten() - low).mul_(bins / (high - low)).clamp_(0, bins - 1)
    scaled.nan_to_num_(nan=bins)  # a bin of its own, left out
    return scaled.long().bincount(minlength=bins + 1)[:bins]


def _saturated(module: nn.Module, y: Tensor) -> Tensor:
    """From the output y: the derivatives are y (1 - y), at most 1/4, and 1 - y^2, at most 1."""
    if isinstance(module, nn.Sigmoid):
        flat = y * (1 - y) < 0.1 / 4
    elif isinstance(module, nn.Tanh):
        flat = 1 - y.square() < 0.1
    else:
        return torch.tensor(math.nan)
    return flat.float().mean()


def _norm(x: Tensor) -> Tensor:
    x = x.detach()
    if x.is_sparse:
        x = x.coalesce().values()
    return torch.linalg.vector_norm(x.float() if x.dtype in (torch.float16, torch.bfloat16) else x)
