"""Sphinx extension: pages leave out the scripts that they do not need.

The theme brings its icons twice, as a font and as a script with all of them (half a megabyte);
the font is enough. Its maps of scripts and styles, for those who change it, are not needed.
MathJax is for pages with formulas. Figures are stored with 256 colors, which is half of their
weight and nothing that one sees. And two lists are mended: the entries of a bibliography are list
items, since the role that docutils gives them is deprecated; and in the index of the sources a list
inside a list belongs to an item of it.
"""

import re
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from sphinx.application import Sphinx

ICONS = re.compile(
    r"<script[^>]*/fontawesome\.js[^>]*></script>\s*|<link[^>]*/fontawesome\.js[^>]*>\s*"
)
MATHJAX = re.compile(
    r"<script[^>]*mathjax/[^>]*></script>\s*|<script>window\.MathJax = .*?</script>\s*"
)
INNER_LIST = re.compile(r"</li>\s*<ul>(<li>.*?)</ul>(?=<li>|</ul>)", re.DOTALL)


def lighten(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    for path in site.rglob("*.html"):
        old = path.read_text("utf-8")
        new = ICONS.sub("", old).replace('role="doc-biblioentry"', 'role="listitem"')
        if path.parent.name == "_modules":
            new = INNER_LIST.sub(r"<ul>\1</ul></li>", new)
        if not re.search(r'class="[^"]*\bmath\b', new):
            new = MATHJAX.sub("", new)
        if new != old:
            path.write_text(new, "utf-8")
    for unused in [*site.glob("_static/scripts/fontawesome.js*"), *site.glob("_static/**/*.map")]:
        unused.unlink(missing_ok=True)
    for path in site.glob("_images/*.png"):
        reduce_colors(path)


def reduce_colors(path: Path) -> None:
    """Write an opaque picture with a palette of its own, if it gets smaller by it."""
    with Image.open(path) as picture:
        if picture.mode == "P" or picture.convert("RGBA").getchannel("A").getextrema()[0] < 255:
            return
        few = picture.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT)
    small = BytesIO()
    few.save(small, "PNG", optimize=True)
    if small.tell() < path.stat().st_size:
        path.write_bytes(small.getvalue())


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
