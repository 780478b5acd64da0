"""The PDF of the book: its outline, where its links lead, and the link to it from the pages."""

import io

from pypdf import PdfReader, PdfWriter
from pypdf.annotations import Link
from pypdf.generic import DictionaryObject, NameObject, TextStringObject

import pdf


def read(writer: PdfWriter) -> PdfReader:
    stream = io.BytesIO()
    writer.write(stream)
    return PdfReader(stream)


def printed(sheets: int, *links: tuple[str, str]) -> PdfReader:
    """Blank sheets; on the first one links, each a key and what it names."""
    writer = PdfWriter()
    for _ in range(sheets):
        writer.add_blank_page(100, 100)
    for key, to in links:
        link = writer.add_annotation(0, Link(rect=(0, 0, 9, 9), url="http://example.org"))
        if key == "/Dest":  # as the browser names a place of the same page
            del link["/A"]
            writer.add_named_destination(to, 0)
            link[NameObject("/Dest")] = TextStringObject(to)
        else:
            link[NameObject("/A")] = DictionaryObject({
                NameObject("/S"): NameObject("/URI"), NameObject("/URI"): TextStringObject(to),
            })  # fmt: skip
    return read(writer)


def chapter(document, title, sheets, sections=(), anchors=(), links=(), caption="Part"):
    pages = printed(sheets, *links)
    return pdf.Chapter(document, caption, title, pages, list(sections), dict(anchors))


def test_the_outline_has_parts_chapters_and_sections_on_their_sheets():
    book = [
        chapter("intro", "First", 2, [("Here", 1)], caption=None),
        chapter("a", "1. A", 3, [("1.1. B", 0), ("1.2. C", 2)]),
        chapter("d", "2. D", 1),
    ]
    writer, first = pdf.join(book, printed(2))
    assert first == {"intro": 2, "a": 4, "d": 7}
    reader = read(writer)

    def listed(entries) -> list:
        return [
            listed(entry)
            if isinstance(entry, list)
            else (entry.title, reader.get_destination_page_number(entry))
            for entry in entries
        ]

    assert listed(reader.outline) == [
        ("Contents", 1),
        ("First", 2),
        [("Here", 3)],
        ("Part", 4),
        [("1. A", 4), [("1.1. B", 4), ("1.2. C", 6)], ("2. D", 7)],
    ]


def test_links_lead_to_their_places_and_names_to_those_of_their_own_chapter():
    to_d = pdf.address("d", "figure")
    links = [
        ("/Dest", "exercise-1"), ("/URI", to_d), ("/URI", pdf.address("d", "unknown")),
        ("/URI", pdf.address("not_printed")), ("/URI", "https://example.org/"),
    ]  # fmt: skip
    book = [
        chapter("a", "1. A", 2, anchors={"exercise-1": pdf.Spot(1, 70)}, links=links),
        chapter(
            "d", "2. D", 3, links=links[:1],
            anchors={"exercise-1": pdf.Spot(2, 60), "figure": pdf.Spot(1, 50)},
        ),
    ]  # fmt: skip
    writer, first = pdf.join(book, printed(1))
    pdf.lead_inside(writer, book, first)
    reader = read(writer)

    def led(sheet: int) -> list:
        annotations = reader.pages[sheet].annotations or []
        actions = [entry.get_object()["/A"] for entry in annotations]
        return [
            action["/URI"]
            if action["/S"] == "/URI"
            else (reader.get_page_number(action["/D"][0].get_object()), float(action["/D"][3]))
            for action in actions
        ]

    assert led(1) == [(2, 70), (4, 50), (3, 100), "https://example.org/"]
    assert led(3) == [(5, 60)]
    numbers = pdf.numbered(book, sheets=1)  # as they stand on the sheets, from 1
    assert numbers == {
        pdf.address("a"): 2, pdf.address("a", "exercise-1"): 3,
        pdf.address("d"): 4, pdf.address("d", "exercise-1"): 6, to_d: 5,
    }  # fmt: skip


def test_the_anchors_that_other_pages_want_are_known(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf, "SITE", tmp_path)
    monkeypatch.setattr(pdf, "pages", lambda: iter([(None, "intro"), ("Part", "part/a")]))
    (tmp_path / "part").mkdir()
    (tmp_path / "intro.html").write_text(
        '<a href="part/a.html#one">a</a> <a href="#here">b</a> <a href="part/a.html">c</a>'
        '<a href="https://example.org/part/a.html#two">d</a> <a href="other.html#three">e</a>'
    )
    (tmp_path / "part" / "a.html").write_text('<a href="../intro.html#a&amp;b">f</a>')
    assert pdf.wanted() == {"part/a": {"one"}, "intro": {"a&b"}}


def test_every_page_links_the_pdf_once_it_is_there(tmp_path, monkeypatch):
    template = (pdf.chapters.ROOT / "book" / "_templates" / "pdf.html").read_text("utf-8")
    (tmp_path / "book").mkdir()
    pages = [tmp_path / "search.html", tmp_path / "book" / "one.html"]
    for page in pages:
        page.write_text(f"<nav>{template}</nav>", "utf-8")
    monkeypatch.setattr(pdf, "SITE", tmp_path)
    monkeypatch.setattr(pdf, "TARGET", tmp_path / "normtutorial.pdf")
    pdf.TARGET.write_bytes(b"0" * 2_000_000)
    for sheets in (7, 8):  # printed once more, the line is new
        pdf.link_from_the_pages(sheets)
        for page, up in zip(pages, ("", "../"), strict=True):
            text = page.read_text("utf-8")
            assert text.count("book-as-pdf") == 1 and "hidden" not in text
            assert (
                f'<a href="{up}normtutorial.pdf">The book as a PDF</a>, {sheets} sheets, 2 MB'
                in text
            )
