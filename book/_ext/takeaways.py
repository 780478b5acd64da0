"""Sphinx extension: the directive ``{takeaways}`` is the box at the end of a chapter.

It holds a list, and each item of it has a link to the claims that it rests on, with ``{claim}``.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from claims import ClaimLink


class Takeaways(SphinxDirective):
    """``{takeaways}``."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        box = nodes.admonition("", nodes.title("", "Takeaways"), classes=["takeaways"])
        self.state.nested_parse(self.content, self.content_offset, box)
        items: list[nodes.Element] = list(box.findall(nodes.list_item))
        for item in items or [box]:
            if item.next_node(ClaimLink) is None:
                raise self.error(
                    "takeaways wants a list with a link to a claim in each item, as in "
                    f"{{claim}}`measured <Its statement>`; got {item.astext()[:60]!r}"
                )
        return [box]


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("claims")
    app.add_directive("takeaways", Takeaways)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
