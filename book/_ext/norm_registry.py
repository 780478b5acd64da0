"""Sphinx extension: the pages' scripts find the module's registry of norms in ``norms.js``.

It is a classic script, since a page that was opened as a file cannot load any other kind, and it
is loaded before those that read ``window.normtutorial.norms``.
"""

import json
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from normtutorial.norms import NORMS, ORIGINAL

SCRIPT = "norms.js"
BEFORE = 500  # scripts named in the configuration have 800


def write(app: Sphinx) -> None:
    if app.builder.format != "html":
        return
    norms = {
        norm.name: {"label": norm.label, "color": norm.color}
        for norm in (*NORMS.values(), ORIGINAL)
    }
    target = Path(app.outdir, "_static", SCRIPT)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(f"window.normtutorial = {json.dumps({'norms': norms})};\n", "utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_js_file(SCRIPT, priority=BEFORE)
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
