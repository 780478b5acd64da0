"""What the book's own extensions of Sphinx write, on a book of a few lines."""

import json
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import nbformat
import pytest

import chapters
import check_html
from normtutorial.claims import Claim
from normtutorial.norms import NORMS, ORIGINAL

CONFIGURATION = f"""
import sys
sys.path.insert(0, {str(chapters.ROOT / "book" / "_ext")!r})
project, language = "small", "en"
extensions = [
    "offline_mathjax", "claims", "public_names", "chapter_head", "cited_in", "first_use", "lighter",
    "norm_registry", "sphinx_reredirects", "myst_nb", "sphinxcontrib.bibtex", "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
bibtex_bibfiles, bibtex_reference_style = ["references.bib"], "author_year"
nb_execution_mode = "off"
nitpicky = True
nitpick_ignore_regex = [("py:.*", "typing.*")]
myst_enable_extensions = ["dollarmath", "deflist"]
html_theme = "sphinx_book_theme"
html_static_path, html_js_files = ["static"], ["demos.js"]
html_context = {{"default_mode": "auto"}}
redirects = {{"old": "part/one.html"}}
"""
PAGES = {
    "index.md": "(ch-first)=\n# First\n\nHere.\n\n```{toctree}\npart/one\npart/two\nback/words\n"
    "back/all\nback/books\nback/names\n```\n\n(run-it)=\n## Run it\n\nSo.\n",
    "back/words.md": "(ch-glossary)=\n# Words\n\n```{glossary}\nrunning mean\n  Followed over "
    "batches.\n\nbatch\n  Some samples.\n\nscale\n  A factor.\n```\n",
    "back/all.md": "# All\n\n```{claims}\n```\n",
    "back/books.md": "# Books\n\n```{bibliography}\n```\n",
    "back/names.md": "# Names\n\nSee {class}`normtutorial.ClaimFailed`, "
    "{meth}`normtutorial.claims.Claim.parse` and {func}`normtutorial.models.mlp.init_normal_`."
    "\n\n```{eval-rst}\n.. py:function:: normtutorial.models.init_normal_()\n\n"
    ".. automodule:: normtutorial.claims\n   :members:\n```\n",
}
BIBLIOGRAPHY = "".join(
    f"@article{{{key}, author={{{name}, A.}}, title={{T}}, journal={{J}}, year={{2015}}}}\n"
    for key, name in (("a", "Both"), ("b", "Second"))
)
CLAIMS = [Claim("Two is less than three.", "0.667"), Claim("Recorded: it is so.")]


def notebook(*cells: str | tuple[str, str], seconds: int | None = None) -> str:
    """A notebook of prose, and of code with what it printed."""
    made = [
        nbformat.v4.new_markdown_cell(cell)
        if isinstance(cell, str)
        else nbformat.v4.new_code_cell(
            cell[0], outputs=[nbformat.v4.new_output("stream", name="stdout", text=cell[1])]
        )
        for cell in cells
    ]
    metadata: dict = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
    }
    metadata |= {"cpu_seconds": seconds} if seconds else {}
    return nbformat.writes(nbformat.v4.new_notebook(cells=made, metadata=metadata))


NOTEBOOKS = {
    "part/one.ipynb": notebook(
        "(ch-one)=\n# One\n\n*Only a question, of more than sixty characters, which nobody takes "
        "for a description?*\n\nThe running mean of batch norm, and of a batch, is what is read in "
        "lists. A batch, once more, and its scale, says {cite:t}`a`.",
        "## Measured\n\nA batch.",
        ("seed_list(3)", "no claim\n" + "\n".join(map(str, CLAIMS)) + "\n"),
        seconds=20,
    ),
    "part/two.ipynb": notebook(
        "(ch-two)=\n# Two\n\nA {term}`batch` has a name already, so the batch is left. Here is "
        "$x^2$, from {cite:t}`a` and {cite:t}`b`.",
        ("1", f"{Claim('Second.')}\n"),
    ),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built pages."""
    source = tmp_path_factory.mktemp("source")
    files = PAGES | NOTEBOOKS | {"conf.py": CONFIGURATION, "references.bib": BIBLIOGRAPHY}
    for name, text in (files | {"static/demos.js": "// reads norms\n"}).items():
        path = source / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", source, target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def article(site: Path, page: str) -> str:
    """What a page itself says, without the theme's frame, on one line."""
    text = (site / page).read_text("utf-8")
    return " ".join(text[text.index("<article") : text.index("</article>")].split())


def plain(markup: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", "", markup)).split())


def test_every_link_and_every_script_is_there(site):
    assert check_html.problems(site) == []


def test_a_chapter_tells_how_long_it_takes_and_leads_to_itself_and_to_how_it_is_run(site):
    (line,) = re.findall(r'<p class="chapter-facts">(.*?)</p>', article(site, "part/one.html"))
    assert plain(line) == (
        "1 minute to read, 20 seconds to run on one CPU core. "
        "Download the notebook, or see how to run it."
    )
    links = re.findall(r'href="([^"]*)"', line)
    assert links == ["../_sources/part/one.ipynb", "../index.html#run-it"]
    assert (site / "_sources" / "part" / "one.ipynb").exists()
    assert "seconds to run" not in article(site, "part/two.html")
    assert "chapter-facts" not in article(site, "index.html")


def test_a_page_describes_itself_by_its_first_plain_paragraph(site):
    text = (site / "part" / "one.html").read_text("utf-8")
    said = "The running mean of batch norm, and of a batch, is what is read in lists."
    assert f'<meta name="description" content="{said}">' in text
    assert '<meta property="og:title" content="One">' in text
    assert '<meta property="og:image" content="../_static/preview.png">' in text


def test_an_entry_of_the_bibliography_names_the_chapters_that_cite_it(site):
    text = article(site, "back/books.html")
    lines = re.findall(r'<p class="cited-in">(.*?)</p>', text)
    assert [plain(line) for line in lines] == ["Cited in One, Two.", "Cited in Two."]
    assert re.findall(r'href="([^"]*)"', lines[0]) == ["../part/one.html", "../part/two.html"]


def test_every_claim_is_listed_with_a_link_to_where_it_is_made(site):
    text = article(site, "back/all.html")
    assert "There are 3 claims in 2 chapters." in text
    items = re.findall(r"<li><p>(.*?)</p>", text)
    assert [plain(item) for item in items] == [
        "Two is less than three. Measured 0.667. Measured",
        "Recorded: it is so. Measured",
        "Second. Two",
    ]
    links = [re.findall(r'href="([^"]*)"', item) for item in items]
    assert links == [["../part/one.html#claim-0"]] * 2 + [["../part/two.html#claim-0"]]
    assert (
        "What depends on chance was measured over 3 seeds; what is recorded, as its chapter says."
    ) in text
    made = article(site, "part/one.html")
    assert made.count("makes-claims") == 1 and 'id="claim-0"' in made


def test_a_word_of_the_glossary_leads_there_at_its_first_use_alone(site):
    text = article(site, "part/one.html")
    found = re.findall(r'<a class="glossary-word[^>]*>.*?</a>', text)
    assert [plain(link) for link in found] == ["running mean", "batch"]  # scale is an everyday word
    assert 'href="../back/words.html#term-batch"' in found[1]
    assert 'title="Some samples."' in found[1]
    assert f"of batch norm, and of a {found[1]}, is what" in text
    assert "glossary-word" not in article(site, "part/two.html")  # linked by hand
    assert "glossary-word" not in article(site, "back/all.html")


def test_a_page_brings_its_own_mathjax_if_it_has_formulas_and_no_script_of_icons(site):
    one, two = ((site / "part" / f"{name}.html").read_text("utf-8") for name in ("one", "two"))
    assert 'src="../_static/mathjax/tex-svg.js' in two and '"enableMenu": false' in two
    assert "window.MathJax" not in one and "tex-svg" not in one
    assert (site / "_static" / "mathjax" / "tex-svg.js").stat().st_size > 1e6
    assert "fontawesome.js" not in one + two
    assert not list(site.glob("_static/scripts/fontawesome.js*"))
    books = (site / "back" / "books.html").read_text("utf-8")
    assert 'role="listitem"' in books and "doc-biblioentry" not in books


def test_a_public_name_leads_to_where_it_is_documented(site):
    text = article(site, "back/names.html")
    links = re.findall(r'href="(#normtutorial[^"]*)" title', text)
    assert links[:3] == [
        "#normtutorial.claims.ClaimFailed",
        "#normtutorial.claims.Claim.parse",
        "#normtutorial.models.init_normal_",
    ]


def test_an_old_address_leads_to_the_new_one_and_keeps_what_follows_the_hash(site):
    text = (site / "old.html").read_text("utf-8")
    assert check_html.Page(text).forwards
    assert "url=part/one.html" in text and '"part/one.html"' in text
    assert "target + window.location.hash" in text


def test_the_registry_of_norms_is_loaded_before_the_scripts_that_read_it(site):
    script = (site / "_static" / "norms.js").read_text("utf-8")
    assert script.startswith("window.normtutorial = ") and script.endswith(";\n")
    norms = json.loads(script.partition("=")[2].strip(" ;\n"))["norms"]
    assert list(norms) == [*NORMS, "original"]
    assert norms["batch"] == {"label": "batch norm", "color": NORMS["batch"].color}
    assert norms["original"]["label"] == ORIGINAL.label
    text = (site / "index.html").read_text("utf-8")
    (tag,) = re.findall(r"<script[^>]*norms\.js[^>]*>", text)
    assert "defer" not in tag and "module" not in tag
    assert text.index("norms.js") < text.index("demos.js")


def test_in_the_index_of_sources_a_list_inside_a_list_belongs_to_an_item_of_it(monkeypatch):
    monkeypatch.syspath_prepend(chapters.ROOT / "book" / "_ext")
    from lighter import INNER_LIST

    page = "<ul><li>a</li>\n<li>b</li>\n<ul><li>b.c</li>\n</ul><li>d</li>\n</ul>"
    assert INNER_LIST.sub(r"<ul>\1</ul></li>", page) == (
        "<ul><li>a</li>\n<li>b<ul><li>b.c</li>\n</ul></li><li>d</li>\n</ul>"
    )
