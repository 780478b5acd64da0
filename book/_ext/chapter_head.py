"""Sphinx extension: what stands above a chapter, and what search engines and previews read.

A notebook gets a line with its reading time, its running time (stored by ``make refresh``) and a
link to itself; every page gets a description, its first plain paragraph, and the preview picture.
"""

import html
import json
import math
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

WORDS_PER_MINUTE = 180
# For a line of code or of what it printed, a line of a displayed formula, a figure.
SECONDS = {"code": 4, "formula": 15, "figure": 20}
PREVIEW = "_static/preview.png"
RUN_IT = "run-it"  # the label of the section on how to run a chapter
MINUTES, SECONDS_TO_RUN = "minutes to read", "seconds to run"  # of a notebook, in env.metadata


def notebook_of(app: Sphinx, docname: str) -> Path | None:
    path = Path(app.env.doc2path(docname))
    return path if path.suffix == ".ipynb" else None


def to_read(doctree: nodes.document) -> int:
    """Minutes for the text, and for the code, formulas and figures that stand open in it."""
    folded = [node for node in doctree.findall(nodes.container) if node.get("hide_mode")]
    hidden = [fold if fold["hide_mode"] == "all" else fold.children[0] for fold in folded]
    closed = {id(part) for one in hidden for part in one.findall(nodes.Element)}

    def seen(kind: type[nodes.Node]) -> list[str]:
        return [n.astext() for n in doctree.findall(kind) if id(n) not in closed]

    seconds = sum(len(text.split()) for text in seen(nodes.paragraph)) * 60 / WORDS_PER_MINUTE
    seconds += sum(len(text.splitlines()) for text in seen(nodes.literal_block)) * SECONDS["code"]
    lines = sum(text.count(r"\\") + 1 for text in seen(nodes.math_block))
    seconds += lines * SECONDS["formula"] + len(seen(nodes.figure)) * SECONDS["figure"]
    return max(1, math.ceil(seconds / 60))


def facts(app: Sphinx, doctree: nodes.document) -> None:
    """Insert the line above the first paragraph of a chapter, the first page apart."""
    docname = app.env.docname
    path = notebook_of(app, docname)
    title = doctree.next_node(nodes.title)
    if path is None or title is None or docname == app.config.root_doc:
        return
    minutes = to_read(doctree)
    seconds = json.loads(path.read_text("utf-8"))["metadata"].get("cpu_seconds")
    app.env.metadata[docname] |= {MINUTES: minutes, SECONDS_TO_RUN: seconds}
    reading = f"{minutes} minute{'s' * (minutes > 1)} to read"
    line = nodes.paragraph("", reading, classes=["chapter-facts"])
    if seconds:
        line += nodes.Text(f", {seconds} seconds to run on one CPU core")
    up = "../" * docname.count("/")
    notebook = f"{up}_sources/{docname}.ipynb"
    line += nodes.Text(". ")
    line += nodes.reference("", "Download the notebook", refuri=notebook, internal=True)
    line += nodes.Text(", or see ")
    line += pending_xref(
        "", nodes.inline("", "how to run it"), refdomain="std", reftype="ref", refdoc=docname,
        reftarget=RUN_IT, refexplicit=True, refwarn=True,
    )  # fmt: skip
    line += nodes.Text(".")
    title.parent.insert(title.parent.index(title) + 1, line)


def describe(doctree: nodes.document) -> str:
    """The first paragraph that is more than its question, cut at the end of a sentence."""
    for paragraph in doctree.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split())
        only_question = len(paragraph) == 1 and isinstance(paragraph[0], nodes.emphasis)
        if "chapter-facts" not in paragraph["classes"] and not only_question and len(text) > 60:
            end = text.rfind(". ", 0, 200)
            return text[: end + 1] if end > 0 else text[:200]
    return ""


def head(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Description, title and picture as meta tags."""
    if doctree is None:
        return
    base = (app.config.html_baseurl or "").rstrip("/")
    picture = f"{base}/{PREVIEW}" if base else "../" * page.count("/") + PREVIEW
    tags = {
        "og:type": "article",
        "og:site_name": app.config.html_title or app.config.project,
        "og:title": context.get("title", ""),
        "og:description": describe(doctree),
        "og:image": picture,
        "og:image:alt": "Test accuracy over training, without and with batch norm.",
    }
    lines = [f'<meta name="description" content="{html.escape(tags["og:description"])}">']
    for name, value in tags.items():
        lines.append(f'<meta property="{name}" content="{html.escape(plain(value))}">')
    lines.append('<meta name="twitter:card" content="summary_large_image">')
    context["metatags"] = context.get("metatags", "") + "\n" + "\n".join(lines)


def plain(title: str) -> str:
    """A title without markup."""
    return html.unescape(re.sub(r"<[^>]+>", "", title))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", facts)
    app.connect("html-page-context", head)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
