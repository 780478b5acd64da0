"""What is public, and what may use it; the arrows between modules are contracts in pyproject."""

import ast
import importlib
import pkgutil

import nbformat
import pytest

import normtutorial
from chapters import notebooks

MODULES = [
    "normtutorial",
    *(found.name for found in pkgutil.walk_packages(normtutorial.__path__, "normtutorial.")),
]


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_there_once_and_in_order(name):
    module = importlib.import_module(name)
    names = getattr(module, "__all__", [])  # without it, a module is for its neighbors
    assert all(hasattr(module, name) for name in names)
    assert names == sorted(set(names), key=lambda n: (not n.isupper(), not n[0].isupper(), n))


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
