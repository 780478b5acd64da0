"""Sphinx extension: the directive ``{lab}`` is a place where two networks are trained in the page.

Its body stands there where there is no JavaScript, and on paper. ``{lab} small`` has a few controls
only. The scripts and styles of the lab are loaded by the pages that have one, and by no others. The
role ``{preset}`signals``` leads to the lab, set up for one of its questions, whose title it shows.
"""

import re
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

SCRIPTS = Path(__file__).parents[1] / "_static" / "lab"
DATA = "digits.js"  # which the scripts load when a run begins
TITLE = re.compile(r'^    (\w+): \{\n      title: "([^"]+)"', re.MULTILINE)


def presets() -> dict[str, str]:
    """The questions of the lab: their titles by name, as presets.js has them."""
    return dict(TITLE.findall((SCRIPTS / "presets.js").read_text("utf-8")))


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


class PresetRole(SphinxRole):
    """``{preset}``."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        titles = presets()
        if self.text not in titles:
            wrong = f"preset knows {', '.join(titles)}, and no {self.text!r}"
            return [], [self.inliner.reporter.error(wrong, line=self.lineno)]
        page = self.env.app.builder.get_relative_uri(self.env.docname, "book/lab")
        address = f"{page}#lab?preset={self.text}"
        return [nodes.reference("", titles[self.text], refuri=address, internal=True)], []


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
    for path in sorted(SCRIPTS.glob("*.js")):
        if path.name != DATA:
            app.add_js_file(f"lab/{path.name}", loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(Lab, html=(open_lab, close_lab))
    app.add_directive("lab", LabDirective)
    app.add_role("preset", PresetRole())
    app.connect("html-page-context", load)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
