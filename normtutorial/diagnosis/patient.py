"""The model and what was given with it; what is seen of it, each thing when it is first asked."""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from torch import nn

from ..probes.hooks import plain
from .batches import Batch, LossFunction, join, size, take
from .company import Company, company
from .evaluation import Call, Evaluation
from .guard import reached
from .kinds import is_batch_norm, is_untouched, looks_trained, memory, norms
from .repair import Judged, Recalibration
from .stepping import Steps, one_step, users_steps
from .watching import PassFailed

__all__ = ["Patient"]

T = TypeVar("T")


class _Once(Generic[T]):
    """What is seen once and kept; also that it failed."""

    def __init__(self, look: Callable[["Patient"], T]) -> None:
        self.look = look
        self.__doc__ = look.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, patient: "Patient", owner: type) -> T:
        if self.name not in patient.seen:
            try:
                patient.seen[self.name] = self.look(patient)
            except PassFailed as failed:
                patient.seen[self.name] = failed
        seen: Any = patient.seen[self.name]
        if isinstance(seen, PassFailed):
            raise seen
        return seen


class Patient:
    """What the checks look at.

    Attributes:
        model, batches, loss, step, evaluate, optimizers, averaged: as they were given.
        norms: all of them, by name; ``memories`` those that remember.
        seen: what was seen so far.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[Any],
        *,
        loss: LossFunction | None = None,
        step: Callable[[Any], Any] | None = None,
        evaluate: Callable[[], Any] | None = None,
        optimizers: Iterable[Any] = (),
        averaged: nn.Module | None = None,
        limit: int = 8,
    ) -> None:
        self.model = uncompiled_model(model)
        self.loss, self.step, self.evaluate = loss, step, evaluate
        self.optimizers = list(optimizers)
        self.averaged = None if averaged is None else uncompiled_model(averaged)
        self.given, self.batches = take(batches, self.model, limit)
        self.norms = {plain(name): module for name, module in norms(self.model).items()}
        self.memories = {
            name: module for name, module in self.norms.items() if memory(module) is not None
        }
        self.seen: dict[str, Any] = {}

    def parent(self, name: str) -> nn.Module:
        """The module around a norm."""
        around = name.rpartition(".")[0]
        return {plain(key): module for key, module in self.model.named_modules()}[around]

    @property
    def shares(self) -> bool:
        """Whether there is a batch norm that is not frozen for good."""
        return any(
            is_batch_norm(module)
            and (module.training or any(p.requires_grad for p in self.parent(name).parameters()))
            for name, module in self.norms.items()
        )

    @property
    def trained(self) -> bool:
        """Whether it is not new altogether: shifts that differ, or statistics of something."""
        return any(map(looks_trained, self.norms.values())) or not all(
            map(is_untouched, self.memories.values())
        )

    @property
    def largest(self) -> Batch:
        """The largest batch, or all samples where each is a batch of its own."""
        largest = max(self.batches, key=size)
        return (join(self.batches) or largest) if size(largest) == 1 else largest

    def calls(self, layer: str) -> list[Call]:
        """Those of a norm in evaluation mode."""
        return [call for call in self.evaluation.calls if call.layer == layer]

    @_Once
    def evaluation(self) -> Evaluation:
        """All batches in evaluation mode."""
        return Evaluation.of(self.model, self.batches, self.norms, self.loss)

    @_Once
    def recalibration(self) -> Recalibration:
        """The statistics that the batches have."""
        seen = self.evaluation
        known = None if seen.rows is None else Judged(seen.rows, seen.losses)
        return Recalibration(self.model, self.batches, self.loss, known)

    @_Once
    def averaged_recalibration(self) -> Recalibration | None:
        """Those that they have in the model with averaged weights."""
        if self.averaged is None:
            return None
        return Recalibration(self.averaged, self.batches, self.loss)

    @_Once
    def one_step(self) -> Steps:
        """A forward and a backward pass."""
        return one_step(self.model, self.largest, self.loss)

    @_Once
    def users_steps(self) -> tuple[Steps, Steps, Steps]:
        """The user's step, their evaluation, and the step after it."""
        things = [*reached(self.step), *reached(self.evaluate), *self.optimizers]
        return users_steps(self.model, self.given[0], self.step, self.evaluate, things)

    @_Once
    def company(self) -> Company | None:
        """A sample alone and among others."""
        return company(self.model, self.largest)


def uncompiled_model(model: nn.Module) -> nn.Module:
    """The model that was compiled, if it was."""
    original: nn.Module = getattr(model, "_orig_mod", model)
    return original
