"""What a claim is: its sentence, its condition, and the code of its chapter on which that depends.

A confirmation belongs to a claim for as long as its identity is the same. Comments, layout, what
is drawn or printed, and the text of its figures do not count; nor does the module beneath, of which
there is a digest of its own.

The code on which a claim depends is looked for backwards: a statement counts when it binds or may
change a name that is needed, and then needs the names which it uses itself. What is handed to a
call, or called upon, may be changed by it. So rather too much counts than too little.
"""

import ast
import builtins
import hashlib
from collections.abc import Iterator
from functools import cache

import nbformat

import chapters
import closure
from normtutorial.claims import Claim

SHOWS = {"plt", "fig", "ax", "axes", "plotting", "print", "claim"}
CHANGES_NOTHING = {*dir(builtins)} - {"next", "setattr", "delattr", "exec", "eval"}


class Names(ast.NodeVisitor):
    """The names that a statement uses, and those that it binds or may change."""

    def __init__(self) -> None:
        self.used: set[str] = set()
        self.bound: set[str] = set()
        self.changed: set[str] = set()

    @classmethod
    def of(cls, *nodes: ast.AST | None) -> "Names":
        names = cls()
        for node in nodes:
            if node is not None:
                names.visit(node)
        return names

    def visit_Name(self, node: ast.Name) -> None:
        (self.used if isinstance(node.ctx, ast.Load) else self.bound).add(node.id)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.used |= roots(node.target)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute | ast.Subscript) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.changed |= roots(node)
        self.generic_visit(node)

    visit_Subscript = visit_Attribute

    def visit_Call(self, node: ast.Call) -> None:
        function = roots(node.func)
        pure = isinstance(node.func, ast.Name) and function <= CHANGES_NOTHING
        if not pure and not function & SHOWS:
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            called_upon = [node.func] if isinstance(node.func, ast.Attribute) else []
            self.changed |= {name for part in (*given, *called_upon) for name in roots(part)}
        self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> None:
        self.bound.add(node.asname or node.name.split(".")[0])

    def inside(self, bound: set[str], *nodes: ast.AST) -> None:
        """What a scope of its own uses and may change outside of itself."""
        names = Names.of(*nodes)
        own = names.bound | bound
        self.used |= names.used - own
        self.changed |= names.changed - own

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.Lambda) -> None:
        arguments = node.args
        for default in (*arguments.defaults, *arguments.kw_defaults):
            self.visit(default or ast.Pass())
        listed = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        listed += filter(None, (arguments.vararg, arguments.kwarg))
        body = node.body if isinstance(node.body, list) else [node.body]
        self.inside({one.arg for one in listed}, *body)
        if isinstance(node, ast.FunctionDef):
            self.bound.add(node.name)
            for decorator in node.decorator_list:
                self.visit(decorator)

    visit_Lambda = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.bound.add(node.name)
        for part in (*node.bases, *node.keywords, *node.decorator_list):
            self.visit(part)
        self.inside(set(), *node.body)

    def visit_comprehension_of(self, node: ast.AST) -> None:
        self.inside(set(), *ast.iter_child_nodes(node))

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_comprehension_of


def roots(node: ast.AST) -> set[str]:
    """The names at the root of what is handed on: ``a`` of ``a.b[0]``, ``a`` and ``b`` of both."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    if isinstance(node, ast.List | ast.Tuple):
        return {name for part in node.elts for name in roots(part)}
    return {node.id} if isinstance(node, ast.Name) else set()


def calls(node: ast.AST) -> Iterator[ast.Call]:
    """The claims that a statement makes."""
    for part in ast.walk(node):
        if isinstance(part, ast.Call) and getattr(part.func, "id", "") == "claim" and part.args:
            yield part


def making(cell: list[ast.stmt], sentence: str) -> list[ast.stmt]:
    """The statements of a cell that make a claim: those where its sentence stands, or else those
    that put sentences together, or else all."""

    def says(call: ast.Call) -> bool:
        return isinstance(call.args[0], ast.Constant) and call.args[0].value == sentence

    def composes(call: ast.Call) -> bool:
        return not isinstance(call.args[0], ast.Constant)

    for which in (says, composes):
        if found := [node for node in cell if any(map(which, calls(node)))]:
            return found
    return cell


def essence(node: ast.stmt) -> ast.AST:
    """Of a statement that is a claim its condition, seeds and record; any other, whole."""
    call = getattr(node, "value", None)
    if not isinstance(call, ast.Call) or call not in calls(node) or len(call.args) < 2:
        return node
    kept = [k.value for k in call.keywords if k.arg in ("seeds", "record")]
    return ast.Tuple([call.args[1], *kept], ast.Load())


def identity(cells: list[str], number: int, sentence: str) -> str:
    """The identity of the claim that the code cell of this number makes.

    Args:
        cells: the code of all code cells of the chapter.
        number: counted from 0.
        sentence: the statement of the claim, as it is printed.
    """
    bodies = [closure.parsed(code).body for code in cells[: number + 1]]
    makers = making(bodies[number], sentence)
    before = [node for body in bodies for node in body]
    before = before[: before.index(makers[-1])] if makers else before
    imported = {
        name
        for n in before
        if isinstance(n, ast.Import | ast.ImportFrom)
        for name in Names.of(n).bound
    }
    found = [Names.of(node) for node in before]
    touched, effects = [], dict[str, set[str]]()  # what a function changes, who uses it may change
    for node, names in zip(before, found, strict=True):
        changed = names.changed.union(*(effects.get(name, set()) for name in names.used)) - imported
        if isinstance(node, ast.FunctionDef):
            effects[node.name] = changed
        touched.append(names.bound | changed | (_told(node) & imported))
    condition = [essence(node) for node in makers]
    needed = set(Names.of(*condition).used)
    chosen: set[int] = set()
    while fresh := {i for i in range(len(before)) if touched[i] & needed} - chosen:
        chosen |= fresh
        for i in fresh:
            needed |= found[i].used
    settings = [before[i] for i in sorted(chosen) if before[i] not in makers]
    text = "\n".join([sentence, *map(ast.unparse, [*condition, *settings])])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _told(node: ast.stmt) -> set[str]:
    """The package of which a function is called for what it does, such as torch.manual_seed."""
    call = node.value if isinstance(node, ast.Expr) else None
    return roots(call.func) if isinstance(call, ast.Call) else set()


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
