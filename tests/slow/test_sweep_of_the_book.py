"""The sweep of the book itself: its processes, and what makes its chapters stale."""

import ast
import shutil
import subprocess
import sys

import pytest

import chapters
import identity
import runs

REPOSITORY = chapters.ROOT


def test_a_run_has_a_process_of_its_own_and_may_break():
    found = runs.one(runs.Job("how_we_know", 3, "synthetic"))
    assert found.error is None
    assert len(found.claims) >= 3 and all(made.holds for made in found.claims.values())
    with pytest.raises(SystemExit, match="process of no_such_chapter at block 0 on synthetic died"):
        runs.one(runs.Job("no_such_chapter", 0, "synthetic"))


def test_the_status_is_of_every_chapter_and_an_unknown_one_is_named():
    command = [sys.executable, str(chapters.ROOT / "tools" / "sweep.py"), "status"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = [line.split()[0] for line in done.stdout.splitlines()]
    names = [path.stem for path in chapters.notebooks()]
    assert [name for name in told if name in names] == names
    done = subprocess.run([*command, "no_such"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "There is no chapter 'no_such'; there are intro, signals" in done.stderr


def redocument(path):
    """Change every docstring of a file, and add comments."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            bare = node.body[1:] if ast.get_docstring(node) is not None else node.body
            node.body = [ast.Expr(ast.Constant("Said in other words.")), *bare]
    path.write_text(f"# A comment.\n{ast.unparse(ast.fix_missing_locations(tree))}\n", "utf-8")


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the module and the chapters."""
    for name in ("normtutorial", "book"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    shutil.copy(REPOSITORY / "_toc.yml", tmp_path)
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    return tmp_path


def digests():
    return {path.stem: identity.code(path.stem) for path in chapters.notebooks()}


def test_a_docstring_changed_anywhere_makes_nothing_stale(copy):
    before = digests()
    files = list((copy / "normtutorial").rglob("*.py"))
    texts = [path.read_text("utf-8") for path in files]
    for path in files:
        redocument(path)
    assert all(path.read_text("utf-8") != text for path, text in zip(files, texts, strict=True))
    assert digests() == before


def test_a_constant_makes_those_stale_that_use_it(copy):
    before = digests()
    other = {"batch_size", "numerics", "speed", "many_machines", "real_network"}  # own loops
    by_fit = set(before) - other
    by_explorer = {"experiment", "comparison", "curvature", "averaging", "convolutions"}
    for file, was, becomes, stale in (
        ("training.py", "batch_size: int = 128", "batch_size: int = 129", by_fit),
        ("explorer.py", "FRAMES = 14", "FRAMES = 15", by_explorer),
    ):
        path = copy / "normtutorial" / file
        text = path.read_text("utf-8")
        assert was in text
        path.write_text(text.replace(was, becomes), "utf-8")
        assert {name for name, digest in digests().items() if digest != before[name]} == stale
        path.write_text(text, "utf-8")
