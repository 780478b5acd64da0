"""Sphinx extension: the end of a line parts neither a number and its percent sign nor a formula and
the punctuation behind it."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

PERCENT = re.compile(r"(?<=\d) (?=%)")
PUNCTUATION = re.compile(r"[.,;:?!)]+")


def keep(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for text in list(doctree.findall(nodes.Text)):
        if PERCENT.search(text) and not isinstance(
            text.parent, nodes.literal | nodes.literal_block
        ):
            text.parent.replace(text, nodes.Text(PERCENT.sub("\u00a0", text)))
    for formula in list(doctree.findall(nodes.math)):
        text = formula.next_node(descend=False, siblings=True)
        if isinstance(text, nodes.Text) and (behind := PUNCTUATION.match(text)):
            both = nodes.inline("", "", formula.deepcopy(), nodes.Text(behind[0]))
            both["classes"] = ["together"]
            text.parent.replace(text, nodes.Text(text[behind.end() :]))
            formula.parent.replace(formula, both)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", keep)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
