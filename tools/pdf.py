"""Print the built book as one PDF: ``make pdf``.

The browser prints each page; the sheets are joined after a title page and the contents, numbered,
and given an outline. Links between pages of the book lead inside the PDF, to the very place, and
behind each stands the number of its sheet, for those who read on paper. That is known only once all
is printed, so all is printed again until no number has changed. The PDF lies beside the pages,
which link it from then on.
"""

import io
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from html import escape, unescape
from typing import NamedTuple
from urllib.parse import unquote

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
MARGIN: PdfMargins = {"top": "18mm", "bottom": "20mm", "left": "23mm", "right": "23mm"}
# What is looked up and not read is printed small, and in two columns where it is not too wide.
FINE = {"exercises", "claims", "glossary", "bibliography", "api", "changes", "genindex"}
WIDE = {"api", "genindex"}
UNKNOWN = 0  # a number has room for three digits, so that nothing moves once it is known
READY = """
([ids, sheets]) => {
  document.querySelectorAll(".tag_hide-cell details").forEach(fold => { fold.open = true; });
  const article = document.querySelector("article");
  for (const id of ids) {  // the browser keeps the place of what a link of the same page leads to
    const mark = document.createElement("a");
    mark.href = "#" + id;
    mark.hidden = true;
    article.append(mark);
  }
  const page = address => address.split("#")[0];
  for (const link of article.querySelectorAll("a:not(.glossary-word, .headerlink)")) {
    const sheet = sheets[link.href] ?? sheets[page(link.href)];
    const near = page(link.href) === page(location.href);
    if (sheet === undefined || near || link.href.includes("/bibliography.html#")) continue;
    link.insertAdjacentHTML("afterend", `<small>\u00a0p.\u00a0<span>${sheet}</span></small>`);
    link.nextSibling.className = "on-sheet";
  }
}
"""
HREF = re.compile(r'href="([^"#:]*)#([^"]+)"')
PLACE = re.compile(r'<p id="book-as-pdf"( hidden)?>.*?</p>', re.DOTALL)  # book/_templates/pdf.html
PAPER = """
  .on-sheet { font-size: .8em; color: #555; white-space: nowrap; }
  .on-sheet span { display: inline-block; min-width: 3ch; text-align: right; }
  .not-in-pdf, .exercise-list .admonition > :not(.admonition-title) { display: none !important; }
  .in-pdf { display: block !important; }
  .exercise-list .admonition { border: 0; box-shadow: none; margin: 0; padding: 0; }
  .exercise-list .admonition-title { background: none; margin: 0; padding: 0 1rem; }
  .exercise-list .admonition-title::before { display: none; }
  .exercise-list .admonition-title::after { display: none; }
"""
COLUMNS = """
  article > section { columns: 2; column-gap: 8mm; }
  article :is(h1, .pst-scrollable-table-container) { column-span: all; }
"""
STYLE = """
<style>
  @page { size: A4; margin: 20mm 25mm }
  body { font: 10pt/1.4 "DejaVu Sans", sans-serif; margin: 0; color: #000 }
  a { color: inherit; text-decoration: none }
  svg { width: 40mm; display: block; margin: 45mm auto 12mm }
  .title { text-align: center; break-after: page }
  .title h1 { font-size: 30pt; line-height: 1.2; margin: 0 }
  .title p { margin: 6mm 0 }
  h2 { font-size: 18pt; margin: 0 0 4mm }
  h3 { font-size: 11pt; margin: 3.5mm 0 1mm }
  .line { display: flex; gap: 2mm }
  .line span { flex: 1; border-bottom: 1px dotted #888; margin-bottom: 1.6mm }
</style>
"""


class Spot(NamedTuple):
    """A place of the PDF: a sheet, counted from 0, and how high on it."""

    sheet: int
    top: float


class Chapter(NamedTuple):
    """A printed page of the book, the sections in it with their sheets, and its anchors."""

    document: str
    caption: str | None
    title: str
    printed: PdfReader
    sections: list[tuple[str, int]]
    anchors: dict[str, Spot]


def pages() -> Iterator[tuple[str | None, str]]:
    """Every page of the book with the caption of its part, and the index at the end."""
    caption = None
    for caption, listed in chapters.parts():
        for document in listed:
            yield caption, document
    yield caption, "genindex"


def address(document: str, anchor: str = "") -> str:
    return (SITE / f"{document}.html").as_uri() + (f"#{anchor}" if anchor else "")


def wanted() -> dict[str, set[str]]:
    """The anchors of each page to which another one leads."""
    known = {SITE / f"{document}.html": document for _, document in pages()}
    found = defaultdict(set)
    for path in known:
        for to, anchor in HREF.findall(path.read_text("utf-8")):
            document = known.get((path.parent / unquote(to)).resolve()) if to else None
            if document:
                found[document].add(unescape(anchor))
    return found


def sections(titles: list[str], printed: PdfReader) -> list[tuple[str, int]]:
    """The headings of the second order; the browser's outline says on which sheet they are."""
    inner = next((entry for entry in printed.outline if isinstance(entry, list)), [])
    sheets = [
        printed.get_destination_page_number(entry) or 0
        for entry in inner
        if isinstance(entry, Destination)
    ]
    return list(zip(titles, sheets, strict=True))


def anchors(printed: PdfReader) -> dict[str, Spot]:
    """The places that links lead to; the browser has named them."""
    return {
        name.removeprefix("/"): Spot(
            printed.get_destination_page_number(to) or 0, float(to.top or 0)
        )
        for name, to in printed.named_destinations.items()
    }


def chapter(
    page: Page, caption: str | None, document: str, ids: set[str], sheets: dict[str, int]
) -> Chapter:
    """Print one page of the book."""
    page.goto(address(document))
    typeset(page)
    title, *inner = [
        " ".join(text.removesuffix("#").split())
        for text in page.locator("article :is(h1, h2):not(.demo *)").all_inner_texts()
    ]
    name = document.rsplit("/", 1)[-1]
    page.add_style_tag(content=PAPER + COLUMNS * (name in FINE - WIDE))
    page.evaluate(READY, [sorted(ids), sheets])
    scale = 0.68 if name in FINE else 0.85
    pdf = page.pdf(
        format="A4", margin=MARGIN, scale=scale, print_background=True, outline=True, tagged=True
    )
    printed = PdfReader(io.BytesIO(pdf))
    return Chapter(document, caption, title, printed, sections(inner, printed), anchors(printed))


def numbered(book: list[Chapter], sheets: int) -> dict[str, int]:
    """The number of the sheet of each address, for a book that begins after so many sheets."""
    number, found = sheets + 1, {}
    for one in book:
        found[address(one.document)] = number
        for anchor, spot in one.anchors.items():
            found[address(one.document, anchor)] = number + spot.sheet
        number += len(one.printed.pages)
    return found


def whole(page: Page) -> tuple[list[Chapter], PdfReader]:
    """All pages and what stands before them, printed until every number of a sheet is right."""
    ids = wanted()
    sheets = {address(document): UNKNOWN for _, document in pages()}
    for _ in range(5):
        book = [chapter(page, part, one, ids[one], sheets) for part, one in pages()]
        opening = front(page, book, 2)
        if len(opening.pages) > 2:  # the contents are longer, so all begins later
            opening = front(page, book, len(opening.pages))
        before, sheets = sheets, numbered(book, len(opening.pages))
        if sheets == before:
            return book, opening
    raise RuntimeError("The sheets do not settle: a page is printed differently each time.")


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
        href = address(one.document)
        body.append(f'<a class="line" href="{href}">{escape(one.title)}<span></span>{number}</a>')
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


def lead_inside(writer: PdfWriter, book: list[Chapter], first: dict[str, int]) -> None:
    """Lead links within the book to their places in the PDF; drop other local ones.

    A link within a page goes by a name, which other pages may have as well.
    """
    top = float(writer.pages[-1].mediabox.height)
    spots = {address(document): Spot(number, top) for document, number in first.items()}
    for one in book:
        for anchor, spot in one.anchors.items():
            place = Spot(first[one.document] + spot.sheet, spot.top)
            spots[address(one.document, anchor)] = place
    starts = {number: document for document, number in first.items()}
    document = ""
    for number, sheet in enumerate(writer.pages):
        document = starts.get(number, document)
        kept = ArrayObject()
        for reference in sheet.get("/Annots", ArrayObject()):
            link = reference.get_object()
            uri = str(link.get("/A", {}).get("/URI", ""))
            if "/Dest" in link:
                uri = address(document, str(link.pop("/Dest")).removeprefix("/"))
            if uri.startswith("file:"):
                target = spots.get(uri) or spots.get(uri.partition("#")[0])
                if target is None:
                    continue
                link[NameObject("/A")] = DictionaryObject({
                    NameObject("/S"): NameObject("/GoTo"),
                    NameObject("/D"): ArrayObject([
                        writer.pages[target.sheet].indirect_reference,
                        NameObject("/XYZ"), NullObject(), FloatObject(target.top), NullObject(),
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
        book, opening = whole(page)
        writer, first = join(book, opening)
        stamps = numbers(page, len(writer.pages))
    for sheet, stamp in zip(writer.pages[1:], stamps.pages[1:], strict=True):
        sheet.merge_page(stamp)
    for sheet in writer.pages:
        sheet.compress_content_streams()
    lead_inside(writer, book, first)
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
