"""The list of exercises and the timetable, on a book of a few lines."""

import re
import runpy
from pathlib import Path

import pytest
from test_extensions import built, notebook

import check_html
from helpers import article, plain
from normtutorial.claims import Claim
from test_teaching import RUN

FIRST = "(ch-first)=\n# First\n\n(run-it)=\n## Run it\n\nSo.\n\n```{toctree}\n:numbered:\n\n"
BACK = {
    "index.md": f"{FIRST}part/one\npart/two\npart/last\n```\n\n"
    "```{toctree}\nback/list\nback/plan\nback/books\nback/asked\n```\n",
    "back/books.md": "# Books\n\n```{bibliography}\n```\n",
    "back/list.md": "(ch-list)=\n# List\n\n```{exercises}\n```\n",
    "back/plan.md": "# Plan\n\nSet {exercise}`two 1` and {exercise}`asked 1`. Read "
    "{reading}`one, two`.\n\n```{timetable}\n```\n",
}
FORMULA = "$$\ny = x\n$$ (eq-one-line)"
EXERCISES = {
    "part/one.ipynb": notebook(
        f"(ch-one)=\n# One\n\n{FORMULA}",
        ("claim('Two is less than three.', 2 < 3)", f"{Claim('Two is less than three.')}\n"),
        "## Exercises\n\n:::{admonition} Exercise 1 (number)\nTwice {eq}`eq-one-line`, by "
        "{cite:t}`a`, of {ref}`ch-two` and of {claim}`two <Two is less>`?\n:::",
        ("# Solution. Secret one.\nprint(2)", "it prints 222\n", "hide-cell"),
        ":::{admonition} Exercise 2 (derivation and number)\nWith $x^2$ and `code`:\n\n"
        "```python\nmade_of = lines\n```\n\n$$\nz^3\n$$ (eq-one-asked)\n:::",
        ("# Solution. Secret two.\nprint(2)", "it prints 222\n", "hide-cell"),
        "Next.",
        seconds=20,
    ),
    "part/two.ipynb": notebook(
        "(ch-two)=\n# Two\n\n:::{admonition} You will be able to\nwait.\n:::\n\nSee "
        "{eq}`eq-one-asked`.",
        ":::{admonition} Exercise 1 (easy)\nWhy?\n:::",
        ("# Solution. Secret three.", "", "hide-cell"),
        seconds=30,
    ),
    "part/last.ipynb": notebook("# Last\n\nNothing is asked."),
    "back/asked.ipynb": notebook(
        "# Asked\n\n:::{admonition} Exercise 1 (experiment)\nTry.\n:::",
        ("# Solution. Secret four.", "", "hide-cell"),
    ),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "site"))
    said = built(source, target, BACK | EXERCISES)
    assert not said, said
    return target


def test_every_exercise_is_listed_in_the_order_of_the_book_and_leads_to_its_place(site):
    assert check_html.problems(site) == []
    text = article(site, "back/list.html")
    titles = re.findall(r'<p class="admonition-title">(.*?)</p>', text)
    assert [plain(title) for title in titles] == [
        "Exercise 1.1 (number)",
        "Exercise 1.2 (derivation and number)",
        "Exercise 2.1 (easy)",
        "Exercise 1 (experiment)",
    ]
    assert [re.findall(r'href="([^"]*)"', title) for title in titles] == [
        ["../part/one.html#exercise-1"],
        ["../part/one.html#exercise-2"],
        ["../part/two.html#exercise-1"],
        ["asked.html#exercise-1"],
    ]
    for number in (1, 2):  # there it has the number that the chapter gives it
        place = rf'id="exercise-{number}"> <p class="admonition-title">Exercise {number} \('
        assert re.search(place, article(site, "part/one.html"))
    names = re.findall(r'class="admonition[^"]*" id="([^"]*)"', text)
    assert names == ["one-exercise-1", "one-exercise-2", "two-exercise-1", "asked-exercise-1"]


def test_no_solution_is_listed(site):
    text = plain(article(site, "back/list.html"))
    assert "Why?" in text and "Twice" in text
    for leak in ("Solution", "Secret", "222", "print", "less than three", "Next", "wait"):
        assert leak not in text, leak
    assert "Secret" in article(site, "part/one.html")


def test_what_an_exercise_holds_is_rendered_from_where_the_list_stands(site):
    text = article(site, "back/list.html")
    links = re.findall(r'<a [^>]*href="([^"]*)"', text)
    for target in ("one.html#equation-eq-one-line", "two.html#ch-two", "one.html#claim-two-is"):
        assert any(link.startswith(f"../part/{target}") for link in links), target
    assert re.search(r'<a [^>]*href="books.html#[^"]*"[^>]*>2015</a>', text)
    assert '<span class="math notranslate nohighlight">\\(x^2\\)</span>' in text
    assert "<pre>" in text and "made_of" in text
    assert "mathjax" in (site / "back" / "list.html").read_text("utf-8")
    assert "equation-eq-one-asked" not in text  # that anchor is the chapter's
    assert 'href="one.html#equation-eq-one-asked"' in article(site, "part/two.html")


def test_the_contents_of_the_list_are_the_chapters_that_have_exercises(site):
    page = " ".join((site / "back" / "list.html").read_text("utf-8").split())
    listed = re.search(r'<nav id="pst-page-toc-nav".*?</nav>', page)[0]
    assert re.findall(r'href="#([^"]*)"[^>]*>\s*(.*?)\s*</a>', listed) == [
        ("exercises-one", "1. One"),
        ("exercises-two", "2. Two"),
        ("exercises-asked", "Asked"),
    ]


def test_an_exercise_is_named_by_its_number_and_minutes_add_up(site):
    text = article(site, "back/plan.html")
    assert "Set 2.1 and 1. Read 2 minutes." in plain(text)
    assert 'href="../part/two.html#exercise-1">2.1</a>' in text
    assert 'href="asked.html#exercise-1">1</a>' in text


def test_the_timetable_has_a_row_for_each_chapter_with_a_number(site):
    rows = re.findall(r"<tr.*?</tr>", article(site, "back/plan.html"))
    cells = [[plain(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows]
    assert cells == [
        ["chapter", "minutes to read", "seconds to run", "claims", "exercises"],
        ["1. One", "1", "20", "1", "2"],
        ["2. Two", "1", "30", "0", "1"],
        ["3. Last", "1", "0", "0", "0"],
        ["all of them", "3", "50", "1", "3"],
    ]
    assert re.search(r'href="../part/two.html"', rows[2])


def asking(label: str, title: str) -> str:
    """A chapter with one exercise."""
    return notebook(f"(ch-{label})=\n# {label}\n\n:::{{admonition}} {title}\nWhy?\n:::")


def test_what_is_not_there_stops_the_build(tmp_path):
    pages = {
        "index.md": f"{FIRST}part/one\npart/two\nback/plan\n```\n",
        "back/plan.md": "# Plan\n\n{exercise}`one 2`, {exercise}`four 1`, {reading}`one, four`.",
        "part/one.ipynb": asking("one", "Exercise 2 (easy)"),
        "part/two.ipynb": asking("two", "Exercise 1"),
    }
    said = built(tmp_path / "source", tmp_path / "site", pages)
    for complaint in (
        "'Exercise 1 (derivation)' is wanted; got 'Exercise 2 (easy)'",
        "'Exercise 1 (derivation)' is wanted; got 'Exercise 1'",
        "there is no 'one 2'",
        "there is no 'four 1'",
        "there is no chapter four",
    ):
        assert complaint in said
    assert said.count("WARNING") == 5


def test_a_network_trains_with_a_mistake_as_the_page_for_teachers_shows(
    tmp_path, monkeypatch, capsys
):
    search, train = RUN
    imports = search.split("\n\n")[0]
    (tmp_path / "run.py").write_text(f"{imports}\n{train}", "utf-8")
    monkeypatch.setenv("NORMTUTORIAL_SOURCE", "synthetic")
    runpy.run_path(str(tmp_path / "run.py"))
    assert float(capsys.readouterr().out) > 0.7  # nobody would suspect a mistake
