"""Sphinx extension: the directive ``{claims}`` lists every claim of the book, failures first.

Counts on top, then what failed on unseen seeds, then all claims by chapter. ``claims.js`` adds a
filter by method and kind; without it everything is there.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders import Builder
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

from claims import Made, made_by
from confirmed import RECORD, recorded, restated
from normtutorial.norms import NORMS

KINDS = {
    "exact": "exact, which no seed could change",
    "measured": "measured over seeds",
    "recorded": "read from a record",
}
SOURCES = {"mnist": "MNIST", "synthetic": "the synthetic digits"}
WORDS = {name: "no" if name == "none" else name for name in NORMS}
ANY = "(?:" + "|".join(WORDS.values()) + ")"
LISTED = re.compile(  # "batch norm", "BatchNorm", "batch_norm", "no, weight or layer norm"
    rf"\b((?:{ANY}(?:,? (?:and|or|nor) |, ))*{ANY})[ _-]?norm(?:s|alization)?(?![a-z])",
    re.IGNORECASE,
)
PLAIN = re.compile(
    rf"plain network|unnormalized|without (?:a |any )?(?:{ANY} )?norm", re.IGNORECASE
)
ALONE = re.compile(  # "with batch norm and without"
    r"\bwithout(?=[,.;])|norm and without\b|without it\b"
)


class ClaimList(nodes.General, nodes.Element):
    """Where the list goes, once every chapter has been read."""


class ClaimsDirective(SphinxDirective):
    """``{claims}``: the list of all claims, chapter by chapter."""

    def run(self) -> list[nodes.Node]:
        made_by(self.env)  # so that there is a record, even of a book without chapters
        pages: set[str] = self.env.__dict__.setdefault("claim_pages", set())
        pages.add(self.env.docname)
        return [ClaimList()]


def outdated(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """The list is written again whenever anything is."""
    return sorted(env.__dict__.get("claim_pages", set()) & env.found_docs)


def in_order(env: BuildEnvironment) -> list[str]:
    """The documents that make claims, in the order of the table of contents."""
    order = list(env.toctree_includes.get(env.config.root_doc, []))
    order.insert(0, env.config.root_doc)
    made = made_by(env)
    return [d for d in order if d in made] + sorted(set(made) - set(order))


def title_of(env: BuildEnvironment, docname: str) -> str:
    numbers = env.toc_secnumbers.get(docname, {}).get("")
    before = ".".join(map(str, numbers)) + ". " if numbers else ""
    return before + env.titles[docname].astext()


def methods_of(text: str) -> list[str]:
    """The norms that a text names, also in a list, and ``none`` where it speaks of a network
    without one.

    Example:
        >>> methods_of("Batch, layer or RMS norm adds less than the original's weight_norm.")
        ['weight', 'batch', 'layer', 'rms']
        >>> methods_of("It is above 0.6 with batch norm, below 0.3 without.")
        ['none', 'batch']
        >>> methods_of("Without scale and shift no value of a batch is normal.")
        []
    """
    listed = " ".join(match[1].lower() for match in LISTED.finditer(text))
    named = {name for name, word in WORDS.items() if re.search(rf"\b{word}\b", listed)}
    if PLAIN.search(text) or (named and ALONE.search(text)):
        named.add("none")
    return [name for name in NORMS if name in named]


def count_of(number: int, thing: str = "claim") -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def summary(everything: list[Made], chapters: int) -> nodes.bullet_list:
    """How many there are, of which kind, and how they did on unseen seeds."""
    kinds = Counter(made.claim.kind for made in everything)
    of_kind = ", ".join(f"{kinds[kind]} {words}" for kind, words in KINDS.items() if kinds[kind])
    tried = [made for made in everything if made.unseen is not None]
    failed = sum(made.failed for made in tried)
    exact = sum(made.claim.kind == "exact" for made in tried)
    where = count_of(chapters, "chapter")
    lines = [f"There are {count_of(len(everything))} in {where}: {of_kind}."]
    if tried:
        lines.append(
            f"{len(tried)} of them were tried on seeds that nobody had looked at: "
            f"{len(tried) - failed} held in every run, {failed} failed in some."
        )
    if exact:
        lines[-1] += f" Of these, {exact} are exact, so that the seeds made no difference."
    earlier = sum(made.unseen.earlier for made in tried if made.unseen)
    if earlier:
        lines.append(
            f"{earlier} were tried with an earlier module: code that their chapters use has "
            "changed since. When such a change moves a figure that is stored here, the claim is "
            "run on the same seeds again. That is a regression test, and confirms nothing."
        )
    waiting = sum(made.unseen is None and made.claim.seeds is not None for made in everything)
    if waiting:
        lines.append(f"Not tried on unseen seeds yet, though they depend on seeds: {waiting}.")
    fixed = sum(made.claim.kind == "recorded" and made.claim.seeds is None for made in everything)
    if fixed:
        lines.append(f"Never tried so, because the record that they read has no seeds: {fixed}.")
    items = [nodes.list_item("", nodes.paragraph("", line)) for line in lines]
    return nodes.bullet_list("", *items, classes=["claims-summary"])


def failures(failed: list[list[Any]]) -> Iterator[nodes.paragraph]:
    """The runs in which a claim failed, each with what was measured in it."""
    for block, source, measured in failed:
        said = f"failed at block {block} on {SOURCES[source]}: {measured}"
        yield nodes.paragraph("", said, classes=["claim-facts"])


class Listing:
    """Writes the list on one page."""

    def __init__(self, builder: Builder, env: BuildEnvironment, page: str) -> None:
        self.builder, self.env, self.page = builder, env, page

    def link(self, docname: str, anchor: str, text: str) -> nodes.reference:
        uri = self.builder.get_relative_uri(self.page, docname) + (f"#{anchor}" if anchor else "")
        return nodes.reference("", text, internal=True, refuri=uri)

    def row(self, docname: str, made: Made, first: bool = False) -> nodes.list_item:
        """A claim; the list of failures, which comes first, repeats it without a name."""
        methods = methods_of(f"{made.claim.statement} {made.section} {docname}")
        marks = [f"kind-{made.claim.kind}", *(f"method-{name}" for name in methods)]
        marks += ["claim-failed"] if made.failed else []
        statement = nodes.paragraph("", made.claim.statement, classes=["claim-statement"])
        facts = nodes.paragraph("", " · ".join([*made.facts(), ""]), classes=["claim-facts"])
        facts += self.link(docname, made.anchor, made.section or "where it is measured")
        name = [] if first else [f"{Path(docname).name}-{made.anchor}"]
        parts = [statement, facts, *(failures(made.unseen.failed) if made.unseen else [])]
        return nodes.list_item("", *parts, classes=["claim", *marks], ids=name)

    def restated(self, docname: str, made: list[Made]) -> Iterator[nodes.list_item]:
        """The sentences of a chapter that failed and were restated, with what failed."""
        chapter = Path(docname).name
        sentences = [one.claim.statement for one in made]
        for sentence, one in restated(recorded(RECORD).get(chapter, {}), sentences):
            said = f"held in {one['held']} of {one['runs']} unseen runs, then restated · "
            facts = nodes.paragraph("", said, classes=["claim-facts"])
            facts += self.link(docname, "", title_of(self.env, docname))
            statement = nodes.paragraph("", sentence, classes=["claim-statement"])
            parts = [statement, facts, *failures(one["failed"])]
            yield nodes.list_item("", *parts, classes=["claim", "claim-failed"])

    def section(self, name: str, title: nodes.title, rows: list[nodes.Node]) -> nodes.section:
        """A heading and the claims under it; it has its place in the contents of the page."""
        marks = ["claim-failures"] if name == "failed" else []
        listed = nodes.bullet_list("", *rows, classes=["claim-list", *marks])
        return nodes.section("", title, listed, ids=[nodes.make_id(f"claims-{name}")])

    def parts(self) -> list[nodes.Node]:
        """Counts, failures, the place of the filter, and the claims of each chapter."""
        made, docnames = made_by(self.env), in_order(self.env)
        everything = [(docname, one) for docname in docnames for one in made[docname]]
        parts: list[nodes.Node] = [summary([one for _, one in everything], len(docnames))]
        rows = [self.row(docname, one, first=True) for docname, one in everything if one.failed]
        for docname in docnames:
            rows += self.restated(docname, made[docname])
        if rows:
            title = nodes.title("", "Failed on unseen seeds")
            parts.append(self.section("failed", title, rows))
        parts.append(nodes.container(classes=["claims-filter"]))
        for docname in docnames:
            title = nodes.title("", "", self.link(docname, "", title_of(self.env, docname)))
            listed = [self.row(docname, one) for one in made[docname]]
            parts.append(self.section(Path(docname).name, title, listed))
        return parts


def contents(page: str, parts: list[nodes.Node]) -> nodes.bullet_list:
    """The sections of the list, as Sphinx keeps the contents of a page."""
    listed = nodes.bullet_list()
    for section in (part for part in parts if isinstance(part, nodes.section)):
        anchor = f"#{section['ids'][0]}"
        link = nodes.reference(
            "", section[0].astext(), internal=True, refuri=page, anchorname=anchor
        )
        listed += nodes.list_item("", addnodes.compact_paragraph("", "", link))
    return listed


def fill_in(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for node in list(doctree.findall(ClaimList)):
        parts = Listing(app.builder, app.env, docname).parts()
        node.replace_self(parts)
        page = app.env.tocs[docname].next_node(nodes.list_item)
        page.children[1:] = [contents(docname, parts)]  # the chapters were not known before


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("claims")
    app.add_node(ClaimList)
    app.add_directive("claims", ClaimsDirective)
    app.connect("env-updated", outdated)
    app.connect("doctree-resolved", fill_in)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
