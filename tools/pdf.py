"""Print the built book as one PDF: ``make pdf``.

The browser prints each page; the sheets are joined after a title page and the contents, numbered,
and given an outline. Links between pages of the book lead inside the PDF. It lies beside the pages,
which link it from then on.
"""

import io
import re
import sys
from html import escape
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from playwright.sync_api import Page, PdfMargins
from pypdf import PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject,
    Destination,
    DictionaryObject,
    FloatObject,
    NameObject,
    NullObject,
)

import chapters
from browser import launched, typeset
from normtutorial import __version__

SITE = chapters.ROOT / "_build" / "html"
TARGET = SITE / "normtutorial.pdf"
MARGIN: PdfMargins = {"top": "18mm", "bottom": "20mm", "left": "18mm", "right": "18mm"}
OPEN = "document.querySelectorAll('.tag_hide-cell details').forEach(d => d.open = true)"
PLACE = re.compile(r'<p id="book-as-pdf"( hidden)?>.*?</p>', re.DOTALL)  # book/_templates/pdf.html
STYLE = """
<style>
  @page { size: A4; margin: 25mm }
  body { font: 11pt/1.5 "DejaVu Sans", sans-serif; margin: 0; color: #000 }
  a { color: inherit; text-decoration: none }
  svg { width: 40mm; display: block; margin: 45mm auto 12mm }
  .title { text-align: center; break-after: page }
  .title h1 { font-size: 30pt; line-height: 1.2; margin: 0 }
  .title p { margin: 6mm 0 }
  h2 { font-size: 20pt; margin: 0 0 6mm }
  h3 { font-size: 12pt; margin: 5mm 0 1mm }
  .line { display: flex; gap: 2mm }
  .line span { flex: 1; border-bottom: 1px dotted #888; margin-bottom: 1.6mm }
</style>
"""


class Chapter(NamedTuple):
    """A printed page of the book, and the sections in it with the sheet on which each begins."""

    document: str
    caption: str | None
    title: str
    printed: PdfReader
    sections: list[tuple[str, int]]


def sections(page: Page, printed: PdfReader) -> list[tuple[str, int]]:
    """The headings of the second order; the browser's outline says on which sheet they are."""
    inner = next((entry for entry in printed.outline if isinstance(entry, list)), [])
    sheets = [
        printed.get_destination_page_number(entry) or 0
        for entry in inner
        if isinstance(entry, Destination)
    ]
    headings = page.locator("article h2:not(.demo *)")  # demonstrations are not printed
    titles = [text.removesuffix("#") for text in headings.all_inner_texts()]
    return list(zip(titles, sheets, strict=True))


def chapter(page: Page, caption: str | None, document: str) -> Chapter:
    """Print one page of the book."""
    page.goto((SITE / f"{document}.html").as_uri())
    typeset(page)
    page.evaluate(OPEN)
    title = page.locator("article h1").first.inner_text().removesuffix("#")
    pdf = page.pdf(
        format="A4", margin=MARGIN, scale=0.85, print_background=True, outline=True, tagged=True
    )
    printed = PdfReader(io.BytesIO(pdf))
    return Chapter(document, caption, " ".join(title.split()), printed, sections(page, printed))


def front(page: Page, book: list[Chapter], sheets: int) -> PdfReader:
    """The title page and the contents, for a book that begins after so many sheets."""
    logo = (chapters.ROOT / "book" / "_static" / "logo.svg").read_text("utf-8")
    body = [
        f"{STYLE}<div class='title'>{logo}<h1>Normalization in deep learning</h1>",
        f"<p>A book of measured claims</p><p>the normtutorial authors</p><p>{__version__}</p>",
        "<p>Code: MIT License. Prose and figures: CC BY 4.0.</p></div><h2>Contents</h2>",
    ]
    number, caption = sheets + 1, None
    for one in book:
        if one.caption != caption:
            body.append(f"<h3>{escape(one.caption or '')}</h3>")
            caption = one.caption
        address = (SITE / f"{one.document}.html").as_uri()
        body.append(
            f'<a class="line" href="{address}">{escape(one.title)}<span></span>{number}</a>'
        )
        number += len(one.printed.pages)
    page.set_content("".join(body))
    return PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True, print_background=True)))


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


def join(book: list[Chapter], opening: PdfReader) -> tuple[PdfWriter, dict[str, int]]:
    """All sheets with an outline, and on which each page of the book begins."""
    writer, first = PdfWriter(), {}
    writer.append(opening, import_outline=False)
    writer.add_outline_item(title="Contents", page_number=1)
    parent, caption = None, None
    for one in book:
        first[one.document] = len(writer.pages)
        writer.append(one.printed, import_outline=False)
        if one.caption != caption:
            caption = one.caption
            parent = writer.add_outline_item(
                title=str(caption), page_number=first[one.document], bold=True
            )
        entry = writer.add_outline_item(
            title=one.title, page_number=first[one.document], parent=parent
        )
        for title, sheet in one.sections:
            number = first[one.document] + sheet
            writer.add_outline_item(title=title, page_number=number, parent=entry)
    return writer, first


def link_from_the_pages(sheets: int) -> None:
    """Have every page link the PDF, in the place that it keeps for that."""
    size = TARGET.stat().st_size / 1e6
    for path in SITE.rglob("*.html"):
        up = "../" * (len(path.relative_to(SITE).parts) - 1)
        link = f'<a href="{up}{TARGET.name}">The book as a PDF</a>'
        line = f'<p id="book-as-pdf">{link}, {sheets} sheets, {size:.0f} MB</p>'
        text = path.read_text("utf-8")
        if PLACE.search(text):
            path.write_text(PLACE.sub(line, text), "utf-8")


def main() -> int:
    if not SITE.is_dir():
        print("pdf: the book is not built yet; run `make book` first.", file=sys.stderr)
        return 1
    with launched() as browser:
        page = browser.new_page(color_scheme="light")
        book = [chapter(page, part, one) for part, listed in chapters.parts() for one in listed]
        opening = front(page, book, 2)
        if len(opening.pages) > 2:  # the contents are longer, so all begins later
            opening = front(page, book, len(opening.pages))
        writer, first = join(book, opening)
        stamps = numbers(page, len(writer.pages))
    for sheet, stamp in zip(writer.pages[1:], stamps.pages[1:], strict=True):
        sheet.merge_page(stamp)
    for sheet in writer.pages:
        sheet.compress_content_streams()
    lead_inside(writer, first)
    writer.add_metadata({
        "/Title": "Normalization in deep learning, measured",
        "/Author": "the normtutorial authors",
    })  # fmt: skip
    writer.page_mode = "/UseOutlines"
    writer.compress_identical_objects()
    writer.write(TARGET)
    link_from_the_pages(len(writer.pages))
    size = TARGET.stat().st_size / 1e6
    print(f"The book as a PDF: {TARGET} ({len(writer.pages)} sheets, {size:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
