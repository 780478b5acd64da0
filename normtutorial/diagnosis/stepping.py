"""What layers with a memory do while a model is trained, and while the user evaluates it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..probes.hooks import in_backward, plain
from .batches import Batch, LossFunction, call, pick, size, step_loss
from .kinds import frozen, is_batch_norm, memory
from .measures import moments, per_sample
from .watching import passing, tensor_in, watched

__all__ = ["Steps", "Update", "one_step", "users_steps"]

FEW = 4  # samples, where there are gradients


@dataclass
class Update:
    """One call of a layer with a memory.

    Attributes:
        layer: its name.
        training: its mode.
        before, after: its running statistics.
        again: whether backward made it, of what had been computed before.
        nth_pass: which call of the model, or of a part of it that was called by itself.
        source: the first pass with the same input.
        samples, var: of what came in, the mean of each sample and channel, and the variance.
        values: how many share a mean.
    """

    layer: str
    training: bool
    before: list[Tensor]
    after: list[Tensor]
    again: bool
    nth_pass: int
    source: int
    samples: Tensor | None
    var: Tensor
    values: int

    @property
    def moved(self) -> bool:
        """Whether it changed its running statistics."""
        return not _all_same(self.before, self.after)


@dataclass
class Steps:
    """The updates of one step, which parameters it changed, and the statistics at its end."""

    updates: list[Update] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)
    end: dict[str, list[Tensor]] = field(default_factory=dict)

    def of(self, layer: str) -> list[Update]:
        return [update for update in self.updates if update.layer == layer]

    def lasting(self, layer: str) -> list[Update]:
        """Those updates that its statistics keep: none that the step itself has put back."""
        kept, state = [], self.end.get(layer, [])
        for one in reversed(self.of(layer)):
            if one.moved and _all_same(one.after, state):
                kept.append(one)
                state = one.before
        return kept[::-1]


class _Memories:
    """Watches the layers that remember, before and after each of their calls."""

    def __init__(self, model: nn.Module) -> None:
        self.names = {
            id(module): plain(name)
            for name, module in model.named_modules()
            if memory(module) is not None or is_batch_norm(module)
        }
        self.steps = Steps()
        self.inputs: list[tuple[Any, ...]] = []
        self.depth = 0
        self.kept: dict[int, list[Tensor]] = {}

    def before(self, name: str, module: nn.Module, args: Any) -> None:
        if not in_backward():
            if self.depth == 0:
                self.inputs.append(_print(args))
            self.depth += 1
        if id(module) in self.names:
            self.kept[id(module)] = _copied(module)

    def after(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        if not in_backward():
            self.depth -= 1
        x = tensor_in(args)
        if id(module) in self.names and x is not None and x.ndim >= 2:
            self.steps.updates.append(
                Update(
                    layer=self.names[id(module)],
                    training=module.training,
                    before=self.kept.pop(id(module), []),
                    after=_copied(module),
                    again=in_backward(),
                    nth_pass=len(self.inputs),
                    source=1 + self.inputs.index(self.inputs[-1]) if self.inputs else 0,
                    samples=per_sample(x, 1, len(x)),
                    var=moments(x, 1)[1],
                    values=x.numel() // x.shape[1],
                )
            )

    def end(self, model: nn.Module) -> None:
        """Note what is remembered now."""
        for module in model.modules():
            if id(module) in self.names:
                self.steps.end[self.names[id(module)]] = _copied(module)


def _copied(module: nn.Module) -> list[Tensor]:
    return [one.detach().clone() for one in memory(module) or ()]


def _all_same(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(map(_same, first, second))


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.nan_to_num(nan=0.5), b.detach().nan_to_num(nan=0.5))


def _print(args: Any) -> tuple[Any, ...]:
    """What tells one input from another."""
    x = tensor_in(args)
    if x is None:
        return ()
    weights = torch.arange(1, x.numel() + 1, device=x.device, dtype=torch.float64).sqrt()
    return tuple(x.shape), float((x.detach().double().flatten() * weights).sum())


def one_step(model: nn.Module, batch: Batch, loss: LossFunction | None) -> Steps:
    """A forward and a backward pass of a few samples, in the modes of training.

    These are the modes in which the model is, if it is in training mode. Else it is put there,
    except for those layers that are in evaluation mode because they are frozen.
    """
    n = size(batch)
    few = Batch(*pick(tuple(batch), slice(FEW), n))
    with passing("In a step", model) as within, torch.enable_grad():
        if not model.training:
            still = [one for one in model.modules() if is_batch_norm(one) and frozen(one)]
            model.train()
            for module in still:
                module.eval()
        watcher = _Memories(model)
        with watched(model, within, watcher.after, watcher.before, recomputed=True):
            value = step_loss(loss, call(model, few.x), few.target)
            if value.requires_grad:
                value.backward()
        watcher.end(model)
    return watcher.steps


def users_steps(
    model: nn.Module,
    batch: Any,
    step: Callable[[Any], Any] | None,
    evaluate: Callable[[], Any] | None,
    things: list[Any],
) -> tuple[Steps, Steps, Steps]:
    """The user's step; their evaluation; and the step that comes after it."""
    first = _run(model, "In step", (lambda: step(batch)) if step else None, things)
    with passing("In evaluate and step", model, *things):
        second = _run(model, "In evaluate", evaluate, ())
        third = _run(model, "In step", (lambda: step(batch)) if step and evaluate else None, ())
    return first, second, third


def _run(model: nn.Module, what: str, run: Callable[[], Any] | None, things: Any) -> Steps:
    if run is None:
        return Steps()
    watcher = _Memories(model)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    scope = passing(what, model, *things) if things else passing(what)
    with scope as within, torch.enable_grad():
        with watched(model, within, watcher.after, watcher.before, recomputed=True):
            run()
        watcher.end(model)
        watcher.steps.changed = {
            plain(name)
            for name, value in model.named_parameters()
            if name in before and not _same(before[name], value)
        }
    return watcher.steps
