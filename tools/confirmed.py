"""How a claim did on seeds that nobody had looked at: what the book shows of the sweep's record."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import chapters
import identity
import records
from normtutorial.claims import Claim

RECORD = chapters.ROOT / "records" / "claims.json"


class Confirmation(NamedTuple):
    """The runs of a chapter at blocks of seeds that had not been looked at.

    Attributes:
        held: in how many of them the claim held.
        runs: how many there were.
        failed: those in which it did not: the block, the source, and what was measured.
        blocks: values of ``$NORMTUTORIAL_SEED``.
        when: the day, as YYYY-MM-DD.

    Example:
        >>> print(Confirmation(18, 20, [[104, "mnist", "0.61"]], [104], "2026-11-25"))
        held in 18 of 20 unseen runs
    """

    held: int
    runs: int
    failed: list[list[Any]]
    blocks: list[int]
    when: str

    def __str__(self) -> str:
        return f"held in {self.held} of {self.runs} unseen runs"


@cache
def recorded(path: Path) -> dict[str, Any]:
    """The whole record, as it was when it was first asked for."""
    return records.read(path) if path.exists() else {}


def confirmation(chapter: str, claim: Claim) -> Confirmation | None:
    """The last confirmation of a claim as it is now; None where there is none.

    Args:
        chapter: the file name of its notebook, without the ending.
        claim: as the chapter has printed it.
    """
    entry = recorded(RECORD).get(chapter, {}).get(claim.statement)
    if entry is None:
        return None
    try:
        now, _ = identity.stored(chapter).get(claim.statement, ("", claim))
    except LookupError:  # a chapter of another book, whose code is not here
        now = entry["identity"]
    made = [one for one in entry["confirmations"] if one["identity"] == now and one["runs"]]
    if not made:
        return None
    return Confirmation(*(made[-1][name] for name in Confirmation._fields))
