"""The wheel holds the whole module, and importing it loads nothing heavy."""

import importlib
import json
import os
import pkgutil
import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import normtutorial

ROOT = Path(__file__).parents[2]
IMPORT_ALL = """
import importlib, json, sys
for module, names in json.loads(sys.argv[1]).items():
    found = importlib.import_module(module)
    missing = [name for name in names if not hasattr(found, name)]
    assert not missing, f"{module} has no {missing}"
print(sys.modules["normtutorial"].__file__)
"""
DOCTESTS = """
import doctest, importlib, importlib.util, pkgutil, torch, normtutorial
names = [found.name for found in pkgutil.walk_packages(normtutorial.__path__, "normtutorial.")]
if not importlib.util.find_spec("triton"):  # it comes with torch where a GPU can be
    names = [name for name in names if "triton" not in name]
tried = 0
for name in ["normtutorial", *names]:
    torch.manual_seed(0)
    result = doctest.testmod(importlib.import_module(name))
    assert not result.failed, name
    tried += result.attempted
print(tried)
"""
HEAVY = """
import sys, normtutorial
print({'torchvision', 'matplotlib', 'PIL', 'scipy'} & {*sys.modules})
"""


def run(*command: object, **options) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The scripts of an environment that has the wheel, and knows no checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves files behind, and takes those of earlier builds
    shutil.copytree(ROOT / "normtutorial", source / "normtutorial")
    for name in "pyproject.toml", "README.md", "LICENSE":
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    venv.create(folder / "env", symlinks=True)
    scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    (wheel,) = folder.glob("*.whl")
    run(*pip, "--python", scripts / "python", "install", "--no-deps", "--no-index", wheel)
    return scripts


def needed(*names: str) -> set[str]:
    """The distributions of these names, and those that they need in turn."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            wanted = map(Requirement, metadata.requires(name) or [])
            waiting += [w.name for w in wanted if not w.marker or w.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture
def outside(tmp_path, monkeypatch) -> None:
    """Elsewhere, with the packages that the module declares and what these need, and no other."""
    packages = tmp_path / "packages"
    packages.mkdir()
    declared = map(Requirement, metadata.requires("normtutorial") or [])
    for name in needed(*(one.name for one in declared if not one.marker)):
        found = metadata.distribution(name)
        for part in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
            if not (packages / part).exists():  # several have parts of one
                (packages / part).symlink_to(found.locate_file(part))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(packages))


@pytest.mark.usefixtures("outside")
def test_what_is_not_declared_is_not_there(installed):
    code = "import importlib.util as u; print([n for n in ('yaml', 'nbformat') if u.find_spec(n)])"
    assert run(installed / "python", "-c", code).strip() == "[]"


@pytest.mark.usefixtures("outside")
def test_every_public_name_is_in_the_wheel(installed):
    modules = [
        found.name for found in pkgutil.walk_packages(normtutorial.__path__, "normtutorial.")
    ]
    public = {
        name: getattr(importlib.import_module(name), "__all__", [])
        for name in ("normtutorial", *modules)
    }
    assert len(public["normtutorial"]) > 20
    assert {"normtutorial.data", "normtutorial.probes", "normtutorial.models"} <= set(public)
    place = run(installed / "python", "-c", IMPORT_ALL, json.dumps(public)).strip()
    assert Path(place).is_relative_to(installed.parent)
    assert (Path(place).parent / "py.typed").exists()


@pytest.mark.usefixtures("outside")
def test_the_command_is_installed(installed):
    assert "usage: normtutorial" in run(installed / "normtutorial", "--help")


@pytest.mark.usefixtures("outside")
def test_its_examples_run_where_nothing_else_is(installed):
    assert int(run(installed / "python", "-W", "error", "-c", DOCTESTS)) > 200


@pytest.mark.usefixtures("outside")
def test_importing_the_module_loads_nothing_heavy(installed):
    assert run(installed / "python", "-W", "error", "-c", HEAVY) == "set()\n"
