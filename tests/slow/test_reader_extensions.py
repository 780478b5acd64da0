"""Search index, index, downloads and figures for narrow screens, on a book of a few lines."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

import chapters
import check_html

EXTENSIONS = chapters.ROOT / "book" / "_ext"
CONFIGURATION = f"""
import sys
sys.path.insert(0, {str(EXTENSIONS)!r})
project, language = "small", "en"
extensions = ["offline_mathjax", "glossary", "first_use", "sections", "downloads", "stacked"]
extensions += ["myst_nb"]
nb_execution_mode = "off"
nitpicky = True
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
html_theme = "sphinx_book_theme"
html_context = {{"default_mode": "auto"}}
templates_path = [{str(chapters.ROOT / "book" / "_templates")!r}]
html_static_path, html_js_files = [{str(chapters.ROOT / "book" / "_static")!r}], []
"""
PAGES = {
    "index.md": "# First\n\n```{toctree}\none\nwords\n```\n",
    "words.md": "(ch-glossary)=\n# Words\n\n```{glossary}\nepsilon\neps\n  The small number "
    "under $\\sqrt{\\sigma^2 + \\varepsilon}$. See [where it is](one.ipynb#break-it).\n\n"
    "batch\n  Some samples.\n```\n",
}


def notebook() -> str:
    cells = [
        nbformat.v4.new_markdown_cell("# One\n\nA batch, and an epsilon that is not linked here."),
        nbformat.v4.new_markdown_cell(
            "## Break it\n\nWith $\\gamma_c = 0$ it is gone.\n\n$$\\beta$$"
        ),
        nbformat.v4.new_code_cell("standardize(x)"),
    ]
    metadata = {"language_info": {"name": "python"}}
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata=metadata))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "site"))
    for name, text in (PAGES | {"one.ipynb": notebook(), "conf.py": CONFIGURATION}).items():
        (source / name).write_text(text, "utf-8")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", source, target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def records(site: Path) -> list[dict]:
    text = (site / "_static" / "sections.js").read_text("utf-8")
    return json.loads(text[text.index("sections: ") + len("sections: ") : text.rindex("}")])


def test_the_search_has_words_with_their_spellings_and_sections_with_their_text(site):
    word, _, *sections = records(site)
    assert word["spellings"] == ["epsilon", "eps"] and word["explained"] == ["one.html#break-it"]
    assert word["text"].startswith("The small number under √(σ² + ε). See")
    (section,) = [one for one in sections if one["title"] == "Break it"]
    assert section["url"] == "one.html#break-it" and section["page"] == "One"
    assert section["text"] == "With γ_c = 0 it is gone."
    assert section["code"].split() == ["standardize", "β"]
    assert {one["kind"] for one in sections} == {"section"}


def test_a_formula_is_said_in_plain_text_or_left_out(monkeypatch):
    monkeypatch.syspath_prepend(EXTENSIONS)
    from plain import plain

    for formula, text in {
        r"\sqrt{\sigma^2 + \varepsilon}": "√(σ² + ε)",
        r"\sqrt n\,\sqrt{10}\,\sqrt{x^2}": "√n √10 √(x²)",
        r"\sigma^2 = \overline{d^2}": "σ² = d\u0305²\u0305",
        r"\overline{g \hat x}": "g\u0305 \u0305x\u0302\u0305",
        r"x^{10} + 1.5^{-3}": "x¹⁰ + 1.5⁻³",
        r"(1 - m)^{T-t}\, e^{z_{nk}}": "(1 - m)^(T-t) e^(z_nk)",
        r"\frac{1}{\sqrt n}": "1/√n",
        r"-\tfrac12 \frac{x_n - \mu}{\lVert v \rVert}": "-1/2 (x_n - μ)/‖v‖",
        r"\frac{a}{b}^2, {ab}^2": "(a/b)², (ab)²",
        r"\nabla_g L = \nabla_w L \cdot u": "∇_g L = ∇_w L · u",
        r"D_\text{in} r_{t-1} \sum_{d=1}^{D} x_d^2": "D_in r_(t-1) Σ x_d²",
        r"\lVert w \rVert^2 \left( \partial L / \partial y \right)": "‖w‖² (∂L / ∂y)",
        r"x + \unheardof{y}": "…",
        r"\frac{a": "…",
        "^2": "…",
    }.items():
        assert plain(formula) == text


def test_sphinx_own_search_is_left_out(site):
    assert check_html.problems(site) == []
    assert not (site / "searchindex.js").exists()
    assert 'id="search-results"' in (site / "search.html").read_text("utf-8")


def test_the_index_has_the_sections_below_the_word(site):
    text = (site / "genindex.html").read_text("utf-8")
    assert '<a href="one.html#break-it">Break it (One)</a>' in text


def test_a_chapter_that_explains_a_word_does_not_link_it(site):
    text = (site / "one.html").read_text("utf-8")
    assert "words.html#term-batch" in text and "words.html#term-eps" not in text


def test_a_link_to_a_notebook_downloads_and_the_copy_says_what_it_needs(site, tmp_path):
    copy = site / "_sources" / "one.ipynb"
    first, second, *_ = nbformat.read(copy, as_version=4).cells
    assert second.source.startswith("# One")
    cell = tmp_path / "cell.py"
    cell.write_text(first.source, "utf-8")
    runpy.run_path(str(cell))  # the module is here, so it says nothing
    cell.write_text(first.source.replace('"normtutorial"', '"no_such_module"'), "utf-8")
    with pytest.raises(ModuleNotFoundError, match="This notebook needs no_such_module"):
        runpy.run_path(str(cell))
    script = (copy.parent / "one.ipynb.js").read_text("utf-8")
    assert json.loads(script.partition(" = ")[2].rstrip(";\n")) == copy.read_text("utf-8")
    assert '<a download href="_sources/one.ipynb"' in (site / "one.html").read_text("utf-8")


@pytest.fixture(scope="module")
def stacked():
    sys.path.insert(0, str(EXTENSIONS))
    import stacked

    yield stacked
    sys.path.remove(str(EXTENSIONS))


def figure(*panels: int | None, width: int = 900) -> np.ndarray:
    """A white picture with panels: each has labels of that width before its axis, or a band."""
    picture = np.full((400, width, 3), 255, np.uint8)
    each = width // len(panels)
    for i, labels in enumerate(panels):
        begin, end = i * each + 20, (i + 1) * each
        axis = begin + (labels or 0)
        picture[180:200, begin:axis] = 0
        picture[50:350, axis : axis + 2] = 0
        picture[340:350, axis : end - 20] = 0
    return picture


def test_panels_of_a_row_are_stacked_with_the_labels_of_the_first_axis(stacked):
    picture = figure(40, None)
    column = stacked.stacked(picture)
    assert column.shape[0] == 2 * picture.shape[0] and column.shape[1] < 500
    first, second = column[:400], column[400:]
    assert (first[185, :40] == 0).all() and (second[185, :40] == 0).all()  # the labels, twice
    own = stacked.stacked(figure(40, 40))
    assert own.shape == (800, 410, 3)  # nothing was added


def test_other_figures_are_left_as_they_are(stacked):
    assert stacked.stacked(figure(40)) is None  # one panel
    assert stacked.stacked(figure(40, None, None, None)) is None  # a panel would be small
    assert stacked.stacked(figure(40, None, width=500)) is None  # it fits a phone
    above = figure(40, None)
    above[10:20, 100:800] = 0  # a legend across both
    assert stacked.stacked(above) is None
