"""Everything back as it was, to the bit, whatever happens in between."""

import functools
import inspect
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

__all__ = ["reached", "untouched"]

Undo = Callable[[], object]
CONTAINERS = (dict, list, set)


@contextmanager
def untouched(*things: Any) -> Iterator[None]:
    """Put back what happens inside to models, optimizers, loaders and the random generators.

    Of a model: parameters, buffers, gradients, ``requires_grad``, modes, hooks, and whatever else
    is an attribute of one of its modules. Of an optimizer, and of anything else that has
    ``state_dict`` and ``load_state_dict``, its state. An optimizer that is not named is noted when
    it makes its first step. Of a loader: the generators that it draws from.

    Example:
        >>> layer = nn.BatchNorm1d(2)
        >>> with untouched(layer):
        ...     layer(torch.ones(3, 2)).sum().backward()
        >>> layer.num_batches_tracked, layer.weight.grad
        (tensor(0), None)
    """
    noted: dict[int, Any] = {}
    undo: list[Undo] = _note_generators()

    def note(thing: Any) -> None:
        if id(thing) not in noted:
            noted[id(thing)] = thing  # kept, so that no other gets its id
            undo.extend(_note(thing))

    for thing in things:
        note(thing)
    hook = register_optimizer_step_pre_hook(lambda one, *_: note(one))
    try:
        yield
    finally:
        hook.remove()
        for back in reversed(undo):
            back()


def reached(call: Callable[..., Any] | None) -> list[Any]:
    """What a function of the user's can change: what it closes over and what it is a method of.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> reached(lambda x: layer(x)) == [layer]
        True
    """
    if call is None:
        return []
    if isinstance(call, functools.partial):
        parts = [call.func, *call.args, *call.keywords.values()]
        return [thing for part in parts for thing in (reached(part) or [part])]
    found: list[Any] = []
    owner = getattr(call, "__self__", None if inspect.isfunction(call) else call)
    if owner is not None:
        found += [owner, *getattr(owner, "__dict__", {}).values()]
    function = inspect.unwrap(getattr(call, "__func__", call))
    if inspect.isfunction(function):
        variables = inspect.getclosurevars(function)
        found += [*variables.nonlocals.values(), *variables.globals.values()]
    flat = [item for one in found for item in (one if isinstance(one, (list, tuple)) else [one])]
    return [one for one in flat if _has_state(one)]


def _has_state(thing: Any) -> bool:
    stateful = hasattr(thing, "state_dict") and hasattr(thing, "load_state_dict")
    return stateful and not isinstance(thing, type)


def _note(thing: Any) -> Iterable[Undo]:
    if isinstance(thing, nn.Module):
        for module in thing.modules():
            yield from _note_attributes(module)
    elif _has_state(thing):  # an optimizer, a scheduler, a scaler
        yield from _note_attributes(thing)
    else:  # a loader
        for owner in (thing, getattr(thing, "sampler", None), getattr(thing, "dataset", None)):
            yield from _note_value(getattr(owner, "generator", None))


def _note_attributes(thing: Any) -> Iterator[Undo]:
    """A module has its parameters, buffers, children and hooks in dicts that are attributes, an
    optimizer its groups and what it remembers of each parameter."""
    yield from _note_container(vars(thing), depth=3)


def _note_container(container: Any, depth: int) -> Iterator[Undo]:
    """What a dict, list or set holds, and in what state; of those that it holds, once more."""
    kept = container.copy()

    def back() -> None:
        container.clear()
        container.extend(kept) if isinstance(container, list) else container.update(kept)

    yield back
    for value in kept.values() if isinstance(kept, dict) else kept:
        yield from _note_value(value)
        if isinstance(value, CONTAINERS) and depth:
            yield from _note_container(value, depth - 1)


def _note_value(value: Any) -> Iterator[Undo]:
    if isinstance(value, Tensor):
        yield _note_tensor(value)
    elif isinstance(value, torch.optim.Optimizer):  # of a scheduler, or inside another one
        yield from _note_attributes(value)
    elif isinstance(value, torch.Generator):
        yield functools.partial(value.set_state, value.get_state())
    elif isinstance(value, random.Random):
        yield functools.partial(value.setstate, value.getstate())
    elif hasattr(value, "bit_generator"):  # one of numpy's
        generator = value.bit_generator
        yield functools.partial(setattr, generator, "state", generator.state)


def _note_tensor(tensor: Tensor) -> Undo:
    """Its values, and of a leaf its gradient. Through ``data``, which autograd does not see."""
    data = tensor.data
    values, needed = data.clone(), tensor.requires_grad
    grad = tensor.grad if tensor.is_leaf else None
    kept = None if grad is None else grad.data.clone()

    def back() -> None:
        if tensor.data_ptr() != data.data_ptr() or tensor.dtype != data.dtype:
            tensor.data = data
        data.copy_(values)
        if tensor.is_leaf:
            tensor.requires_grad_(needed)
            tensor.grad = grad
        if grad is not None and kept is not None:
            grad.data.copy_(kept)

    return back


def _note_generators() -> list[Undo]:
    undo: list[Undo] = [functools.partial(torch.set_rng_state, torch.get_rng_state())]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states = torch.cuda.get_rng_state_all()
        undo.append(functools.partial(torch.cuda.set_rng_state_all, states))
    undo.append(functools.partial(random.setstate, random.getstate()))
    if numpy := sys.modules.get("numpy"):
        undo.append(functools.partial(numpy.random.set_state, numpy.random.get_state()))
    return undo
