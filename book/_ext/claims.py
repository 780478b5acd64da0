"""Sphinx extension: a claim is shown once, as a block, and the code that checks it folds under it.

A claim is a line of stored output, as :func:`normtutorial.claims.claim` prints it. At build time
the lines of a cell become blocks: the statement, what was measured, over which seeds, how it did on
unseen ones, and a link to the list of all claims. The role ``{claim}`` leads to a block by the
beginning of its statement.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

import folds  # puts the tools on the path
from confirmed import RECORD, Confirmation, confirmation
from normtutorial.claims import MARK, Claim

SLUG = 60  # characters of an anchor
PAGE = "ch-claims"  # the label of the list of all claims
WHERE = "on the page of all claims"
logger = logging.getLogger(__name__)


class Made(NamedTuple):
    """A claim, and where it is made."""

    claim: Claim
    anchor: str
    section: str
    unseen: Confirmation | None  # how it did on seeds that nobody had looked at

    @property
    def failed(self) -> bool:
        return self.unseen is not None and bool(self.unseen.failed)

    def told(self) -> str:
        """How it did on unseen seeds, in words."""
        if self.unseen is not None:
            return str(self.unseen)
        return "not yet confirmed on unseen seeds" if self.claim.seeds else ""

    def facts(self) -> list[str]:
        """What stands below a statement: what was measured, over what, and how it did."""
        claim = self.claim
        measured = [] if claim.measured is None else [f"measured {claim.measured}"]
        origin = str(claim._replace(measured=None)).removeprefix(MARK + claim.statement)
        parts = [*measured, *origin.strip(" ()").split("; "), self.told()]
        exact = ["exact"] if claim.kind == "exact" else []
        return [fact for fact in exact + parts if fact]


def made_by(env: BuildEnvironment) -> dict[str, list[Made]]:
    """The claims by document, kept with the environment."""
    return env.__dict__.setdefault("claims", {})


def section_title(node: nodes.Node | None) -> str:
    """The title of the section in which a node is."""
    while node is not None and not isinstance(node, nodes.section):
        node = node.parent
    title = node.next_node(nodes.title) if node is not None else None
    return title.astext() if title is not None else ""


def anchor_of(statement: str, taken: set[str]) -> str:
    """A name for the place of a claim, made of the beginning of its statement."""
    slug = f"claim-{nodes.make_id(statement)[:SLUG].strip('-')}"
    while slug in taken:
        slug += "-too"
    return slug


def take_claims(output: nodes.Element | None) -> list[Claim]:
    """Take the printed claims out of an output; lines that make none stay."""
    made = []
    for printed in list(output.findall(nodes.literal_block)) if output is not None else []:
        lines = [(line, Claim.parse(line)) for line in printed.astext().splitlines()]
        if not any(claim for _, claim in lines):
            continue
        made += [claim for _, claim in lines if claim]
        rest = "\n".join(line for line, claim in lines if not claim).strip("\n")
        if rest:
            printed.rawsource = rest
            printed.children = [nodes.Text(rest)]
        else:
            printed.parent.remove(printed)
    return made


class AllClaims(nodes.General, nodes.Inline, nodes.TextElement):
    """A link from a block to its row of the list, once it is known where that is. For who hears
    the links of a page alone, its name has the statement too."""


class ClaimLink(nodes.General, nodes.Inline, nodes.TextElement):
    """A link to a claim, once every chapter has been read."""


def block(made: Made) -> nodes.container:
    """A claim in the type of the text."""
    statement = nodes.paragraph("", made.claim.statement, classes=["claim-statement"])
    facts = nodes.paragraph("", " · ".join([*made.facts(), ""]), classes=["claim-facts"])
    facts += AllClaims("", WHERE, anchor=made.anchor, says=f"{WHERE}: {made.claim.statement}")
    classes = ["claim", *(["claim-failed"] if made.failed else [])]
    return nodes.container("", statement, facts, classes=classes, ids=[made.anchor])


def cell_of(like: nodes.Element, classes: list[str], *children: nodes.Node | None) -> nodes.Element:
    """A cell with the properties of another one and some of its parts."""
    attributes = {k: v for k, v in like.attributes.items() if k in ("nb_element", "cell_metadata")}
    kept = [child for child in children if child is not None]
    return nodes.container("", *kept, classes=["cell", *classes], **attributes)


def code_like(source: nodes.Element, text: str) -> nodes.Element | None:
    """The input of a cell with other code, or None for no code."""
    if not text.strip():
        return None
    copied = source.deepcopy()
    listing = copied.next_node(nodes.literal_block)
    listing.rawsource, listing.children = text, [nodes.Text(text)]
    return copied


def lay_out(cell: nodes.Element, blocks: list[nodes.Element]) -> None:
    """Put the blocks of a cell in its place: what teaches, the blocks, and the check under them."""
    source, output = folds.part(cell, "source"), folds.part(cell, "output")
    if output is not None and not output.children:
        cell.remove(output)
        output = None
    if cell.get("hide_mode") == "all":  # a solution stays together
        cell.extend(blocks)
        return
    code = folds.source_of(cell)
    shown, check = ("", code) if cell.get("hide_mode") == "input" else folds.visible.split(code)
    above = [code_like(source, shown), output]
    new = [cell_of(cell, [], *above)] if any(above) else []
    below = cell_of(cell, ["claim-check"], code_like(source, check))
    if below.children:
        folds.fold(below, "input", "the check")
    new += [nodes.container("", *blocks, below, classes=["claims"])]
    cell.parent.replace(cell, new)  # replace_self would hand down its classes


def collect(app: Sphinx, doctree: nodes.document) -> None:
    """Make blocks of the claims of one document."""
    docname = app.env.docname
    chapter = Path(docname).name
    found: list[Made] = []
    app.env.note_dependency(str(RECORD))
    for cell in folds.cells(doctree):
        blocks, section = [], section_title(cell)
        for claim in take_claims(folds.part(cell, "output")):
            anchor = anchor_of(claim.statement, {made.anchor for made in found})
            found.append(Made(claim, anchor, section, confirmation(chapter, claim)))
            blocks.append(block(found[-1]))
        if blocks:
            lay_out(cell, blocks)
    made_by(app.env).pop(docname, None)
    if found:
        made_by(app.env)[docname] = found


def forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    made_by(env).pop(docname, None)


def merge(app: Sphinx, env: BuildEnvironment, docnames: set[str], other: BuildEnvironment) -> None:
    made_by(env).update({k: v for k, v in made_by(other).items() if k in docnames})


class ClaimRole(SphinxRole):
    """``{claim}`text <beginning of its statement>```, or the beginning alone."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        named = re.fullmatch(r"(.+?) <(.+)>", self.text)
        text, beginning = named.groups() if named else (self.text, self.text)
        link = ClaimLink("", text, beginning=beginning)
        self.set_source_info(link)
        return [link], []


def find(env: BuildEnvironment, docname: str, beginning: str) -> tuple[str, Made]:
    """The one claim that begins so, of this page or else of the book.

    Raises:
        LookupError: if none does, or several do.
    """
    everywhere = [(page, made) for page, listed in made_by(env).items() for made in listed]
    fits = [(page, made) for page, made in everywhere if made.claim.statement.startswith(beginning)]
    here = [found for found in fits if found[0] == docname]
    if len(here or fits) != 1:
        raise LookupError(f"{len(here or fits)} claims begin with {beginning!r}; it takes one.")
    return (here or fits)[0]


def link(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Lead every block to the list, and every mention of a claim to its block."""
    labels = app.env.get_domain("std").anonlabels  # type: ignore[attr-defined]
    for block_link in list(doctree.findall(AllClaims)):
        if PAGE not in labels:
            block_link.replace_self(nodes.Text(""))
            continue
        uri = app.builder.get_relative_uri(docname, labels[PAGE][0])
        block_link["refuri"] = f"{uri}#{Path(docname).name}-{block_link['anchor']}"
    for mention in list(doctree.findall(ClaimLink)):
        try:
            page, made = find(app.env, docname, mention["beginning"])
        except LookupError as error:
            logger.warning("claim: %s", error, location=mention)
            mention.replace_self(nodes.Text(mention.astext()))
            continue
        uri = "" if page == docname else app.builder.get_relative_uri(docname, page)
        reference = nodes.reference(
            "", mention.astext(), refuri=f"{uri}#{made.anchor}", internal=True,
            reftitle=made.claim.statement, classes=["claim-link"],
        )  # fmt: skip
        mention.replace_self(reference)


def open_all_claims(self: Any, node: nodes.Element) -> None:
    named = {"href": node["refuri"], "aria-label": node["says"]}
    self.body.append(self.starttag(node, "a", "", CLASS="reference internal", **named))


def close_all_claims(self: Any, node: nodes.Element) -> None:
    self.body.append("</a>")


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("folds")
    app.add_node(AllClaims, html=(open_all_claims, close_all_claims))
    app.add_node(ClaimLink)
    app.add_role("claim", ClaimRole())
    app.connect("doctree-read", collect, priority=400)  # before folds are named and words counted
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    app.connect("doctree-resolved", link)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
