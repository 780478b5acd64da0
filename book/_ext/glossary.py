"""Sphinx extension: the words of the glossary, and the sections that explain them.

A definition links to the sections where its word is explained. The book's index lists them below
the word, and the search (``sections``) shows them first. A word stands for all its spellings:
"epsilon", "eps", "ε".
"""

from typing import Any, NamedTuple

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from plain import prose

LABEL = "ch-glossary"  # of its page


class Word(NamedTuple):
    """A word of the glossary: its spellings, each with its anchor, and what it means."""

    spellings: dict[str, str]
    meaning: str
    explained: list[tuple[str, str]]  # document and anchor of each section


def page_of(env: BuildEnvironment) -> str | None:
    """The document that is the glossary; a book may have none."""
    domain: Any = env.get_domain("std")
    return domain.anonlabels[LABEL][0] if LABEL in domain.anonlabels else None


def links_to_sections(env: BuildEnvironment, meaning: nodes.Element) -> list[tuple[str, str]]:
    """Document and anchor of the headings that a definition links to."""
    found = []
    for link in meaning.findall(addnodes.pending_xref):
        document, heading = link["reftarget"], link.get("reftargetid")
        slugs = env.metadata.get(document, {}).get("myst_slugs", {})
        if heading in slugs:  # where it is not, the build stops with a warning of its own
            found.append((document, slugs[heading][1]))
    return found


def words(env: BuildEnvironment) -> list[Word]:
    """All words of the glossary."""
    page, found = page_of(env), []
    for item in env.get_doctree(page).findall(nodes.definition_list_item) if page else ():
        spellings = {term.astext(): term["ids"][0] for term in item.findall(nodes.term)}
        meaning = item.next_node(nodes.definition)
        if meaning is not None:
            text = " ".join(" ".join(map(prose, meaning.children)).split())
            found.append(Word(spellings, text, links_to_sections(env, meaning)))
    return found


def into_the_index(app: Sphinx, env: BuildEnvironment) -> None:
    """Below each word, in the book's index, the sections that explain it.

    A spelling may name the letter that it stands below: "ε : E".
    """
    domain: Any = env.get_domain("index")
    letters = {entry[1]: entry[4] for entry in domain.entries.get(page_of(env), ())}
    for word in words(env):
        for document, anchor in word.explained:
            section = env.get_doctree(document).ids[anchor]
            where = f"{section[0].astext()} ({env.titles[document].astext()})"
            entries = domain.entries.setdefault(document, [])
            for spelling in word.spellings:
                entry = ("single", f"{spelling}; {where}", anchor, "", letters.get(spelling))
                if entry not in entries:  # a document that was not read again has it
                    entries.append(entry)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("env-updated", into_the_index)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
