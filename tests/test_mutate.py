"""The tool behind `make mutants`: what it breaks, whom it asks, what it remembers."""

import ast
from pathlib import Path

import pytest

import mutants
import mutate
from mutants import Mutant, digest, every_small_change, files


def test_every_file_of_the_module_is_asked_about_but_the_mistakes():
    paths = {p.relative_to(mutants.PACKAGE).as_posix() for p in mutants.PACKAGE.rglob("*.py")}
    left_out = paths - set(files())
    assert {"functional.py", "data/mnist.py", "models/mlp.py", "__init__.py"} <= set(files())
    assert left_out == {path for path in paths if path.startswith("mistakes/")}


@pytest.mark.parametrize("file", ["claims.py", "runtime.py", "models/mlp.py"])
def test_a_change_is_python_and_changes_what_counts(file):
    source = (mutants.PACKAGE / file).read_text("utf-8")
    changes = list(every_small_change(file))
    assert len(changes) > 10
    for change in changes:
        broken = ast.parse(change.applied())
        assert ast.dump(broken) != ast.dump(ast.parse(source)), change.name
        assert change.name.startswith(f"{file} ")


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A module of one file."""
    monkeypatch.setattr(mutants, "PACKAGE", tmp_path)
    (tmp_path / "one.py").write_text('def f(x):\n    """Twice."""\n    return 2 * x\n')
    return tmp_path


def test_each_operator_constant_and_statement_is_changed_and_no_word(package):
    changed = {
        change.applied().decode().splitlines()[-1].strip()
        for change in every_small_change("one.py")
    }
    assert changed == {"return (2 / x)", "return 3 * x", "return None"}
    assert [change.lines for change in every_small_change("one.py")] == [range(3, 4)] * 3


def test_a_docstring_or_a_comment_makes_nothing_stale(package):
    record = mutate.with_file({}, "one.py", 3, [])
    assert mutate.stale(record) == []
    (package / "one.py").write_text("def f(x):  # doubled\n    return (2 *\n            x)\n")
    assert mutate.stale(record) == []
    (package / "one.py").write_text("def f(x):\n    return 3 * x\n")
    assert mutate.stale(record) == ["one.py"]


def test_a_file_that_was_never_asked_about_is_stale(package):
    (package / "data").mkdir()
    (package / "data" / "two.py").write_text("x = 1\n")
    assert mutate.stale({}) == ["data/two.py", "one.py"]
    assert mutate.stale(mutate.with_file({}, "one.py", 3, [])) == ["data/two.py"]


def test_a_run_of_one_file_leaves_the_others_as_they_were(package):
    (package / "two.py").write_text("x = 1\n")
    before = {
        "known": {"digest": "d", "mutants": 3, "killed": 3},
        "files": {"gone.py": {}, "one.py": {"old": 1}, "two.py": {"mutants": 9, "killed": 8}},
        "survivors": [
            {"mutant": "gone.py  a  ->  b", "reason": ""},
            {"mutant": "one.py  a  ->  b", "reason": ""},
            {"mutant": "two.py  a  ->  b", "reason": "why"},
        ],
    }
    after = mutate.with_file(before, "one.py", 3, [("one.py  2  ->  3", "because")])
    assert after["known"] == before["known"]
    assert after["files"] == {
        "one.py": {"digest": digest("one.py"), "mutants": 3, "killed": 2},
        "two.py": {"mutants": 9, "killed": 8},
    }
    assert after["survivors"] == [
        {"mutant": "one.py  2  ->  3", "reason": "because"},
        {"mutant": "two.py  a  ->  b", "reason": "why"},
    ]


def test_the_status_says_what_was_asked_and_of_which_code(package):
    (package / "two.py").write_text("x = 1\n")
    record = mutate.with_file({}, "one.py", 3, [("one.py  a  ->  b", "why")])
    told = [" ".join(line.split()) for line in mutate.status(record)]
    assert told == [
        "mistakes never asked about",
        "one.py 2 of 3 noticed, in the code as it is",
        "two.py never asked about",
        "1 of 2 files were asked about as they are.",
    ]
    (package / "one.py").write_text("x = 2\n")
    assert "in earlier code" in list(mutate.status(record))[1]


def on(line: int) -> Mutant:
    """A change of one line of one.py."""
    end = sum(map(len, (mutants.PACKAGE / "one.py").read_text().splitlines(True)[:line])) - 1
    return Mutant("one.py", "one.py", end, end, "")


def test_the_tests_that_execute_the_line_are_asked_variants_by_turns_short_ones_first(package):
    seconds = {"a[1]": 0.3, "a[2]": 0.2, "b": 0.1, "c": 0.0, "slow": 30.0}
    survey = mutate.Survey(seconds, {"one.py": {3: ["slow", "b", "a[1]", "a[2]"]}})
    assert survey.asked(on(3)) == ["b", "a[2]", "a[1]"] or survey.asked(on(3)) == ["b", "a[2]"]
    assert survey.asked(on(1)) == survey.asked(on(3))  # executed at import: those of the file


def test_a_file_that_no_test_executes_is_shown_to_all(package):
    survey = mutate.Survey({"a": 0.2, "b": 0.1}, {})
    assert survey.asked(on(3)) == ["b", "a"]


def test_what_notices_the_formulas_in_steps_is_not_asked_about_a_mistake():
    seconds, lines = {"a": 0.2, "b[1]": 0.1}, {"one.py": {3: ["a", "b[1]"]}}
    survey = mutate.Survey(seconds, lines, strict={"b"})
    assert survey.asked(mutate.Known("m", "one.py", range(3, 4))) == ["a"]


def test_no_file_of_tests_is_left_out_but_those_that_are_named():
    asked = {Path(path).stem for path in mutate.unit_tests()}
    there = {p.stem for p in mutate.ROOT.glob("tests/**/test_*.py") if "web" not in p.parts}
    assert there - asked <= {f"test_{name}" for name in {*mutate.OTHER, "compile"}}


def test_a_mutant_that_ends_as_its_time_does_is_not_killed_but_answered_for(tmp_path, monkeypatch):
    def ended(folder, log, work):
        log.write_text('"test_it"')
        return 7

    def gone(*_):
        raise ProcessLookupError

    monkeypatch.setattr(mutate, "in_a_fork", ended)
    monkeypatch.setattr(mutate.os, "waitpid", lambda *_: (7, 0))
    monkeypatch.setattr(mutate.os, "killpg", gone)
    monkeypatch.setattr(mutate, "PATIENCE", -1e3)
    for folder in "home", "normtutorial":
        (tmp_path / folder).mkdir()
    mistake = mutate.Known("it", "runtime.py", range(1, 2))
    assert [*mutate.fates([mistake], [tmp_path], mutate.Survey())] == [(mistake, "test_it")]


def test_a_line_that_is_executed_at_import_is_shown_to_the_tests_named_after_its_file_too(package):
    seconds = {"tests/test_one.py::a": 0.1, "tests/test_two.py::b": 0.1, "tests/test_x.py::c": 0.1}
    survey = mutate.Survey(seconds, {"one.py": {3: ["tests/test_two.py::b"]}})
    both = ["tests/test_one.py::a", "tests/test_two.py::b"]
    assert survey.asked(on(1)) == both
    assert survey.asked(on(3)) == ["tests/test_two.py::b"]
    survey.tests["one.py"][3].append("")  # also while the tests were collected
    assert survey.asked(on(3)) == both


def test_tests_are_named_after_a_file_its_folder_or_are_its_examples():
    tests = ["tests/test_mlp.py::a", "tests/test_models.py::b", "normtutorial/models/mlp.py::c"]
    others = ["tests/test_mlps.py::d", "normtutorial/mlp.py::e", "tests/test_training.py::f"]
    assert mutate.named_after("models/mlp.py", tests + others) == set(tests)
    assert mutate.named_after("training.py", tests + others) == {"tests/test_training.py::f"}
