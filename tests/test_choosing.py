"""The numbers that choosing and first aid quote of a claim are those that it has measured."""

import json
import re

import pytest

import chapters
from normtutorial.claims import Claim

REFERENCE = chapters.ROOT / "book" / "reference"
QUOTED = [
    (page, said, beginning)
    for page in ("choosing", "first_aid")
    for said, beginning in re.findall(
        r"\{claim\}`([^`<]+) <([^`]+)>`", (REFERENCE / f"{page}.md").read_text("utf-8")
    )
    if re.search(r"\d", said)
]
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def stored() -> list[Claim]:
    """All claims of the book, as they are stored."""
    notebooks = [json.loads((chapters.ROOT / p).read_text("utf-8")) for p in chapters.notebooks()]
    outputs = [out for one in notebooks for cell in one["cells"] for out in cell.get("outputs", [])]
    lines = [line for out in outputs for line in "".join(out.get("text", "")).splitlines()]
    return [claim for line in lines if (claim := Claim.parse(line))]


CLAIMS = stored()


def measured(quoted: str, claim: Claim) -> bool:
    """Whether a number is one of the claim's, rounded, or as a percentage."""
    digits = len(quoted.partition(".")[2])
    own = [float(one) for one in NUMBER.findall(f"{claim.measured} {claim.statement}")]
    # a little is added to what ends in 5, which either neighbor may stand for
    return any(
        abs(scale * one - float(quoted)) <= 0.501 / 10**digits for one in own for scale in (1, 100)
    )


@pytest.mark.parametrize("page, said, beginning", QUOTED)
def test_a_quoted_number_is_one_that_was_measured(page, said, beginning):
    (claim,) = [one for one in CLAIMS if one.statement.startswith(beginning)]
    missing = [number for number in NUMBER.findall(said) if not measured(number, claim)]
    assert not missing, (page, missing, claim.measured)


def test_most_of_what_choosing_says_is_measured():
    assert len(QUOTED) > 15
    text = (REFERENCE / "choosing.md").read_text("utf-8")
    for entry in re.findall(r"^: .+(?:\n  .+)*", text, re.MULTILINE):
        assert re.search(r"\{(claim|ref|cite:[tp])\}", entry), entry
