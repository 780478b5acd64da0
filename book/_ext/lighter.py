"""Sphinx extension: pages leave out the scripts that they do not need.

The theme brings its icons twice, as a font and as a script with all of them (half a megabyte);
the font is enough. MathJax is for pages with formulas. And the entries of a bibliography, a list,
are list items: the role that docutils gives them is deprecated.
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


def lighten(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    for path in site.rglob("*.html"):
        old = path.read_text("utf-8")
        new = ICONS.sub("", old).replace('role="doc-biblioentry"', 'role="listitem"')
        if not re.search(r'class="[^"]*\bmath\b', new):
            new = MATHJAX.sub("", new)
        if new != old:
            path.write_text(new, "utf-8")
    for script in site.glob("_static/scripts/fontawesome.js*"):
        script.unlink()


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
