"""Sphinx extension: ``normtutorial.BatchNorm`` leads where ``normtutorial.layers.BatchNorm`` is.

The API page documents every name once: where it is defined, or in the package around that file.
Others offer it again.
"""

from pydoc import locate
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

PACKAGE = "normtutorial."


def places(target: str) -> list[str]:
    """Where an object of the module may be documented: as the name of the file that defines it, or
    of the package around."""
    parts = target.split(".")
    for length in range(len(parts), 1, -1):  # an attribute of a class may have no module
        found = locate(".".join(parts[:length]))
        module, name = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
        if module and name and module.startswith(PACKAGE):
            path = [name, *parts[length:]]
            return [".".join([where, *path]) for where in (module, module.rpartition(".")[0])]
    return []


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.Element | None:
    if node.get("refdomain") != "py" or not node["reftarget"].startswith(PACKAGE):
        return None
    domain: Any = env.get_domain("py")
    for place in places(node["reftarget"]):
        if place in domain.objects:
            return domain.resolve_xref(
                env, node["refdoc"], app.builder, node["reftype"], place, node, contnode
            )
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
