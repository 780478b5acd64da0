"""A claim prints, or fails, and can always fail."""

import io
import re
import sys
from pathlib import Path

import pytest
import torch

from normtutorial import ClaimFailed, claim
from normtutorial.claims import Claim

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
    with pytest.raises(TypeError, match="claim expects a comparison, True or False; got"):
        claim("So it is.", holds)


@pytest.mark.parametrize("statement", ["", "  ", "two\nlines", None, 3], ids=repr)
def test_a_statement_is_one_line_of_text(statement):
    with pytest.raises(ValueError, match="claim expects a statement of one line; got"):
        claim(statement, True)


@pytest.mark.parametrize(
    "line",
    [
        "✓ Two is less than three.",
        "✓ A < 1 (of 3). (measured 1 (2))",
        "✓ Nothing was needed. (measured )",
    ],
)
def test_a_printed_claim_is_read_back_as_it_was_made(line, capsys):
    made = Claim.parse(line)
    claim(made.statement, True, measured=made.measured)
    assert capsys.readouterr().out == f"{line}\n" == f"{made}\n"


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


def test_nbval_compares_a_claim_without_its_figures_and_nothing_else():
    # nbval reads the file in the encoding of the machine.
    rules = re.findall(r"^regex: (.*)\n^replace: (.*)$", SANITIZE.read_text("ascii"), re.MULTILINE)
    text = f"{Claim('A < 1 (of 3).', '1 (2)')}\n{Claim('B.')}\n<f at 0x7f00aa11bb22> 0x10"
    for pattern, replacement in rules:
        text = re.sub(pattern, replacement, text)
    assert text == "✓ A < 1 (of 3). (measured)\n✓ B.\n<f at ADDRESS> 0x10"


@pytest.mark.parametrize(
    "statement, measured",
    [("So it is.", torch.eye(2)), ("So it is.", "1\n2"), ("So it is (measured twice)", None)],
    ids=["tensor", "lines", "statement"],
)
def test_what_could_not_be_read_back_is_refused(statement, measured):
    with pytest.raises(ValueError, match="claim expects figures of one line"):
        claim(statement, True, measured=measured)
