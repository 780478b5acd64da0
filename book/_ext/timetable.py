"""Sphinx extension: the directive ``{timetable}`` says how long each chapter takes.

Minutes to read and seconds to run are those above the chapters (``chapter_head``); claims and
exercises are counted. The role ``{reading}`signals, experiment``` adds up minutes to read.
"""

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

import exercises
from chapter_head import MINUTES, SECONDS_TO_RUN
from claims import made_by
from claims_page import title_of

HEAD = ("chapter", "minutes to read", "seconds to run", "claims", "exercises")
SHOWS = "shows a timetable"  # in env.metadata
logger = logging.getLogger(__name__)


class Timetable(nodes.General, nodes.Element):
    """Where the table goes, once every chapter has been read."""


class Reading(nodes.General, nodes.Inline, nodes.TextElement):
    """Where a sum of minutes goes."""


class TimetableDirective(SphinxDirective):
    """``{timetable}``: all chapters that have a number, and their sum."""

    def run(self) -> list[nodes.Node]:
        self.env.metadata[self.env.docname][SHOWS] = True
        return [Timetable()]


class ReadingRole(SphinxRole):
    """``{reading}`signals, experiment```: chapters by the names of their files."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        node = Reading("", self.text)
        self.set_source_info(node)
        return [node], []


def chapters(env: BuildEnvironment) -> list[str]:
    """The notebooks that have a number."""
    order = env.toctree_includes.get(env.config.root_doc, [])
    return [
        d for d in order if MINUTES in env.metadata[d] and env.toc_secnumbers.get(d, {}).get("")
    ]


def row(cells: list[nodes.Node | str]) -> nodes.row:
    """A row of words, or of links."""
    made = [nodes.Text(cell) if isinstance(cell, str) else cell for cell in cells]
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in made))


def table(app: Sphinx, page: str) -> nodes.table:
    """One row for each chapter, and their sum."""
    env = app.env
    rows, sums = [], [0] * (len(HEAD) - 1)
    for docname in chapters(env):
        about = env.metadata[docname]
        numbers = [about[MINUTES], about[SECONDS_TO_RUN] or 0]
        numbers += [len(made_by(env).get(docname, [])), about.get(exercises.HAS, 0)]
        uri = app.builder.get_relative_uri(page, docname)
        title = nodes.reference("", title_of(env, docname), internal=True, refuri=uri)
        rows.append(row([title, *map(str, numbers)]))
        sums = [total + number for total, number in zip(sums, numbers, strict=True)]
    rows.append(row(["all of them", *map(str, sums)]))
    group = nodes.tgroup("", *(nodes.colspec(colwidth=w) for w in (3, 1, 1, 1, 1)), cols=len(HEAD))
    group += [nodes.thead("", row(list(HEAD))), nodes.tbody("", *rows)]
    return nodes.table("", group, classes=["timetable"])


def fill_in(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for place in list(doctree.findall(Timetable)):
        place.replace_self(table(app, docname))
    by_name = {Path(chapter).name: chapter for chapter in chapters(app.env)}
    for asked in list(doctree.findall(Reading)):
        names = asked.astext().split(", ")
        if unknown := [name for name in names if name not in by_name]:
            logger.warning("reading: there is no chapter %s", ", ".join(unknown), location=asked)
        minutes = [app.env.metadata[by_name[name]][MINUTES] for name in names if name in by_name]
        asked.replace_self(nodes.Text(f"{sum(minutes)} minutes"))


def outdated(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """The table is written again whenever anything is."""
    return [page for page in sorted(env.found_docs) if env.metadata[page].get(SHOWS)]


def setup(app: Sphinx) -> dict[str, Any]:
    for needed in ("chapter_head", "exercises"):
        app.setup_extension(needed)
    app.add_node(Timetable)
    app.add_node(Reading)
    app.add_directive("timetable", TimetableDirective)
    app.add_role("reading", ReadingRole())
    app.connect("env-updated", outdated)
    app.connect("doctree-resolved", fill_in)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
