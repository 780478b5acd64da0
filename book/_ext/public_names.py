"""Sphinx extension: ``normtutorial.BatchNorm`` leads where ``normtutorial.layers.BatchNorm`` is.

The API page documents every name once, in its room. The package offers the most used ones again.
"""

from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

PACKAGE = "normtutorial"


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.Element | None:
    if node.get("refdomain") != "py":
        return None
    package, _, rest = node["reftarget"].partition(".")
    name, _, attribute = rest.partition(".")
    public = getattr(import_module(PACKAGE), name, None) if package == PACKAGE else None
    room = getattr(public, "__module__", "")
    if not room.startswith(f"{PACKAGE}."):
        return None
    target = ".".join(filter(None, (room, name, attribute)))
    domain = env.get_domain("py")
    return domain.resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], target, node, contnode
    )


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
