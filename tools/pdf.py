"""Print the built book as one PDF: ``make pdf``.

The browser prints each page; the sheets are joined, numbered, and given an outline. Links between
pages of the book lead inside the PDF.
"""

import io
import sys
from urllib.parse import unquote, urlsplit

from playwright.sync_api import Page, PdfMargins
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, FloatObject, NameObject, NullObject

import chapters
from browser import launched, typeset

SITE = chapters.ROOT / "_build" / "html"
TARGET = chapters.ROOT / "_build" / "normtutorial.pdf"
MARGIN: PdfMargins = {"top": "18mm", "bottom": "20mm", "left": "18mm", "right": "18mm"}
OPEN = "document.querySelectorAll('.tag_hide-cell details').forEach(d => d.open = true)"


def sheets(page: Page, document: str) -> tuple[str, PdfReader]:
    """Title and printed sheets of one page."""
    page.goto((SITE / f"{document}.html").as_uri())
    typeset(page)
    page.evaluate(OPEN)
    title = page.locator("h1").first.evaluate("h => h.firstChild.textContent + [...h.childNodes]"
        ".slice(1).filter(n => !n.classList || !n.classList.contains('headerlink'))"
        ".map(n => n.textContent).join('')")  # fmt: skip
    pdf = page.pdf(format="A4", margin=MARGIN, scale=0.85, print_background=True, tagged=True)
    return " ".join(title.split()), PdfReader(io.BytesIO(pdf))


def numbers(page: Page, count: int) -> PdfReader:
    """As many sheets with nothing but their number at the foot."""
    style = "@page{margin:0;size:A4} div{height:297mm;position:relative;break-after:page}"
    foot = "p{position:absolute;bottom:6mm;width:100%;text-align:center;font:9pt sans-serif}"
    body = "".join(f"<div><p>{number}</p></div>" for number in range(1, count + 1))
    page.set_content(f"<style>{style}{foot}*{{margin:0}}</style>{body}")
    return PdfReader(io.BytesIO(page.pdf(format="A4", prefer_css_page_size=True)))


def lead_inside(writer: PdfWriter, first: dict[str, int]) -> None:
    """Turn links to pages of the book into links to their first sheet; drop other local ones."""
    base = SITE.as_uri() + "/"
    for sheet in writer.pages:
        kept = ArrayObject()
        for reference in sheet.get("/Annots", ArrayObject()):
            link = reference.get_object()
            uri = str(link.get("/A", {}).get("/URI", ""))
            if uri.startswith("file:"):
                path = unquote(urlsplit(uri.removeprefix(base)).path).removesuffix(".html")
                if path not in first:
                    continue
                target = writer.pages[first[path]].indirect_reference
                link[NameObject("/A")] = DictionaryObject({
                    NameObject("/S"): NameObject("/GoTo"),
                    NameObject("/D"): ArrayObject([
                        target, NameObject("/XYZ"), NullObject(), FloatObject(842), NullObject(),
                    ]),
                })  # fmt: skip
            kept.append(reference)
        if kept:
            sheet[NameObject("/Annots")] = kept
        elif "/Annots" in sheet:
            del sheet["/Annots"]


def main() -> int:
    if not SITE.is_dir():
        print("pdf: the book is not built yet; run `make book` first.", file=sys.stderr)
        return 1
    writer, first = PdfWriter(), {}
    with launched() as browser:
        page = browser.new_page(color_scheme="light")
        for caption, documents in chapters.parts():
            parent = None
            for document in documents:
                title, printed = sheets(page, document)
                first[document] = len(writer.pages)
                writer.append(printed, import_outline=False)
                if caption and parent is None:
                    parent = writer.add_outline_item(
                        title=caption, page_number=first[document], bold=True
                    )
                writer.add_outline_item(title=title, page_number=first[document], parent=parent)
        stamps = numbers(page, len(writer.pages))
    for sheet, stamp in zip(writer.pages, stamps.pages, strict=True):
        sheet.merge_page(stamp)
    lead_inside(writer, first)
    writer.add_metadata({
        "/Title": "Normalization in deep learning, measured",
        "/Author": "the normtutorial authors",
    })  # fmt: skip
    writer.page_mode = "/UseOutlines"
    writer.compress_identical_objects()
    writer.write(TARGET)
    size = TARGET.stat().st_size / 1e6
    print(f"The book as a PDF: {TARGET} ({len(writer.pages)} sheets, {size:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
