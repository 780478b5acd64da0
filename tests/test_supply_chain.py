"""What is installed is what was asked for, and nothing that is loaded can run code."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [
    path
    for folder in ("normtutorial", "book", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def test_every_requirement_is_pinned_to_one_version():
    text = (ROOT / "requirements.txt").read_text("utf-8")
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    wanted = [line for line in lines if line and line != "-e ."]
    assert len(wanted) > 20
    loose = [line for line in wanted if not re.fullmatch(r"[\w.-]+==[\w.]+", line)]
    assert not loose


def test_the_installed_packages_fit_together():
    run = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    if "No module named pip" in run.stderr:
        pytest.skip("this environment has no pip")
    assert run.returncode == 0, run.stdout


UNSAFE = {"pickle", "dill", "joblib", "shelve", "marshal", "cloudpickle", "torch.load", "np.load",
          "numpy.load", "yaml.load", "eval"}  # fmt: skip


def unsafe(code: str) -> set[str]:
    """What a piece of code imports or calls that could run code out of a file."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call):
            if "weights_only=True" not in map(ast.unparse, node.keywords):
                found.add(ast.unparse(node.func))
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found & UNSAFE


def test_the_search_finds_what_it_looks_for():
    assert unsafe("import pickle") == {"pickle"}
    assert unsafe("torch.load(path)") == unsafe("torch.load(p, weights_only=False)") != set()
    assert not unsafe("torch.load(path, weights_only=True)")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_loaded_in_a_way_that_could_run_code(path):
    assert not unsafe(path.read_text("utf-8"))


@pytest.mark.parametrize("path", sorted(ROOT.glob("book/*.ipynb")), ids=lambda path: path.stem)
def test_no_chapter_loads_a_file_in_a_way_that_could_run_code(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert not unsafe(cell.source)
