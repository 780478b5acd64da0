"""Sphinx extension: below each entry of the bibliography, the chapters that cite it."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def cited_in(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    domain: Any = app.env.get_domain("cite")
    key_of = {
        c.citation_id: c.key for c in domain.citations if c.bibliography_key.docname == docname
    }
    order = [app.env.config.root_doc, *app.env.toctree_includes[app.env.config.root_doc]]
    for entry in doctree.findall(nodes.citation):
        keys = {key_of[anchor] for anchor in entry["ids"] if anchor in key_of}
        citing = {
            reference.docname
            for reference in domain.citation_refs
            if keys & {target.key for target in reference.targets}
        }
        links = [
            nodes.reference(
                "",
                app.env.titles[page].astext(),
                refuri=app.builder.get_relative_uri(docname, page),
                internal=True,
            )
            for page in sorted(citing, key=order.index)
        ]
        if links:
            line = nodes.paragraph("", "Cited in ", classes=["cited-in"])
            for i, link in enumerate(links):
                line += [link, nodes.Text(", " if i + 1 < len(links) else ".")]
            entry += line


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", cited_in)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
