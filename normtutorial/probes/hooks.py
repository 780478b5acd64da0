"""Hooks under ``with``: set when it is entered, removed when it is left, also by an error."""

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.utils.hooks import RemovableHandle

Row = dict[str, Tensor]  # what one pass adds to a record, by the names of its fields


class Probe:
    """Has hooks on a model for the time of a ``with``, and counts its passes in training mode.

    A subclass says what is measured: ``_hooks`` sets its hooks, ``_begin`` is called when a pass
    begins that is to be recorded, ``_end`` when the next one begins or the ``with`` is left.
    """

    def __init__(self, model: nn.Module, every: int) -> None:
        if every < 1:
            raise ValueError(f"{type(self).__name__} expects every of at least 1; got {every}.")
        self.model = model
        self.every = every
        self.passes: list[int] = []  # the recorded ones
        self._counted = 0
        self._current: int | None = None  # the pass that is being recorded
        self._handles: list[RemovableHandle] = []
        self._rows: dict[str, list[Row]] = defaultdict(list)
        self._records = Named()  # made of all rows; empty when there are new ones

    def __enter__(self) -> Self:
        if self._handles:
            raise RuntimeError(f"This {type(self).__name__} is at work already: leave its with.")
        self._handles = [self.model.register_forward_pre_hook(self._count), *self._hooks()]
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        while self._handles:
            self._handles.pop().remove()
        self._end(complete=error is None)

    def _count(self, model: nn.Module, args: Any) -> None:
        if model.training:
            self._end(complete=True)
            if self._counted % self.every == 0:
                self._current = self._counted
                self._begin()
            self._counted += 1

    def _keep(self, current: int, rows: dict[str, Row]) -> None:
        """Add what was measured in a pass to the records, by name."""
        self.passes.append(current)
        for name, row in rows.items():
            self._rows[name].append({"passes": torch.tensor(current), **row})
        self._records = Named()

    def _all(self, record: type, **further: Tensor) -> dict[str, Any]:
        """The records by name, with the fields of their rows and further ones."""
        if not self._rows:
            raise RuntimeError(
                f"{type(self).__name__} has recorded nothing yet: enter it and run a forward "
                "pass of the model in training mode inside the with."
            )
        if not self._records:
            for name, rows in self._rows.items():
                fields = {field: torch.stack([row[field] for row in rows]) for field in rows[0]}
                self._records[name] = record(**fields, **further)
        return self._records

    def _hooks(self) -> Iterable[RemovableHandle]:
        raise NotImplementedError

    def _begin(self) -> None:
        pass

    def _end(self, complete: bool) -> None:
        raise NotImplementedError


class Named(dict[str, Any]):
    """A dict whose KeyError says which names there are."""

    def __missing__(self, name: str) -> NoReturn:
        raise KeyError(f"nothing was recorded under {name!r}; {_hint(name, self)}.")


def call_name(name: str, calls: Counter[str]) -> str:
    """``name`` for the first call of a module in a pass; then ``name#2``, ``name#3``."""
    calls[name] += 1
    return name if calls[name] == 1 else f"{name}#{calls[name]}"


def named_modules(model: nn.Module, names: Sequence[str] | None) -> dict[str, nn.Module]:
    """The modules of these names; of all that have no children when ``names`` is None."""
    if names is None:
        return {
            name: module
            for name, module in model.named_modules()
            if "parametrizations" not in name.split(".")  # it puts out a weight, no activation
            and (is_parametrized(module) or not list(module.children()))
        }
    known = dict(model.named_modules(remove_duplicate=False))
    names = [names] if isinstance(names, str) else names
    if unknown := [name for name in names if name not in known]:
        who, hint = type(model).__name__, _hint(unknown[0], known)
        raise ValueError(f"{who} has no module named {unknown[0]!r}; {hint}.")
    return {name: known[name] for name in names}


def _hint(name: str, known: Iterable[str]) -> str:
    names = [one for one in known if one]  # the root is named ""
    near = difflib.get_close_matches(name, names)
    which = "near names are" if near else "the names are" if len(names) <= 12 else "some names are"
    return f"{which} {', '.join(map(repr, near or names[:12]))}"
