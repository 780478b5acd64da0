"""What is public, and what may use it; the arrows between modules are contracts in pyproject."""

import ast
import importlib
import pkgutil
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest

import normtutorial
from chapters import notebooks

MODULES = [
    "normtutorial",
    *(found.name for found in pkgutil.walk_packages(normtutorial.__path__, "normtutorial.")),
]
if not find_spec("triton"):
    MODULES = [name for name in MODULES if "triton" not in name]


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_there_once_and_in_order(name):
    module = importlib.import_module(name)
    names = getattr(module, "__all__", [])  # without it, a module is for its neighbors
    assert all(hasattr(module, name) for name in names)
    assert names == sorted(set(names), key=lambda n: (not n.isupper(), not n[0].isupper(), n))


def test_the_first_names_are_there_before_and_after_they_are_asked_for():
    assert set(normtutorial.__all__) <= set(dir(normtutorial))
    for name in normtutorial.__all__:
        assert getattr(normtutorial, name) is normtutorial.__getattr__(name)


def test_type_checkers_see_where_each_name_comes_from():
    tree = ast.parse(Path(normtutorial.__file__).read_text("utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    assert sorted(seen) == sorted(normtutorial.__all__)
    for name, module in seen.items():
        home = importlib.import_module(f"normtutorial.{module}")
        assert getattr(normtutorial, name) is getattr(home, name)


def test_a_module_is_an_attribute_and_nothing_else_is():
    assert normtutorial.__getattr__("functional").moments
    with pytest.raises(AttributeError, match="module 'normtutorial' has no attribute 'batchnorm'"):
        normtutorial.__getattr__("batchnorm")


def test_the_first_names_are_those_of_the_modules():
    for name in normtutorial.__all__:
        assert getattr(normtutorial, name).__module__.startswith("normtutorial.")


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_the_book_uses_public_names_only(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code" or cell.source.startswith(("%", "!")):
            continue
        tree = ast.parse(cell.source)
        ours = {"normtutorial"}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("normtutorial"):
                names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                assert not any(name.startswith("_") for name in names), cell.source
                ours |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.startswith("normtutorial"):
                        assert "._" not in alias.name, cell.source
                        ours.add(alias.asname or alias.name.split(".")[0])
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                private = node.attr.startswith("_") and not node.attr.startswith("__")
                assert not (private and node.value.id in ours), ast.unparse(node)
