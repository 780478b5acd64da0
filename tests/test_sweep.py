"""The sweep sees margins, failures and thin claims, and repeats no run of what has not changed."""

from types import SimpleNamespace

import claims_sweep
import nbformat
import pytest
import torch

import normtutorial

CELLS = [
    "from normtutorial import claim\nimport torch",
    'claim("Between.", 2 < torch.tensor([4.0, 3.0]).min() and 3.0 <= 4, measured=1 / 3)',
    'claim("Fails.", not 1 < 2, measured="1")\nclaim("After it.", any(x > 5 for x in (1, 8)))',
    'claim("Read.", "a" == "a")\nclaim("Recorded: not of this run.", 1 > 2)',
]


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """A book of one chapter, and nothing that outlives the test."""
    monkeypatch.setattr(claims_sweep, "ROOT", tmp_path)
    monkeypatch.setattr(normtutorial, "claim", normtutorial.claim)
    (tmp_path / "book").mkdir()
    monkeypatch.chdir(tmp_path)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    path = tmp_path / "book" / "one.ipynb"
    nbformat.write(notebook, path)
    return path


def test_a_chapter_tells_each_claim_its_margin_and_goes_on_after_a_failure(chapter, capsys):
    found = claims_sweep.run_chapter("one")
    assert capsys.readouterr().out == ""
    assert [c["claim"] for c in found] == ["Between.", "Fails.", "After it.", "Read."]
    assert [c["holds"] for c in found] == [True, False, True, True]
    assert found[0]["margin"] == pytest.approx(0.25)  # 3 <= 4 is narrower than 2 < 3
    assert [c["margin"] for c in found[1:]] == [None] * 3  # in `not` and `any` a side may fail
    assert [c["measured"] for c in found] == ["0.333", "1", "", ""]


def test_a_run_has_a_process_of_its_own_and_may_break():
    job, found = claims_sweep.one(("how_we_know", 3, "synthetic", 1))
    assert job == ("how_we_know", 3, "synthetic", 1)
    assert len(found) >= 3 and all(c["holds"] for c in found)
    assert claims_sweep.one(("no_such_chapter", 0, "synthetic", 1))[1] is None


def test_a_run_keeps_its_threads_where_the_chapter_asks_for_one(chapter, monkeypatch):
    for name in ("SEED", "SOURCE", "PROGRESS"):
        monkeypatch.setenv(f"NORMTUTORIAL_{name}", "")
    code = "torch.set_num_threads(1)\nclaim('Threads.', True, measured=torch.get_num_threads())"
    cells = [nbformat.v4.new_code_cell(c) for c in (CELLS[0], code)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), chapter)
    before, sent = torch.get_num_threads(), []
    with monkeypatch.context() as patch:
        patch.setattr(torch, "set_num_threads", torch.set_num_threads)  # back again afterwards
        sender = SimpleNamespace(send=sent.append)
        claims_sweep.send_claims(sender, "one", 0, "synthetic", before + 1)
    torch.set_num_threads(before)
    assert [claim["measured"] for claim in sent[0]] == [str(before + 1)]


def run(margin, holds=True):
    return [{"claim": "C.", "holds": holds, "measured": "m", "margin": margin}]


def test_the_record_keeps_failures_margins_and_the_worst_seed(chapter):
    record = {}
    for seed, margin in enumerate([0.5, 0.2, 0.4]):
        claims_sweep.add(record, ("one", seed, "mnist", 1), run(margin))
    claims_sweep.add(record, ("one", 0, "synthetic", 2), run(0.3, holds=False))
    row = record["one"]["claims"]["C."]
    assert row["margins"] == {"mnist": [0.5, 0.2, 0.4], "synthetic": [0.3]}
    assert row["worst"] == [1, "mnist", 1, "m"]
    assert row["failed"] == [[0, "synthetic", 2, "m"]]
    assert record["one"]["runs"][-1] == [0, "synthetic", 2]


def test_a_chapter_whose_code_has_changed_begins_anew(chapter):
    record = {}
    claims_sweep.add(record, ("one", 0, "mnist", 1), run(0.5))
    chapter.write_text(chapter.read_text().replace("2 < ", "(2) < "))  # only the layout
    claims_sweep.add(record, ("one", 1, "mnist", 1), run(0.5))
    assert len(record["one"]["runs"]) == 2
    chapter.write_text(chapter.read_text().replace("(2) < ", "1 < "))
    claims_sweep.add(record, ("one", 2, "mnist", 1), run(0.5))
    assert record["one"]["runs"] == [[2, "mnist", 1]]


@pytest.mark.parametrize(
    "margins, thin",
    [
        ({"mnist": [0.5, 0.5, 0.6, 0.5, 0.5]}, False),
        ({"mnist": [0.1, 0.5, 0.6, 0.2, 0.9]}, True),
        ({"mnist": [0.1, 0.5, 0.6, 0.9]}, False),  # too few to tell
        ({"mnist": [0.5] * 5, "synthetic": [0.1] * 5}, False),  # two sources, each steady
        ({"mnist": [0.5] * 5, "synthetic": [0.1, 0.9, 0.1, 0.9, 0.1]}, True),
        ({}, False),
    ],
)
def test_a_claim_is_thin_where_its_margins_scatter_on_one_source(margins, thin):
    assert claims_sweep.thin(margins) is thin
