"""What a reader of a chapter sees without opening a fold.

A cell whose tag is ``hide-input`` or ``hide-cell`` is folded. So is the check of a claim: it begins
at the first ``claim`` of the cell, or above it at the assignments that only name the figures which
``claim`` is given. What stands before the check teaches, and is seen; so does what makes, trains
or differentiates a network, whatever name it gives to the result.
"""

import ast

import nbformat

from normtutorial.claims import Claim

HIDDEN = {"hide-input", "hide-cell"}
RUNS = {"backward", "build", "fit", "train"}  # calls that are no mere figure of what is there


def makes_claim(statement: ast.stmt) -> bool:
    return any(called(node) == "claim" for node in ast.walk(statement))


def called(node: ast.AST) -> str | None:
    """The name of the function that a node calls, or None."""
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None


def runs_something(statement: ast.stmt) -> bool:
    """Whether a statement calls one of ``RUNS``, as a function or as a method."""
    calls = [node.func for node in ast.walk(statement) if isinstance(node, ast.Call)]
    return any(getattr(one, "id", getattr(one, "attr", None)) in RUNS for one in calls)


def given_to_claims(body: list[ast.stmt]) -> set[str]:
    """The names that the calls of ``claim`` read."""
    calls = [node for statement in body for node in ast.walk(statement) if called(node) == "claim"]
    return {node.id for call in calls for node in ast.walk(call) if isinstance(node, ast.Name)}


def named_by(statement: ast.stmt) -> set[str]:
    """The names that an assignment gives to figures; nothing for any other statement."""
    if not isinstance(statement, ast.Assign) or runs_something(statement):
        return set()
    parts = [part for target in statement.targets for part in getattr(target, "elts", [target])]
    names = {part.id for part in parts if isinstance(part, ast.Name)}
    return names if len(names) == len(parts) else set()


def split(source: str) -> tuple[str, str]:
    """The code of a cell before its check, and the check.

    Example:
        >>> split("y = layer(x)\\nworst = (y - z).max()\\nclaim('They agree.', worst < 1)")
        ('y = layer(x)', "worst = (y - z).max()\\nclaim('They agree.', worst < 1)")
    """
    body = ast.parse(source).body
    cut = next((i for i, statement in enumerate(body) if makes_claim(statement)), len(body))
    if cut == len(body):
        return source, ""
    given = given_to_claims(body)
    while cut > 0 and named_by(body[cut - 1]) and named_by(body[cut - 1]) <= given:
        cut -= 1
    lines = source.splitlines()
    line = body[cut].lineno - 1
    while line > 0 and lines[line - 1].lstrip().startswith("#"):  # a comment is on what follows it
        line -= 1
    return "\n".join(lines[:line]).rstrip(), "\n".join(lines[line:])


def visible(cell: nbformat.NotebookNode) -> str:
    """The code of a cell that a reader sees."""
    hidden = HIDDEN & set(cell.metadata.get("tags", []))
    return "" if hidden else split(cell.source)[0]


def printed(cell: nbformat.NotebookNode) -> list[str]:
    """The lines that a cell has printed and a reader sees; a claim is a block of its own."""
    if {"hide-cell", "hide-output"} & set(cell.metadata.get("tags", [])):
        return []
    lines = "".join(one.text for one in cell.outputs if one.get("name") == "stdout").splitlines()
    return [line for line in lines if not Claim.parse(line)]


def label(source: str, tags: list[str]) -> str:
    """What a fold says it holds."""
    if "hide-cell" in tags and source.startswith("# Solution"):
        return "Solution"
    tree = ast.parse(source)
    if any(makes_claim(statement) for statement in tree.body):
        return "the check"
    names = {getattr(node, "id", getattr(node, "arg", "")) for node in ast.walk(tree)}
    if names & {"ax", "axes", "fig", "plt"}:
        return "the drawing"
    outside = [one for one in tree.body if not isinstance(one, ast.FunctionDef)]
    if "hide-cell" in tags and any(called(n) == "print" for one in outside for n in ast.walk(one)):
        return "the numbers"
    first = tree.body[0]
    return "the setup" if isinstance(first, ast.Import | ast.ImportFrom) else "the code"
