"""Sphinx extension: the index of the book's own search, a script with the text of each section.

Sphinx's search finds pages, and fetches them for its excerpts, which a page that was opened as a
file may not. This one finds sections, words of the glossary with all their spellings, and names of
the module; ``search.js`` reads it.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

from first_use import EVERYDAY
from glossary import page_of, words
from plain import plain, prose

SCRIPT = "sections.js"
SPHINX_OWN = re.compile(
    r'<script[^>]*["/](searchtools|language_data|searchindex)\.js[^>]*></script>\s*'
)
READ = (nodes.paragraph, nodes.caption)
FACTS = {"chapter-facts", "claim-facts"}  # not what a section says
Record = dict[str, str]


def own(node: nodes.Element) -> Iterator[nodes.Element]:
    """What stands in a section, and not in a section, glossary or name inside it."""
    for child in node.children:
        inner = (nodes.section, nodes.title, addnodes.glossary, addnodes.desc)
        if isinstance(child, nodes.Element) and not isinstance(child, inner):
            yield child
            yield from own(child)


def of_section(section: nodes.section, page: str, url: str) -> Record:
    """Title, prose, and the words of the code and the symbols of the displayed formulas."""
    passages: list[str] = []
    code: set[str] = set()
    for node in own(section):
        if isinstance(node, nodes.literal_block):
            code |= set(re.findall(r"[A-Za-z_]\w{2,}", node.astext()))
        elif isinstance(node, nodes.math_block):
            code |= set(re.findall(r"[α-ω]", plain(node.astext())))
        elif isinstance(node, READ) and not FACTS & set(node["classes"]):
            passages.append(prose(node))
    top = isinstance(section.parent, nodes.document)
    return {
        "kind": "section",
        "title": section[0].astext(),
        "page": page,
        "url": url if top else f"{url}#{section['ids'][0]}",
        "text": re.sub(r" +([.,;:])", r"\1", " ".join(" ".join(passages).split())),
        "code": " ".join(sorted(code)),
    }


def of_document(app: Sphinx, docname: str) -> Iterator[Record]:
    """The sections of a page, and the names of the module that it documents."""
    doctree = app.env.get_and_resolve_doctree(docname, app.builder)
    url = app.builder.get_target_uri(docname)
    page = app.env.titles[docname].astext()
    lists = docname in app.env.__dict__.get("claim_pages", ())  # what the chapters have said
    for section in doctree.findall(nodes.section):
        record = of_section(section, page, url)
        if lists:
            yield record | {"text": "", "code": ""}
            return
        yield record
    for entry in doctree.findall(addnodes.desc):
        about = next(iter(entry.findall(nodes.paragraph)), None)
        text = " ".join(prose(about).split()) if about is not None else ""
        signature: Any = entry[0]
        for name in signature["ids"]:
            yield {
                "kind": "name", "title": name, "page": page, "url": f"{url}#{name}", "text": text,
            }  # fmt: skip


def of_glossary(app: Sphinx) -> Iterator[dict[str, Any]]:
    """The words with their spellings, and where they are explained."""
    page, target = page_of(app.env), app.builder.get_target_uri
    for word in words(app.env):
        yield {
            "kind": "word",
            "title": next(iter(word.spellings)),
            "page": app.env.titles[page].astext(),
            "url": f"{target(page)}#{next(iter(word.spellings.values()))}",
            "text": word.meaning,
            "spellings": list(word.spellings),
            "everyday": sorted(EVERYDAY & set(word.spellings)),
            "explained": [f"{target(document)}#{anchor}" for document, anchor in word.explained],
        }


def begin(app: Sphinx) -> None:
    """Leave out Sphinx's index and its page."""
    if app.builder.format == "html":
        builder: Any = app.builder
        builder.search = False


def page(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The page of the search."""
    yield "search", {}, "search.html"


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Write the index, and take out the scripts of Sphinx's, which the theme puts on every page."""
    if exception is not None or app.builder.format != "html":
        return
    documents = sorted(app.env.found_docs - {page_of(app.env)})
    records = [*of_glossary(app), *(r for one in documents for r in of_document(app, one))]
    text = json.dumps(records, ensure_ascii=False, separators=(",", ":"))
    script = f"window.normtutorial = {{...window.normtutorial, sections: {text}}};\n"
    site = Path(app.outdir)
    (site / "_static" / SCRIPT).write_text(script, "utf-8")
    for path in site.rglob("*.html"):
        old = path.read_text("utf-8")
        new = SPHINX_OWN.sub("", old)
        if new != old:
            path.write_text(new, "utf-8")
    for name in ("searchtools.js", "language_data.js"):
        (site / "_static" / name).unlink(missing_ok=True)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", begin)
    app.connect("html-collect-pages", page)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
