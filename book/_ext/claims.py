"""Sphinx extension: the directive ``{claims}`` lists every claim of the book.

A claim is a line of stored output, as :func:`normtutorial.claims.claim` prints it. Each gets an
anchor where it was measured, and the list links there.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.builders import Builder
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

from normtutorial.claims import Claim


class Place(NamedTuple):
    """Where a claim is made."""

    anchor: str
    section: str


class ClaimList(nodes.General, nodes.Element):
    """Where the list goes, once every chapter has been read."""


class ClaimsDirective(SphinxDirective):
    """``{claims}``: the list of all claims, chapter by chapter."""

    def run(self) -> list[nodes.Node]:
        claims_of(self.env)  # so that there is a record, even of a book without chapters
        pages: set[str] = self.env.__dict__.setdefault("claim_pages", set())
        pages.add(self.env.docname)
        return [ClaimList()]


def claims_of(env: BuildEnvironment) -> dict[str, list[tuple[Claim, Place]]]:
    """The claims by document, each with its place, kept with the environment."""
    return env.__dict__.setdefault("claims", {})


def seeds_of(env: BuildEnvironment, docname: str) -> str:
    """Over how many seeds a chapter measures what depends on chance: its ``seed_list(n)``."""
    source = Path(env.doc2path(docname)).read_text("utf-8")
    numbers = sorted({int(n) for n in re.findall(r"\bseed_list\((\d+)\)", source)})
    if numbers in ([], [1]):
        return "one seed" if numbers else ""
    return f"{' to '.join(str(n) for n in dict.fromkeys((numbers[0], numbers[-1])))} seeds"


def section_title(node: nodes.Node) -> str:
    """The title of the section in which a node is."""
    while node is not None and not isinstance(node, nodes.section):
        node = node.parent
    title = node.next_node(nodes.title) if node is not None else None
    return title.astext() if title is not None else ""


def collect(app: Sphinx, doctree: nodes.document) -> None:
    """Find the claims of one document and give each cell that makes some an anchor."""
    docname = app.env.docname
    found: list[tuple[Claim, Place]] = []
    outputs = [n for n in doctree.findall(nodes.container) if "cell_output" in n["classes"]]
    for number, output in enumerate(outputs):
        text = "\n".join(block.astext() for block in output.findall(nodes.literal_block))
        made = [claim for claim in map(Claim.parse, text.splitlines()) if claim]
        if not made:
            continue
        place = Place(f"claim-{number}", section_title(output))
        output["ids"].append(place.anchor)
        output["classes"].append("makes-claims")
        found += [(claim, place) for claim in made]
    claims_of(app.env).pop(docname, None)
    if found:
        claims_of(app.env)[docname] = found


def forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    claims_of(env).pop(docname, None)


def merge(app: Sphinx, env: BuildEnvironment, docnames: set[str], other: BuildEnvironment) -> None:
    claims_of(env).update({k: v for k, v in claims_of(other).items() if k in docnames})


def outdated(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """The list is written again whenever anything is."""
    return sorted(env.__dict__.get("claim_pages", set()) & env.found_docs)


def in_order(env: BuildEnvironment) -> list[str]:
    """The documents that make claims, in the order of the table of contents."""
    order = list(env.toctree_includes.get(env.config.root_doc, []))
    order.insert(0, env.config.root_doc)
    made = claims_of(env)
    return [d for d in order if d in made] + sorted(set(made) - set(order))


def number_of(env: BuildEnvironment, docname: str) -> str:
    numbers = env.toc_secnumbers.get(docname, {}).get("")
    return ".".join(map(str, numbers)) + ". " if numbers else ""


def listing(builder: Builder, env: BuildEnvironment, page: str) -> list[nodes.Node]:
    """The whole list: how many there are, then a heading and the claims of each chapter."""

    def link(docname: str, anchor: str, text: str) -> nodes.reference:
        uri = builder.get_relative_uri(page, docname) + (f"#{anchor}" if anchor else "")
        return nodes.reference("", text, internal=True, refuri=uri)

    made, docnames = claims_of(env), in_order(env)
    total = sum(len(made[docname]) for docname in docnames)
    parts: list[nodes.Node] = [
        nodes.paragraph("", f"There are {total} claims in {len(docnames)} chapters.")
    ]
    for docname in docnames:
        title = number_of(env, docname) + env.titles[docname].astext()
        heading = nodes.rubric("", "", link(docname, "", title), classes=["claims-of"])
        items = nodes.bullet_list(classes=["claims"])
        for claim, place in made[docname]:
            line = nodes.paragraph("", claim.statement + " ")
            if claim.measured:
                line += nodes.inline("", f"Measured {claim.measured}. ", classes=["measured"])
            line += link(docname, place.anchor, place.section or "where it is measured")
            items += nodes.list_item("", line)
        parts.append(heading)
        if seeds := seeds_of(env, docname):
            chance = f"What depends on chance was measured over {seeds}"
            recorded = any(claim.statement.startswith("Recorded") for claim, _ in made[docname])
            more = "; what is recorded, as its chapter says." if recorded else "."
            parts.append(nodes.paragraph("", chance + more, classes=["measured"]))
        parts.append(items)
    return parts


def fill_in(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for node in list(doctree.findall(ClaimList)):
        node.replace_self(listing(app.builder, app.env, docname))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(ClaimList)
    app.add_directive("claims", ClaimsDirective)
    app.connect("doctree-read", collect)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    app.connect("env-updated", outdated)
    app.connect("doctree-resolved", fill_in)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
