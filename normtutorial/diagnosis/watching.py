"""Passes of a model, watched call by call, and what went wrong in one said with its layer."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..probes.hooks import in_backward, plain
from ..runtime import uncompiled
from .guard import untouched

__all__ = ["PassFailed", "passing", "seed", "tensor_in", "watched"]

Seen = Callable[[str, nn.Module, Any, Any], None]  # name, module, its arguments, its output


class PassFailed(Exception):
    """A pass came to no end; the message says in which layer, and why."""


def seed() -> None:
    """Let the passes draw the same numbers, without starting a GPU that is not in use."""
    torch.default_generator.manual_seed(0)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(0)


@contextmanager
def passing(what: str, *things: Any) -> Iterator[list[str]]:
    """For one pass: nothing remains of it, no warning is shown twice, and an error becomes a
    :class:`PassFailed` that names the layer, the last of those in the list that is given."""
    within: list[str] = []
    with untouched(*things), uncompiled(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seed()
        try:
            yield within
        except PassFailed:
            raise
        except Exception as error:
            layer = f"layer {within[-1]!r}" if within and within[-1] else "the model"
            said = (str(error) or type(error).__name__).splitlines()[0]
            raise PassFailed(f"{what}, {layer} raised {type(error).__name__}: {said}") from error


@contextmanager
def watched(
    model: nn.Module,
    within: list[str],
    after: Seen | None = None,
    before: Callable[[str, nn.Module, Any], None] | None = None,
    recomputed: bool = False,
) -> Iterator[None]:
    """Tell of each call of each module, in the order in which they end.

    Args:
        model: whose modules.
        within: the names of those that are at work, the innermost last.
        after, before: what is told.
        recomputed: whether calls that backward makes again are told, too.
    """

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            within.append(name)
            if before and (recomputed or not in_backward()):
                before(name, module, (args, kwargs))

        return hook

    def leave(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if after and (recomputed or not in_backward()):
                after(name, module, (args, kwargs), output)
            within.pop()

        return hook

    with ExitStack() as stack:
        for long, module in model.named_modules():
            if "parametrizations" in long.split(".") or not _is_callable(module):
                continue
            name = plain(long)
            stack.enter_context(module.register_forward_pre_hook(enter(name), with_kwargs=True))
            stack.enter_context(module.register_forward_hook(leave(name), with_kwargs=True))
        yield


def _is_callable(module: nn.Module) -> bool:
    return not isinstance(module, torch.jit.ScriptModule)


def tensor_in(args: Any) -> Tensor | None:
    """The first tensor that a module was called with."""
    positional, keywords = args
    values = [*positional, *keywords.values()]
    return next((value for value in values if isinstance(value, Tensor)), None)
