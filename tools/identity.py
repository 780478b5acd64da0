"""What a claim is: its sentence, its condition, seeds and record, and all code before it.

A confirmation belongs to a claim for as long as its identity is the same. All code of its chapter
before the claim counts, whether the claim depends on it or not: rather too much than too little.
What does not count is supposed to change nothing: comments, layout and docstrings, what a statement
draws or prints, other claims, the text of figures, and imports, since what they bring has a digest
of its own where it is this module's. Neither digest knows of other packages: their versions, and
torch's, are what the lock file says; torch's is recorded with a confirmation.
"""

import ast
import copy
import hashlib
from collections.abc import Iterator
from functools import cache

import nbformat

import chapters
import closure
from normtutorial.claims import Claim

DRAWS = {"plt", "plotting"}
SHOWS = {*DRAWS, "print"}


class Settings(ast.NodeTransformer):
    """Takes out of code what draws, prints or imports; of a claim it leaves the condition, its
    seeds and its record. ``made`` are the claims that stay though they stand in no function."""

    def __init__(self, made: bool, shows: set[str]) -> None:
        self.made, self.shows = made, shows

    def visit(self, node: ast.AST) -> ast.AST | None:
        found = super().visit(node)
        if getattr(found, "body", True) == []:  # all of it drew
            found.body = [ast.Pass()]
        return found

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        return None

    visit_ImportFrom = visit_Import

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        outside, self.made = self.made, True
        self.generic_visit(node)
        self.made = outside
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        return None if called(node.value) in DRAWS else self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        name = called(node.value)
        if name in self.shows or (name == "claim" and not self.made):
            return None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if not isinstance(node.func, ast.Name) or node.func.id != "claim":
            return self.generic_visit(node)
        behind = [k.value for k in node.keywords if k.arg in ("holds", "seeds", "record")]
        return ast.Tuple([*node.args[1:], *behind], ast.Load())


def called(node: ast.AST) -> str | None:
    """The name at the root of what is called: ``plt`` of ``plt.subplots()[1].plot(x)``."""
    if not isinstance(node, ast.Call):
        return None
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def drawn_on(nodes: list[ast.stmt]) -> set[str]:
    """The names of figures and panels: those that plt made, and ``ax``, as a panel among them is
    called."""
    made = [n for n in nodes if isinstance(n, ast.Assign) and called(n.value) in DRAWS]
    names = {part.id for n in made for t in n.targets for part in ast.walk(t)
             if isinstance(part, ast.Name)}  # fmt: skip
    return names | ({"ax"} if names else set())


def settings(nodes: list[ast.stmt], shows: set[str], made: bool = False) -> list[str]:
    """The text of what counts of some statements."""
    cut = Settings(made, SHOWS | shows)
    found = [cut.visit(copy.deepcopy(node)) for node in nodes]
    return [ast.unparse(node) for node in found if node is not None]


@cache
def of_cell(code: str) -> list[str]:
    """What counts of a cell for the claims of later ones."""
    nodes = closure.parsed(code).body
    return settings(nodes, drawn_on(nodes))


def making(cell: list[ast.stmt], sentence: str) -> list[ast.stmt]:
    """The statements of a cell that make a claim: those where its sentence stands, or else those
    that put sentences together, or else all."""

    def calls(node: ast.stmt) -> Iterator[ast.AST]:
        for part in ast.walk(node):
            if isinstance(part, ast.Call) and called(part) == "claim" and part.args:
                yield part.args[0]

    def says(node: ast.AST) -> bool:
        return isinstance(node, ast.Constant) and node.value == sentence

    def composes(node: ast.AST) -> bool:
        return not isinstance(node, ast.Constant)

    for which in (says, composes):
        if found := [node for node in cell if any(map(which, calls(node)))]:
            return found
    return cell


def identity(cells: list[str], number: int, sentence: str) -> str:
    """The identity of the claim that the code cell of this number makes.

    Args:
        cells: the code of all code cells of the chapter.
        number: counted from 0.
        sentence: the statement of the claim, as it is printed.
    """
    cell = closure.parsed(cells[number]).body
    makers = making(cell, sentence)
    parts = [sentence, *(line for code in cells[:number] for line in of_cell(code))]
    for node in cell[: cell.index(makers[-1]) + 1] if makers else []:
        parts += settings([node], drawn_on(cell), made=node in makers)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def code(chapter: str) -> str:
    """A digest of the files of the module that a chapter uses."""
    cells, _ = read(chapter)
    texts = [path.read_text("utf-8") for path in sorted(closure.used(*cells))]
    return hashlib.sha256("\n".join(map(closure.bare, texts)).encode()).hexdigest()[:16]


def read(chapter: str) -> tuple[list[str], list[tuple[int, Claim]]]:
    """The code of a chapter's cells, and the claims of its stored outputs, each with the number of
    its cell."""
    notebook = nbformat.read(chapters.find(chapter), as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    made = [
        (number, claim)
        for number, cell in enumerate(cells)
        for output in cell.outputs
        for claim in map(Claim.parse, output.get("text", "").splitlines())
        if claim
    ]
    return [cell.source for cell in cells], made


@cache
def stored(chapter: str) -> dict[str, tuple[str, Claim]]:
    """By their sentences the claims that a chapter has made when it was last executed, each with
    its identity."""
    cells, made = read(chapter)
    return {claim.statement: (identity(cells, n, claim.statement), claim) for n, claim in made}
