"""Sphinx extension: while the pointer rests on "Fig. 4.1", the caption of that figure shows.

Citations show their entry, and words of the glossary their definition, in the same way.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from plain import prose


def caption(app: Sphinx, docname: str, anchor: str) -> str:
    for figure in app.env.get_doctree(docname).findall(nodes.figure):
        if anchor in figure["ids"] and (found := figure.next_node(nodes.caption)) is not None:
            return " ".join(prose(found).split())
    return ""


def show_captions(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    domain: Any = app.env.get_domain("std")
    places = {
        f"{'' if page == docname else app.builder.get_relative_uri(docname, page)}#{anchor}": (
            page,
            anchor,
        )
        for label, (page, anchor) in domain.anonlabels.items()
        if label.startswith("fig-")
    }
    for reference in doctree.findall(nodes.reference):
        target = reference.get("refuri") or f"#{reference.get('refid', '')}"
        if target in places and (text := caption(app, *places[target])):
            reference["reftitle"] = text


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", show_captions)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
