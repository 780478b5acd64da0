"""Sphinx extension: a word of the glossary leads there at its first use in a chapter.

While the pointer rests on the word, its definition shows. Words that have an everyday meaning too
are linked by hand, with the role ``term``; a chapter that explains a word itself does not link it.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from glossary import page_of, words

EVERYDAY = {
    "bias", "block", "buffer", "claim", "conditioning", "confirmation", "folding", "gain",
    "inference", "interval", "moments", "normalization", "paired", "pass", "power", "REPAIR",
    "scale", "shift", "spread", "study", "token", "unit", "width",
}  # fmt: skip
SKIPPED = (nodes.reference, nodes.literal, nodes.math, nodes.title, nodes.caption, nodes.emphasis)


def join_lines(paragraph: nodes.paragraph) -> None:
    """Make one text of the lines of the source, and of the ends between them."""
    for parent in list(paragraph.findall(nodes.TextElement)):
        parts: list[nodes.Node] = []
        for child in parent.children:
            if isinstance(child, nodes.Text) and parts and isinstance(parts[-1], nodes.Text):
                child = nodes.Text(parts.pop() + child)
            parts.append(child)
        parent.children = []
        parent += parts


def first_use(
    doctree: nodes.document, pattern: re.Pattern[str]
) -> tuple[nodes.Text, re.Match] | None:
    for paragraph in doctree.findall(nodes.paragraph):
        card = "sd-card-text" in paragraph["classes"]  # is a link itself
        if card or "claim" in paragraph.parent["classes"]:  # the text explains, a claim states
            continue
        for text in paragraph.findall(nodes.Text):
            parent, inside = text.parent, False
            while parent is not None and parent is not paragraph:
                inside = inside or isinstance(parent, SKIPPED)
                parent = parent.parent
            if not inside and (match := pattern.search(text)):
                return text, match
    return None


def link(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    page = page_of(app.env)
    if not str(app.env.doc2path(docname)).endswith(".ipynb") or page is None:
        return
    address = app.builder.get_relative_uri(docname, page)
    links = (r.get("refuri", "").partition("#") for r in doctree.findall(nodes.reference))
    linked = {anchor for target, _, anchor in links if target == address}
    elsewhere = [
        (spelling, anchor, word)
        for word in words(app.env)
        for spelling, anchor in word.spellings.items()
        if docname not in {document for document, _ in word.explained}
    ]
    for paragraph in doctree.findall(nodes.paragraph):
        join_lines(paragraph)
    # "batch statistics" before "batch"
    for spelling, anchor, word in sorted(elsewhere, key=lambda one: len(one[0]), reverse=True):
        if spelling in EVERYDAY or linked & set(word.spellings.values()):
            continue
        words_of = r"\s+".join(map(re.escape, spelling.split()))  # a line may end between them
        use = rf"\b{words_of}(?:e?s)?\b(?![\s-]norm)"  # not the batch of batch norm
        found = first_use(doctree, re.compile(use, re.IGNORECASE))
        if found is None:
            continue
        text, match = found
        reference = nodes.reference(
            "", match[0], refuri=f"{address}#{anchor}", internal=True, reftitle=word.meaning,
            classes=["glossary-word"],
        )  # fmt: skip
        linked.add(anchor)
        parts = [nodes.Text(text[: match.start()]), reference, nodes.Text(text[match.end() :])]
        text.parent.replace(text, [part for part in parts if part.astext()])


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", link)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
