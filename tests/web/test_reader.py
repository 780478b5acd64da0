"""What a new reader does first: search, download, read on a phone; all of it without a server."""

import json

import pytest

from browser import typeset
from built import SITE
from chapters import documents

HOME = SITE.as_uri()
WIDE, TABLET, PHONE = ({"width": width, "height": 800} for width in (1280, 900, 390))


def address(chapter, anchor=""):
    document = next(one for one in documents() if one.endswith(chapter))
    return f"{HOME}/{document}.html{anchor}"


@pytest.fixture
def visit(browser):
    """Open a page in a window of a size."""
    contexts = []

    def go(url, size=WIDE, **options):
        contexts.append(browser.new_context(viewport=size, reduced_motion="reduce", **options))
        page = contexts[-1].new_page()
        page.goto(url)
        return page

    yield go
    for context in contexts:
        context.close()


def found(page):
    """The addresses of the results, from the root of the site."""
    links = page.locator("#search-results > li > a").all()
    return [link.get_attribute("href").removeprefix("book/") for link in links]


@pytest.mark.parametrize(
    "words, word, section",
    [
        ("eps", "epsilon", "2_normalizations/batch_norm.html#one-mean-for-each-feature"),
        ("ε", "epsilon", "2_normalizations/batch_norm.html#one-mean-for-each-feature"),
        ("γ", "scale", "2_normalizations/batch_norm.html#one-mean-for-each-feature"),
        ("gamma", "scale", "2_normalizations/batch_norm.html#one-mean-for-each-feature"),
        ("inference", "eval-mode", "2_normalizations/running_statistics.html#"),
        ("RMSNorm", "RMS-norm", "2_normalizations/layer_norm.html#one-formula-five-names"),
        ("batch norm", "batch-norm", "2_normalizations/batch_norm.html#one-mean-for-each-feature"),
        ("GroupNorm", "group-norm", "2_normalizations/layer_norm.html#one-formula-five-names"),
        ("dying relu", "dead-unit", "1_before/experiment.html#the-units-that-do-not-survive-it"),
        ("exploding gradient", "exploding-gradient", "1_before/signals.html#"),
        ("vanishing gradients", "exploding-gradient", "1_before/signals.html#"),
        ("edge of stability", "edge-of-stability", "3_why/curvature.html#the-sharpness-that-a"),
        ("free weight", "free-weight", "3_why/scale_invariance.html#whose-length-is-free"),
        ("ghost batch norm", "ghost-batch-norm", "3_why/batch_size.html#ghosts"),
        ("batch renorm", "batch-renormalization", "3_why/batch_size.html#two-images"),
        ("REPAIR", "REPAIR", "3_why/averaging.html#without-batch-norm"),
        ("AdaIN", "adaptive-instance-norm", "4_after/convolutions.html#the-painter"),
        ("DeepNorm", "DeepNorm", "4_after/transformers.html#what-the-stream-carries"),
        ("QK norm", "QK-norm", "4_after/transformers.html#logits-that-grow"),
        ("ReZero", "SkipInit", "4_after/without.html#begin-with-nothing-in-the-branch"),
        ("DyT", "DyT", "4_after/without.html#a-curve-in-place-of-a-norm"),
        ("bfloat16", "half-precision", "5_engineering/numerics.html#what-a-number-can-hold"),
        ("roofline", "roofline", "5_engineering/speed.html#the-road-of-this-machine"),
        ("SyncBN", "SyncBatchNorm", "5_engineering/many_machines.html#two-sums"),
    ],
)
def test_a_search_leads_to_the_word_and_to_the_section_that_explains_it(
    visit, words, word, section
):
    page = visit(f"{HOME}/search.html?q={words}")
    first, second, *_ = found(page)
    assert first == f"reference/glossary.html#term-{word}"
    assert second.startswith(section)
    page.locator("#search-results > li > a").nth(1).click()
    page.wait_for_url(f"**/{second}")
    place = page.locator(f"[id='{second.partition('#')[2]}']")
    place.wait_for()
    assert 0 <= place.bounding_box()["y"] < 300  # it is at the top of the window


def test_a_search_explains_where_there_is_no_section_and_excerpts_are_there_without_a_server(visit):
    page = visit(f"{HOME}/search.html?q=dropout")
    assert found(page)[0] == "reference/glossary.html#term-dropout"
    assert "at random" in page.locator("#search-results > li > p").first.inner_text()
    page.locator(".bd-search-container input[name=q]").fill("epsilon")
    assert page.locator("#search-results mark").first.inner_text() == "ε"


def test_whole_words_come_alone_and_parts_of_words_only_where_there_is_no_other(visit):
    page = visit(f"{HOME}/search.html?q=eps")
    assert not any("steps" in one for one in found(page))
    field = page.locator(".bd-search-container input[name=q]")
    field.fill("recalibr")
    assert "recalibration" in page.locator("#search-results").inner_text()
    for half in ("exploding", "vanishing"):
        field.fill(half)
        assert found(page)[0] == "reference/glossary.html#term-exploding-gradient"
    field.fill("nosuchword")
    assert found(page) == []
    assert page.locator("#search-status").inner_text() == "No places for “nosuchword”."


def test_a_symbol_does_not_find_everyday_words_and_the_list_of_claims_is_found_by_its_title(visit):
    page = visit(f"{HOME}/search.html?q=β")
    marked = {one.lower() for one in page.locator("#search-results mark").all_inner_texts()}
    assert "β" in marked and marked <= {"β", "beta", "betas"}  # those of Adam
    field = page.locator(".bd-search-container input[name=q]")
    field.fill("shift")
    assert "shift" in page.locator("#search-results mark").all_inner_texts()
    field.fill("all claims")
    assert "reference/claims.html" in found(page)[:2]
    texts = page.evaluate("window.normtutorial.sections.map(one => [one.url, one.text])")
    assert [text for url, text in texts if "reference/claims.html" in url] == [""]
    assert not any("on unseen seeds ·" in text for _, text in texts)  # the line below a claim


def test_the_keyboard_finds_from_any_page(visit):
    page = visit(address("signals"))
    page.keyboard.press("Control+K")
    page.keyboard.type("RMSNorm")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=RMSNorm")
    assert found(page)[0] == "reference/glossary.html#term-RMS-norm"


@pytest.mark.parametrize("way", ["http", "file"])
@pytest.mark.parametrize("control", [".chapter-facts a", ".btn-download-source-button"])
def test_a_notebook_downloads_and_begins_with_what_it_needs(visit, server, way, control, tmp_path):
    page = visit(address("signals").replace(HOME, server if way == "http" else HOME))
    if "btn" in control:
        page.locator(".dropdown-download-buttons > button").click()
    with page.expect_download(timeout=10_000) as download:
        page.locator(control).first.click()
    assert download.value.suggested_filename == "signals.ipynb"
    download.value.save_as(tmp_path / "signals.ipynb")
    cells = json.loads((tmp_path / "signals.ipynb").read_text("utf-8"))["cells"]
    assert "find_spec" in "".join(cells[0]["source"])
    assert "# Signals" in "".join(cells[1]["source"])


def test_panels_stand_in_a_column_on_a_phone_and_side_by_side_elsewhere(visit):
    ratio = "img => img.naturalHeight / img.naturalWidth"
    figure = "#fig-signals-units"
    for size, stands in ((PHONE, True), (WIDE, False)):
        page = visit(address("signals"), size)
        picture = page.locator(f"{figure} img")
        assert (picture.evaluate(ratio) > 1) == stands
        assert page.locator(f"{figure} .stacked-note").is_visible() == stands
        assert page.locator(figure).evaluate("f => f.scrollWidth <= f.clientWidth + 1")


def test_a_small_figure_is_shown_whole_on_a_phone(visit):
    figure = visit(address("intro"), PHONE).locator("#fig-intro-start")
    assert figure.evaluate("f => f.scrollWidth <= f.clientWidth + 1")


def test_a_figure_that_is_too_wide_says_so_and_scrolls_by_keyboard(visit):
    page = visit(address("signals"), PHONE)
    figure = page.locator("#fig-signals-forward")
    figure.scroll_into_view_if_needed()
    figure.locator(".scrolls-hint").wait_for()
    assert figure.get_attribute("tabindex") == "0"  # not every browser lets the Tab key stop here
    number = figure.locator(".caption-number").inner_text().strip()
    assert figure.get_attribute("aria-label") == f"{number} scrolls sideways."
    figure.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('#fig-signals-forward').scrollLeft > 0")
    page.set_viewport_size(WIDE)
    page.wait_for_function("!document.querySelector('#fig-signals-forward.scrolls')")
    assert figure.get_attribute("tabindex") is None


def test_a_formula_has_the_width_of_a_phone_and_says_so_where_that_is_not_enough(visit):
    page = visit(address("batch_norm"), PHONE)
    typeset(page)
    page.set_viewport_size({"width": 240, "height": 800})  # no formula is wider than a phone
    page.wait_for_selector("mjx-container.scrolls")
    for formula in page.locator("div.math > mjx-container").all():
        inside, wide, all_of_it = formula.evaluate(
            "m => [m.clientWidth, m.parentElement.clientWidth, m.scrollWidth]"
        )
        assert inside >= wide - 1  # its number takes no room beside it
        hint = formula.evaluate("m => m.previousElementSibling?.className === 'scrolls-hint'")
        assert hint == (all_of_it > inside + 1)
        assert (formula.get_attribute("tabindex") == "0") == hint


def test_a_margin_note_does_not_narrow_the_text_of_a_phone(visit):
    page = visit(address("running_statistics"), PHONE)
    note = page.locator("aside.margin").first
    assert note.evaluate("a => a.offsetWidth >= a.parentElement.clientWidth - 1")
    assert note.evaluate("a => getComputedStyle(a).float") == "none"


@pytest.mark.parametrize("size", [PHONE, TABLET], ids=["phone", "tablet"])
def test_the_way_to_the_top_covers_no_text_and_no_button(visit, size):
    page = visit(address("batch_norm"), size)
    typeset(page)  # until then the page has another height
    page.mouse.move(size["width"] / 2, 400)
    page.mouse.wheel(0, 3000)
    page.wait_for_function("window.scrollY > 2000")
    page.wait_for_timeout(600)  # the wheel runs on
    page.mouse.wheel(0, -300)
    button = page.locator("#pst-back-to-top")
    button.wait_for(state="visible", timeout=10_000)
    covered = button.evaluate("""top => {
      const t = top.getBoundingClientRect();
      const meets = e => { const r = e.getBoundingClientRect();
        return r.left < t.right && r.right > t.left && r.top < t.bottom && r.bottom > t.top; };
      const bar = document.querySelector('.bd-header-article').getBoundingClientRect();
      return [t.bottom <= bar.bottom,
              [...document.querySelectorAll('.bd-header-article :is(a, button)')].some(meets)];
    }""")
    assert covered == [True, False]


def test_the_first_page_shows_on_one_screen_what_it_is_four_ways_in_and_two_networks(
    visit,
):
    page = visit(address("intro"))
    assert page.locator(".ways-in a").count() == 4
    for thing in ("h1", ".ways-in", ".lab button"):
        box = page.locator(f"article {thing}").first.bounding_box()
        assert box["y"] + box["height"] <= WIDE["height"], thing


def test_the_index_leads_from_a_method_to_the_sections_that_explain_it(visit):
    page = visit(f"{HOME}/genindex.html")
    for method, chapter in (("batch norm", "batch_norm"), ("weight norm", "weight_norm"),
                            ("group norm", "layer_norm"), ("RMS norm", "signals")):  # fmt: skip
        entry = page.locator("li", has=page.get_by_role("link", name=method, exact=True)).last
        links = [a.get_attribute("href") for a in entry.locator("ul a").all()]
        assert any(f"/{chapter}.html#" in link for link in links), (method, links)


def test_the_index_has_each_letter_once_and_sections_below_every_spelling(visit):
    page = visit(f"{HOME}/genindex.html")
    letters = page.locator("article h2").all_inner_texts()
    assert all(letter.strip("#") in {"Symbols", "_"} or letter.isascii() for letter in letters)
    for spelling in ("eps", "ε", "epsilon", "γ", "β"):
        entry = page.locator("li", has=page.get_by_role("link", name=spelling, exact=True)).last
        assert entry.locator("ul a").count() > 0, spelling
