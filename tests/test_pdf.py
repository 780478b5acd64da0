"""The PDF of the book: its outline, and the link to it from the pages."""

import io

from pypdf import PdfReader, PdfWriter

import pdf


def printed(sheets: int) -> PdfReader:
    writer = PdfWriter()
    for _ in range(sheets):
        writer.add_blank_page(100, 100)
    stream = io.BytesIO()
    writer.write(stream)
    return PdfReader(stream)


def test_the_outline_has_parts_chapters_and_sections_on_their_sheets():
    book = [
        pdf.Chapter("intro", None, "First", printed(2), [("Here", 1)]),
        pdf.Chapter("a", "Part", "1. A", printed(3), [("1.1. B", 0), ("1.2. C", 2)]),
        pdf.Chapter("d", "Part", "2. D", printed(1), []),
    ]
    writer, first = pdf.join(book, printed(2))
    assert first == {"intro": 2, "a": 4, "d": 7}
    stream = io.BytesIO()
    writer.write(stream)
    reader = PdfReader(stream)

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
