"""What is used is declared, what is declared is used, and what is installed has one version."""

import ast
import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

import normtutorial

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    return {Requirement(line).name.lower() for line in requirements}


def pinned(file: str) -> dict[str, set[str]]:
    """The versions of each package in a file of requirements; a lock may have one per Python."""
    lines = [line.split("#")[0].strip() for line in (ROOT / file).read_text("utf-8").splitlines()]
    found: dict[str, set[str]] = {}
    for line in lines:
        if line and line != "-e .":
            wanted = Requirement(line)
            assert re.fullmatch(r"==[\w.]+", str(wanted.specifier)), f"{line} is no single version"
            found.setdefault(wanted.name.lower(), set()).add(str(wanted.specifier))
    return found


def test_the_lock_has_every_requirement_at_its_version():
    lock = pinned("requirements.lock.txt")
    assert {name: lock.get(name) for name in pinned("requirements.txt")} == pinned(
        "requirements.txt"
    )


def test_every_extra_is_pinned_and_nothing_else_is():
    declared = names(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        declared |= names(extra)
    assert declared - {"normtutorial"} == set(pinned("requirements.txt"))


def test_the_module_declares_what_it_imports_and_nothing_else():
    imported = set()
    for path in (ROOT / "normtutorial").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
            elif isinstance(node, ast.Attribute) and node.attr == "numpy":
                imported.add("numpy")  # a tensor's numpy() needs it as an import does
    imported -= {*sys.stdlib_module_names, "normtutorial"}
    imported -= {"triton"}  # comes with torch where a GPU can be; only kernels.use("triton") asks
    assert imported == names(PROJECT["dependencies"])


def test_there_is_one_version():
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {normtutorial.__version__}\n" in citation
