"""Ways to break the module: mistakes that people make, and every small change of every line.

`make mutants` (tests/mutate.py) makes each in a copy and asks the unit tests.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "normtutorial"
FILES = (
    "functional.py", "layers.py", "parametrizations.py", "training.py", "data.py", "claims.py",
)  # fmt: skip


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
    def line(self) -> int:
        return (PACKAGE / self.file).read_bytes()[: self.start].count(b"\n") + 1

    @property
    def source_lines(self) -> int:
        return (PACKAGE / self.file).read_bytes()[self.start : self.end].count(b"\n") + 1


def every_small_change(file: str) -> Iterator[Mutant]:
    """One operator, constant, argument, statement or decorator at a time."""
    source = (PACKAGE / file).read_bytes()
    starts = [0]  # of the lines, in bytes, as ast counts columns
    for text in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(text))
    seen = set()
    for node, new in _changes(ast.parse(source)):
        assert node.end_lineno is not None and node.end_col_offset is not None
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        old = " ".join(source[start:end].decode().split())
        name = f"{file}:{node.lineno}  {_short(old)}  ->  {_short(new or 'nothing')}"
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


def _changes(tree: ast.Module) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Each node to replace, and the code in its place. Words for people stay as they are, and so
    do types: docstrings, messages, annotations, ``__all__``."""
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
            case ast.Constant(value=bool()):
                yield node, str(not node.value)
            case ast.Constant(value=int() | float()):
                yield node, repr(node.value + 1)
            case ast.Constant(value=str()):
                yield node, repr(f"X{node.value}")
            case ast.Constant(value=bytes()):
                yield node, repr(b"X" + node.value)
        match node:
            case ast.If() | ast.While() | ast.IfExp():
                yield node.test, f"(not ({ast.unparse(node.test)}))"
            case ast.Call(keywords=keywords):
                for one in keywords:
                    if one.arg is not None:
                        yield node, _with(node, keywords=[k for k in keywords if k is not one])
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
    return False


def known() -> Iterator[Mutant]:
    """The mistakes that are made with these formulas, as CONTRIBUTING.md wants them."""

    def of(file: str, *changes: tuple[str, str, str]) -> Iterator[Mutant]:
        source = (PACKAGE / file).read_bytes()
        for name, old, new in changes:
            if source.count(old.encode()) != 1:
                raise SystemExit(
                    f"mutant {name!r}: {file} has {source.count(old.encode())} places with the "
                    f"text to replace, where one is needed. It has changed: bring the mutant up to "
                    f"date.\n{old}"
                )
            start = source.index(old.encode())
            yield Mutant(name, file, start, start + len(old.encode()), new)

    yield from of(
        "functional.py",
        ("batch norm: wrong axis", "dims = (0, *range(2, x.ndim))", "dims = (*range(1, x.ndim),)"),
        ("batch norm: positions forgotten", "dims = (0, *range(2, x.ndim))", "dims = (0,)"),
        (
            "layer norm: wrong axis",
            "dims = tuple(range(-len(normalized_shape), 0))\n    return",
            "dims = (0,)\n    return",
        ),
        (
            "layer norm: last axis only",
            "dims = tuple(range(-len(normalized_shape), 0))\n    return",
            "dims = (-1,)\n    return",
        ),
        (
            "instance norm: wrong axis",
            "dims = tuple(range(2, x.ndim))",
            "dims = (0, *range(2, x.ndim))",
        ),
        (
            "normalization by n - 1",
            "var = deviation.square().mean(dims, keepdim=True)",
            "var = deviation.square().sum(dims, keepdim=True) / (x.numel() // mean.numel() - 1)",
        ),
        ("moments: correction ignored", "/ (n - correction)", "/ n"),
        ("running variance by n", "var.view(-1) * (count / (count - 1))", "var.view(-1)"),
        (
            "eps outside the root",
            "rstd = torch.rsqrt(var + eps)\n        x_hat",
            "rstd = 1 / (var.sqrt() + eps)\n        x_hat",
        ),
        (
            "eps dropped",
            "rstd = torch.rsqrt(var + eps)\n        x_hat",
            "rstd = torch.rsqrt(var)\n        x_hat",
        ),
        (
            "standardize: eps outside the root",
            "rstd = torch.rsqrt(var + eps)\n    return",
            "rstd = 1 / (var.sqrt() + eps)\n    return",
        ),
        (
            "standardize: eps dropped",
            "rstd = torch.rsqrt(var + eps)\n    return",
            "rstd = torch.rsqrt(var)\n    return",
        ),
        (
            "one-pass variance in the layers",
            "deviation.square().mean(dims, keepdim=True)",
            "x.square().mean(dims, keepdim=True) - mean**2",
        ),
        (
            "eps of rms norm dropped",
            "_normalize(x, weight, None, dims, eps, centered=False)",
            "_normalize(x, weight, None, dims, 0.0, centered=False)",
        ),
        (
            "one-pass variance",
            "(x - mean).square().sum(tuple(dims), keepdim=True) / (n - correction)",
            "(x.square().mean(tuple(dims), keepdim=True) - mean**2) * n / (n - correction)",
        ),
        (
            "statistics detached",
            "lost.sub_(g).mul_(-rstd)",
            "g * rstd",
        ),
        (
            "variance detached",
            "lost = x_hat * scale",
            "lost = torch.zeros_like(x_hat)",
        ),
        (
            "moments: statistics detached",
            "    return mean, var\n",
            "    return mean.detach(), var\n",
        ),
        ("second derivative: rstd taken as a constant", "if grad_rstd is not None:", "if False:"),
        (
            "second derivative: sign of rstd",
            "_plus(-x_hat * (grad_rstd",
            "_plus(x_hat * (grad_rstd",
        ),
        (
            "forward mode: wrong tangent",
            "tangent, x_hat, rstd, ctx.dims",
            "tangent, rstd, rstd, ctx.dims",
        ),
        ("running statistics keep the graph", "ctx.mark_non_differentiable(mean, var)  #", "#"),
        (
            "running mean with momentum reversed",
            "mean.view(-1).to(running_mean.dtype), momentum)",
            "mean.view(-1).to(running_mean.dtype), 1 - momentum)",
        ),
        (
            "running variance with momentum reversed",
            "unbiased.to(running_var.dtype), momentum)",
            "unbiased.to(running_var.dtype), 1 - momentum)",
        ),
        (
            "running statistics never move",
            "        _track(running_mean, running_var, mean, var, count, momentum)\n",
            "",
        ),
        (
            "running statistics in half precision",
            "_widen(running_mean).view(shape), _widen(running_var)",
            "running_mean.view(shape), running_var",
        ),
        ("statistics in half precision", "    x = _widen(x)\n    n =", "    n ="),
        ("weight not applied", "addcmul(bias, x_hat, weight)", "add(bias, x_hat)"),
        ("weight not applied without a bias", "x_hat = x_hat * weight", "pass"),
        ("bias not applied", "addcmul(bias, x_hat, weight)", "mul(x_hat, weight)"),
        ("bias not applied without a weight", "x_hat = x_hat + bias", "pass"),
        ("rms norm centered", "eps, centered=False)", "eps, centered=True)"),
        (
            "group count ignored",
            "    n, c, *positions = x.shape\n",
            "    (n, c, *positions), num_groups = x.shape, 1\n",
        ),
        (
            "groups interleaved",
            "x.reshape(n, num_groups, c // num_groups, math.prod(positions))",
            "x.reshape(n, c // num_groups, num_groups, math.prod(positions)).transpose(1, 2)",
        ),
        (
            "gradients of the parameters: means for sums",
            "_sum_to(shift * n, weight), _sum_to(scale * n, weight)",
            "_sum_to(shift, weight), _sum_to(scale, weight)",
        ),
        (
            "gradient of the weight without what it multiplied",
            "_sum_to(grad * x_hat, weight)",
            "_sum_to(grad, weight)",
        ),
        (
            "backward: the weight forgotten",
            "grad_x_hat = _plus(grad * weight,",
            "grad_x_hat = _plus(grad,",
        ),
        (
            "backward: the weight of a channel forgotten",
            "x_hat, rstd * weight, shift",
            "x_hat, rstd, shift",
        ),
        (
            "compiled: rows left out",
            "x.reshape(-1, 8, *weight.shape).sum(1)",
            "x.reshape(-1, 8, *weight.shape)[:, 0]",
        ),
        (
            "weight norm over the wrong dim",
            "for d in range(v.ndim) if d != dim)  #",
            "for d in range(v.ndim) if d == dim)  #",
        ),
        (
            "weight norm without gain",
            "return v * (g / lengths(v, dim))",
            "return v / lengths(v, dim)",
        ),
        ("weight norm without length", "return v * (g / lengths(v, dim))", "return v * g"),
        ("zero rows pass", "return bool(condition.any())", "return False"),
        (
            "backward: never centered",
            "grad_x_hat.mean(dims, keepdim=True) if centered else None",
            "None",
        ),
        ("backward: always centered", " if centered else None\n", "\n"),
        ("backward: wrong sign", "lost = x_hat * scale", "lost = -x_hat * scale"),
        (
            "backward of v keeps the part along v",
            "torch.addcmul(grad_weight, v, along / length, value=-1)",
            "grad_weight.clone()",
        ),
        ("forward mode: the length stands still", "if tangent_g is not None:", "if False:"),
        ("one value per channel passes", "if count < 2:", "if False:"),
    )
    yield from of(
        "layers.py",
        (
            "mode from grad mode",
            "training=self.training or self.running_mean is None",
            "training=torch.is_grad_enabled() or self.running_mean is None",
        ),
        (
            "running statistics miss the state dict",
            "self.register_buffer(name, value if track_running_stats else None)",
            "self.register_buffer(name, value if track_running_stats else None, persistent=False)",
        ),
        ("batches counted twice", "num_batches_tracked.add_(1)", "num_batches_tracked.add_(2)"),
        (
            "batches counted in eval",
            "tracking = self.training and self.track",
            "tracking = self.track",
        ),
        (
            "momentum None is 0.1",
            "momentum = 1.0 / float(self.num_batches_tracked)",
            "momentum = 0.1",
        ),
        (
            "without running statistics eval fails",
            "training=self.training or self.running_mean is None",
            "training=self.training",
        ),
        ("instance norm: running variance by n", "correction=1)", "correction=0)"),
        (
            "instance norm: running statistics never used",
            "if tracked and not self.training:",
            "if False:",
        ),
        (
            "bias=False ignored by batch norm",
            "affine, affine and bias, device, dtype)\n        self.num_features",
            "affine, affine, device, dtype)\n        self.num_features",
        ),
        ("negative eps passes", "eps is not None and not eps >= 0", "False"),
        ("integers pass", "if not x.is_floating_point():", "if False:"),
        ("any eps", "        self.eps = eps\n", "        self.eps = 1e-5\n"),
        ("groups need not divide", "num_groups < 1 or num_channels % num_groups", "num_groups < 1"),
    )
    yield from of(
        "parametrizations.py",
        ("one length is a matrix", "g = g.reshape(())", "pass"),
        ("dim ignored", "return NF.weight_norm(v, g, self.dim)", "return NF.weight_norm(v, g, 0)"),
        ("init: mean left", "layer.bias.sub_(mean).div_(std)", "layer.bias.div_(std)"),
        ("init: on the old outputs", "return (output - mean) / std", "return output"),
        ("init: hooks stay", "            handle.remove()", "            pass"),
    )
    yield from of(
        "models.py",
        ("norm after activation", 'layers[f"norm{i}"]', 'layers[f"act{i}x"]'),
        ("xavier is he", "2 / (fan_in + fan_out)", "2 / fan_in"),
    )
    yield from of(
        "original.py",
        (
            "original: rows instead of columns",
            "self.weight.norm(dim=0)",
            "self.weight.norm(dim=1, keepdim=True)",
        ),
        (
            "original: norm before relu",
            "self.bn2(F.relu(self.p2(x)))",
            "F.relu(self.bn2(self.p2(x)))",
        ),
    )
    yield from of(
        "training.py",
        ("training in eval mode", "                    model.train()\n", ""),
        ("gradients add up", "                    optimizer.zero_grad()\n", ""),
        ("evaluation in training mode", "    model.eval()\n", ""),
        ("evaluation leaves eval mode", "module.training = mode", "pass"),
        ("a last batch of one is used", "if len(batch) > 1 or batch_size == 1:", "if True:"),
        (
            "order from the global generator",
            "torch.randperm(n, generator=generator)",
            "torch.randperm(n)",
        ),
        ("divergence goes on", "last = step == total or history.diverged", "last = step == total"),
        (
            "interrupt not noted",
            "KeyboardInterrupt:\n            history.interrupted = True",
            "KeyboardInterrupt:\n            pass",
        ),
        (
            "training on the test set",
            "images, labels = data.train_images, data.train_labels",
            "images, labels = data.test_images, data.test_labels",
        ),
    )


# What no test can notice: the file, a part of its line, a part of the change, the reason.
LIVING = (
    ("functional.py", "@staticmethod", "staticmethod  ->",
     "an autograd function is never made an object, so its functions are static anyway"),
    ("functional.py", "set_materialize_grads", "", "zeros in place of None: the same sums, slower"),
    ("functional.py", "__signature__ =", "pass", "the same call, slower"),
    ("functional.py", "if rows % 8 == 0 and", "", "the same sums, in another order"),
    ("functional.py", "rows = math.prod(", "", "the same sums, in another order"),
    ("functional.py", "return False", "return None", "None is as false as False"),
    ("layers.py", "count = torch.tensor(0", "0  ->  1", "reset_parameters sets it to zero"),
    ("layers.py", "is not None and self.running_var is not None", "or",
     "there are both running statistics or neither"),
    ("layers.py", "momentum=0.0 if momentum is None", "0.0  ->  1.0",
     "not used where momentum is None"),
    ("layers.py", "divisors = ", "1  ->  2", "a number never divides its predecessor"),
    ("parametrizations.py", "assert isinstance(layer", "", "for the type checker"),
    ("training.py", "batch_size: int = 1000", "1000  ->  1001", "any size gives the same result"),
    ("training.py", "(epochs or 0)", "0  ->  1", "for the type checker: epochs are given here"),
    ("training.py", "fused=True", "", "the same steps, slower"),
    ("training.py", "while step < total", "", "the run ends by its return"),
    ("data.py", "eq=False, repr=False", "", "a class that has a repr keeps it"),
    ("data.py", "if len(content) < start + math.prod(shape)", "<=", "equal sizes do not come here"),
    ("data.py", "usedforsecurity=False", "", "matters where the law forbids MD5, and nowhere else"),
    ("data.py", "response.read(1 << 16)", "", "pieces of another size, the same archive"),
    ("data.py", "strict=True", "", "both have one entry for each file"),
    ("data.py", ", zero], -1)", "-1  ->", "the last dimension is dimension 1"),
    ("data.py", "[n, 1, 28, 28]", "1  ->  2", "the grid is the same for any number of channels"),
    ("data.py", "clamp_min(1e-6)", "1e-6", "no image is empty"),
    ("data.py", "dpi=100", "", "matplotlib's default, said all the same"),
    ("data.py", "for digit in range(10)", "10  ->  11", "drawn outside the page"),
    ("data.py", "torch.zeros(10, len(_FONTS)", "10  ->  11", "an eleventh that nobody asks for"),
    ("data.py", "page.view(200, 2000, 4)", "0  ->  1", "grey has as much green as red"),
    ("data.py", "> 0.5", "0.5", "no pixel is exactly half black"),
    ("data.py", "torch.arange(_CELL", "", "whole numbers, exact in either type"),
    ("data.py", "1e4)", "10001.0", "larger than any distance"),
)  # fmt: skip


def why_it_lives(mutant: Mutant) -> str:
    line = (PACKAGE / mutant.file).read_text("utf-8").splitlines()[mutant.line - 1]
    for file, part, change, reason in LIVING:
        if file == mutant.file and part in line and change in mutant.name:
            return reason
    return ""
