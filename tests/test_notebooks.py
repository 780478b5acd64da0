"""The chapters as they are stored: they are what the book shows, and nobody looks twice.

Nothing is executed here. `pytest --nbval` executes them, but passes a cell that was never run, and
compares no image.
"""

import re
from pathlib import Path

import nbformat
import pytest

import chapters
import page_rules
from normtutorial.claims import Claim

NOTEBOOKS = chapters.notebooks()
CELL_LINES = 30
OUTPUT_CHARACTERS = 10_000
DEMO_CHARACTERS = {
    "explorer": 300_000,  # a run to drag through; compressed it is a fifth of that
    "painter": 60_000,  # pictures
}
IMAGE_CHARACTERS = 500_000  # of base64: 375 kB
CLAIMS_IN_THE_BOOK = 60
CPU_SECONDS = 60  # of a chapter; a third of it is to spare, for slower machines
LONG = dict.fromkeys(("signals", "comparison", "curvature", "convolutions", "transformers"), 90)
TAGS = {"hide-input", "hide-cell", "hide-output", "nbval-ignore-output", "raises-exception"}

# A statement is read alone, on the page of all claims: it names its subject, and says a number or
# how one thing stands to another.
FRAGMENT = re.compile(
    r"(It|Its|They|Their|Them|This|That|These|Those|Both|Neither|There|Here|So|Then|And|But|Or|"
    r"Also|Again|Recorded|Live|(All|Each|None|Some|Most|One|Many) of (them|these|those|it))\b|[a-z]"
)
RELATION = re.compile(
    r"\d|\b(than|as|same|equals?|equally|like|agrees?|differs?|no|not|none|nothing|never|every|all|"
    r"each|both|only|alone|always|exactly|above|below|between|within|before|after|until|"
    r"zero|one|two|three|four|five|ten|half|twice|first|last|most|least|whole|without|constant|"
    r"identical|orthogonal|unchanged|larger|smaller|more|less|further|fewer|closer)\b",
    re.IGNORECASE,
)

# A heading of an exercise, in whatever form: a box, bold, a section.
EXERCISE = re.compile(r"^(?:[:`]{3,}\{[\w-]+\}|#+|\*+) *(Exercise +\d.*)", re.MULTILINE)
BOX = re.compile(r"^[:`]{3,}\{admonition\} (Exercise .*)", re.MULTILINE)

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def shown(cell: nbformat.NotebookNode) -> str:
    """All text of a cell's outputs."""
    parts = []
    for output in cell.outputs:
        parts += [output.get("text", ""), *output.get("traceback", [])]
        parts += [v for k, v in output.get("data", {}).items() if k.startswith("text/")]
    return "\n".join(parts)


def claims(path: Path) -> list[Claim]:
    lines = "\n".join(shown(cell) for cell in code_cells(path)).splitlines()
    return [made for made in map(Claim.parse, lines) if made]


def is_image(output: nbformat.NotebookNode) -> bool:
    return any(kind.startswith("image/") for kind in output.get("data", {}))


def test_every_notebook_is_in_the_table_of_contents_and_has_a_name_of_its_own():
    there = chapters.ROOT.glob("book/**/*.ipynb")
    written = {path for path in there if path.parent.name != ".ipynb_checkpoints"}
    assert NOTEBOOKS and set(NOTEBOOKS) == written
    assert len({path.stem for path in NOTEBOOKS}) == len(NOTEBOOKS)


def test_every_page_of_the_table_of_contents_is_there():
    for document in chapters.documents():
        assert any((chapters.ROOT / f"{document}.{kind}").exists() for kind in ("ipynb", "md"))


def test_a_chapter_is_found_by_its_name():
    assert [chapters.find(path.stem) for path in NOTEBOOKS] == NOTEBOOKS
    with pytest.raises(LookupError, match=r"There is no chapter 'bach_norm'; there are intro, "):
        chapters.find("bach_norm")


@every_notebook
def test_it_is_valid_and_its_cells_have_ids(path):
    notebook = read(path)
    nbformat.validate(notebook)
    ids = [cell.get("id") for cell in notebook.cells]
    assert all(ids) and len(set(ids)) == len(ids)


@every_notebook
def test_it_was_executed_once_from_top_to_bottom(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@every_notebook
def test_no_code_cell_is_empty(path):
    assert all(cell.source.strip() for cell in code_cells(path))


@every_notebook
def test_its_label_is_its_file_name(path):
    first = read(path).cells[0]
    label = f"(ch-{path.stem.replace('_', '-')})="
    assert first.cell_type == "markdown"
    assert first.source.startswith(f"{label}\n# ")


@every_notebook
def test_a_fence_has_a_line_to_itself(path):
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"^ *[^:\s].*:::|^:+ +\S", cell.source, re.MULTILINE)


@every_notebook
def test_no_line_of_prose_is_a_comment(path):
    for cell in read(path).cells:
        if cell.cell_type == "markdown":  # MyST leaves a line out that begins with a percent sign
            assert not re.search(r"^ {0,3}%", cell.source, re.MULTILINE)


@every_notebook
def test_nothing_was_written_to_stderr(path):
    for cell in code_cells(path):
        assert all(output.get("name") != "stderr" for output in cell.outputs), cell.source


@every_notebook
def test_an_error_is_shown_only_where_it_is_meant(path):
    for cell in code_cells(path):
        error = any(output.output_type == "error" for output in cell.outputs)
        assert error == ("raises-exception" in tags(cell)), cell.source


@every_notebook
def test_every_cell_is_run_by_the_tests(path):
    for cell in code_cells(path):
        assert set(tags(cell)) <= TAGS, (tags(cell), cell.source)
        assert "NBVAL" not in cell.source


@every_notebook
def test_no_line_ends_in_a_semicolon(path):
    # The tests run cells without a history, where IPython does not heed it (nbval issue 194).
    for cell in code_cells(path):
        assert not re.search(r";\s*$", cell.source, re.MULTILINE), cell.source


@every_notebook
def test_cells_fit_on_a_screen(path):
    for cell in code_cells(path):
        assert len(cell.source.splitlines()) <= CELL_LINES, cell.source


@every_notebook
def test_what_stands_open_keeps_to_the_rules_of_the_page(path):
    page = page_rules.measure(path)
    assert not page.missed(), page


@every_notebook
def test_outputs_are_small(path):
    for cell in code_cells(path):
        demo = re.search(r'data-demo="(\w+)"', shown(cell))
        limit = DEMO_CHARACTERS.get(demo[1], OUTPUT_CHARACTERS) if demo else OUTPUT_CHARACTERS
        assert len(shown(cell)) <= limit, cell.source
        for output in filter(is_image, cell.outputs):
            assert len(output.data.get("image/png", "")) <= IMAGE_CHARACTERS, cell.source


@every_notebook
def test_there_is_no_widget_and_no_carriage_return(path):
    notebook = read(path)
    assert "widgets" not in notebook.metadata
    for cell in code_cells(path):
        assert "\r" not in shown(cell), cell.source
        for output in cell.outputs:
            assert not any("widget" in kind for kind in output.get("data", {})), cell.source


@every_notebook
def test_no_output_names_a_path_of_a_machine(path):
    for cell in code_cells(path):
        found = re.search(r"(/home/|/root/|/tmp/|/work/|/Users/|/usr/|\b[A-Z]:\\)\S*", shown(cell))
        assert not found, found


@every_notebook
def test_figures_have_a_name_a_caption_and_a_description(path):
    for cell in code_cells(path):
        if not any(is_image(output) for output in cell.outputs):
            continue
        about = cell.metadata.get("mystnb", {})
        figure, alt = about.get("figure", {}), about.get("image", {}).get("alt", "")
        assert figure.get("name", "").startswith("fig-"), cell.source
        assert len(figure.get("caption", "")) >= 20, cell.source
        assert len(alt) >= 20 and not re.search(r"\.(png|svg|jpe?g)$", alt), cell.source
        # One figure a cell: the caption and the description are for one.
        assert sum(is_image(output) for output in cell.outputs) == 1, cell.source


def test_names_of_figures_are_unique():
    names = [
        cell.metadata["mystnb"]["figure"]["name"]
        for path in NOTEBOOKS
        for cell in code_cells(path)
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
    ]
    assert len(set(names)) == len(names)


@every_notebook
def test_it_took_no_more_than_two_thirds_of_its_budget(path):
    assert 0 < read(path).metadata.cpu_seconds <= LONG.get(path.stem, CPU_SECONDS) * 2 / 3


@every_notebook
def test_where_the_images_are_read_a_warning_that_mnist_is_not_there_is_no_other_output(path):
    loads = [cell for cell in code_cells(path) if re.search(r"\bdigits\(", cell.source)]
    assert all("nbval-ignore-output" in cell.metadata.get("tags", []) for cell in loads)


@every_notebook
def test_the_kernel_is_any_python3(path):
    assert read(path).metadata.kernelspec.name == "python3"


def exercises(path: Path) -> list[str]:
    """The titles of a chapter's exercises."""
    prose = (cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    return [title for source in prose for title in BOX.findall(source)]


@every_notebook
def test_exercises_are_boxes_with_a_number_and_a_kind_and_a_solution_below(path):
    """So they are collected on one page, without what is below (`book/_ext/exercises.py`)."""
    titles = exercises(path)
    for number, title in enumerate(titles, start=1):
        assert re.fullmatch(rf"Exercise {number} \(.+\)", title), title
    cells = read(path).cells
    asking = [i for i, c in enumerate(cells) if c.cell_type == "markdown" and BOX.search(c.source)]
    assert len(asking) == len(titles), "one exercise to a cell, so that its solution is below it"
    for solution in (cells[i + 1] for i in asking):
        assert solution.source.startswith("# Solution") and "hide-cell" in tags(solution)
    headed = [h for c in cells if c.cell_type == "markdown" for h in EXERCISE.findall(c.source)]
    assert headed == titles


@pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if path.stem != "intro"], ids=lambda path: path.stem
)
def test_a_chapter_makes_claims(path):
    assert claims(path)


@every_notebook
def test_a_chapter_makes_each_claim_once(path):
    found = [claim.statement for claim in claims(path)]
    assert len(set(found)) == len(found), {line for line in found if found.count(line) > 1}


def test_the_book_makes_many_claims():
    assert sum(len(claims(path)) for path in NOTEBOOKS) >= CLAIMS_IN_THE_BOOK


def stands_alone(statement: str) -> bool:
    long = len(statement.split()) >= 5
    return bool(long and not FRAGMENT.match(statement) and RELATION.search(statement))


@pytest.mark.parametrize(
    "statement, alone",
    [
        ("Two is less than three.", True),
        ("With batch norm it is 1/π, within 0.05.", True),
        ("It is 5 with every seed.", False),
        ("That is less than 0.4 %.", False),
        ("All of them are above 0.9.", False),
        ("All runs end above 0.9.", True),
        ("torch's default leaves 1e-22 of it.", False),
        ("The layers agree.", False),
        ("The network is a good network.", False),
        ("Itself a fifth of the whole network.", True),
    ],
)
def test_a_statement_that_stands_alone_is_told_from_a_fragment(statement, alone):
    assert stands_alone(statement) is alone


@every_notebook
def test_every_statement_stands_alone_and_knows_its_seeds(path):
    found = [
        made.statement
        for made in claims(path)
        if not stands_alone(made.statement) or ("seed" in made.statement and not made.seeds)
    ]
    assert not found
