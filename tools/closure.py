"""What a piece of code uses of the module, and what of it counts.

A record is worth something as long as the code that made it is the same. Layout, comments and
docstrings decide nothing, so they do not count, and neither do files that the code does not use.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import chapters

PACKAGE = "normtutorial"


class _Bare(ast.NodeTransformer):
    """Takes out every string that stands alone: docstrings, and whatever is written like one."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        value = node.value
        return None if isinstance(value, ast.Constant) and isinstance(value.value, str) else node


@cache
def parsed(code: str) -> ast.Module:
    """Code without layout, comments and docstrings."""
    return _Bare().visit(ast.parse(code))


@cache
def bare(code: str) -> str:
    """The same as text; two that are equal do the same."""
    return ast.unparse(parsed(code))


def used(*codes: str) -> set[Path]:
    """The files of the module that code uses: those which define what it imports, and in turn
    those which define what they import, wherever the import stands. A file that only hands on
    what others define is not among them."""
    found: set[Path] = set()
    waiting = {path for code in codes for path in _imported(code, [])}
    while waiting:
        path = waiting.pop()
        found.add(path)
        package = list(path.parent.relative_to(chapters.ROOT).parts)
        waiting |= set(_imported(path.read_text("utf-8"), package)) - found
    return found


def _imported(code: str, package: list[str]) -> Iterator[Path]:
    """The files behind the imports of code that stands in a package."""
    for node in ast.walk(parsed(code)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                yield from _behind(parts)
                if alias.asname is None:  # then it binds the package, and all that is in it
                    yield from _behind(parts[:1])
        elif isinstance(node, ast.ImportFrom):
            module = _module(node, package)
            for alias in node.names:
                yield from _behind(module, alias.name)


def _module(node: ast.ImportFrom, package: list[str]) -> list[str]:
    """The module from which an import takes its names, by its whole name."""
    named = node.module.split(".") if node.module else []
    return package[: len(package) + 1 - node.level] + named if node.level else named


def _behind(module: list[str], name: str = "*") -> Iterator[Path]:
    """The files that define a name of a module, or all its names; none for other packages'."""
    if module[0] != PACKAGE:
        return
    path = chapters.ROOT.joinpath(*module)
    if path.with_suffix(".py").exists():
        yield path.with_suffix(".py")
    elif (path / name).is_dir() or (path / f"{name}.py").exists():
        yield from _behind([*module, name])
    else:
        yield from _handed_on(path / "__init__.py", module, name)


def _handed_on(init: Path, package: list[str], name: str) -> Iterator[Path]:
    """The files that define a name which stands in a package's own file; its version is a name
    that decides nothing."""
    if name == "__version__":
        return
    code = init.read_text("utf-8")
    imports = [node for node in ast.walk(parsed(code)) if isinstance(node, ast.ImportFrom)]
    handed = [
        (_module(node, package), alias.name)
        for node in imports
        for alias in node.names
        if name in ("*", alias.asname or alias.name)
    ]
    for source in handed:
        yield from _behind(*source)
    if not handed or (name == "*" and _defines(code)):
        yield init


def _defines(code: str) -> bool:
    """Whether a package's own file does more than to hand on names."""
    return any(
        isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
        for node in parsed(code).body
    )
