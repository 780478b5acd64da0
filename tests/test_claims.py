"""A claim prints, or fails, and can always fail."""

import io
import re
import sys
from pathlib import Path

import pytest
import torch

from normtutorial import ClaimFailed, above, below, claim
from normtutorial.claims import Claim, Comparison

SANITIZE = Path(__file__).with_name("sanitize.cfg")


def test_a_claim_that_holds_is_one_line(capsys):
    claim("Two is less than three.", 2 < 3)
    assert capsys.readouterr().out == "✓ Two is less than three.\n"


@pytest.mark.parametrize(
    "measured, shown",
    [(2 / 3, "0.667"), (12345.678, "1.23e+04"), (3, "3"), ("2 of 3", "2 of 3"), (0.0, "0")],
)
def test_what_was_measured_stands_behind_the_statement(capsys, measured, shown):
    claim("So it is.", True, measured=measured)
    assert capsys.readouterr().out == f"✓ So it is. (measured {shown})\n"


def test_a_claim_that_does_not_hold_fails_with_statement_and_measurement(capsys):
    with pytest.raises(ClaimFailed, match=r"^Three is less than two\. \(measured 0\.25\)$"):
        claim("Three is less than two.", 3 < 2, measured=0.25)
    assert capsys.readouterr().out == ""


def test_a_failed_claim_is_an_assertion_error():
    assert issubclass(ClaimFailed, AssertionError)


def test_a_comparison_of_tensors_will_do(capsys):
    claim("One is positive.", torch.tensor(1.0) > 0)
    assert capsys.readouterr().out.startswith("✓")
    with pytest.raises(ClaimFailed):
        claim("One is negative.", torch.tensor(1.0) < 0)


def test_a_comparison_of_arrays_will_do(capsys):
    np = pytest.importorskip("numpy")
    claim("One is positive.", np.float64(1.0) > 0)
    with pytest.raises(ClaimFailed):
        claim("One is negative.", np.array([1.0]) < 0)


@pytest.mark.parametrize("holds", [1, 0, "yes", "", None, 0.5, torch.tensor(0.5), [True]], ids=repr)
def test_what_is_no_truth_value_is_refused(holds):
    with pytest.raises(
        TypeError, match="claim expects a comparison, by below or above, or True or False; got"
    ):
        claim("So it is.", holds)


@pytest.mark.parametrize("statement", ["", "  ", "two\nlines", None, 3], ids=repr)
def test_a_statement_is_one_line_of_text(statement):
    with pytest.raises(ValueError, match="claim expects a statement of one line; got"):
        claim(statement, True)


@pytest.mark.parametrize(
    "line, made",
    [
        ("✓ Two is less than three.", ("Two is less than three.",)),
        ("✓ A < 1 (of 3). (measured 1 (2))", ("A < 1 (of 3).", "1 (2)")),
        ("✓ Nothing was needed. (measured )", ("Nothing was needed.", "")),
        ("✓ A. (seed 4)", ("A.", None, (4,))),
        ("✓ A. (seeds 0 to 1)", ("A.", None, (0, 1))),
        ("✓ A. (seeds 0, 3, 7)", ("A.", None, (0, 3, 7))),
        ("✓ A. (seeds 2, 1; recorded in compare)", ("A.", None, (2, 1), "compare")),
        ("✓ A. (recorded in mnist-2.json)", ("A.", None, None, "mnist-2.json")),
        ("✓ A (seeds 0 to 2) B. (measured 1; 2)", ("A (seeds 0 to 2) B.", "1; 2")),
        (
            "✓ A. (measured 1; 2; seeds 5 to 7; recorded in mutants)",
            ("A.", "1; 2", (5, 6, 7), "mutants"),
        ),
    ],
)
def test_a_printed_claim_is_read_back_as_it_was_made(line, made, capsys):
    made = Claim(*made)
    claim(made.statement, True, measured=made.measured, seeds=made.seeds, record=made.record)
    assert capsys.readouterr().out == f"{line}\n" == f"{made}\n"
    assert Claim.parse(line) == made


def test_a_claim_is_recorded_or_measured_or_exact():
    kinds = [
        Claim("A.", "1", seeds, record).kind for seeds in (None, (0,)) for record in (None, "r")
    ]
    assert kinds == ["exact", "recorded", "measured", "recorded"]


@pytest.mark.parametrize("seeds", [3, ["0"], [0.5], "01"], ids=repr)
def test_seeds_are_whole_numbers(seeds):
    with pytest.raises(TypeError, match=r"claim expects seeds as a list of whole numbers.*; got"):
        claim("So it is.", True, seeds=seeds)


@pytest.mark.parametrize("seeds", [[], [0, 1, 0]], ids=repr)
def test_each_seed_counts_once_and_there_is_one(seeds):
    with pytest.raises(ValueError, match="claim expects at least one seed and each seed once; got"):
        claim("So it is.", True, seeds=seeds)


@pytest.mark.parametrize(
    "compared, margin",
    [
        (below(3, 4), 0.25),
        (above(4, 3), 0.25),
        (below(-4, -3), 0.25),
        (above([[4, 8], [9, 9]], [3, 3]), 0.25),
        (below([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 3.0])], torch.tensor(4)), 0.25),
        (above(torch.tensor([1.0], requires_grad=True), 0.75), 0.25),
        (below(0, 1e9), 1),
        (below(-1, 1), 2),
        (below(3, torch.inf), 1),
        (above(4, 3) & below(1, 2), 0.25),
        (below(1, 2) & above(4, 3), 0.25),
    ],
)
def test_a_comparison_that_holds_knows_its_margin(compared, margin):
    assert compared.holds and bool(compared)
    assert compared.margin == pytest.approx(margin, abs=0)
    claim("So it is.", compared)


@pytest.mark.parametrize(
    "compared, margin",
    [
        (below(4, 3), -0.25),
        (below([1, 4], 3), -0.25),
        (above([5, 3], [3, 4]), -0.25),
        (below(3, 3), 0),
        (above(0, 0), 0),
        (below(torch.inf, torch.inf), 0),
        (below([1, torch.nan], 2), -torch.inf),
        (above(1, torch.nan), -torch.inf),
        (above(4, 3) & below(4, 3), -0.25),
        (below(4, 3) & above(4, 3), -0.25),
        (above(torch.nan, 3) & below(3, 4), -torch.inf),
    ],
)
def test_a_comparison_that_does_not_hold_fails_its_claim(compared, margin):
    assert not compared.holds and not bool(compared)
    assert compared.margin == pytest.approx(margin, abs=0)
    with pytest.raises(ClaimFailed, match=r"^So it is\.$"):
        claim("So it is.", compared)


def test_arrays_are_compared_as_tensors_are():
    np = pytest.importorskip("numpy")
    assert above(np.array([4.0, 8.0]), np.float32(3)) == Comparison(True, 0.25)


@pytest.mark.parametrize("a, b", [([], 1), (torch.empty(0), 1), (1, [[]]), ([1, 2], [1, 2, 3])])
def test_sides_that_cannot_be_compared_are_refused(a, b):
    with pytest.raises(ValueError, match=r"below expects (something|numbers)"):
        below(a, b)


@pytest.mark.parametrize("a", ["a", None, {1: 2}.values()])
def test_sides_are_numbers(a):
    with pytest.raises(TypeError, match=r"^above expects numbers, lists of numbers, tensors or"):
        above(1, a)


def test_a_comparison_stays_what_it_is():
    with pytest.raises(AttributeError, match="cannot assign"):
        below(3, 2).holds = True


def test_a_comparison_is_joined_with_another_alone():
    with pytest.raises(TypeError, match="unsupported operand"):
        above(1, 0) & True


def printed(monkeypatch, encoding: str, statement: str, **options) -> str:
    """What a claim writes to a console of that encoding."""
    console = io.TextIOWrapper(io.BytesIO(), encoding, write_through=True)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", console)
        claim(statement, True, **options)
    console.seek(0)
    return console.read()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb18030"])
def test_a_console_that_has_the_check_mark_shows_it(monkeypatch, encoding):
    shown = printed(monkeypatch, encoding, "β is 0.", measured="0 ± 1")
    assert shown == "✓ β is 0. (measured 0 ± 1)\n"


@pytest.mark.parametrize(
    "encoding, shown",
    [
        ("ascii", r"[ok] \u03b2 is 0. (measured 0 \xb1 1)"),
        ("cp1252", r"[ok] \u03b2 is 0. (measured 0 ± 1)"),
        ("iso-8859-7", "[ok] β is 0. (measured 0 ± 1)"),
    ],
)
def test_other_consoles_show_what_they_have_and_it_is_read_back(monkeypatch, encoding, shown):
    line = printed(monkeypatch, encoding, "β is 0.", measured="0 ± 1")
    assert line == f"{shown}\n"
    assert str(Claim.parse(shown)) == shown.replace("[ok]", "✓")


def test_a_mark_in_the_statement_is_no_mark(monkeypatch):
    assert printed(monkeypatch, "ascii", "✓ is a mark.") == "[ok] \\u2713 is a mark.\n"


def test_a_stream_that_names_no_encoding_takes_any_text(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    claim("β is 0.", True)
    assert stream.getvalue() == "✓ β is 0.\n"


@pytest.mark.parametrize(
    "line", ["", "✓", "[ok]", "ok Two is less.", "Two is less.", " ✓ Two is less.", "step ✓ 3"]
)
def test_other_lines_make_no_claim(line):
    assert Claim.parse(line) is None


def test_nbval_compares_the_statement_of_a_claim_and_nothing_else():
    # nbval reads the file in the encoding of the machine.
    rules = re.findall(r"^regex: (.*)\n^replace: (.*)$", SANITIZE.read_text("ascii"), re.MULTILINE)
    claims = [
        Claim("A < 1 (of 3).", "1 (2)"),
        Claim("B."),
        Claim("C.", "1", (4, 5), "compare"),
        Claim("D.", None, (4,)),
        Claim("E (seeds of it).", None, None, "compare"),
    ]
    text = "\n".join(map(str, [*claims, "C (measured 3)", "<f at 0x7f00aa11bb22> 0x10"]))
    for pattern, replacement in rules:
        text = re.sub(pattern, replacement, text)
    assert text.splitlines() == [
        *(f"✓ {made.statement}" for made in claims),
        "C (measured 3)",
        "<f at ADDRESS> 0x10",
    ]


@pytest.mark.parametrize(
    "statement, behind",
    [
        ("So it is.", {"measured": torch.eye(2)}),
        ("So it is.", {"measured": "1\n2"}),
        ("So it is.", {"measured": "1; seeds 0 to 2"}),
        ("So it is.", {"record": "of compare"}),
        ("So it is (measured twice)", {}),
        ("So it is (seeds 0 to 2)", {}),
    ],
    ids=["tensor", "lines", "seeds", "record", "statement", "seeds stated"],
)
def test_what_could_not_be_read_back_is_refused(statement, behind):
    with pytest.raises(ValueError, match="claim expects figures of one line"):
        claim(statement, True, **behind)
