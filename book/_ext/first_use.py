"""Sphinx extension: a word of the glossary leads there at its first use in a chapter.

While the pointer rests on the word, its definition shows. Words that have an everyday meaning too
are linked by hand, with the role ``term``.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

GLOSSARY = "ch-glossary"  # the label of its page
EVERYDAY = {"bias", "buffer", "claim", "moments", "normalization", "scale", "shift", "unit"}
SKIPPED = (nodes.reference, nodes.literal, nodes.math, nodes.title, nodes.caption, nodes.emphasis)


def glossary(app: Sphinx, page: str) -> dict[str, tuple[str, str]]:
    """Anchor and definition of each word."""
    found: dict[str, tuple[str, str]] = {}
    for item in app.env.get_doctree(page).findall(nodes.definition_list_item):
        meaning = item.next_node(nodes.definition)
        text = " ".join(meaning.astext().split()) if meaning is not None else ""
        for word in item.findall(nodes.term):
            if word["ids"]:
                found[word.astext()] = word["ids"][0], text
    return found


def first_use(
    doctree: nodes.document, pattern: re.Pattern[str]
) -> tuple[nodes.Text, re.Match] | None:
    for paragraph in doctree.findall(nodes.paragraph):
        if "claim" in paragraph.parent["classes"]:  # the text explains, a claim states
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
    domain: Any = app.env.get_domain("std")
    if not str(app.env.doc2path(docname)).endswith(".ipynb") or GLOSSARY not in domain.anonlabels:
        return
    page = domain.anonlabels[GLOSSARY][0]
    address = app.builder.get_relative_uri(docname, page)
    links = (r.get("refuri", "").partition("#") for r in doctree.findall(nodes.reference))
    linked = {anchor for target, _, anchor in links if target == address}
    words = glossary(app, page)
    for word in sorted(words, key=len, reverse=True):  # "batch statistics" before "batch"
        anchor, meaning = words[word]
        if word in EVERYDAY or anchor in linked:
            continue
        use = rf"\b{re.escape(word)}(?:e?s)?\b(?![ -]norm)"  # not the batch of batch norm
        found = first_use(doctree, re.compile(use, re.IGNORECASE))
        if found is None:
            continue
        text, match = found
        reference = nodes.reference(
            "", match[0], refuri=f"{address}#{anchor}", internal=True, reftitle=meaning,
            classes=["glossary-word"],
        )  # fmt: skip
        parts = [nodes.Text(text[: match.start()]), reference, nodes.Text(text[match.end() :])]
        text.parent.replace(text, [part for part in parts if part.astext()])


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", link)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
