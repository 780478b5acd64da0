"""How a claim did on seeds that nobody had looked at: what the book shows of the sweep's record."""

from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import chapters
import identity
import records
from normtutorial.claims import Claim

RECORD = chapters.ROOT / "records" / "claims.json"
TEN = 10


class Confirmation(NamedTuple):
    """The runs of a chapter at blocks of seeds that had not been looked at.

    Attributes:
        held: in how many of them the claim held.
        runs: how many there were.
        failed: those in which it did not: the block, the source, and what was measured.
        blocks: values of ``$NORMTUTORIAL_SEED``.
        when: the day, as YYYY-MM-DD.
        failed_before: how many confirmations failed that the same sentence had when its condition,
            or the code before it, was another.
        earlier: whether the module had other code then, also in the last regression test.

    Example:
        >>> print(Confirmation(18, 20, [[104, "mnist", "0.61"]], [104], "2026-11-25"))
        held in 18 of 20 unseen runs
        >>> print(Confirmation(20, 20, [], [110], "2026-11-25", 1))
        held in 20 of 20 unseen runs, after 1 failed confirmation
    """

    held: int
    runs: int
    failed: list[list[Any]]
    blocks: list[int]
    when: str
    failed_before: int = 0
    earlier: bool = False

    def __str__(self) -> str:
        many = f"{self.failed_before} failed confirmation{'s' * (self.failed_before != 1)}"
        after = f", after {many}" if self.failed_before else ""
        return f"held in {self.held} of {self.runs} unseen runs{after}"


def size(study: str | None) -> int:
    """How many blocks a confirmation takes: one of a study, which has ten seeds in it."""
    return TEN if study is None else 1


def whole(entry: dict[str, Any], now: str) -> list[dict[str, Any]]:
    """The confirmations that a claim of this identity has, without those that were cut off."""
    return [
        one
        for one in entry["confirmations"]
        if one["identity"] == now and one["runs"] and len(one["blocks"]) == size(one.get("record"))
    ]


def last_of(entry: dict[str, Any], now: str) -> Confirmation | None:
    """The confirmations of a claim of this identity, as one; None where there is none."""
    made = whole(entry, now)
    if not made:
        return None
    held, runs = (sum(one[name] for one in made) for name in ("held", "runs"))
    failed, blocks = ([each for one in made for each in one[name]] for name in ("failed", "blocks"))
    before = sum(bool(one["failed"]) for one in entry["confirmations"] if one not in made)
    return Confirmation(held, runs, failed, blocks, made[-1]["when"], before)


def earlier(entry: dict[str, Any], now: str, code: str) -> bool:
    """Whether a confirmed claim was run with other code of the module than this, when it was
    confirmed, and in its last regression test too."""
    again = [one for one in entry["regressions"] if one["identity"] == now]
    return bool((whole(entry, now) + again)[-1]["code"] != code)


def restated(
    entries: dict[str, Any], sentences: Collection[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sentences of a chapter that failed and are none of these, each with what failed."""
    for sentence, entry in entries.items():
        for one in entry["confirmations"] if sentence not in sentences else []:
            if one["failed"]:
                yield sentence, one


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
        return last_of(entry, entry["identity"])
    last = last_of(entry, now)
    return last and last._replace(earlier=earlier(entry, now, identity.code(chapter)))
