"""Sphinx extension: a link to a notebook downloads it, and the copy says what it needs.

The notebook of a chapter imports the module of the book. Away from the book's folder it would only
say that there is none, so the copy of the site begins with a cell that says where it is. Beside the
copy is a script with its text, for pages that were opened as files: ``downloads.js`` says why.
"""

import json
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

LINK = re.compile(r'<a (?=[^>]*href="[^"]*_sources/[^"]+\.ipynb")(?![^>]* download)')
NEEDS = """\
# A chapter needs the module of the book. Where that is missing, this cell says what to do.
import sys
from importlib.util import find_spec

missing = [name for name in ("normtutorial", "matplotlib") if find_spec(name) is None]
if missing:
    raise ModuleNotFoundError(
        f"This notebook needs {' and '.join(missing)}. The module normtutorial comes with the "
        f"book: run `{sys.executable} -m pip install . matplotlib` in the book's folder, where "
        "its pyproject.toml is, then restart the kernel."
    )"""


def with_needs(notebook: str) -> str:
    """The notebook with the cell in front."""
    content = json.loads(notebook)
    cell = {
        "cell_type": "code", "id": "needs", "metadata": {}, "execution_count": None, "outputs": [],
        "source": NEEDS.splitlines(keepends=True),
    }  # fmt: skip
    content["cells"].insert(0, cell)
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def finish(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    site, sources = Path(app.outdir), Path(app.srcdir)
    for path in site.glob("_sources/**/*.ipynb"):
        original = sources / path.relative_to(site / "_sources")
        notebook = with_needs(original.read_text("utf-8"))
        path.write_text(notebook, "utf-8")
        script = f"window.normtutorial.notebook = {json.dumps(notebook, ensure_ascii=False)};\n"
        path.with_name(f"{path.name}.js").write_text(script, "utf-8")
    for path in site.rglob("*.html"):
        old = path.read_text("utf-8")
        new = LINK.sub("<a download ", old)
        if new != old:
            path.write_text(new, "utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_js_file("downloads.js", priority=900)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
