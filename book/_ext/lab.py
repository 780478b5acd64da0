"""Sphinx extension: the directive ``{lab}`` is a place where two networks are trained in the page.

Its body stands there where there is no JavaScript, and on paper; the rest of the lab waits in a
template (``book/_templates/lab.html``). ``{lab} small`` has a few controls only. The scripts and
styles of the lab are loaded by the pages that have one, and by no others.

``{lab-question}`` is a question that the lab can be set up for: its title, and in its body what is
asked, a list of choices in rising order, and why it came out as it did. ``:begin:`` is what the
address says of the situation, ``:end:`` what changes at the end, ``:measure:`` what is measured
after ``:steps:`` steps (``presets.js``), ``:cuts:`` where one choice ends and the next begins, and
``:right:`` the choice that came in ten runs, from 0.

The role ``{preset}`signals``` leads to the lab, set up for that question, and shows its title.
"""

import re
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from jinja2 import Environment, FileSystemLoader
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from normtutorial.norms import NORMS

BOOK = Path(__file__).parents[1]
SCRIPTS = BOOK / "_static" / "lab"
DATA = "digits.js"  # which the scripts load when a run begins
PAGE = "book/lab"
TITLE = re.compile(r"^```\{lab-question\} (.+)\n:preset: (\w+)$", re.MULTILINE)
SHOWN = ("none", "batch", "layer", "rms", "weight")  # what network.js knows
DEEPEST = 8


def presets(page: Path) -> dict[str, str]:
    """The questions of the lab: their titles by name, as its page has them."""
    return {name: title for title, name in TITLE.findall(page.read_text("utf-8"))}


def template(size: str) -> str:
    """The controls and pictures, which the scripts put in place."""
    pages = Environment(loader=FileSystemLoader(BOOK / "_templates"), autoescape=True)
    whole = size == "whole"
    return pages.get_template("lab.html").render(
        norms=[NORMS[name] for name in SHOWN],
        layers={layer: layer for layer in range(1, DEEPEST + 1 if whole else 2)},
        whole=whole,
    )


class Lab(nodes.General, nodes.Element):
    """What stands in for the lab."""


class Question(nodes.General, nodes.Element):
    """A question, its choices, and the fold of the answer."""


class Answer(nodes.General, nodes.Element):
    """A fold with what came of a question."""


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


class QuestionDirective(SphinxDirective):
    """``{lab-question}``."""

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True
    needed = ("preset", "begin", "steps", "measure", "cuts", "right")
    option_spec: ClassVar = dict.fromkeys((*needed, "end"), directives.unchanged_required)

    def run(self) -> list[nodes.Node]:
        missing = [name for name in self.needed if name not in self.options]
        if missing:
            raise self.error(f"lab-question wants :{missing[0]}:, as in book/lab.md")
        body = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, body)
        count = len(self.options["cuts"].split()) + 1
        match body.children:
            case [nodes.paragraph() as asked, nodes.bullet_list() as choices, *why] if (
                len(choices) == count
            ):
                pass
            case _:
                raise self.error(
                    f"lab-question wants a question, then {count} choices for its cuts"
                )
        asked["classes"].append("guess-question")
        choices["classes"].append("guess-choices")
        address = f"#lab?preset={self.options['preset']}"
        title = nodes.reference("", self.arguments[0], refuri=address, internal=True)
        right = choices.children[int(self.options["right"])].astext()
        fold = Answer()
        fold += nodes.paragraph("", f"In each of ten runs: {right}.")
        fold += nodes.container("", *why, classes=["guess-answer"])
        node = Question(given=self.options)
        node += [nodes.paragraph("", "", title, classes=["lab-title"]), asked, choices, fold]
        return [node]


class PresetRole(SphinxRole):
    """``{preset}``."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        titles = presets(Path(self.env.doc2path(PAGE)))
        self.env.note_dependency(self.env.doc2path(PAGE))
        if self.text not in titles:
            wrong = f"preset knows {', '.join(titles)}, and no {self.text!r}"
            return [], [self.inliner.reporter.error(wrong, line=self.lineno)]
        page = self.env.app.builder.get_relative_uri(self.env.docname, PAGE)
        address = f"{page}#lab?preset={self.text}"
        return [nodes.reference("", titles[self.text], refuri=address, internal=True)], []


def open_lab(self: Any, node: nodes.Element) -> None:
    name = {} if node["size"] == "small" else {"ids": ["lab"]}
    given = {"data-demo": "lab", "data-size": node["size"]}
    self.body.append(self.starttag({}, "div", CLASS="demo lab", **name, **given))


def close_lab(self: Any, node: nodes.Element) -> None:
    self.body.append(f"{template(node['size'])}</div>\n")


def open_question(self: Any, node: nodes.Element) -> None:
    given = {f"data-{name}": value for name, value in node["given"].items()}
    self.body.append(self.starttag({}, "div", CLASS="lab-preset", **given))


def close_question(self: Any, node: nodes.Element) -> None:
    self.body.append("</div>\n")


def open_answer(self: Any, node: nodes.Element) -> None:
    self.body.append("<details><summary>What came of it</summary>\n")


def close_answer(self: Any, node: nodes.Element) -> None:
    self.body.append("</details>\n")


def load(app: Sphinx, _: str, __: str, ___: dict, doctree: nodes.document | None) -> None:
    if doctree is None or not any(doctree.findall(Lab)):
        return
    app.add_css_file("lab/lab.css")
    for path in sorted(SCRIPTS.glob("*.js")):
        if path.name != DATA:
            app.add_js_file(f"lab/{path.name}", loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(Lab, html=(open_lab, close_lab))
    app.add_node(Question, html=(open_question, close_question))
    app.add_node(Answer, html=(open_answer, close_answer))
    app.add_directive("lab", LabDirective)
    app.add_directive("lab-question", QuestionDirective)
    app.add_role("preset", PresetRole())
    app.connect("html-page-context", load)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
