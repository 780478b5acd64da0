"""Numbers that are given as arguments: what is out of bounds is refused in words."""

import math
import operator
from typing import Any

__all__ = ["is_finite", "positive", "whole"]


def whole(who: str, name: str, value: Any, least: int = 1) -> int:
    """``value``, a whole number from ``least`` on; ``True`` and 2.0 are none.

    Raises:
        ValueError: in the name of ``who`` asks for ``name``.

    Example:
        >>> whole("fit", "epochs", 1.5)
        Traceback (most recent call last):
        ValueError: fit expects a whole number for epochs; got 1.5.
    """
    try:
        number = operator.index(None if isinstance(value, bool) else value)
    except TypeError:
        raise ValueError(f"{who} expects a whole number for {name}; got {value!r}.") from None
    if number < least:
        raise ValueError(f"{who} expects {name} of at least {least}; got {number}.")
    return number


def is_finite(value: Any) -> bool:
    """Whether it is a number, neither infinite nor NaN.

    Example:
        >>> [is_finite(value) for value in (0.5, 2, True, "2", None, math.nan)]
        [True, True, False, False, False, False]
    """
    try:
        return not isinstance(value, (bool, str)) and math.isfinite(value)
    except (TypeError, ValueError, RuntimeError):  # such as a tensor of several numbers
        return False


def positive(who: str, name: str, value: Any) -> None:
    """Let a finite number above 0 pass.

    Raises:
        ValueError: in the name of ``who`` asks for ``name``.

    Example:
        >>> positive("fit", "lr", 0.0)
        Traceback (most recent call last):
        ValueError: fit expects a positive, finite number for lr; got 0.0.
    """
    if not (is_finite(value) and value > 0):
        raise ValueError(f"{who} expects a positive, finite number for {name}; got {value!r}.")
