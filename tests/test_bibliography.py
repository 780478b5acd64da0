"""Each entry of the bibliography is cited on some page; a citation without one stops the build."""

import re

import chapters

ENTRY = re.compile(r"^@\w+\{(\w+),$", re.MULTILINE)
CITED = re.compile(r"\{cite:\w+\}`([\w,\s]+)`")


def test_every_entry_of_the_bibliography_is_cited():
    entries = ENTRY.findall((chapters.ROOT / "references.bib").read_text("utf-8"))
    pages = [*chapters.ROOT.glob("book/*/*.ipynb"), *chapters.ROOT.glob("book/*/*.md")]
    texts = [page.read_text("utf-8") for page in pages]
    cited = {
        key.strip() for text in texts for keys in CITED.findall(text) for key in keys.split(",")
    }
    assert len(entries) == len(set(entries)) > 0
    assert set(entries) <= cited, set(entries) - cited
