"""Every small change of every line of the module, and the reasons for which some are not noticed.

``make mutants`` (tools/mutate.py) makes each in a copy and asks the unit tests.
"""

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from chapters import ROOT
from closure import bare

PACKAGE = ROOT / "normtutorial"


def files() -> list[str]:
    """All of the module, by its paths; but what is wrong on purpose cannot be broken."""
    return [path for path in _paths("**/*.py") if path not in MISTAKES]


def _paths(pattern: str) -> list[str]:
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.glob(pattern))


MISTAKES = _paths("mistakes/*.py")


def digest(*files: str) -> str:
    """Of what counts of their code: a docstring, a comment or a line break changes nothing."""
    codes = [bare((PACKAGE / file).read_text("utf-8")) for file in files]
    return hashlib.sha256("\f".join(codes).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Mutant:
    """The bytes from ``start`` to ``end`` of a file of the module become ``new``."""

    name: str
    file: str
    start: int
    end: int
    new: str

    def applied(self) -> bytes:
        source = (PACKAGE / self.file).read_bytes()
        return source[: self.start] + self.new.encode() + source[self.end :]

    @property
    def lines(self) -> range:
        """The lines of the file that it changes."""
        source = (PACKAGE / self.file).read_bytes()
        first, last = (source[:at].count(b"\n") + 1 for at in (self.start, self.end))
        return range(first, last + 1)


def every_small_change(file: str) -> Iterator[Mutant]:
    """One operator, constant, argument, statement or decorator at a time."""
    source = (PACKAGE / file).read_bytes()
    starts = [0]  # of the lines, in bytes, as ast counts columns
    for text in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(text))
    seen = set()
    for node, new in _changes(ast.parse(source)):
        assert node.end_lineno is not None and node.end_col_offset is not None  # noqa: S101
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        old = " ".join(source[start:end].decode().split())
        name = f"{file}  {_short(old)}  ->  {_short(new)}"
        if (start, end, new) not in seen:
            seen.add((start, end, new))
            yield Mutant(name, file, start, end, new)


def _short(text: str) -> str:
    return text if len(text) < 90 else f"{text[:55]} ... {text[-30:]}"


COMPARE = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
BINARY = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
BOOLEAN = {ast.And: ast.Or, ast.Or: ast.And}


def _changes(  # noqa: C901  a table
    tree: ast.Module,
) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Each node to replace, and the code in its place.

    Words for people stay as they are, and so do types: docstrings, messages, help, ``__all__``.
    """
    for node in _code(tree):
        match node:
            case ast.Compare(ops=[op]):
                yield node, _with(node, ops=[COMPARE[type(op)]()])
            case ast.BinOp(op=op) if type(op) in BINARY:
                yield node, _with(node, op=BINARY[type(op)]())
            case ast.AugAssign(op=op) if type(op) in BINARY:
                yield node, _with(node, op=BINARY[type(op)]())
            case ast.BoolOp(op=op):
                yield node, _with(node, op=BOOLEAN[type(op)]())
            case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
                yield node, f"({ast.unparse(operand)})"
            case ast.Constant(value=bool(value)):
                yield node, str(not value)
            case ast.Constant(value=int(value) | float(value)):
                yield node, repr(value + 1)
            case ast.Constant(value=str(value)):
                yield node, repr(f"X{value}")
            case ast.Constant(value=bytes(value)):
                yield node, repr(b"X" + value)
        match node:
            case ast.If() | ast.While() | ast.IfExp():
                yield node.test, f"(not ({ast.unparse(node.test)}))"
            case ast.Call(keywords=keywords):
                for given in keywords:
                    if given.arg is not None and not _for_people(given):
                        yield node, _with(node, keywords=[k for k in keywords if k is not given])
            case ast.Expr(value=ast.Call()) | ast.Raise() | ast.AugAssign():
                yield node, "pass"
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
                yield node, "pass"
            case ast.Return(value=ast.expr()) if ast.unparse(node) != "return None":
                yield node, "return None"
            case ast.Continue():
                yield node, "break"
            case ast.Break():
                yield node, "continue"
            case ast.FunctionDef(decorator_list=[_, *_]) | ast.ClassDef(decorator_list=[_, *_]):
                for one in node.decorator_list:
                    yield one, "(lambda _: _)"


def _with(node: ast.expr | ast.stmt, **fields: object) -> str:
    values = {name: getattr(node, name) for name in node._fields} | fields
    text = ast.unparse(ast.fix_missing_locations(type(node)(**values)))
    return f"({text})" if isinstance(node, ast.expr) else text


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below this one whose change can matter to a machine."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_comment"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or _for_people(child):
                continue
            yield child
            yield from _code(child)


def _for_people(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()) | ast.JoinedStr():  # a docstring; an f-string
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
        case ast.Call(func=ast.Name(id=name)):  # an error: its words
            return name.endswith(("Error", "Failed", "_fault"))
        case ast.keyword(arg=name):
            return name in ("help", "description", "metavar")
    return False


# What no test can notice: the file, a part of its line, a part of the change, the reason.
LIVING = (
    ("claims.py", "if TYPE_CHECKING", "", "torch, which is not needed here: the same, slower"),
    ("claims.py", "HUGE = 2.0**1000", "1000  ->", "any number about as large does it"),
    ("claims.py", "1 / HUGE", "1  ->  2", "any number about as small does it"),
    ("claims.py", "torch.empty(0, dtype=", "", "nothing is in it, of any type"),
    ("claims.py", 'device="cpu"', "", "matters only to what is on a GPU"),
    ("diagnosis/chance.py", "return False", "return None", "None is as false as False"),
    ("diagnosis/chance.py", "return bool(fall > worth", ">=", "never exactly as large"),
    ("diagnosis/chance.py", "manual_seed(0)", "0  ->  1", "another draw"),
    ("diagnosis/chance.py", "math.ceil(1 / level) - 1", "", "two deals more, of thousands"),
    ("functional.py", "@staticmethod", "staticmethod  ->",
     "an autograd function is never made an object, so its functions are static anyway"),
    ("functional.py", "return False", "return None", "None is as false as False"),
    ("functional.py", "out=out)", "", "the same squares, in new memory"),
    ("functional.py", "x - nothing", "", "nothing is zero"),
    ("functional.py", "1 / 64", "64  ->", "any number about as large does it"),
    ("functional.py", "alpha=64", "64  ->", "any number about as large does it"),
    ("functional.py", "if running_mean is not None or running_var is not None", "",
     "asked again where they move: the same, slower"),
    ("functional.py", "if x.shape[0] else 0", "0  ->  1", "one value moves nothing either"),
    ("functional.py", "deviation / std, 1 / std", "1", "no exporter uses the factor"),
    ("inference.py", "EXHAUSTIBLE = 13", "", "any number about as large does it"),
    ("inference.py", "RESAMPLES = 9999", "", "any number about as large does it"),
    ("inference.py", "rejected = int(", "", "rounded to the same rank"),
    ("inference.py", "random_state=0", "0  ->  1", "another draw"),
    ("inference.py", "manual_seed(0)", "0  ->  1", "another draw"),
    ("inference.py", "adjusted, least = [0.0]", "0.0  ->", "each is written over"),
    ("inference.py", "stats.nct.sf(", " > power", "never exactly as large"),
    ("inference.py", "most", "2  ->  3", "where the search begins, not where it ends"),
    ("inference.py", "(d - d[0])", "", "any of them, and zeros that are replaced by zeros"),
    ("inference.py", "d.where(d.abs() > rounding", ">=", "never exactly as large"),
    ("inference.py", "torch.randint(2, (2**EXHAUSTIBLE - 1", "", "about as many, or more"),
    ("kernels/__init__.py", "functorch.get_dynamic_layer_stack_depth()", "",
     "the definition in place of the kernel: the same values"),
    ("kernels/eager.py", "    centered: bool = True,", "", "its caller always says"),
    ("kernels/eager.py", "@staticmethod", "staticmethod  ->",
     "an autograd function is never made an object, so its functions are static anyway"),
    ("kernels/eager.py", "set_materialize_grads", "", "zeros in place of None: the same, slower"),
    ("kernels/eager.py", "__signature__ =", "pass", "the same call, slower"),
    ("kernels/eager.py", "_remember_signature(", "pass", "the same call, slower"),
    ("kernels/eager.py", "is_compiling() and x.device.type", "", "the same sums, in another order"),
    ("kernels/eager.py", "rows % 8 == 0", "", "the same sums, in another order"),
    ("kernels/eager.py", "rows = math.prod(", "", "the same sums, in another order"),
    ("kernels/eager.py", "d if d < 0 else d - x.ndim", "", "the other kernel, the same values"),
    ("kernels/eager.py", "return False", "return None", "None is as false as False"),
    ("kernels/eager.py", "mean.abs() > 8", ">= 8", "exactly eight times: the same values, slower"),
    ("layers.py", '"positions..."', "X", "words for people"),
    ("layers.py", "momentum = 0.0 if momentum is None", "0.0  ->  1.0",
     "not used where momentum is None"),
    ("layers.py", "return NF.batch_norm(", "normalize=kernels.normalize))",
     "noticed by tests of several processes, whose lines are not followed"),
    ("layers.py", "divisors = ", "1  ->  2", "a number never divides its predecessor"),
    ("models/averaging.py", "@torch.no_grad()", "", "what is copied has no gradient anyway"),
    ("models/mlp.py", "keepdim=g.ndim > 0", "0  ->  1", "a length of one dim is of no weight"),
    ("norms.py", ", (0, (", "", "dashes of another length"),
    ("training.py", "batch_size: int = 1000", "1000  ->  1001", "any size gives the same result"),
    ("training.py", "fused=True", "", "the same steps, slower"),
    ("data/files.py", "usedforsecurity=False", "", "matters only where MD5 is forbidden"),
    ("data/files.py", "reader.read(1 << 16)", "", "pieces of another size, the same archive"),
    ("data/synthetic.py", "strict=True", "", "both have one entry for each file"),
    ("data/synthetic.py", ", zero], -1)", "-1  ->", "the last dimension is dimension 1"),
    ("data/synthetic.py", "[n, 1, 28, 28]", "1  ->  2", "the grid is the same for any channels"),
    ("data/synthetic.py", "clamp_min(1e-6)", "1e-6", "no image is empty"),
    ("data/synthetic.py", "dpi=100", "", "matplotlib's default, said all the same"),
    ("data/synthetic.py", "for digit in range(10)", "10  ->  11", "drawn outside the page"),
    ("data/synthetic.py", "torch.zeros(10, len(_FONTS)", "10  ->  11", "one more, not asked for"),
    ("data/synthetic.py", "page.view(200, 2000, 4)", "0  ->  1", "grey has as much green as red"),
    ("data/synthetic.py", "> 0.5", "0.5", "no pixel is exactly half black"),
    ("data/synthetic.py", "torch.arange(_CELL", "", "whole numbers, exact in either type"),
    ("data/synthetic.py", "1e4)", "10001.0", "larger than any distance"),
)  # fmt: skip


def why_it_lives(mutant: Mutant) -> str:
    line = (PACKAGE / mutant.file).read_text("utf-8").splitlines()[mutant.lines[0] - 1]
    for file, part, change, reason in LIVING:
        if file == mutant.file and part in line and change in mutant.name:
            return reason
    return ""
