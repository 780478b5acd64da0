"""Sphinx extension: the directive ``{lab}`` is a place where two networks are trained in the page.

Its body stands there where there is no JavaScript, and on paper. ``{lab} small`` has a few controls
only. The scripts and styles of the lab are loaded by the pages that have one, and by no others.
"""

from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

DATA = "digits.js"  # which the scripts load when a run begins


class Lab(nodes.General, nodes.Element):
    """What stands in for the lab."""


class LabDirective(SphinxDirective):
    """``{lab}``."""

    has_content = True
    optional_arguments = 1
    option_spec: ClassVar = {}

    def run(self) -> list[nodes.Node]:
        size = self.arguments[0] if self.arguments else "whole"
        if size not in ("small", "whole"):
            raise self.error(f"lab knows 'small' and 'whole', and no {size!r}")
        node = Lab(size=size)
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node]


def open_lab(self: Any, node: nodes.Element) -> None:
    name = {} if node["size"] == "small" else {"ids": ["lab"]}
    given = {"data-demo": "lab", "data-size": node["size"]}
    self.body.append(self.starttag({}, "div", CLASS="demo lab", **name, **given))


def close_lab(self: Any, node: nodes.Element) -> None:
    self.body.append("</div>\n")


def load(app: Sphinx, _: str, __: str, ___: dict, doctree: nodes.document | None) -> None:
    if doctree is None or not any(doctree.findall(Lab)):
        return
    app.add_css_file("lab/lab.css")
    for path in sorted(Path(app.srcdir, "book", "_static", "lab").glob("*.js")):
        if path.name != DATA:
            app.add_js_file(f"lab/{path.name}", loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(Lab, html=(open_lab, close_lab))
    app.add_directive("lab", LabDirective)
    app.connect("html-page-context", load)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
