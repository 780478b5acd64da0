"""The page of all exercises, against the chapters as they are stored."""

import re
from pathlib import Path

from built import SITE
from chapters import documents, notebooks
from helpers import article, plain
from test_notebooks import exercises, read, tags

LIST = "book/reference/exercises.html"


def titles(page: str) -> list[tuple[str, str]]:
    """Name and title of each box of a page that is an exercise."""
    pattern = r'<div class="admonition[^"]*" id="([^"]*)"> <p class="admonition-title">(.*?)</p>'
    return re.findall(pattern, article(SITE, page))


def test_every_exercise_of_every_chapter_is_there_once_in_order():
    wanted = [(path.stem, title) for path in notebooks() for title in exercises(path)]
    listed = titles(LIST)
    assert len(wanted) > 60
    names = [f"{stem.replace('_', '-')}-exercise-{title.split()[1]}" for stem, title in wanted]
    assert [name for name, _ in listed] == names
    for (_, wants), (_, has) in zip(wanted, listed, strict=True):
        number, kind = re.fullmatch(r"Exercise (\d+) (\(.+\))", wants).groups()
        assert re.fullmatch(rf"Exercise (\d+\.)?{number} {re.escape(kind)}", plain(has))


def test_every_title_leads_to_the_same_exercise_of_its_chapter():
    for name, title in titles(LIST):
        (target,) = re.findall(r'href="([^"#]*)#(exercise-\d+)"', title)
        page = str((SITE / LIST).parent.joinpath(target[0]).resolve().relative_to(SITE.resolve()))
        there = dict(titles(page))[target[1]]
        assert name.endswith(target[1])
        assert plain(there) == re.sub(r" \d+\.", " ", plain(title), count=1)


def test_no_solution_is_on_it():
    text = (SITE / LIST).read_text("utf-8")
    article_text = plain(article(SITE, LIST))
    assert "Solution." not in text and "<details" not in text and "cell_input" not in text
    for path in notebooks():
        cells = [cell for cell in read(path).cells if "hide-cell" in tags(cell)]
        solved = [cell for cell in cells if cell.source.startswith("# Solution")]
        assert bool(solved) == bool(exercises(path))
        for cell in solved:
            words = " ".join(cell.source.replace("#", " ").split())
            for start in range(0, len(words) - 60, 60):
                assert words[start : start + 60] not in article_text


def test_the_teachers_page_and_the_first_page_lead_to_it():
    for page in ("reference/teaching.html", "intro.html"):
        assert "exercises.html" in article(SITE, f"book/{page}")
    assert {"book/reference/teaching", "book/reference/exercises"} <= set(documents())
    assert Path(SITE / LIST).stat().st_size < 1.5e6
