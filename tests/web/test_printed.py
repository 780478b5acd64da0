"""Pages printed for the PDF: numbers of sheets behind links, anchors, what is for paper only."""

import pytest

import pdf

PAGE = """<!doctype html><html><head><style>
.in-pdf {{ display: none }} .chapter {{ break-before: page }}
</style></head><body><article><section><h1>{title}</h1>{body}</section></article></body></html>"""
FIRST = """<p class="not-in-pdf">On the screen.</p><p class="in-pdf">On paper.</p>
<p>Near <a href="#far">far</a>, word <a class="glossary-word" href="b/two.html#goal">word</a>,
see <a href="b/two.html#goal">the goal</a>, see <a href="b/two.html">the page</a>,
out <a href="https://example.org/">there</a>.</p>
<section class="chapter"><h2>One <a class="headerlink" href="b/two.html">#</a></h2>
<p id="far">Far.</p></section>"""
SECOND = """<section class="chapter"><h2>Two</h2></section>
<section class="chapter exercise-list"><h2 id="goal">Three</h2>
<div class="admonition"><p class="admonition-title">Title</p><p>Body</p></div></section>"""


@pytest.fixture
def book(tmp_path, monkeypatch, browser):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.html").write_text(PAGE.format(title="A", body=FIRST))
    (tmp_path / "b" / "two.html").write_text(PAGE.format(title="B", body=SECOND))
    monkeypatch.setattr(pdf, "SITE", tmp_path)
    monkeypatch.setattr(pdf, "pages", lambda: iter([("Part", "a"), ("Part", "b/two")]))
    page = browser.new_page()
    yield pdf.whole(page)[0]
    page.close()


def words(chapter, sheet):
    return " ".join(chapter.printed.pages[sheet].extract_text().split())


def test_behind_a_link_to_another_page_stands_the_sheet_of_its_very_place(book):
    one, two = book  # behind the title page and the contents
    assert [len(chapter.printed.pages) for chapter in book] == [2, 3]
    text = words(one, 0)
    assert "the goal p. 7" in text and "the page p. 5" in text
    assert text.count("p.") == 2  # neither near, nor words of the glossary, nor other hosts
    assert "Three" in words(two, 2)
    assert one.anchors["far"].sheet == 1 and two.anchors["goal"].sheet == 2


def test_sections_have_their_own_names_and_sheets(book):
    assert [chapter.sections for chapter in book] == [[("One", 1)], [("Two", 1), ("Three", 2)]]


def test_what_is_for_paper_is_printed_and_of_listed_exercises_the_titles(book):
    one, two = book
    assert "On paper." in words(one, 0) and "On the screen." not in words(one, 0)
    assert "Title" in words(two, 2) and "Body" not in words(two, 2)
