"""Sphinx extension: the book brings its own MathJax, so formulas show without a network."""

from importlib.util import find_spec
from pathlib import Path
from shutil import copyfile
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

SCRIPT = "tex-svg.js"  # one file, with the glyphs as outlines: no font to fetch


def _configure(app: Sphinx, config: Config) -> None:
    config.mathjax_path = f"mathjax/{SCRIPT}"
    settings = dict(config.mathjax3_config or {})
    # The menu would load further files, which are not here.
    settings["options"] = {**settings.get("options", {}), "enableMenu": False}
    config.mathjax3_config = settings


def _copy(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    package = find_spec("sphinx-mathjax-offline")
    if package is None or not package.submodule_search_locations:
        raise ExtensionError("The package sphinx-mathjax-offline is missing; run `make venv`.")
    source = Path(package.submodule_search_locations[0], "static", "mathjax", SCRIPT)
    target = Path(app.outdir, "_static", "mathjax", SCRIPT)
    target.parent.mkdir(parents=True, exist_ok=True)
    copyfile(source, target)


def setup(app: Sphinx) -> dict[str, Any]:
    # Late, so that what myst-parser sets is there already.
    app.connect("config-inited", _configure, priority=900)
    app.connect("build-finished", _copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
