"""Sphinx extension: the end of a line parts neither a number and its percent sign nor a formula and
the punctuation behind it."""

import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

PERCENT = re.compile(r"(\d+ %)")
PUNCTUATION = re.compile(r"[.,;:?!)]+")


def together(*parts: nodes.Node) -> nodes.inline:
    """What stays on one line (``custom.css``)."""
    kept = nodes.inline(classes=["together"])
    kept += list(parts)
    return kept


def percents(text: str) -> Iterator[nodes.Node]:
    """A text, with each percentage kept together."""
    for i, part in enumerate(PERCENT.split(text)):
        if part:
            yield together(nodes.Text(part)) if i % 2 else nodes.Text(part)


def keep(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for element in list(doctree.findall(nodes.TextElement)):
        if isinstance(element, nodes.literal | nodes.literal_block):
            continue
        kept: list[nodes.Node] = []
        for child in element.children:
            if not isinstance(child, nodes.Text):
                kept.append(child)
                continue
            behind = PUNCTUATION.match(child)
            if behind and kept and isinstance(kept[-1], nodes.math):
                kept.append(together(kept.pop(), nodes.Text(behind[0])))
                child = nodes.Text(child[behind.end() :])
            kept += percents(child)
        element.children = []
        element += kept


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", keep)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
