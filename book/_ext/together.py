"""Sphinx extension: the end of a line parts neither a number and its percent sign nor a formula and
the punctuation behind it."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

PERCENT = re.compile(r"(?<=\d) (?=%)")
PUNCTUATION = re.compile(r"[.,;:?!)]+")


def keep(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for element in list(doctree.findall(nodes.TextElement)):
        if isinstance(element, nodes.literal | nodes.literal_block):
            continue
        together: list[nodes.Node] = []
        for child in element.children:
            if isinstance(child, nodes.Text):
                said = PERCENT.sub("\u00a0", child)
                behind = PUNCTUATION.match(said)
                if behind and together and isinstance(together[-1], nodes.math):
                    both = nodes.inline(classes=["together"])
                    both += [together.pop(), nodes.Text(behind[0])]
                    together.append(both)
                    said = said[behind.end() :]
                child = nodes.Text(said)
            together.append(child)
        element.children = []
        element += together


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", keep)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
