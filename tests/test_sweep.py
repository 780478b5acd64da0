"""The sweep sees margins, failures and thin claims, and repeats no run of what has not changed."""

import shutil
from types import SimpleNamespace

import nbformat
import pytest
import torch

import chapters
import closure
import normtutorial
import records
import sweep

REPOSITORY = chapters.ROOT

CELLS = [
    "from normtutorial import claim\nimport torch",
    'claim("Between.", 2 < torch.tensor([4.0, 3.0]).min() and 3.0 <= 4, measured=1 / 3)',
    'claim("Fails.", not 1 < 2, measured="1")\nclaim("After it.", any(x > 5 for x in (1, 8)))',
    'claim("Read.", "a" == "a")\nclaim("Recorded: not of this run.", 1 > 2)',
]


def write(path, *codes):
    cells = [nbformat.v4.new_code_cell(code) for code in codes]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """A book of one chapter, and nothing that outlives the test."""
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    monkeypatch.setattr(normtutorial, "claim", normtutorial.claim)
    (tmp_path / "book").mkdir()
    (tmp_path / "_toc.yml").write_text("root: book/one\nparts: []\n")
    shutil.copytree(REPOSITORY / "normtutorial", tmp_path / "normtutorial")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "book" / "one.ipynb"
    write(path, *CELLS)
    return path


def test_a_chapter_tells_each_claim_its_margin_and_goes_on_after_a_failure(chapter, capsys):
    found = sweep.run_chapter("one")
    assert capsys.readouterr().out == ""
    assert [c["claim"] for c in found] == ["Between.", "Fails.", "After it.", "Read."]
    assert [c["holds"] for c in found] == [True, False, True, True]
    assert found[0]["margin"] == pytest.approx(0.25)  # 3 <= 4 is narrower than 2 < 3
    assert [c["margin"] for c in found[1:]] == [None] * 3  # in `not` and `any` a side may fail
    assert [c["measured"] for c in found] == ["0.333", "1", "", ""]


def test_a_run_keeps_its_threads_where_the_chapter_asks_for_one(chapter, monkeypatch):
    for name in ("NORMTUTORIAL_SEED", "NORMTUTORIAL_SOURCE", "TQDM_DISABLE"):
        monkeypatch.setenv(name, "")
    code = "torch.set_num_threads(1)\nclaim('Threads.', True, measured=torch.get_num_threads())"
    write(chapter, CELLS[0], code)
    before, sent = torch.get_num_threads(), []
    with monkeypatch.context() as patch:
        patch.setattr(torch, "set_num_threads", torch.set_num_threads)  # back again afterwards
        sender = SimpleNamespace(send=sent.append)
        sweep.send_claims(sender, "one", 0, "synthetic", before + 1)
    torch.set_num_threads(before)
    assert [claim["measured"] for claim in sent[0]] == [str(before + 1)]


def run(margin, holds=True):
    return [{"claim": "C.", "holds": holds, "measured": "m", "margin": margin}]


def test_the_record_keeps_failures_margins_and_the_worst_seed(chapter):
    record = {}
    for seed, margin in enumerate([0.5, 0.2, 0.4]):
        sweep.add(record, ("one", seed, "mnist", 1), run(margin))
    sweep.add(record, ("one", 0, "synthetic", 2), run(0.3, holds=False))
    row = record["one"]["claims"]["C."]
    assert row["margins"] == {"mnist": [0.5, 0.2, 0.4], "synthetic": [0.3]}
    assert row["worst"] == [1, "mnist", 1, "m"]
    assert row["failed"] == [[0, "synthetic", 2, "m"]]
    assert record["one"]["runs"][-1] == [0, "synthetic", 2]


def test_a_chapter_whose_code_has_changed_keeps_its_runs_until_there_is_a_new_one_for_each(chapter):
    record = {}
    for seed in range(2):
        sweep.add(record, ("one", seed, "mnist", 1), run(0.5))
    write(chapter, *(code.replace("2 < ", "(2) < ") + "  # the layout" for code in CELLS))
    sweep.add(record, ("one", 2, "mnist", 1), run(0.5))
    assert [seed for seed, *_ in record["one"]["runs"]] == [0, 1, 2]
    write(chapter, *(code.replace("2 < ", "1 < ") for code in CELLS))
    for seed in (1, 3, 0):
        sweep.add(record, ("one", seed, "mnist", 1), run(0.1))
    assert [seed for seed, *_ in record["one"]["runs"]] == [0, 1, 2]
    assert record["one"]["claims"]["C."]["margins"] == {"mnist": [0.5] * 3}
    assert [seed for seed, *_ in record["one"]["next"]["runs"]] == [1, 3, 0]
    assert list(sweep.status(record, ["one"])) == [
        "one                    3 runs with earlier code, 3 with the code as it is",
        "0 of 1 chapters were swept with the code as it is.",
    ]
    sweep.add(record, ("one", 2, "mnist", 1), run(0.1))
    assert [seed for seed, *_ in record["one"]["runs"]] == [1, 3, 0, 2]
    assert record["one"]["claims"]["C."]["margins"] == {"mnist": [0.1] * 4}
    assert "next" not in record["one"]
    (line, _) = sweep.status(record, ["one"])
    assert line.endswith("4 runs with the code as it is")


def test_new_runs_of_code_that_has_changed_again_are_dropped(chapter):
    record = {}
    for seed in range(2):
        sweep.add(record, ("one", seed, "mnist", 1), run(0.5))
    for code in ("x = 1", "x = 2"):
        write(chapter, code)
        sweep.add(record, ("one", 0, "mnist", 1), run(0.5))
    assert len(record["one"]["runs"]) == 2
    assert len(record["one"]["next"]["runs"]) == 1


def test_code_that_is_again_what_it_was_has_its_old_runs(chapter):
    record = {}
    for seed in range(2):
        sweep.add(record, ("one", seed, "mnist", 1), run(0.5))
    before = chapter.read_text()
    write(chapter, "x = 1")
    sweep.add(record, ("one", 0, "mnist", 1), run(0.1, holds=False))
    assert sweep.summary(record, ["one"])[0] == 1
    chapter.write_text(before)
    assert sweep.summary(record, ["one"])[0] == 0
    sweep.add(record, ("one", 2, "mnist", 1), run(0.5))
    assert "next" not in record["one"] and len(record["one"]["runs"]) == 3


def test_code_that_changes_during_a_sweep_ends_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sweep, "RECORD", tmp_path / "records" / "claims-sweep.json")
    code = ["before"]
    monkeypatch.setattr(sweep, "digest", lambda chapter: code[-1])

    def one(job):
        if job[1] == 1:
            code.append("after")
        return job, run(0.5)

    monkeypatch.setattr(sweep, "one", one)
    record = {}
    with pytest.raises(SystemExit, match="code of one has changed meanwhile"):
        sweep.sweep(record, [("one", seed, "mnist", 1) for seed in range(3)], jobs=1)
    assert record == {} or record["one"]["runs"] == [[0, "mnist", 1]]


def test_a_sweep_makes_the_runs_that_are_not_there(chapter, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sweep, "RECORD", tmp_path / "records" / "claims-sweep.json")
    made = []

    def one(job):
        made.append(job)
        return job, None if job[1] == 2 else run(0.5, holds=job[1] != 1)

    monkeypatch.setattr(sweep, "one", one)
    wanted = [("one", seed, "mnist", 1) for seed in range(3)]
    record = {}
    assert sweep.sweep(record, wanted[:1], jobs=1) == 0
    assert sweep.sweep(record, wanted, jobs=1) == 1
    assert made == wanted
    assert records.read(sweep.RECORD) == record
    assert sweep.summary(record, ["one"]) == (
        1,
        "1 claims, 2 runs of a chapter, 1 failures, 0 thin",
    )
    assert capsys.readouterr().out == "FAILED  one 1 mnist 1 C. m\nBROKEN  one 2 mnist 1\n"


def test_what_is_used_is_followed_to_where_it_is_defined(tmp_path, monkeypatch):
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    files = {
        "__init__.py": "from .a import f\nfrom .deep import g as h\n__version__ = '1'",
        "a.py": "def f():\n    from . import b\n    return b.x",
        "b.py": "import json\nimport torch\nx = 1",
        "c.py": "from normtutorial import h",
        "unused.py": "import normtutorial.b",
        "deep/__init__.py": "from .d import g\nfrom .e import k\ndef own(): ...",
        "deep/d.py": "from ..b import x\ng = x",
        "deep/e.py": "k = 1",
    }
    for name, text in files.items():
        path = tmp_path / "normtutorial" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def used(code):
        paths = closure.used(code)
        return {str(path.relative_to(tmp_path / "normtutorial")) for path in paths}

    assert used("import torch\nimport normal") == set()
    assert used("from normtutorial import f") == {"a.py", "b.py"}
    assert used("def later():\n    from normtutorial import c") == {"c.py", "deep/d.py", "b.py"}
    assert used("from normtutorial.deep import g") == {"deep/d.py", "b.py"}
    assert used("import normtutorial.b as x") == {"b.py"}
    assert used("import normtutorial.unused") >= {"unused.py", "a.py"}  # it binds the package
    everything = {"deep/__init__.py", "deep/d.py", "deep/e.py", "b.py"}
    assert used("from normtutorial.deep import own") == everything
    assert used("from normtutorial import deep") == everything
    assert used("import normtutorial") == {"a.py", "deep/d.py", "b.py"}


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
    assert sweep.thin(margins) is thin
