"""Sphinx extension: the directive ``{guess}`` asks before a result is shown.

Its title is the question. ``:claim:`` is the beginning of a claim of the same chapter, and the
truth is a number that its stored output says was measured: the first, or that of ``:number:``. The
reader moves a slider (``:from:``, ``:to:``, ``:step:``), or chooses from a list in which every item
begins with what it is right for: "below 0.1", "0.1 to 0.5" or "above 0.5". What else stands in the
body is said with the answer. ``guess.js`` makes the control; without it the answer is simply there.
"""

import re
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from claims import find

NUMBER = re.compile(r"(?:(?<!\w)[-−])?\d+(?:\.\d+)?(?:e[-+]?\d+)?")  # "0.3-0.5" has no sign
logger = logging.getLogger(__name__)


class Guess(nodes.General, nodes.Element):
    """A question, its choices if it has some, and the answer."""


class GuessDirective(SphinxDirective):
    """``{guess}``."""

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar = {
        "claim": directives.unchanged_required,
        "number": directives.positive_int,
        "from": float,
        "to": float,
        "step": float,
    }

    def run(self) -> list[nodes.Node]:
        if "claim" not in self.options:
            raise self.error("guess wants :claim:, the beginning of the claim that knows the truth")
        question, messages = self.parse_inline(self.arguments[0], lineno=self.lineno)
        body = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, body)
        choices = [child for child in body.children if isinstance(child, nodes.bullet_list)]
        slider = {"from", "to", "step"} & set(self.options)
        if bool(choices) == bool(slider) or (slider and len(slider) < 3):
            raise self.error("guess wants a list of choices, or else :from:, :to: and :step:")
        answer = [child for child in body.children if child not in choices]
        node = Guess(**{f"guess-{k}": v for k, v in self.options.items()})
        node += nodes.paragraph("", "", *question, classes=["guess-question"])
        for listed in choices:
            listed["classes"].append("guess-choices")
            node += listed
        node += nodes.container("", *answer, classes=["guess-answer"])
        self.set_source_info(node)
        return [node, *messages]


def holds(choice: str, value: float) -> bool:
    """Whether a value is where a choice begins by saying that it is.

    Example:
        >>> [holds(choice, 0.1) for choice in ("below 0.1", "0.1 to 0.5: some", "above 0.5")]
        [False, True, False]
    """
    number = NUMBER.pattern
    if match := re.match(rf"below ({number})", choice):
        return value < as_float(match[1])
    if match := re.match(rf"above ({number})", choice):
        return value >= as_float(match[1])
    if match := re.match(rf"({number}) to ({number})", choice):
        return as_float(match[1]) <= value < as_float(match[2])
    raise ValueError(f"{choice!r} begins neither with 'below', nor 'above', nor '0.1 to 0.5'")


def as_float(text: str) -> float:
    return float(text.replace("−", "-"))


def answer(app: Sphinx, node: nodes.Element) -> None:
    """Give one question its answer, from the stored output.

    Raises:
        LookupError: if there is no such claim, or no such number in what it measured.
        ValueError: if the truth is off the slider, or not one choice is right.
    """
    docname = app.env.docname
    page, made = find(app.env, docname, node["guess-claim"])
    measured = NUMBER.findall(made.claim.measured or "")
    number = node.get("guess-number", 1)
    if page != docname or len(measured) < number:
        raise LookupError(
            f"the claim {node['guess-claim']!r} of this chapter wants {number} measured numbers; "
            f"got {made.claim.measured!r} of {page}"
        )
    truth = measured[number - 1].replace("−", "-")  # as a script reads it
    choices = [item.astext() for item in node.findall(nodes.list_item)]
    right = [index for index, choice in enumerate(choices) if holds(choice, as_float(truth))]
    if choices and len(right) != 1:
        raise ValueError(f"{len(right)} choices are right for {truth}; it takes one")
    if not choices and not node["guess-from"] <= as_float(truth) <= node["guess-to"]:
        raise ValueError(f"the truth, {truth}, is off the slider")
    node["truth"], node["right"] = truth, "".join(map(str, right))
    link = nodes.reference("", made.claim.statement, refuri=f"#{made.anchor}", internal=True)
    said = nodes.paragraph("", f"Measured: {truth}. ", link, classes=["guess-truth"])
    node.next_node(nodes.container).insert(0, said)


def answer_all(app: Sphinx, doctree: nodes.document) -> None:
    for node in doctree.findall(Guess):
        try:
            answer(app, node)
        except (LookupError, ValueError) as error:
            logger.warning("guess: %s.", error, location=node)


def open_guess(self: Any, node: nodes.Element) -> None:
    names = {"truth": "truth", "right": "right"} | {k: f"guess-{k}" for k in ("from", "to", "step")}
    given = {f"data-{k}": str(node[v]) for k, v in names.items() if node.get(v, "") != ""}
    self.body.append(self.starttag(node, "div", CLASS="guess", **given))


def close_guess(self: Any, node: nodes.Element) -> None:
    self.body.append("</div>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("claims")
    app.add_node(Guess, html=(open_guess, close_guess))
    app.add_directive("guess", GuessDirective)
    app.connect("doctree-read", answer_all, priority=450)  # after claims have been collected
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
