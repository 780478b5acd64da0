"""What a mistake is, and how it takes the place of what is right."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from inspect import getdoc, signature
from typing import Any

from .steps import IN_STEPS

__all__ = ["MISTAKES", "Mistake", "mistake"]

PACKAGE, GALLERY = "normtutorial", "normtutorial.mistakes"


@dataclass(frozen=True)
class Mistake:
    """Something that people get wrong, and the public object that it stands in for.

    Attributes:
        name: the object's name and the mistake in words; the key in ``MISTAKES``.
        seam: the public function or class.
        wrong: the function or class to read: what is wrong, in a few lines.
        step: the step of ``seam`` that ``wrong`` replaces; None if it replaces all of it.

    Example:
        >>> import torch
        >>> mistake = MISTAKES["layer_norm: eps outside the root"]
        >>> x = torch.tensor([[1.0, 3.0]])
        >>> mistake.stand_in()(x, (2,), eps=1.0), mistake.seam(x, (2,), eps=1.0)
        (tensor([[-0.5000,  0.5000]]), tensor([[-0.7071,  0.7071]]))
    """

    name: str
    seam: Any
    wrong: Any
    step: str | None = None

    @property
    def says(self) -> str:
        """What is wrong, and what one sees when it happens."""
        return getdoc(self.wrong) or ""

    def stand_in(self) -> Any:
        """What does it wrong: by its name, signature and documentation it is the right one."""
        seam: Any = self.seam
        wrong: Any = self.wrong
        if self.step:
            wrong = partial(IN_STEPS[seam], **{self.step: wrong})
        if not isinstance(seam, type):
            known = signature(wrong).parameters  # a layer also hands over its kernel

            def call(*args: Any, **options: Any) -> Any:
                return wrong(*args, **{k: v for k, v in options.items() if k in known})

            return wraps(seam)(call)
        same = {name: getattr(seam, name) for name in ("__module__", "__qualname__", "__doc__")}
        return type(seam.__name__, (wrong,), same | {"__signature__": signature(seam)})

    @contextmanager
    def made(self) -> Iterator[Any]:
        """Replace the right thing in every module of the package that holds it, and put it back.

        What others had imported before keeps the right one.

        Example:
            >>> import torch
            >>> from normtutorial import functional
            >>> with MISTAKES["lengths: zeros pass"].made():
            ...     functional.lengths(torch.zeros(1, 2), dim=0)
            tensor([[0.]])
        """
        stand_in = self.stand_in()
        _swap(self.seam, stand_in)
        try:
            yield stand_in
        finally:
            _swap(stand_in, self.seam)


def _swap(old: Any, new: Any) -> None:
    for path, module in list(sys.modules.items()):
        if path.split(".")[0] == PACKAGE and not path.startswith(GALLERY):
            for name in [name for name, value in vars(module).items() if value is old]:
                setattr(module, name, new)


MISTAKES: dict[str, Mistake] = {}


def mistake(*seams: Any, step: str | None = None) -> Callable[[Any], Any]:
    """Collect a function or class in ``MISTAKES``, once for each public object it stands for.

    Args:
        seams: the public functions or classes.
        step: the step that it replaces in those that are written in steps.

    Example:
        >>> from normtutorial.functional import moments
        >>> @mistake(moments)
        ... def without_variance(x, dims, *, correction=0):
        ...     return x.mean(dims, keepdim=True), x.new_ones(())
        >>> MISTAKES.pop("moments: without variance").wrong is without_variance
        True
    """

    def collect(wrong: Any) -> Any:
        words = re.sub(r"_|(?<=.)(?=[A-Z])", " ", wrong.__name__).lower()
        for seam in seams:
            name = f"{seam.__name__}: {words}"
            MISTAKES[name] = Mistake(name, seam, wrong, step if seam in IN_STEPS else None)
        return wrong

    return collect
