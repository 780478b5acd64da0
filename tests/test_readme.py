"""What README says in numbers is what the chapters have stored, and what the records say."""

import json
import pkgutil
import re

import pytest

import chapters
import identity
import normtutorial
import preview
from confirmed import Confirmation, confirmation
from normtutorial.claims import Claim
from normtutorial.norms import NORMS
from sweep import seedless

README = (chapters.ROOT / "README.md").read_text("utf-8")
MAKEFILE = (chapters.ROOT / "Makefile").read_text("utf-8")
ONE_LINE = " ".join(README.split())
ROWS = re.findall(r"^\| \[[^]]+\]\((book/\S+\.ipynb)\) \| (.+?) \|$", README, re.MULTILINE)
NUMBER = re.compile(r"\d+(?: \d{3})*(?:\.\d+)?")


def shown_as_code(text: str) -> list[str]:
    """What stands in backticks, in a line or as lines."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return blocks + re.findall(r"`([^`\n]+)`", text)


def numbers(text: str | None) -> list[str]:
    return NUMBER.findall(text or "")


def norms(text: str | None) -> list[str]:
    """The norms that a text names, in its order."""
    return re.findall("|".join(NORMS), (text or "").replace("no norm", "none"))


def stored(document: str) -> list[Claim]:
    """The claims of a chapter, as they are stored."""
    notebook = json.loads((chapters.ROOT / document).read_text("utf-8"))
    texts = [
        "".join(output.get("text", ""))
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
    ]
    return [claim for text in texts for line in text.splitlines() if (claim := Claim.parse(line))]


def says(clause: str, claim: Claim) -> bool:
    """Whether a clause repeats a claim: what was measured, all of it that it takes in its order,
    under the names that it was measured for; what else it has in numbers the statement has."""
    truth = claim.measured or claim.statement
    found = iter(numbers(truth))
    taken = [n for n in numbers(clause) if n in numbers(truth) or n not in numbers(claim.statement)]
    named = norms(claim.measured)
    return bool(taken) and all(n in found for n in taken) and norms(clause)[: len(named)] == named


def not_measured(document: str, finding: str) -> list[str]:
    """The clauses whose numbers no single claim of the chapter has measured."""
    claims = stored(document)
    clauses = [clause for clause in finding.split(";") if numbers(clause)]
    return [clause for clause in clauses if not any(says(clause, one) for one in claims)]


def confirmed(found: list[Confirmation | None]) -> str:
    """What came out on unseen seeds, as README says it; None is a claim that was not asked."""
    asked = [one for one in found if one]
    if not asked:
        return "no claim has been confirmed on unseen seeds."
    held = sum(one.held == one.runs for one in asked)
    said = f"{held} of the {len(asked)} claims that were asked held in all of their unseen runs"
    if held < len(asked):
        said += f", {len(asked) - held} failed in one or more"
    if len(found) > len(asked):
        said += f", {len(found) - len(asked)} are still to be asked"
    return said + "."


def test_every_chapter_has_a_finding():
    notebooks = [str(path.relative_to(chapters.ROOT)) for path in chapters.notebooks()]
    asks = [one for one in notebooks if "intro" not in one and "reference/" not in one]
    assert [document for document, _ in ROWS] == asks


@pytest.mark.parametrize("document, finding", ROWS)
def test_a_finding_has_the_numbers_of_a_stored_claim(document, finding):
    assert numbers(finding), "a finding has a number"
    assert not not_measured(document, finding)


@pytest.mark.parametrize(
    "clause, true",
    [
        ("In 5 steps it grows by 1.2 to 1.4", True),
        ("It grows by 1.4", True),
        ("In 5 steps it grows", False),
        ("It grows by 1.4 to 1.2", False),
        ("It grows by 1.2 to 1.3", False),
        ("In 6 steps it grows by 1.2 to 1.4", False),
        ("It is 9", False),
    ],
)
def test_a_clause_repeats_what_was_measured_in_its_order(clause, true):
    assert says(clause, Claim("In 5 steps it grows by less than 9.", "1.2 to 1.4", (0,))) is true


def test_a_clause_repeats_which_norm_was_measured():
    claim = Claim("Accuracies differ.", "none 0.1, batch 0.9", (0,))
    assert says("no norm has 0.1, batch norm 0.9", claim)
    assert not says("batch norm has 0.1, no norm 0.9", claim)
    assert says("a row has 5", Claim("A row has 5 numbers."))


def test_how_many_claims_have_several_seeds_is_about_what_it_says():
    claims = [claim for path in chapters.notebooks() for claim in stored(str(path))]
    several = sum(len(claim.seeds or ()) > 1 for claim in claims) / len(claims)
    assert several == pytest.approx(5 / 6, abs=0.05)
    assert "About five in six claims are measured over several seeds" in ONE_LINE


def test_the_picture_and_the_line_below_it_have_the_numbers_of_the_first_page():
    (line,) = re.findall(r"\n\*(One of two.+?)\*\n", README, re.DOTALL)
    assert not not_measured("book/intro.ipynb", " ".join(line.split()))
    assert preview.measured(preview.TARGET) == preview.first_page()[1], "`make preview` makes it"


def test_what_was_confirmed_on_unseen_seeds_is_what_the_record_says():
    found = [
        confirmation(path.stem, claim)
        for path in chapters.notebooks()
        for _, claim in identity.stored(path.stem).values()
        if not seedless(claim)
    ]
    assert f"So far: {confirmed(found)}" in ONE_LINE


def test_a_claim_that_failed_is_counted():
    held, failed = (Confirmation(n, 20, [], [], "") for n in (20, 18))
    assert confirmed([held, failed, None]) == (
        "1 of the 2 claims that were asked held in all of their unseen runs, "
        "1 failed in one or more, 1 are still to be asked."
    )
    assert confirmed([held]).endswith("held in all of their unseen runs.")
    assert confirmed([]) == "no claim has been confirmed on unseen seeds."


def test_every_target_and_every_file_that_it_names_is_there():
    code = "\n".join(shown_as_code(README))
    targets = set(re.findall(r"\bmake ([a-z-]+)", code))
    assert {"book", "test", "help"} < targets
    assert targets <= set(re.findall(r"^([a-z-]+):.*?## ", MAKEFILE, re.MULTILINE))
    for variable in re.findall(r"\b([A-Z]+)=", code):
        assert re.search(rf"^{variable} \?=", MAKEFILE, re.MULTILINE), variable
    for name in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (chapters.ROOT / name).exists(), name


def test_each_file_of_the_module_has_a_word():
    (row,) = re.findall(r"^\| `normtutorial/` \| (.+) \|$", README, re.MULTILINE)
    there = {module.name for module in pkgutil.iter_modules(normtutorial.__path__)}
    assert there - {"__main__"} <= set(re.findall(r"`(\w+)`", row))


def test_the_rows_that_it_names_are_measured_and_within_five_percent_of_torch():
    named = [" ".join(name.split()) for name in re.findall(r"`(our [^`]+compiled)`", ONE_LINE)]
    results = chapters.ROOT.glob("benchmarks/results/*.json")
    records = [json.loads(path.read_text("utf-8")) for path in results]
    rows = [row for record in records for row in record.get("rows", [])]
    assert named
    for name in named:
        medians = [row["median"] for row in rows if row["name"].startswith(name)]
        assert medians and max(medians) < 1.05, (name, medians)
