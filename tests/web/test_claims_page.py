"""Claims, their list, guesses: as a reader uses them, with and without a script, and on paper."""

import re
from pathlib import Path

import axe_playwright_python
import pytest

from built import SITE
from chapters import documents, find
from normtutorial.claims import Claim
from normtutorial.norms import NORMS
from test_notebooks import claims
from test_pages import OVERFLOW

AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
SLIDER, CHOICES = "running_statistics", "batch_norm"  # the chapters with a guess of each kind


@pytest.fixture
def visit(browser):
    """Opens a page of the book, in a context with some options."""
    contexts = []

    def open_page(chapter: str, **options):
        context = browser.new_context(**options)
        context.set_default_timeout(20_000)
        context.set_default_navigation_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.goto(next(SITE / f"{d}.html" for d in documents() if d.endswith(chapter)).as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


def assert_accessible(page, part: str) -> None:
    assert page.evaluate(OVERFLOW) == [0, []]
    page.add_script_tag(path=AXE)
    ask = "part => axe.run(part).then(r => r.violations.map(v => v.nodes[0].html))"
    found = page.evaluate(ask, part)
    assert found == []


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_claim_is_read_once_and_its_check_opens_by_keyboard(visit, script):
    page = visit(CHOICES, java_script_enabled=script)
    made = claims(find(CHOICES))
    solutions = page.locator("details .claim").count()  # they stand at the end, and are closed
    shown = page.locator(".claim:visible").all_inner_texts()
    assert len(shown) == len(made) - solutions > 0
    for text, claim in zip(shown, made, strict=False):
        assert text.strip().startswith(claim.statement)
        assert claim.measured is None or f"measured {claim.measured}" in text
    fold = page.locator(".claim-check details").first
    assert fold.locator("summary").inner_text().strip() == "the check"
    assert not fold.locator("pre").is_visible()
    fold.locator("summary").press("Enter")
    assert "claim(" in fold.locator("pre").inner_text()


def test_on_paper_there_are_statements_and_answers_but_neither_checks_nor_controls(visit):
    page = visit(SLIDER)
    page.emulate_media(media="print")
    assert page.locator(".claim-statement").first.is_visible()
    assert not page.locator(".claim-check").first.is_visible()
    assert page.locator(".guess-answer").is_visible()
    assert not page.locator(".guess form").is_visible()
    page = visit(CHOICES)
    page.emulate_media(media="print")
    assert page.locator(".guess-choices li:visible").count() == 3


def test_every_block_leads_to_its_row_and_every_row_back(visit):
    page = visit(CHOICES)
    first = page.locator(".claim").first
    statement = first.locator(".claim-statement").inner_text()
    first.get_by_role("link", name=f"on the page of all claims: {statement}").click()
    row = page.locator("li.claim:target")
    assert row.locator(".claim-statement").inner_text() == statement
    row.get_by_role("link").click()
    assert page.locator(".claim:target .claim-statement").inner_text() == statement


@pytest.fixture(params=[{}, PHONE], ids=["desktop", "phone"])
def listing(visit, request):
    return visit("reference/claims", **request.param)


def rows(page, kind: str = "") -> int:
    return page.locator(f"ul.claim-list:not(.claim-failures) > li{kind}:visible").count()


def test_the_list_is_filtered_by_method_and_by_kind(listing):
    everything = rows(listing)
    status = listing.get_by_role("status")
    assert status.inner_text() == f"{everything} of {everything} claims are shown."
    listing.get_by_label("Method").select_option(label=NORMS["batch"].label)
    batch = rows(listing)
    assert 0 < batch < everything and batch == rows(listing, ".method-batch")
    assert status.inner_text() == f"{batch} of {everything} claims are shown."
    sections = listing.locator("section:visible:has(> ul.claim-list:not(.claim-failures))")
    headings = sections.locator("h2").all_inner_texts()
    assert (
        0 < len(headings) == listing.locator("ul.claim-list:not(.claim-failures):visible").count()
    )
    listing.get_by_label("Kind").select_option(label="exact")
    assert rows(listing) == rows(listing, ".kind-exact.method-batch")
    assert_accessible(listing, ".bd-article")
    listing.get_by_label("Method").select_option(label="all methods")
    listing.get_by_label("Kind").select_option(label="all kinds")
    assert rows(listing) == everything


@pytest.mark.parametrize(
    "name, said",
    [
        ("rms", r"\bRMS\b"),
        (
            "none",
            r"\bno norm|[Ww]ithout norm|plain network|with no,|"
            r"norm,? (as|.* than .*) without\b(?! the)",
        ),
        ("batch", r"\b[Bb]atch (norm|or layer norm|and layer norm)|\bbatch, layer\b"),
    ],
)
def test_the_filter_shows_what_a_search_of_the_stored_statements_finds(visit, name, said):
    page = visit("reference/claims")
    page.get_by_label("Method").select_option(label=NORMS[name].label)
    made = [claim.statement for document in documents() for claim in claims_of(document)]
    wanted = {statement for statement in made if re.search(said, statement)}
    found = page.locator("ul.claim-list:not(.claim-failures) > li:visible .claim-statement")
    shown = set(found.all_inner_texts())
    assert wanted and wanted <= shown < set(made)


def test_the_contents_lead_to_the_chapters_that_the_filter_leaves(visit):
    page = visit("reference/claims")
    chapters_of = page.locator("section:has(> ul.claim-list) > h2")
    links = page.locator(".page-toc a")
    assert links.count() == chapters_of.count() > 5
    page.get_by_label("Method").select_option(label=NORMS["rms"].label)
    assert page.locator(".page-toc a:visible").count() < links.count()
    links.locator("visible=true").last.click()
    section = page.locator("section:target")
    assert section.locator("> h2").is_visible() and section.locator("li.claim:visible").count()


def test_the_filter_works_by_keyboard(listing):
    everything = rows(listing)
    listing.get_by_label("Method").focus()
    listing.keyboard.press("ArrowDown")
    assert 0 < rows(listing) < everything


def test_without_a_script_the_list_is_whole_and_says_as_much_as_the_chapters(visit):
    page = visit("reference/claims", java_script_enabled=False)
    made = [claim for document in documents() for claim in claims_of(document)]
    assert rows(page) == len(made)
    assert page.locator("select").count() == 0
    assert f"There are {len(made)} claims in" in page.locator(".claims-summary").inner_text()


def claims_of(document: str) -> list[Claim]:
    path = SITE.parents[1] / f"{document}.ipynb"
    return claims(path) if path.exists() else []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
def test_a_slider_shows_the_truth_beside_the_guess(visit, scheme, options):
    page = visit(SLIDER, color_scheme=scheme, **options)
    guess = page.locator(".guess")
    truth = guess.get_attribute("data-truth")
    assert not guess.locator(".guess-answer").is_visible() and truth not in guess.inner_text()
    slider = guess.get_by_role("slider", name="Your guess")
    described = page.locator(f"#{slider.get_attribute('aria-describedby')}")
    assert described.inner_text() == guess.locator(".guess-question").inner_text()
    slider.focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    least, most, step = (float(slider.get_attribute(name)) for name in ("min", "max", "step"))
    stored = page.evaluate("JSON.stringify([{...localStorage}, document.cookie])")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # on "Show me"
    said = guess.locator(".guess-answer").inner_text()
    assert said.startswith(f"Your guess: {most - step:g}. Measured: {truth}.")
    assert guess.locator(".guess-answer").evaluate("e => e === document.activeElement")
    scale = guess.locator(".guess-scale").bounding_box()
    for kind, value in (("measured", float(truth)), ("guessed", most - step)):
        mark = guess.locator(f".guess-mark.{kind}").bounding_box()["x"]
        place = (value - least) / (most - least)
        assert (mark - scale["x"]) / scale["width"] == pytest.approx(place, abs=0.02)
    assert page.evaluate("JSON.stringify([{...localStorage}, document.cookie])") == stored
    assert_accessible(page, ".guess")


@pytest.mark.parametrize("choice, said", [(0, "You guessed right."), (2, "Your guess: above")])
def test_a_choice_is_compared_with_what_was_measured(visit, choice, said):
    page = visit(CHOICES, **PHONE)
    guess = page.locator(".guess")
    guess.get_by_role("button", name="Show me").tap()
    assert not guess.locator(".guess-answer").is_visible()  # it asks for a guess first
    question = guess.locator(".guess-question").inner_text()
    guess.get_by_role("group", name=question).get_by_role("radio").nth(choice).check()
    guess.get_by_role("button", name="Show me").tap()
    answer = guess.locator(".guess-answer").inner_text()
    assert answer.startswith(said) and f"Measured: {guess.get_attribute('data-truth')}." in answer
    right = guess.locator("label.right").inner_text()
    assert right.strip().startswith("below 0.001")
    assert_accessible(page, ".guess")


@pytest.mark.parametrize("chapter", [SLIDER, CHOICES])
def test_without_a_script_the_answer_is_simply_there(visit, chapter):
    page = visit(chapter, java_script_enabled=False)
    guess = page.locator(".guess")
    assert f"Measured: {guess.get_attribute('data-truth')}." in guess.inner_text()
    assert guess.get_by_role("button").count() == 0
