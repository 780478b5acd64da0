"""Where the built pages are, and what they weigh."""

import gzip

from chapters import ROOT

SITE = ROOT / "_build" / "html"


def compressed(body: bytes, kind: str) -> int:
    """Bytes that a static host sends of a content type: text gzipped, the rest as it is."""
    texts = ("text/", "javascript", "json", "svg", "xml")
    return len(gzip.compress(body, 6)) if any(text in kind for text in texts) else len(body)
