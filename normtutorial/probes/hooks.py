"""Hooks under ``with``: set when it is entered, removed when it is left, also by an error."""

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any, NoReturn, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.utils.hooks import RemovableHandle

from ..checks import whole
from ..runtime import uncompiled

Row = dict[str, Tensor]  # what one pass adds to a record, by the names of its fields


class Probe:
    """Has hooks on a model for the time of a ``with``, and counts its passes in training mode.

    Compiled code runs uncompiled meanwhile: it would not call the hooks. A pass that backward makes
    again, for activation checkpointing, is none.

    A subclass says what is measured: ``_hooks`` sets its hooks, ``_begin`` is called when a pass
    begins that is to be recorded, ``_end`` when the next one begins or the ``with`` is left.
    """

    def __init__(self, model: nn.Module, every: int) -> None:
        self.model: nn.Module = getattr(model, "_orig_mod", model)  # of a compiled one
        self.every = whole(type(self).__name__, "every", every)
        self.passes: list[int] = []  # the recorded ones
        self._counted = 0
        self._current: int | None = None  # the pass that is being recorded
        self._at_work: ExitStack | None = None  # takes the hooks off
        self._rows: dict[str, list[Row]] = defaultdict(list)
        self._records = Named()  # made of all rows; empty when there are new ones

    def __enter__(self) -> Self:
        if self._at_work:
            raise RuntimeError(f"This {type(self).__name__} is at work already: leave its with.")
        with ExitStack() as stack:
            stack.enter_context(uncompiled())
            stack.enter_context(self.model.register_forward_pre_hook(self._count))
            for handle in self._hooks():
                stack.enter_context(handle)
            self._at_work = stack.pop_all()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._at_work:
            self._at_work.close()
        self._at_work = None
        self._end(complete=error is None)

    def _count(self, model: nn.Module, args: Any) -> None:
        if model.training and not in_backward():
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
                "pass of the model in training mode inside the with. Call the model itself: a part "
                "of it, or its forward, is no pass."
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


def in_backward() -> bool:
    """Whether backward is at work: what is called then is computed again, for checkpointing."""
    return torch._C._current_graph_task_id() != -1


def plain(name: str) -> str:
    """The name of a module or parameter in the model as it was before it was compiled."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def leaves(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that call no others: those without children, parametrized ones, and attention of
    torch, which takes the weights of its child."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        parts = name.split(".")
        if "parametrizations" in parts:  # it puts out a weight, no activation
            continue
        if parts[-1] == "out_proj" and plain(".".join(parts[:-1])) in found:
            continue
        if is_parametrized(module) or not list(module.children()) or _is_attention(module):
            found[plain(name)] = module
    return found


def _is_attention(module: nn.Module) -> bool:
    return isinstance(module, nn.MultiheadAttention)


def named_modules(model: nn.Module, names: Sequence[str] | None) -> dict[str, nn.Module]:
    """The modules of these names; of all that call no others when ``names`` is None."""
    if names is None:
        return leaves(model)
    modules = model.named_modules(remove_duplicate=False)
    known = {plain(name): module for name, module in modules}
    names = [plain(name) for name in ([names] if isinstance(names, str) else names)]
    if unknown := [name for name in names if name not in known]:
        who, hint = type(model).__name__, _hint(unknown[0], known)
        raise ValueError(f"{who} has no module named {unknown[0]!r}; {hint}.")
    return {name: known[name] for name in names}


def expect_calls(who: str, named: bool, modules: Iterable[str], called: Iterable[str]) -> None:
    """Say so where nothing can be seen: a module that was named was not called, or none was."""
    missing = [name for name in modules if name not in called]
    if missing and (named or not called):
        raise ValueError(
            f"{who} expects modules that this pass calls; it did not call "
            f"{', '.join(map(repr, missing[:12]))}. What is used for its weights alone, or by a "
            "model that was scripted or exported, cannot be seen: name the module around it."
        )


def _hint(name: str, known: Iterable[str]) -> str:
    names = [one for one in known if one]  # the root is named ""
    near = difflib.get_close_matches(name, names)
    which = "near names are" if near else "the names are" if len(names) <= 12 else "some names are"
    return f"{which} {', '.join(map(repr, near or names[:12]))}"
