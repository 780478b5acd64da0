"""Sphinx extension: pages leave out the scripts that they do not need.

The theme brings its icons twice, as a font and as a script with all of them (half a megabyte);
the font is enough. MathJax is for pages with formulas. And two lists are mended: the entries of a
bibliography are list items, since the role that docutils gives them is deprecated; and in the index
of the sources a list inside a list belongs to an item of it.
"""

import re
from pathlib import Path
from typing import Any

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
    for script in site.glob("_static/scripts/fontawesome.js*"):
        script.unlink()


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
