"""Sphinx extension: a folded cell says what it holds: the check, the drawing, the numbers, ...

What is folded is decided by ``tools/visible.py``, with which the rules of the page are measured. A
fold is a plain ``<details>``, so that it opens without a script. The picture comes first: what
draws a figure is folded under it, and so is what was folded just before. Cells of code that follow
each other are one fold.
"""

import sys
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.application import Sphinx

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
import visible


def cells(doctree: nodes.document) -> list[nodes.container]:
    """The code cells of a notebook."""
    return [n for n in doctree.findall(nodes.container) if n.get("nb_element") == "cell_code"]


def part(cell: nodes.Element, name: str) -> nodes.container | None:
    """The source or the output of a cell."""
    parts = cell.findall(nodes.container)
    return next((one for one in parts if one.get("nb_element") == f"cell_code_{name}"), None)


def source_of(cell: nodes.Element) -> str:
    source = part(cell, "source")
    return "" if source is None else source.astext()


def tags_of(cell: nodes.Element) -> list[str]:
    return cell["cell_metadata"].get("tags", [])


def fold(cell: nodes.Element, mode: str, says: str) -> None:
    """Have a cell folded, its input alone or all of it, under these words."""
    cell["hide_mode"], cell["prompt_show"], cell["prompt_hide"] = mode, says, says


def below_its_figure(cell: nodes.Element) -> None:
    """Fold under a figure the code that draws it, after what was folded just before."""
    above = cell.parent[cell.parent.index(cell) - 1] if cell.parent.index(cell) else None
    source = part(cell, "source")
    drawing = nodes.container("", source.deepcopy(), **cell.attributes)
    cell.remove(source)
    del cell["hide_mode"]
    below: list[nodes.Node] = [drawing]
    if isinstance(above, nodes.container) and above.get("hide_mode") and not part(above, "output"):
        cell.parent.remove(above)
        below.insert(0, above)
    place = cell.parent.index(cell) + 1
    cell.parent[place:place] = below


def code(cell: nodes.Node | None) -> nodes.container | None:
    """The source of a cell that is nothing but a fold named *the code*."""
    if not isinstance(cell, nodes.container) or part(cell, "output"):
        return None
    alone = cell.get("hide_mode") == "input" and cell["prompt_show"] == "the code"
    return part(cell, "source") if alone else None


def join_code(cells: list[nodes.container]) -> None:
    """Move what is folded as code into the fold of code just before it."""
    for cell in cells:
        place = cell.parent.index(cell)
        above = code(cell.parent[place - 1]) if place else None
        if above and (source := code(cell)):
            above.extend(source.children)
            cell.parent.remove(cell)


def name_folds(app: Sphinx, doctree: nodes.document) -> None:
    for cell in cells(doctree):
        if cell.get("hide_mode"):
            fold(cell, cell["hide_mode"], visible.label(source_of(cell), tags_of(cell)))
        if cell.get("hide_mode") == "input" and "figure" in cell["cell_metadata"].get("mystnb", {}):
            below_its_figure(cell)
    join_code(cells(doctree))


def open_fold(self: Any, node: nodes.Element) -> None:
    classes = " ".join(["hide", *node["classes"]])
    summary = escape(node["prompt_show"])
    self.body.append(f'<details class="{classes}">\n<summary>{summary}</summary>\n')


def close_fold(self: Any, node: nodes.Element) -> None:
    self.body.append("</details>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("myst_nb")
    app.add_node(HideCodeCellNode, override=True, html=(open_fold, close_fold))
    app.connect("doctree-read", name_folds)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
