"""Sphinx extension: the directive ``{exercises}`` lists the exercises of the book, unsolved.

An exercise is a box of a chapter whose title is "Exercise 2 (derivation)". The list takes it from
there, puts the chapter's number before its own, and leads to its place. Solutions are cells beside
the boxes, so none comes along. The role ``{exercise}`batch_norm 2``` is the number of an exercise
and leads there, too.
"""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from claims_page import contents, title_of

TITLE = re.compile(r"Exercise (\d+) (\(.+\))")
HAS, LISTS = "exercises", "lists exercises"  # what is known of a document, in env.metadata
logger = logging.getLogger(__name__)


class ExerciseList(nodes.General, nodes.Element):
    """Where the list goes, once every chapter has been read."""


class ExerciseLink(nodes.General, nodes.Inline, nodes.TextElement):
    """A link to an exercise, once every chapter has its number."""


class ExercisesDirective(SphinxDirective):
    """``{exercises}``: the exercises of all chapters, in the order of the book."""

    def run(self) -> list[nodes.Node]:
        self.env.metadata[self.env.docname][LISTS] = True
        return [ExerciseList()]


class ExerciseRole(SphinxRole):
    """``{exercise}`batch_norm 2```: a chapter by the name of its file, and a number."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        link = ExerciseLink("", self.text)
        self.set_source_info(link)
        return [link], []


def boxes(doctree: nodes.document) -> list[nodes.admonition]:
    """The exercises of a chapter."""
    everything = doctree.findall(nodes.admonition)
    return [box for box in everything if box[0].astext().startswith("Exercise")]


def anchor(number: int) -> str:
    return f"exercise-{number}"


def collect(app: Sphinx, doctree: nodes.document) -> None:
    """Give each exercise of a document an anchor, and note how many there are."""
    found = boxes(doctree)
    for number, box in enumerate(found, start=1):
        title = TITLE.fullmatch(box[0].astext())
        if title is None or int(title[1]) != number:
            logger.warning(
                "exercises: a title such as 'Exercise %d (derivation)' is wanted; got %r",
                number, box[0].astext(), location=box,
            )  # fmt: skip
        box["ids"].append(anchor(number))
    app.env.metadata[app.env.docname][HAS] = len(found)


def chapters(env: BuildEnvironment) -> list[str]:
    """The documents that have exercises, in the order of the table of contents."""
    order = env.toctree_includes.get(env.config.root_doc, [])
    return [docname for docname in order if env.metadata[docname].get(HAS)]


def number_of(env: BuildEnvironment, docname: str, number: int) -> str:
    """Of a chapter with a number "3.2"; of one without, as in the back matter, "2"."""
    chapter = env.toc_secnumbers.get(docname, {}).get("", ())
    return ".".join(map(str, [*chapter, number]))


def unsolved(
    box: nodes.admonition, page: str, name: str, title: str, address: str
) -> nodes.admonition:
    """A copy of an exercise for another page: its references lead from there, and none to it."""
    copied = box.deepcopy()
    for node in copied.findall(nodes.Element):
        node["ids"], node["names"] = [], []
    for formula in copied.findall(nodes.math_block):
        formula["number"] = None
    for reference in copied.findall(pending_xref):
        reference["refdoc"] = page
    copied["ids"] = [name]
    heading = copied.next_node(nodes.title)
    heading.children = []
    heading += nodes.reference("", title, internal=True, refuri=address)
    return copied


class FillIn(SphinxPostTransform):
    """Puts the exercises in the place of the list."""

    default_priority = 5  # references are resolved at 10

    def run(self, **kwargs: Any) -> None:
        for place in list(self.document.findall(ExerciseList)):
            page = self.env.docname
            sections = [self.section(page, docname) for docname in chapters(self.env)]
            place.replace_self(sections)
            listed = self.env.tocs[page].next_node(nodes.list_item)
            listed.children[1:] = [contents(page, list(sections))]

    def section(self, page: str, docname: str) -> nodes.section:
        """The exercises of one chapter, under its title."""
        stem = nodes.make_id(Path(docname).name)
        uri = self.app.builder.get_relative_uri(page, docname)
        heading = nodes.reference("", title_of(self.env, docname), internal=True, refuri=uri)
        section = nodes.section("", nodes.title("", "", heading), ids=[f"exercises-{stem}"])
        section["classes"].append("exercise-list")  # of which the PDF prints the titles alone
        for number, box in enumerate(boxes(self.env.get_doctree(docname)), start=1):
            of_book = number_of(self.env, docname, number)
            title = TITLE.sub(rf"Exercise {of_book} \2", box[0].astext())
            here = anchor(number)
            section += unsolved(box, page, f"{stem}-{here}", title, f"{uri}#{here}")
        return section


def link(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Lead every mention of an exercise to its place in the chapter."""
    by_name = {Path(chapter).name: chapter for chapter in chapters(app.env)}
    for mention in list(doctree.findall(ExerciseLink)):
        named = re.fullmatch(r"(\w+) (\d+)", mention.astext())
        chapter = by_name.get(named[1]) if named else None
        number = int(named[2]) if named else 0
        if chapter is None or not 1 <= number <= app.env.metadata[chapter][HAS]:
            logger.warning(
                "exercise: there is no %r; a chapter's file and a number are wanted, as in "
                "'batch_norm 2'", mention.astext(), location=mention,
            )  # fmt: skip
            mention.replace_self(nodes.Text(mention.astext()))
            continue
        uri = app.builder.get_relative_uri(docname, chapter)
        text = number_of(app.env, chapter, number)
        mention.replace_self(
            nodes.reference("", text, internal=True, refuri=f"{uri}#{anchor(number)}")
        )


def outdated(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """The list is written again whenever anything is; where a chapter has formulas, it has."""
    domain: Any = env.get_domain("math")
    formulas = domain.data["has_equations"]
    lists = [page for page in sorted(env.found_docs) if env.metadata[page].get(LISTS)]
    for page in lists:
        formulas[page] = any(formulas.get(chapter) for chapter in chapters(env))
    return lists


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("claims_page")
    app.add_node(ExerciseList)
    app.add_node(ExerciseLink)
    app.add_directive("exercises", ExercisesDirective)
    app.add_role("exercise", ExerciseRole())
    app.add_post_transform(FillIn)
    app.connect("doctree-read", collect)
    app.connect("env-updated", outdated)
    app.connect("doctree-resolved", link)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
