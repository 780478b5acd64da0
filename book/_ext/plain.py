"""The text of a part of a page where formulas cannot be set: in a tooltip, in the search."""

import re

from docutils import nodes

SYMBOLS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "varepsilon": "ε", "epsilon": "ε",
    "eta": "η", "theta": "θ", "lambda": "λ", "mu": "μ", "pi": "π", "rho": "ρ", "sigma": "σ",
    "cdot": "·", "times": "×", "pm": "±", "le": "≤", "ge": "≥", "ne": "≠", "approx": "≈",
    "in": "∈", "mapsto": "↦", "to": "→", "top": "⊤", "infty": "∞", "dots": "…",
    "lVert": "⟦", "rVert": "⟧", "sum": "Σ", "partial": "∂", "nabla": "∇",
    "exp": "exp", "ln": "ln", "log": "log", "max": "max", "min": "min",
    "left": "", "right": "", "Big": "", "quad": " ", "qquad": " ",
}  # fmt: skip
NORMS = str.maketrans("⟦⟧", "‖‖")  # apart until the spaces inside them are gone
OVER = {"hat": "\u0302", "bar": "\u0305", "overline": "\u0305"}  # combined with each character
NAMES = {"text", "mathrm", "mathbb", "operatorname"}
POWERS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
PIECE = re.compile(r"\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)
ONE = re.compile(r"\d+|\w[\u0300-\u036f]*(_\w+|_\([^()]*\))?|[^\w\s]")
INNER_SPACE = re.compile(r"([(\[⟦∂∇]) | ([)\],.;⟧])")


class Unsayable(Exception):
    """A formula has something that plain text cannot say."""


def bracketed(text: str) -> str:
    """What has a root or a power, in brackets unless it is one number or letter."""
    return text if ONE.fullmatch(text) else f"({text})"


def factor(text: str) -> str:
    """A numerator or a denominator, in brackets unless it is a single factor."""
    outside, inner = text, ""
    while outside != inner:
        inner, outside = outside, re.sub(r"\([^()]*\)", "", outside)
    return f"({text})" if re.search(r"[\s+\-/=·×]", outside) else text


class Formula:
    """Reads a formula from left to right."""

    def __init__(self, source: str) -> None:
        self.pieces = PIECE.findall(source)[::-1]

    def pop(self) -> str:
        if not self.pieces:
            raise Unsayable
        return self.pieces.pop()

    def name(self) -> str:
        """Words in braces, as they are."""
        if self.pop() != "{":
            raise Unsayable
        found = []
        while (piece := self.pop()) != "}":
            found.append(piece.removeprefix("\\"))
        return "".join(found)

    def argument(self) -> str:
        """A group, a command or a character."""
        while (piece := self.pop()).isspace():
            pass
        return self.read("}") if piece == "{" else self.atom(piece)

    def command(self, name: str) -> str:
        if name in {"begin", "end"}:
            self.name()
            return " "
        if name in NAMES:
            return self.name()
        if name in OVER:
            return re.sub(r"(.)(?![\u0300-\u036f])", rf"\1{OVER[name]}", self.argument())
        if name == "sqrt":
            return "√" + bracketed(self.argument())
        if name in {"frac", "tfrac"}:
            return f"{factor(self.argument())}/{factor(self.argument())}"
        if name not in SYMBOLS:
            raise Unsayable
        return SYMBOLS[name]

    def atom(self, piece: str) -> str:
        if re.match(r"\\[A-Za-z]", piece):
            return self.command(piece[1:])
        if piece[0] == "\\":  # a space, the end of a line, or a character as it is
            return piece[1] if piece[1] in "_%{}#$" else " "
        return " " if piece in "&~" or piece.isspace() else piece

    def scripted(self, base: str, mark: str) -> str:
        """With an index or a power; the limits of a sum are left out."""
        script = self.argument()
        if base == "Σ":
            return base
        if not base.strip() or not script:
            raise Unsayable
        raised = script.translate(POWERS)
        if mark == "^" and re.fullmatch("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", raised):
            return bracketed(base) + raised
        if mark == "^":
            power = script if len(script) == 1 else f"({script})"
            return f"{bracketed(base)}^{power}"
        word = re.fullmatch("[A-Za-zα-ω0-9]+", script)
        return f"{base}_{script}" if word else f"{base}_({script})"

    def read(self, end: str = "") -> str:
        """All up to the end of a group, or of the formula."""
        parts = [""]
        while end or self.pieces:
            piece = self.pop()
            if piece == end:
                break
            if piece in {"_", "^"}:
                parts.append(self.scripted(parts.pop(), piece))
            elif piece.isdigit() and parts[-1].isdigit():
                parts[-1] += piece
            else:
                parts.append(self.read("}") if piece == "{" else self.atom(piece))
        return INNER_SPACE.sub(r"\1\2", " ".join("".join(parts).split()))


def plain(formula: str) -> str:
    """A formula in one line of text; "…" if that cannot say it.

    >>> plain(r"\\hat x_n = \\frac{x_n - \\mu}{\\sqrt{\\sigma^2 + \\varepsilon}}")
    'x̂_n = (x_n - μ)/√(σ² + ε)'
    """
    try:
        return Formula(formula).read().translate(NORMS)
    except Unsayable:
        return "…"


def prose(node: nodes.Node) -> str:
    """The text of a part of a page."""
    if isinstance(node, (nodes.math, nodes.math_block)):
        return plain(node.astext())
    return node.astext() if isinstance(node, nodes.Text) else "".join(map(prose, node.children))
