"""A claim is a statement that is measured where it is made, and that fails when it is not true."""

import operator
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:  # who only reads claims does not wait for torch
    from torch import Tensor

__all__ = ["Claim", "ClaimFailed", "Comparison", "above", "below", "claim"]

MARK = "✓ "
PLAIN_MARK = "[ok] "  # where the console has no check mark
HUGE = 2.0**1000
MEASURED = r"measured (?P<measured>.*?)"
SEEDS = r"seeds? (?P<seeds>-?\d+ to -?\d+|-?\d+(?:, -?\d+)*)"
RECORD = r"recorded in (?P<record>[\w.-]+)"
FIGURES = [
    rf"{MEASURED}(?:; {SEEDS})?(?:; {RECORD})?",
    rf"{SEEDS}(?:; {RECORD})?",
    RECORD,
]
LINES = [
    re.compile(rf"(?:{MARK}|{re.escape(PLAIN_MARK)})(?P<statement>.*?){figures}")
    for figures in [*(rf" \({found}\)" for found in FIGURES), ""]
]


class Claim(NamedTuple):
    """A claim as it is printed, on one line: its statement, and what stands behind it.

    Where a chapter is run as a test, ``tests/sanitize.cfg`` takes the bracket out of the line.

    Args:
        statement: the sentence.
        measured: the figures behind it, as text. Default: none.
        seeds: over which it was measured. Default: it is exact.
        record: the name of the record that it reads. Default: it was measured just now.

    Example:
        >>> line = str(Claim("Two is less than three.", "0.667", (0, 1, 2), "compare"))
        >>> line
        '✓ Two is less than three. (measured 0.667; seeds 0 to 2; recorded in compare)'
        >>> Claim.parse(line).seeds
        (0, 1, 2)
    """

    statement: str
    measured: str | None = None
    seeds: tuple[int, ...] | None = None
    record: str | None = None

    @classmethod
    def of(
        cls,
        statement: str,
        measured: object = None,
        seeds: Iterable[int] | None = None,
        record: str | None = None,
    ) -> Self:
        """The claim with its figures as text: a float with three significant digits, None as
        none, anything else as it is."""
        if isinstance(measured, float):
            measured = f"{measured:.3g}"
        shown = None if measured is None else f"{measured}"
        return cls(statement, shown, None if seeds is None else _seeds(seeds), record)

    @classmethod
    def parse(cls, line: str) -> Self | None:
        """The claim that a printed line makes, or None where it makes none."""
        match = next(filter(None, (form.fullmatch(line) for form in LINES)), None)
        if match is None:
            return None
        found = match.groupdict()
        seeds = found.get("seeds")
        return cls(
            found["statement"],
            found.get("measured"),
            None if seeds is None else _read_seeds(seeds),
            found.get("record"),
        )

    @property
    def kind(self) -> str:
        """``recorded`` where it reads a record, ``measured`` where it has seeds, else ``exact``."""
        if self.record is not None:
            return "recorded"
        return "exact" if self.seeds is None else "measured"

    def __str__(self) -> str:
        parts = [
            None if self.measured is None else f"measured {self.measured}",
            None if self.seeds is None else _show_seeds(self.seeds),
            None if self.record is None else f"recorded in {self.record}",
        ]
        figures = "; ".join(part for part in parts if part is not None)
        return f"{MARK}{self.statement}{figures and f' ({figures})'}"


def _seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    try:
        listed = tuple(operator.index(seed) for seed in seeds)
    except TypeError:
        raise TypeError(
            f"claim expects seeds as a list of whole numbers, such as [0, 1, 2]; got {seeds!r}."
        ) from None
    if not listed or len(set(listed)) < len(listed):
        raise ValueError(
            f"claim expects at least one seed and each seed once; got {seeds!r}. Without seeds, "
            "a claim is exact."
        )
    return listed


def _show_seeds(seeds: tuple[int, ...]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if seeds == tuple(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}"


def _read_seeds(text: str) -> tuple[int, ...]:
    first, to, last = text.partition(" to ")
    return tuple(range(int(first), int(last) + 1)) if to else tuple(map(int, text.split(", ")))


@dataclass(frozen=True)
class Comparison:
    """Whether all of some numbers are below, or above, others, and how narrowly.

    Args:
        holds: whether they are, each of them.
        margin: the least distance between the two sides, as a fraction of the larger: 0.38 for
            ``0.97 > 0.6``. It is negative, or 0, where the comparison does not hold.

    Example:
        >>> near = above(0.97, 0.6) & below([1.0, 2.0], 4)
        >>> near.holds, round(near.margin, 2)
        (True, 0.38)
    """

    holds: bool
    margin: float

    def __bool__(self) -> bool:
        return self.holds

    def __and__(self, other: Self) -> "Comparison":
        """Both must hold; the margin is the smaller."""
        if not isinstance(other, Comparison):
            return NotImplemented
        return Comparison(self.holds and other.holds, min(self.margin, other.margin))


def below(a: object, b: object) -> Comparison:
    """Whether ``a < b``, for each of their elements, with the margin.

    Args:
        a: a number, a (nested) list of numbers or tensors, a tensor or an array.
        b: the same; the shapes are broadcast.

    Returns:
        The :class:`Comparison`. Where a number is NaN it does not hold, by a margin of -inf; where
        two are equal it does not hold either, by a margin of 0.

    Raises:
        TypeError: if a side holds something else than numbers.
        ValueError: if there is nothing to compare, or the shapes do not fit.

    Example:
        >>> below([1.0, 3.0], 4)
        Comparison(holds=True, margin=0.25)
        >>> below(float("nan"), 4)
        Comparison(holds=False, margin=-inf)
        >>> below(2, 2)
        Comparison(holds=False, margin=0.0)
    """
    return _compare("below", a, b, operator.lt)


def above(a: object, b: object) -> Comparison:
    """Whether ``a > b``, for each of their elements, with the margin.

    Args:
        a, b: as for :func:`below`, and so is what is returned and raised.

    Example:
        >>> above([8.0, 3.0], 2)
        Comparison(holds=True, margin=0.3333333333333333)
    """
    return _compare("above", a, b, operator.gt)


def _compare(
    name: str, a: object, b: object, order: Callable[["Tensor", "Tensor"], "Tensor"]
) -> Comparison:
    import torch

    try:
        left, right = torch.broadcast_tensors(_numbers(a), _numbers(b))
    except (TypeError, ValueError, RuntimeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"{name} expects numbers, lists of numbers, tensors or arrays, of shapes that fit; got "
            f"{a!r} and {b!r}: {error}"
        ) from None
    if not left.numel():
        raise ValueError(f"{name} expects something to compare; got {a!r} and {b!r}.")
    small, large = (left, right) if name == "below" else (right, left)
    small, large = (side.clamp(-HUGE, HUGE) for side in (small, large))  # so none is infinite
    scale = torch.maximum(small.abs(), large.abs()).clamp_min(1 / HUGE)  # so none is zero
    margin = ((large - small) / scale).min().item()
    return Comparison(bool(order(left, right).all()), -torch.inf if margin != margin else margin)


def _numbers(side: object) -> "Tensor":
    import torch

    if isinstance(side, list | tuple):
        if not side:
            return torch.empty(0, dtype=torch.float64)
        return torch.stack([_numbers(part) for part in side])
    return torch.as_tensor(side, dtype=torch.float64, device="cpu").detach()


class ClaimFailed(AssertionError):
    """What was measured contradicts the statement."""


def claim(
    statement: str,
    holds: bool | Comparison,
    *,
    measured: object = None,
    seeds: Iterable[int] | None = None,
    record: str | None = None,
) -> None:
    """Print the statement and what was measured, or fail.

    Args:
        statement: one sentence with its threshold, understood without what stands around it. It is
            compared when the notebook is run as a test, so nothing that varies from run to run
            belongs in it.
        holds: a comparison by :func:`below` or :func:`above`, which carries how narrowly it holds;
            or a truth value, also as a tensor or array of one element.
        measured: the figures behind it; printed, but not compared. A float is shown with three
            significant digits, anything else as it is.
        seeds: those over which it was measured. Default: the claim is exact, no seed changes it.
        record: the name of the record that it reads. Default: it was measured just now.

    Raises:
        ClaimFailed: if ``holds`` is false.
        TypeError: if ``holds`` is not a truth value: a number or a string would always hold; or if
            ``seeds`` are no whole numbers.
        ValueError: if the statement is empty, or takes more than one line with its figures, or if
            ``seeds`` are none.

    Example:
        >>> claim("Two is less than three.", below(2, 3), measured=2 / 3)
        ✓ Two is less than three. (measured 0.667)
        >>> claim("Seeds are numbers.", above([3, 4], 2), measured=3.5, seeds=[0, 1])
        ✓ Seeds are numbers. (measured 3.5; seeds 0 to 1)
        >>> claim("Three is less than two.", below(3, 2))
        Traceback (most recent call last):
        ...
        normtutorial.claims.ClaimFailed: Three is less than two.
    """
    if not isinstance(statement, str) or not statement.strip() or "\n" in statement:
        raise ValueError(f"claim expects a statement of one line; got {statement!r}.")
    made = Claim.of(statement, measured, seeds, record)
    if Claim.parse(str(made)) != made:
        raise ValueError(
            f"claim expects figures of one line, a record of one word, and 'measured', 'seeds' and "
            f"'recorded' in brackets for them alone; got {measured!r} and {record!r} for "
            f"{statement!r}."
        )
    if not _truth(holds, statement):
        raise ClaimFailed(str(made).removeprefix(MARK))
    print(_shown(str(made)))


def _truth(holds: object, statement: str) -> bool:
    if isinstance(holds, Comparison):
        return holds.holds
    if hasattr(holds, "item"):  # a torch or numpy scalar
        holds = holds.item()
    if not isinstance(holds, bool):
        raise TypeError(
            f"claim expects a comparison, by below or above, or True or False; got {holds!r} of "
            f"type {type(holds).__name__} for {statement!r}."
        )
    return holds


def _shown(line: str) -> str:
    """The line as the console can show it: whole in UTF-8 and in notebooks, with escapes in
    others."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        plain = line.replace(MARK, PLAIN_MARK, 1)
        return plain.encode(encoding, "backslashreplace").decode(encoding)
    return line
