"""Thresholds are chosen on some blocks of seeds and confirmed, once, on others."""

import shutil
from types import SimpleNamespace

import nbformat
import pytest
import torch

import chapters
import confirmed
import identity
import normtutorial
import records
import runs
import sweep
from normtutorial.claims import Claim
from runs import Made, Run

REPOSITORY = chapters.ROOT

CELLS = [
    "from normtutorial import above, below, claim\nfrom normtutorial.runtime import seed_list\n"
    "SEEDS = seed_list(2)",
    'claim("Between.", above([4.0, 3.0], 2) & below(3.0, 4), measured=1 / 3, seeds=SEEDS)',
    'claim("Fails.", below(2, 1), measured="1")\nclaim("After it.", 1 < 2)',
    'claim("Read.", 1 < 2, record="mutants")\n'
    'claim("Study.", 1 < 2, record="study", seeds=[0, 100_000])',
]


def write(path, *codes, outputs=()):
    cells = [nbformat.v4.new_code_cell(code) for code in codes]
    cells[-1].outputs = [nbformat.v4.new_output("stream", text="\n".join(map(str, outputs)))]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    identity.stored.cache_clear()


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """A book of one chapter, and nothing that outlives the test."""
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    monkeypatch.setattr(normtutorial, "claim", normtutorial.claim)
    monkeypatch.setattr(sweep, "RECORD", tmp_path / "records" / "claims.json")
    monkeypatch.delenv("NORMTUTORIAL_SEED", raising=False)
    (tmp_path / "book").mkdir()
    (tmp_path / "_toc.yml").write_text("root: book/one\nparts: []\n")
    shutil.copytree(REPOSITORY / "normtutorial", tmp_path / "normtutorial")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "book" / "one.ipynb"
    write(path, *CELLS)
    yield path
    identity.stored.cache_clear()


def test_a_chapter_tells_each_claim_its_margin_and_goes_on_after_a_failure(chapter, capsys):
    run = runs.run_chapter("one", 0)
    assert capsys.readouterr().out == ""
    assert run.error is None
    made = run.claims
    assert list(made) == ["Between.", "Fails.", "After it.", "Read.", "Study."]
    assert [c.holds for c in made.values()] == [True, False, True, True, True]
    assert [c.margin for c in made.values()] == [0.25, -0.5, None, None, None]
    assert [c.measured for c in made.values()] == ["0.333", "1", "", "", ""]
    assert [c.kind for c in made.values()] == ["measured", *["exact"] * 2, *["recorded"] * 2]
    assert len({c.identity for c in made.values()}) == 5


@pytest.mark.parametrize(
    "behind, asked",
    [("seeds=[0, 100_000]", False), ("seeds=[100_000, 100_001]", True), ("measured=1", False)],
)
def test_a_record_is_asked_at_the_block_that_it_has(chapter, monkeypatch, behind, asked):
    monkeypatch.setenv("NORMTUTORIAL_SEED", "100")
    write(chapter, CELLS[0], f'claim("Study.", 1 < 2, record="study", {behind})')
    assert runs.run_chapter("one", 100).claims["Study."].asked is asked


def test_nan_is_as_wrong_as_can_be(chapter):
    write(chapter, CELLS[0], 'claim("So.", below(float("nan"), 2))')
    claim = runs.run_chapter("one", 0).claims["So."]
    assert (claim.holds, claim.margin) == (False, -2)


@pytest.mark.parametrize(
    "code, error",
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        (
            'claim("So.", 1 < 2, seeds=[7])',
            "ValueError: the seeds (7,) of 'So.' are none of block 3.",
        ),
        ('claim("A.", 1 < 2)', "ValueError: it makes the claim 'A.' twice."),
        ('claim("B.", 1)', "TypeError: claim expects a comparison, by below or above, or True or"),
    ],
)
def test_a_chapter_that_breaks_says_why_and_keeps_what_it_claimed(chapter, code, error):
    write(chapter, CELLS[0], 'claim("A.", 1 < 2)', code, 'claim("Later.", 1 < 2)')
    run = runs.run_chapter("one", 3)
    assert run.error.startswith(error)
    assert list(run.claims) == ["A."]


def test_an_error_that_the_chapter_shows_does_not_end_it(chapter):
    write(chapter, CELLS[0], "1 / 0", 'claim("Later.", 1 < 2)')
    notebook = nbformat.read(chapter, as_version=4)
    notebook.cells[1].metadata["tags"] = ["raises-exception"]
    nbformat.write(notebook, chapter)
    run = runs.run_chapter("one", 0)
    assert run.error is None and list(run.claims) == ["Later."]


def test_a_run_is_at_its_block_and_source_with_one_thread(chapter, monkeypatch):
    for name in ("NORMTUTORIAL_SEED", "NORMTUTORIAL_SOURCE", "TQDM_DISABLE"):
        monkeypatch.setenv(name, "")
    code = "import os, torch\nclaim('It runs at 3.', 1 < 2, seeds=SEEDS, measured=(torch."
    code += "get_num_threads(), os.environ['NORMTUTORIAL_SOURCE']))"
    write(chapter, CELLS[0], code)
    before, sent = torch.get_num_threads(), []
    runs.send(SimpleNamespace(send=sent.append), runs.Job("one", 3, "synthetic"))
    torch.set_num_threads(before)
    assert [made.measured for made in sent[0].claims.values()] == ["(1, 'synthetic')"]


class Book:
    """A chapter whose runs are made up: of some claims, and how they do at which block."""

    def __init__(self, path, monkeypatch):
        self.path = path
        self.conditions = {}
        self.ran = []
        self.broken = {}
        self.module = "module"
        monkeypatch.setattr(runs, "one", self.one)
        monkeypatch.setattr(identity, "code", lambda chapter: self.module)

    def states(self, **conditions):
        """Execute the chapter with these claims, each with its condition and stored figure."""
        self.conditions = conditions
        codes = [f'claim("{s}", {c})' for s, (c, _) in conditions.items()]
        write(self.path, "LIMIT = 2", "\n".join(codes), outputs=[
            Claim(s, figure, (0,)) for s, (_, figure) in conditions.items()
        ])  # fmt: skip

    def one(self, job):
        self.ran.append((job.block, job.source))
        if job.block in self.broken:
            return Run({}, self.broken[job.block])
        now = {s: known for s, (known, _) in identity.stored("one").items()}
        return Run({
            sentence: Made(now[sentence], "measured", job.block not in failing(condition),
                           f"at {job.block}", 0.5 if job.source == "mnist" else 0.25,
                           condition != "x < 100" or job.block == 100)
            for sentence, (condition, _) in self.conditions.items()
        }, None)  # fmt: skip


def failing(condition):
    """The blocks at which a made-up condition fails: those that it names."""
    return [int(condition.removeprefix("x != "))] if "!=" in condition else []


@pytest.fixture
def book(chapter, monkeypatch):
    return Book(chapter, monkeypatch)


def held(record, sentence, kind="confirmations"):
    return [
        (e["blocks"][0], len(e["blocks"]), e["held"], e["runs"])
        for e in record["one"][sentence][kind]
    ]


def test_a_confirmation_takes_ten_fresh_blocks_on_both_sources_once(book):
    book.states(A=("x < 1", "1"), B=("x != 104", "1"))
    record = {}
    assert sweep.confirm(record, "one", 1) == 2
    assert book.ran == [(k, source) for k in range(100, 110) for source in runs.SOURCES]
    assert held(record, "A") == [(100, 10, 20, 20)]
    assert held(record, "B") == [(100, 10, 18, 20)]
    (b,) = record["one"]["B"]["confirmations"]
    assert b["failed"] == [[104, "mnist", "at 104"], [104, "synthetic", "at 104"]]
    assert b["margin"] == 0.25
    assert records.read(sweep.RECORD) == record
    book.ran.clear()
    assert sweep.confirm(record, "one", 1) == 0
    assert book.ran == []


def test_what_is_restated_or_new_needs_the_next_blocks_and_the_old_ones_stay(book):
    book.states(A=("x < 1", "1"), B=("x != 104", "1"))
    record = {}
    sweep.confirm(record, "one", 1)
    book.states(A=("x < 1", "1"), B=("x > 2", "1"), C=("x > 3", "1"))
    book.ran.clear()
    assert sweep.confirm(record, "one", 1) == 0
    assert {block for block, _ in book.ran} == set(range(110, 120))
    assert held(record, "A") == [(100, 10, 20, 20)]
    assert held(record, "B") == [(100, 10, 18, 20), (110, 10, 20, 20)]
    assert held(record, "C") == [(110, 10, 20, 20)]


@pytest.mark.parametrize("first", [100, 105, 95, 3])
def test_blocks_that_were_looked_at_are_refused(book, first):
    book.states(A=("x < 1", "1"))
    record = {}
    sweep.confirm(record, "one", 1)
    book.states(A=("x < 2", "1"))
    with pytest.raises(SystemExit, match=f"blocks from {first} to {first + 9} have been looked at"):
        sweep.confirm(record, "one", 1, first)
    assert held(record, "A") == [(100, 10, 20, 20)]
    sweep.confirm(record, "one", 1, 200)
    assert held(record, "A")[1] == (200, 10, 20, 20)


def test_a_confirmation_that_was_cut_off_is_gone_on_with(book):
    book.states(A=("x < 1", "1"))
    record = {}
    sweep.confirm(record, "one", 1)
    (entry,) = record["one"]["A"]["confirmations"]
    entry.update(blocks=entry["blocks"][:4], runs=8, held=8)
    book.ran.clear()
    sweep.confirm(record, "one", 1)
    assert {block for block, _ in book.ran} == set(range(104, 110))
    assert held(record, "A") == [(100, 10, 20, 20)]


def test_where_the_module_moves_and_the_figure_with_it_the_same_blocks_are_a_regression(book):
    book.states(A=("x < 1", "1"), B=("x < 2", "2"))
    record = {}
    sweep.confirm(record, "one", 1)
    book.module, before = "another", list(book.ran)
    book.ran.clear()
    sweep.confirm(record, "one", 1)
    assert book.ran == []  # no stored figure has moved
    book.states(A=("x < 1", "1.1"), B=("x < 2", "2"))
    sweep.confirm(record, "one", 1)
    assert book.ran == before
    assert held(record, "A") == [(100, 10, 20, 20)]
    assert held(record, "A", "regressions") == [(100, 10, 20, 20)]
    assert held(record, "B", "regressions") == []
    assert record["one"]["A"]["regressions"][0]["code"] == "another"
    book.ran.clear()
    sweep.confirm(record, "one", 1)
    assert book.ran == []


def test_a_claim_that_a_run_did_not_come_to_has_failed_in_it(book):
    book.states(A=("x < 1", "1"))
    book.broken[103] = "ValueError: so it goes"
    record = {}
    assert sweep.confirm(record, "one", 1) == 2
    (entry,) = record["one"]["A"]["confirmations"]
    assert entry["failed"][0] == [103, "mnist", "ValueError: so it goes"]
    assert held(record, "A") == [(100, 10, 18, 20)]


def test_what_reads_a_record_without_seeds_is_checked_by_what_makes_the_record(book, capsys):
    book.states(A=("x < 1", "1"))
    write(book.path, 'claim("A.", 1 < 2)', outputs=[Claim("A.", "1", None, "mutants")])
    assert sweep.confirm({}, "one", 1) == 0
    assert book.ran == []
    assert [line.split(maxsplit=1) for line in sweep.status({}, ["one"])] == [
        ["one", "1 checked by their record"],
        ["all", "1 checked by their record"],
    ]


def test_a_study_is_asked_at_the_block_that_it_has_recorded(book):
    book.states(A=("x < 100", "1"), B=("x < 1", "1"))
    record = {}
    sweep.confirm(record, "one", 1)
    assert held(record, "A") == [(100, 10, 2, 2)]
    assert held(record, "B") == [(100, 10, 20, 20)]


def test_code_that_changes_during_a_run_ends_it(book):
    book.states(A=("x < 1", "1"))
    true = book.one

    def one(job):
        if job.block == 102:
            book.module = "another"
        return true(job)

    runs.one, record = one, {}
    with pytest.raises(SystemExit, match="one, or what it uses of the module, has changed"):
        sweep.confirm(record, "one", 1)
    (entry,) = record["one"]["A"]["confirmations"]
    assert len(entry["blocks"]) < 3


def test_choosing_shows_every_margin_the_narrowest_claim_first(book, capsys):
    book.states(A=("x < 1", "1"), B=("x != 3", "1"))
    record = {}
    assert sweep.choose(record, "one", 1) == 2
    assert {block for block, _ in book.ran} == set(range(5))
    shown = capsys.readouterr().out
    assert " 10 of 10  A" in shown and "  8 of 10  B" in shown
    assert "FAILED in 3 mnist, 3 synthetic: at 3" in shown
    assert "mnist     0.500 0.500 0.500 0.500 0.500" in shown
    assert "worst 0.2500 in block 0, synthetic: at 0" in shown
    assert record["one"]["A"]["choose"]["margins"]["synthetic"] == [0.25] * 5
    assert record["one"]["A"]["confirmations"] == []
    assert sweep.first_fresh(sweep.looked_at(record, "one")) == 100


@pytest.mark.parametrize(
    "margins, ratio",
    [
        ({"mnist": [1.0, 3.0]}, 2 / 2**0.5),
        ({"mnist": [1.0, 3.0], "synthetic": [1.0, 2.0]}, 2 / 2**0.5),
        ({"mnist": [1.0, 3.0], "synthetic": [-1.0, 1.0]}, 0),
        ({"mnist": [1.0]}, float("inf")),
        ({}, float("inf")),
    ],
)
def test_the_worse_source_says_how_many_deviations_the_margin_has(margins, ratio):
    assert sweep.ratio(margins) == pytest.approx(ratio)


def test_an_exact_claim_whose_figure_moves_is_hinted_at(book, capsys):
    book.states(A=("x < 1", "1"))
    true = book.one

    def one(job):
        claims = {s: made._replace(kind="exact") for s, made in true(job).claims.items()}
        return Run(claims, None)

    runs.one = one
    sweep.choose({}, "one", 1)
    assert "HINT    exact, but its figure changes with the seed: A" in capsys.readouterr().out


def test_the_book_shows_the_confirmation_of_the_claim_as_it_is(book, monkeypatch):
    book.states(A=("x != 104", "1"))
    record = {}
    sweep.confirm(record, "one", 1)
    monkeypatch.setattr(confirmed, "RECORD", sweep.RECORD)
    claim = Claim("A", "1", (0,))
    assert str(confirmed.confirmation("one", claim)) == "held in 18 of 20 unseen runs"
    assert confirmed.confirmation("one", claim).failed[0] == [104, "mnist", "at 104"]
    assert confirmed.confirmation("one", Claim("B")) is None
    failed, line, _ = sweep.status(record, ["one"])
    assert failed == "held in 18 of 20: A (one)"
    assert line.split(maxsplit=1) == ["one", "1 failed in some"]
    book.module = "another"
    assert list(sweep.status(record, ["one"]))[-1] == "1 were confirmed with an earlier module."
    book.states(A=("x > 3", "1"))
    assert confirmed.confirmation("one", claim) is None
    line, _ = sweep.status(record, ["one"])
    assert line.split(maxsplit=1) == ["one", "1 not yet confirmed"]
