"""The pass over all batches in evaluation mode, and what each call of a norm showed in it."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..probes.outputs import is_real, tensors
from .batches import Batch, LossFunction, all_tensors, call, compared, losses, size
from .kinds import is_batch_norm, is_instance_norm
from .measures import (
    channel_dim,
    eps_rules,
    is_constant,
    makes_nonfinite,
    moments,
    moved_by_padding,
    normalized_axes,
    padding,
    per_sample,
    relative_error,
    values_per_set,
)
from .watching import passing, tensor_in, watched

__all__ = ["Call", "Evaluation", "Producer"]


VARIED = 16  # samples whose variance is compared


@dataclass
class Producer:
    """The last layer before a norm that says where it puts its features.

    Attributes:
        name, module: which one.
        dim: of the features in the input of the norm, counted from the front.
    """

    name: str
    module: nn.Module
    dim: int

    @classmethod
    def of(cls, name: str, module: nn.Module, output: Tensor) -> "Producer | None":
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            return cls(name, module, 1 if output.ndim > module.weight.ndim - 1 else 0)
        if isinstance(module, (nn.Linear, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)):
            return cls(name, module, output.ndim - 1)
        return None


@dataclass
class _Followed:
    """A producer with what it has put out, or what an activation has made of it since. Whoever
    keeps this keeps that tensor, too."""

    producer: Producer
    output: Tensor

    @classmethod
    def of(cls, name: str, module: nn.Module, output: Any) -> "_Followed | None":
        first = tensors(output).get("")
        if first is None or first.ndim < 2 or not is_real(first):
            return None
        producer = Producer.of(name, module, first)
        return None if producer is None else cls(producer, first)

    def before(self, x: Tensor) -> Producer | None:
        """The producer, with its features where they are in x, if x is its output turned over or
        has its shape; else None."""
        y, dim = self.output, self.producer.dim
        if _share(x, y) and x.ndim == y.ndim:
            where = [
                d
                for d in range(x.ndim)
                if (x.shape[d], x.stride(d)) == (y.shape[dim], y.stride(dim))
            ]
            if len(where) == 1:
                return replace(self.producer, dim=where[0])
        return self.producer if x.shape == y.shape else None

    def after(self, module: nn.Module, x: Tensor, output: Any) -> "_Followed":
        """The same behind a module that may be an activation, without parameters and of one
        shape."""
        y = tensors(output).get("")
        if y is None or y.shape != x.shape or not is_real(y) or _share(x, y):
            return self
        if any(True for _ in module.parameters()) or not _share(x, self.output):
            return self
        turned = self.before(x)
        return self if turned is None else _Followed(turned, y)


def _share(x: Tensor, y: Tensor) -> bool:
    """Whether one is a view of the other, or both of a third."""
    both = is_real(x) and is_real(y)
    return both and x.untyped_storage().data_ptr() == y.untyped_storage().data_ptr()


@dataclass
class Call:
    """One call of one norm.

    Attributes:
        layer, batch, nth: which one; nth counts the calls of the layer in this pass, from 0.
        shape: of the input.
        var: of a few samples, per channel, float64 (C,), where a batch norm has such rows.
        samples: of each sample and channel the mean, (N, C), where a batch norm has such rows.
        values: per set that is normalized; None where only its own code knows.
        axes: those that it normalizes over, of norms whose class does not say.
        tiny: the share of sets whose variance is below eps; None where there is no eps.
        constant: whether it put out one and the same number, whatever came in.
        error: against the same layer in float64, relative; None where that cannot be.
        before: the producer of its input, as it is or turned over.
        direct: whether the producer's output is its input, untouched.
        padded: by how many standard deviations its mean moves without the padding.
    """

    layer: str
    batch: int
    nth: int
    shape: tuple[int, ...]
    var: Tensor | None
    samples: Tensor | None
    values: int | None
    tiny: float | None = None
    constant: bool = False
    axes: frozenset[int] | None = None
    error: float | None = None
    before: Producer | None = None
    direct: bool = False
    padded: float | None = None


@dataclass
class Evaluation:
    """What was seen: calls in order, outputs and losses sample by sample, all batches in a row.

    ``broken`` is the first module that made of finite numbers others that are not, and its batch;
    instead of a module None where the batch itself has such numbers. Minus infinity counts if NaN
    comes of it in a layer that is fed with it; else it is a mask.
    """

    calls: list[Call] = field(default_factory=list)
    rows: Tensor | None = None
    losses: Tensor | None = None
    broken: tuple[str | None, int] | None = None

    @classmethod
    def of(
        cls,
        model: nn.Module,
        batches: list[Batch],
        norms: dict[str, nn.Module],
        loss: LossFunction | None,
    ) -> "Evaluation":
        seen = cls()
        rows: list[Tensor] = []
        lost: list[Tensor | None] = []
        names = {id(module): name for name, module in norms.items()}
        with passing("In evaluation mode", model) as within, torch.no_grad():
            model.eval()
            for i, batch in enumerate(batches):
                watcher = _Watcher(seen, i, batch, names)
                if seen.broken is None and not _is_finite(batch.x):
                    seen.broken = None, i
                with watched(model, within, after=watcher):
                    output = call(model, batch.x)
                n = size(batch)
                try:
                    rows.append(compared(output, n))
                except ValueError:
                    continue
                lost.append(losses(loss, output, batch.target, n))
        if len(rows) == len(batches) and len({row.shape[1] for row in rows}) == 1:
            seen.rows = torch.cat(rows)
        known = [one for one in lost if one is not None]
        if len(known) == len(batches):
            seen.losses = torch.cat(known)
        return seen


def _is_finite(x: Any) -> bool:
    return all(bool(t.isfinite().all()) for t in all_tensors(x) if t.is_floating_point())


class _Watcher:
    """Looks at the calls of one pass."""

    def __init__(self, seen: Evaluation, i: int, batch: Batch, names: dict[int, str]) -> None:
        self.seen, self.i, self.n, self.names = seen, i, size(batch), names
        self.padding = padding(batch.x)
        self.calls: Counter[str] = Counter()
        self.last: _Followed | None = None
        self.put_out: Any = None  # by the last one
        self.low = ""  # the first that made minus infinity
        self.asking = False  # the layer itself, which is no call of the model's

    def __call__(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        x = tensor_in(args)
        if self.asking or x is None:
            return
        if self.seen.broken is None and (made := makes_nonfinite(x, output)):
            if made == -torch.inf:
                self.low = self.low or name
            else:
                within = self.low.startswith(f"{name}." if name else "")
                self.seen.broken = (within and self.low) or name, self.i
        if id(module) in self.names and x.ndim >= 2 and x.is_floating_point():
            self.asking = True
            self.seen.calls.append(self._look(self.names[id(module)], module, x, output))
            self.asking = False
        if followed := _Followed.of(name, module, output):
            self.last, self.put_out = followed, output
        elif self.last:
            self.last = self.last.after(module, x, output)

    def _look(self, name: str, module: nn.Module, x: Tensor, output: Any) -> Call:
        nth = self.calls[name]
        self.calls[name] += 1
        dim, shared = channel_dim(module, x), is_batch_norm(module)
        seen = Call(
            layer=name,
            batch=self.i,
            nth=nth,
            shape=tuple(x.shape),
            var=moments(x[:VARIED], dim)[1] if shared else None,
            samples=per_sample(x, dim, self.n) if shared else None,
            values=values_per_set(module, x),
            padded=moved_by_padding(module, x, self.padding),
        )
        if self.last and (before := self.last.before(x)):
            seen.before, seen.direct = before, self.put_out is x
        if self.i == nth == 0:
            seen.tiny = eps_rules(module, x)
            seen.constant = is_constant(x, output)
            seen.error = relative_error(module, x)
            if not shared and not is_instance_norm(module) and not isinstance(module, nn.GroupNorm):
                seen.axes = normalized_axes(module, x)
        return seen
