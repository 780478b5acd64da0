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
TRUE_ONE = runs.one

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


def test_a_chapter_reads_its_own_functions_as_in_a_notebook(chapter):
    code = "import inspect\ndef f():\n    return 1\n"
    write(chapter, CELLS[0], code, 'claim("A.", inspect.getsource(f).endswith("return 1\\n"))')
    run = runs.run_chapter("one", 0)
    assert run.error is None
    assert run.claims["A."].holds


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
        self.there = range(1000)  # the blocks of a study that are recorded
        monkeypatch.setattr(runs, "one", self.one)
        monkeypatch.setattr(identity, "code", lambda chapter: self.module)

    def states(self, study=None, **conditions):
        """Execute the chapter with these claims, each with its condition and stored figure."""
        self.conditions = conditions
        codes = [f'claim("{s}", {c})' for s, (c, _) in conditions.items()]
        write(self.path, "LIMIT = 2", "\n".join(codes), outputs=[
            Claim(s, figure, (0,), study) for s, (_, figure) in conditions.items()
        ])  # fmt: skip

    def one(self, job):
        self.ran.append((job.block, job.source))
        if job.block in self.broken:
            return Run({}, self.broken[job.block])
        now = {s: known for s, (known, _) in identity.stored("one").items()}
        return Run({
            sentence: Made(now[sentence], "measured", job.block not in failing(condition),
                           f"at {job.block}", 0.5 if job.source == "mnist" else 0.25,
                           job.block in self.there)
            for sentence, (condition, _) in self.conditions.items()
        }, None)  # fmt: skip


def failing(condition):
    """The blocks at which a made-up condition fails: those that it names."""
    return [int(condition.partition("!=")[2])] if "!=" in condition else []


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
    assert held(record, "B") == [(100, 10, 18, 20), (110, 10, 20, 20)]
    assert held(record, "C") == [(110, 10, 20, 20)]


def test_a_confirmed_claim_is_looked_at_again_where_another_is_asked(book):
    record = {}
    book.states(A=("x != 114", "1"))
    sweep.confirm(record, "one", 1)
    book.states(A=("x != 114", "1"), B=("x < 2", "1"))
    cut_off(book, record, 113)
    assert held(record, "A") == [(100, 10, 20, 20), (110, 3, 6, 6)]
    assert sweep.confirm(record, "one", 1) == 2
    assert held(record, "A") == [(100, 10, 20, 20), (110, 10, 18, 20)]
    found = confirmed.last_of(record["one"]["A"], record["one"]["A"]["identity"])
    assert str(found) == "held in 38 of 40 unseen runs"
    book.ran.clear()
    assert sweep.confirm(record, "one", 1) == 0
    assert book.ran == []


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
    assert list(sweep.status(record, ["one"]))[-1] == "1 were confirmed with an earlier module."
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


def test_a_study_is_asked_once_at_a_block_of_its_own_and_again_when_it_is_there(book, capsys):
    book.states(B=("x < 1", "1"))
    record = {}
    sweep.confirm(record, "one", 1)
    book.ran.clear()
    book.states(study="study", A=("x < 100", "1"))
    book.there = [0]
    for _ in range(2):
        assert sweep.confirm(record, "one", 1) == 0
        assert "A" not in record["one"]
        assert "NOT THERE  study has no seeds of block 100: A" in capsys.readouterr().out
    book.there = [0, 100]
    book.ran.clear()
    sweep.confirm(record, "one", 1)
    assert {block for block, _ in book.ran} == {100}
    assert held(record, "A") == [(100, 1, 2, 2)]
    assert "1 held in every unseen run" in list(sweep.status(record, ["one"]))[-1]
    book.ran.clear()
    book.states(study="study", A=("x < 99", "1"))
    sweep.confirm(record, "one", 1)
    assert {block for block, _ in book.ran} == {101}
    assert len(held(record, "A")) == 1


def cut_off(book, record, block):
    """Confirm, until the command is ended at a block."""
    true = runs.one

    def one(job):
        if job.block == block:
            raise KeyboardInterrupt
        return true(job)

    runs.one = one
    with pytest.raises(KeyboardInterrupt):
        sweep.confirm(record, "one", 1)
    runs.one = true
    book.ran.clear()


def test_what_is_cut_off_and_restated_and_put_back_is_gone_on_with(book):
    record = {}
    book.states(A=("x < 1", "1"), B=("x < 2", "1"))
    cut_off(book, record, 103)
    assert records.read(sweep.RECORD) == record
    assert held(record, "A") == [(100, 3, 6, 6)]
    book.states(A=("x < 3", "1"))
    sweep.confirm(record, "one", 1)
    assert {block for block, _ in book.ran} == set(range(110, 120))
    book.ran.clear()
    book.states(A=("x < 1", "1"), B=("x < 4", "1"))
    sweep.confirm(record, "one", 1)
    assert {block for block, _ in book.ran} == {*range(103, 110), *range(120, 130)}
    assert held(record, "A") == [(k, 10, 20, 20) for k in (100, 110, 120)]
    book.ran.clear()
    book.states(A=("x < 1", "1"), B=("x < 2", "1"))
    sweep.confirm(record, "one", 1)  # 103 to 109 have been looked at for A
    assert {block for block, _ in book.ran} == set(range(130, 140))
    assert held(record, "B") == [(100, 3, 6, 6), (120, 10, 20, 20), (130, 10, 20, 20)]


@pytest.mark.parametrize("figure", ["1", "1.1"])
def test_what_is_cut_off_confirms_nothing_and_another_module_needs_fresh_blocks(book, figure):
    record = {}
    book.states(A=("x < 1", "1"))
    cut_off(book, record, 103)
    assert confirmed.last_of(record["one"]["A"], record["one"]["A"]["identity"]) is None
    book.module = "another"
    book.states(A=("x < 1", figure))
    assert "1 not yet confirmed" in list(sweep.status(record, ["one"]))[-1]
    sweep.confirm(record, "one", 1)
    assert held(record, "A") == [(100, 3, 6, 6), (110, 10, 20, 20)]
    assert held(record, "A", "regressions") == []


@pytest.mark.parametrize("runs, blocks", [(0, 10), (18, 9), (20, 11)])
def test_ten_blocks_that_were_asked_are_a_confirmation_and_no_others(runs, blocks):
    entry = {"identity": "now", "held": runs, "failed": [], "when": ""}
    made = [{**entry, "runs": runs, "blocks": list(range(blocks))}]
    assert confirmed.last_of({"confirmations": made}, "now") is None
    made.append({**entry, "runs": 20, "blocks": list(range(10))})
    assert confirmed.last_of({"confirmations": made}, "now").runs == 20


def test_a_failed_confirmation_stays_when_the_claim_is_another_one(book, monkeypatch):
    record = {}
    book.states(A=("x != 104", "1"), B=("x != 105", "1"))
    sweep.confirm(record, "one", 1)
    book.states(A=("y < 1", "1"), C=("y < 2", "1"))
    sweep.confirm(record, "one", 1)
    monkeypatch.setattr(confirmed, "RECORD", sweep.RECORD)
    told = "held in 20 of 20 unseen runs, after 1 failed confirmation"
    assert str(confirmed.confirmation("one", Claim("A", "1", (0,)))) == told
    assert list(sweep.status(record, ["one"]))[:2] == [
        f"{told}: A (one)",
        "held in 18 of 20 unseen runs, then restated: B (one)",
    ]
    book.states(A=("z < 1", "1"))
    sweep.confirm(record, "one", 1)
    assert sweep.looked_at(record, "one", None) == set(range(100, 130))


def test_a_process_that_dies_ends_the_command_and_its_block_is_not_recorded(book, monkeypatch):
    def recv():
        raise EOFError

    process = SimpleNamespace(start=list, join=list)
    pipe = SimpleNamespace(recv=recv, close=list)
    monkeypatch.setattr(runs, "PROCESSES", SimpleNamespace(
        Pipe=lambda duplex: (pipe, pipe), Process=lambda target, args: process
    ))  # fmt: skip
    true = book.one
    runs.one = lambda job: true(job) if job.block < 102 else TRUE_ONE(job)
    book.states(A=("x < 1", "1"))
    record = {}
    with pytest.raises(SystemExit, match=r"one at block 102 on mnist died. This block is not"):
        sweep.confirm(record, "one", 1)
    assert held(record, "A") == [(100, 2, 4, 4)]


@pytest.mark.parametrize("error", ["FileNotFoundError", "MemoryError", "normtutorial.DataError"])
def test_what_the_chapter_cannot_help_is_no_failure_of_its_claims(chapter, error):
    write(chapter, CELLS[0], f"import normtutorial\nraise {error}('nothing there')")
    with pytest.raises((OSError, MemoryError, normtutorial.DataError), match="nothing there"):
        runs.run_chapter("one", 0)


def test_the_command_adds_to_the_record_and_lets_no_other_one_add_to_it(book, monkeypatch):
    records.write(sweep.RECORD, {"other": {}})
    monkeypatch.setattr("sys.argv", ["sweep.py", "confirm", "one"])
    book.states(A=("x < 1", "1"))
    with records.alone(sweep.RECORD), pytest.raises(SystemExit, match="by another command"):
        sweep.main()
    assert sweep.main() == 0
    assert list(records.read(sweep.RECORD)) == ["one", "other"]
    assert records.read(sweep.RECORD)["one"]["A"]["confirmations"][0]["torch"] == torch.__version__


def test_the_record_that_a_claim_of_the_book_reads_is_there():
    for path in chapters.notebooks():
        for _, claim in identity.read(path.stem)[1]:
            files = [*REPOSITORY.glob(f"records/{claim.record}*.json"),
                     *REPOSITORY.glob(f"{claim.record}/results/*.json")]  # fmt: skip
            assert claim.record is None or files, f"{path.stem}: {claim}"


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
    assert not record or held(record, "A")[0][1] < 3


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
    assert sweep.looked_at(record, "one", None) == set()


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
    assert failed == "held in 18 of 20 unseen runs: A (one)"
    assert line.split(maxsplit=1) == ["one", "1 failed in some"]
    assert not confirmed.confirmation("one", claim).earlier
    book.module = "another"
    assert confirmed.confirmation("one", claim).earlier
    assert list(sweep.status(record, ["one"]))[-1] == "1 were confirmed with an earlier module."
    book.states(A=("x > 3", "1"))
    assert confirmed.confirmation("one", claim) is None
    line, _ = sweep.status(record, ["one"])
    assert line.split(maxsplit=1) == ["one", "1 not yet confirmed"]
