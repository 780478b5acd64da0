"""A study makes each run once, and goes on where it was cut off, with the same code alone."""

import pytest

import chapters
import records
import study
from normtutorial.studies import recorded


@pytest.fixture
def made(tmp_path, monkeypatch):
    """The runs that a study of two settings makes, whose record is elsewhere."""
    ran = []

    def run(source, setting, seed):
        ran.append((source, setting, seed))
        return {"seed": seed, "loss": 0.5}

    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    code = "from normtutorial.studies import compare"
    monkeypatch.setattr(study, "STUDIES", {"toy": study.Study(("a", "b"), code, run)})
    monkeypatch.setattr(study, "digest", lambda which: "code")
    monkeypatch.setattr("sys.argv", ["study.py", "toy"])
    return ran


def test_a_study_has_ten_seeds_to_choose_by_and_ten_to_confirm_with(made, tmp_path, monkeypatch):
    study.main()
    assert len(made) == 2 * 2 * 20 == len(set(made))
    assert made[:3] == [("mnist", "a", 0), ("mnist", "b", 0), ("mnist", "a", 1)]
    path = tmp_path / "records" / "toy.json"
    for block, seeds in (("", range(10)), ("100", range(100_000, 100_010))):
        monkeypatch.setenv("NORMTUTORIAL_SEED", block)
        found = recorded(path, "synthetic")
        assert {name: [run["seed"] for run in runs] for name, runs in found.items()} == {
            "a": list(seeds),
            "b": list(seeds),
        }


def test_a_study_goes_on_where_it_was_cut_off(made, tmp_path):
    study.main()
    path = tmp_path / "records" / "toy.json"
    record = records.read(path)
    gone = record["runs"]["mnist"]["b"].pop(3)
    records.write(path, record)
    made.clear()
    study.main()
    assert made == [("mnist", "b", gone["seed"])]


def test_runs_of_other_code_are_not_mixed_with_these(made, monkeypatch):
    study.main()
    monkeypatch.setattr(study, "digest", lambda which: "other code")
    with pytest.raises(SystemExit, match=r"toy.json was made with another code.*Delete the file"):
        study.main()


def test_the_status_says_whether_the_code_has_changed_since(made, monkeypatch, capsys):
    study.main()
    monkeypatch.setattr("sys.argv", ["study.py", "status"])
    said = []
    for code in ("code", "other code"):
        monkeypatch.setattr(study, "digest", lambda which, code=code: code)
        capsys.readouterr()
        study.main()
        said.append(capsys.readouterr().out)
    assert said == [f"toy        made by {by}\n" for by in ("the code as it is", "earlier code")]
    assert len(made) == 80  # nothing was run for it


def test_runs_of_another_machine_are_not_mixed_with_these(made, monkeypatch):
    study.main()
    monkeypatch.setattr(study, "machine", lambda: {"cpu": "another"})
    with pytest.raises(SystemExit, match=r"toy.json was made with another machine"):
        study.main()


def test_a_study_gets_the_seeds_of_further_blocks(made, tmp_path, monkeypatch):
    study.main()
    made.clear()
    monkeypatch.setattr("sys.argv", ["study.py", "toy", "--sources", "mnist", "--blocks", "101"])
    study.main()
    assert made == [("mnist", s, seed) for seed in range(101_000, 101_010) for s in "ab"]


def test_two_commands_do_not_add_to_a_study_at_once(made, tmp_path):
    with (
        records.alone(tmp_path / "records" / "toy.json"),
        pytest.raises(SystemExit, match=r"toy.json is being added to by another command"),
    ):
        study.main()


def test_the_digest_knows_the_settings_and_what_is_kept_of_a_run(monkeypatch):
    one = study.STUDIES["compare"]
    found = study.digest(one)
    getsource = study.inspect.getsource
    for function in (one.run, study.commands.entry):
        monkeypatch.setattr(study.inspect, "getsource", lambda asked, changed=function: (
            getsource(asked).replace("5", "6") if asked is changed else getsource(asked)
        ))  # fmt: skip
        assert study.digest(one) != found


def test_the_studies_of_the_book_name_the_code_that_decides_them():
    for one in study.STUDIES.values():
        assert len(study.digest(one)) == 16
        files = {path.name for path in study.closure.used(one.code)}
        assert "runs.py" in files and "records.py" not in files
