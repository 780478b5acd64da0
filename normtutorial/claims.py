"""A claim is a statement that is measured where it is made, and that fails when it is not true."""

import re
import sys
from typing import NamedTuple, Self

__all__ = ["Claim", "ClaimFailed", "claim"]

MARK = "✓ "
PLAIN_MARK = "[ok] "  # where the console has no check mark
LINE = re.compile(
    rf"(?:{MARK}|{re.escape(PLAIN_MARK)})"
    r"(?P<statement>.*?)(?: \(measured (?P<measured>.*)\))?"
)


class Claim(NamedTuple):
    """A claim as it is printed, on one line: its statement, and the figures behind it.

    Where a chapter is run as a test, ``tests/sanitize.cfg`` takes the figures out of the line.

    Example:
        >>> line = str(Claim("Two is less than three.", "0.667"))
        >>> line
        '✓ Two is less than three. (measured 0.667)'
        >>> Claim.parse(line)
        Claim(statement='Two is less than three.', measured='0.667')
    """

    statement: str
    measured: str | None = None

    @classmethod
    def of(cls, statement: str, measured: object) -> Self:
        """The claim with its figures as text: a float with three significant digits, None as
        none, anything else as it is."""
        if isinstance(measured, float):
            measured = f"{measured:.3g}"
        return cls(statement, None if measured is None else f"{measured}")

    @classmethod
    def parse(cls, line: str) -> Self | None:
        """The claim that a printed line makes, or None where it makes none."""
        match = LINE.fullmatch(line)
        return cls(match["statement"], match["measured"]) if match else None

    def __str__(self) -> str:
        figures = "" if self.measured is None else f" (measured {self.measured})"
        return f"{MARK}{self.statement}{figures}"


class ClaimFailed(AssertionError):
    """What was measured contradicts the statement."""


def claim(statement: str, holds: bool, *, measured: object = None) -> None:
    """Print the statement and what was measured, or fail.

    Args:
        statement: one sentence with its threshold. It is compared when the notebook is run as a
            test, so nothing that varies from run to run belongs in it.
        holds: a comparison of measured values; a tensor or array of one element will do.
        measured: the figures behind it; printed, but not compared. A float is shown with three
            significant digits, anything else as it is.

    Raises:
        ClaimFailed: if ``holds`` is false.
        TypeError: if ``holds`` is not a truth value: a number or a string would always hold.
        ValueError: if the statement is empty, or takes more than one line with its figures.

    Example:
        >>> claim("Two is less than three.", 2 < 3, measured=2 / 3)
        ✓ Two is less than three. (measured 0.667)
        >>> claim("Three is less than two.", 3 < 2)
        Traceback (most recent call last):
        ...
        normtutorial.claims.ClaimFailed: Three is less than two.
    """
    if not isinstance(statement, str) or not statement.strip() or "\n" in statement:
        raise ValueError(f"claim expects a statement of one line; got {statement!r}.")
    made = Claim.of(statement, measured)
    if Claim.parse(str(made)) != made:
        raise ValueError(
            f"claim expects figures of one line, and 'measured' in brackets for them alone; got "
            f"{measured!r} for {statement!r}."
        )
    if hasattr(holds, "item"):  # a torch or numpy scalar
        holds = holds.item()
    if not isinstance(holds, bool):
        raise TypeError(
            f"claim expects a comparison, True or False; got {holds!r} of type "
            f"{type(holds).__name__} for {statement!r}."
        )
    if not holds:
        raise ClaimFailed(str(made).removeprefix(MARK))
    print(_shown(str(made)))


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
