"""The arrows between the rooms of the module, and between the book and the module."""

import ast
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import normtutorial

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "normtutorial"
ROOMS = sorted(path.stem for path in PACKAGE.glob("*.py"))

# Which rooms a room may import from. What is not named here may import from all.
ARROWS: dict[str, set[str]] = {
    "functional": set(),
    "layers": {"functional"},
    "parametrizations": {"functional"},
    "original": set(),
    "models": {"layers", "parametrizations"},
    "data": set(),
    "claims": set(),
    "probes": set(),
    "training": {"data", "probes"},
    "plotting": {"probes", "training"},
}
IMPORTED_BY_NOBODY = {"experiments", "plotting", "__main__"}
HEAVY = {"torchvision", "matplotlib", "numpy", "tqdm", "PIL"}


def parse(room: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{room}.py").read_text("utf-8"))


def type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def rooms_imported(tree: ast.AST) -> set[str]:
    """The rooms of normtutorial that a tree imports from, relatively or by full name."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level == 1 or node.module == "normtutorial":
                names = [node.module] if node.level and node.module else []
                found |= set(names or [alias.name for alias in node.names])
            elif node.module and node.module.startswith("normtutorial."):
                found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            parts = [alias.name.split(".") for alias in node.names]
            found |= {p[1] for p in parts if p[0] == "normtutorial" and len(p) > 1}
    return found & set(ROOMS)


def imported_at_the_top(tree: ast.Module) -> set[str]:
    """The packages that are loaded when the file is."""
    found = set()
    for node in tree.body:
        if type_checking(node):
            continue
        for inner in ast.walk(node) if isinstance(node, ast.Try | ast.If) else [node]:
            if isinstance(inner, ast.Import):
                found |= {alias.name.split(".")[0] for alias in inner.names}
            elif isinstance(inner, ast.ImportFrom) and inner.level == 0 and inner.module:
                found.add(inner.module.split(".")[0])
    return found


@pytest.mark.parametrize("room", [room for room in ROOMS if room in ARROWS])
def test_a_room_imports_only_from_the_rooms_below_it(room):
    assert rooms_imported(parse(room)) <= ARROWS[room]


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_imports_experiments_plotting_or_the_command_line(room):
    if room in {"experiments", "__main__"}:  # these two may import all that is not above them
        above = IMPORTED_BY_NOBODY - {"plotting", "experiments"}
    else:
        above = IMPORTED_BY_NOBODY
    assert not rooms_imported(parse(room)) & (above - {room})


@pytest.mark.parametrize("room", sorted({"functional", "layers", "parametrizations"} & set(ROOMS)))
def test_the_formulas_and_the_layers_need_torch_only(room):
    allowed = {"torch", *sys.stdlib_module_names}
    assert imported_at_the_top(parse(room)) <= allowed


@pytest.mark.parametrize("room", [room for room in ROOMS if room not in IMPORTED_BY_NOBODY])
def test_a_room_that_is_always_loaded_imports_nothing_heavy_at_the_top(room):
    assert not imported_at_the_top(parse(room)) & HEAVY


def test_only_plotting_draws():
    # data takes its glyphs from fonts; the command line makes the Axes that plotting draws on.
    rooms = [room for room in ROOMS if room not in {"plotting", "data", "__main__"}]
    for room in rooms:
        names = {
            alias.name if isinstance(node, ast.Import) else node.module or ""
            for node in ast.walk(parse(room))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert not any(name.startswith("matplotlib") for name in names), room


def test_the_command_line_loads_matplotlib_only_to_draw():
    if "__main__" in ROOMS:
        assert not imported_at_the_top(parse("__main__")) & HEAVY


def test_importing_the_module_loads_neither_torchvision_nor_matplotlib():
    code = (
        "import sys, normtutorial; "
        "print(*sorted({'torchvision', 'matplotlib', 'PIL', 'IPython'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "", "")


def test_every_public_name_is_there():
    assert sorted(normtutorial.__all__, key=str.lower) and len(set(normtutorial.__all__)) == len(
        normtutorial.__all__
    )
    for name in normtutorial.__all__:
        assert getattr(normtutorial, name).__module__.startswith("normtutorial.")


@pytest.mark.parametrize("path", sorted(ROOT.glob("book/*.ipynb")), ids=lambda path: path.stem)
def test_the_book_uses_public_names_only(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code" or cell.source.startswith(("%", "!")):
            continue
        tree = ast.parse(cell.source)
        aliases = {"normtutorial"}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("normtutorial"):
                names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                assert not any(name.startswith("_") for name in names), cell.source
                aliases |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.startswith("normtutorial"):
                        assert "._" not in alias.name, cell.source
                        aliases.add(alias.asname or alias.name.split(".")[0])
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                private = node.attr.startswith("_") and not node.attr.startswith("__")
                assert not (private and node.value.id in aliases), ast.unparse(node)


def test_every_mutant_still_finds_what_it_breaks():
    from mutants import known

    for mutant in known():
        source = (ROOT / "normtutorial" / mutant.file).read_bytes()
        assert mutant.applied() != source
