"""What the book's own extensions of Sphinx write, on a book of a few lines."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from docutils import nodes
from docutils.utils import new_document

import chapters
import check_html
from helpers import article, plain
from normtutorial.claims import Claim
from normtutorial.norms import NORMS, ORIGINAL

CONFIGURATION = f"""
import sys
from pathlib import Path
sys.path += [{str(chapters.ROOT / "book" / "_ext")!r}, {str(chapters.ROOT / "tools")!r}]
import confirmed
confirmed.RECORD = Path(__file__).parent / "claims.json"
project, language = "small", "en"
extensions = [
    "offline_mathjax", "claims", "claims_page", "guess", "takeaways", "public_names",
    "chapter_head", "cited_in", "first_use", "together", "figure_titles", "lighter",
    "norm_registry", "exercises", "timetable",
    "sphinx_reredirects", "myst_nb", "sphinxcontrib.bibtex", "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
bibtex_bibfiles, bibtex_reference_style = ["references.bib"], "author_year"
nb_execution_mode = "off"
nitpicky = True
numfig = True
nitpick_ignore_regex = [("py:.*", "(collections|typing)[.].*")]
myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
html_theme = "sphinx_book_theme"
html_static_path, html_js_files = ["static"], ["demos.js"]
html_context = {{"default_mode": "auto"}}
redirects = {{"old": "part/one.html"}}
"""
PAGES = {
    "index.md": "(ch-first)=\n# First\n\nHere.\n\n```{toctree}\npart/one\npart/two\nback/words\n"
    "back/all\nback/books\nback/names\n```\n\n(run-it)=\n## Run it\n\nSo.\n\n"
    "```{figure} static/dot.svg\n:name: fig-dot\n:alt: A dot.\n\nA *finding*.\n```\n",
    "back/words.md": "(ch-glossary)=\n# Words\n\n```{glossary}\nrunning mean\nmoving mean\n"
    "  Followed over batches.\n\nvariance\n  A mean square.\n\ntotal variance\n"
    "  Of all.\n\nbatch\n  Some samples.\n\nscale\n  A factor.\n\n"
    "less\n  Smaller; claims alone have this word.\n```\n",
    "back/all.md": "(ch-claims)=\n# All\n\n```{claims}\n```\n",
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
CLAIMS = [
    Claim("Two is less than three, as batch norm has it.", "0.667 to 0.7", (0, 1, 2)),
    Claim("Three is less than four.", record="compare"),
]
SOLVED = Claim("Two is solved.", "\u22120.5-0.25")
CHECK = "worst = 2 / 3\nclaim('Two is less than three.', worst < 1)"
LOOK = {"blocks": list(range(100, 110)), "when": "2026-11-25"}
FAILED = [[103, "mnist", "0.7"]]
UNSEEN = {
    "one": {
        claim.statement: {
            "identity": "new",
            "choose": {},
            "confirmations": [
                {"identity": identity, "held": held, "runs": 20, "failed": failed, **LOOK}
                for identity, held, failed in (
                    ("new", 20, []),
                    ("new", new, [[101, "synthetic", "0.9"]] * (20 - new)),
                    ("old", 1, FAILED),
                )
            ],
            "regressions": [],
        }
        for claim, new in zip(CLAIMS, (18, 20), strict=True)
    }
}
UNSEEN["one"]["Two is three."] = {
    "identity": "gone",
    "confirmations": [{"identity": "gone", "held": 19, "runs": 20, "failed": FAILED, **LOOK}],
}


def notebook(*cells: str | tuple[str, ...], seconds: int | None = None) -> str:
    """A notebook of prose, and of code with what it printed and its tags."""
    made = [
        nbformat.v4.new_markdown_cell(cell)
        if isinstance(cell, str)
        else nbformat.v4.new_code_cell(
            cell[0],
            outputs=[nbformat.v4.new_output("stream", name="stdout", text=cell[1])],
            metadata={"tags": list(cell[2:])},
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
        "for a description?*\n\nThe running\nmean of batch norm, and of a batch, is what is read "
        "in lists. A batch, once more, and its scale, says {cite:t}`a`.",
        "## Measured\n\nA batch, and a moving mean: the total variance.",
        "```{guess} How many?\n:claim: Two is\n:number: 2\n:from: 0\n:to: 1\n:step: 0.1\n```\n\n"
        "```{guess} Which?\n:claim: Two is\n\n- below 0.5\n- 0.5 to 1: many\n- above 1\n\nSo.\n```",
        (f"y = f(x)\n{CHECK}", "no claim\n" + "\n".join(map(str, CLAIMS)) + "\n"),
        "```{takeaways}\n- First, {claim}`as seen <Two is>`.\n- {claim}`Second.`\n```",
        seconds=20,
    ),
    "part/two.ipynb": notebook(
        "(ch-two)=\n# Two\n\nA {term}`batch` has a name already, so the batch is left. "
        "See {numref}`fig-dot`. Here is $x^2$, 5 % of $y$ and `5 %`, from {cite:t}`a` "
        "and {cite:t}`b`.",
        ("import a", "", "hide-input"),
        (CHECK, f"{Claim('Second.')}\n", "hide-input"),
        (f"# Solution. So.\n{CHECK}", f"{SOLVED}\n", "hide-cell"),
        "```{guess} How much?\n:claim: Two is solved\n:from: -1\n:to: 0\n:step: 0.1\n```",
    ),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built pages."""
    source = tmp_path_factory.mktemp("source")
    target = tmp_path_factory.mktemp("site")
    said = built(source, target, PAGES | NOTEBOOKS)
    assert not said, said
    return target


def built(source: Path, target: Path, pages: dict[str, str]) -> str:
    """Build a book of these pages. Returns the warnings."""
    files = pages | {
        "conf.py": CONFIGURATION,
        "references.bib": BIBLIOGRAPHY,
        "claims.json": json.dumps(UNSEEN),
        "static/demos.js": "// reads norms\n",
        "static/dot.svg": '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    }
    for name, text in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", source, target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == bool(done.stderr)
    return done.stderr


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


def blocks(markup: str) -> list[str]:
    """The claims that a page shows, each with its facts."""
    pattern = r'<p class="claim-statement">(.*?)</p> <p class="claim-facts">(.*?)</p>'
    return [f"{plain(one)} | {plain(two)}" for one, two in re.findall(pattern, markup)]


def test_a_claim_is_a_block_with_what_was_measured_and_how_it_did_on_unseen_seeds(site):
    text = article(site, "part/one.html")
    assert blocks(text) == [
        "Two is less than three, as batch norm has it. | "
        "measured 0.667 to 0.7 · seeds 0 to 2 · held in 38 of 40 unseen runs, "
        "after 1 failed confirmation · on the page of all claims",
        "Three is less than four. | "
        "recorded in compare · held in 40 of 40 unseen runs, after 1 failed confirmation "
        "· on the page of all claims",
    ]
    assert "✓" not in text  # a printed line is nowhere left
    assert len(re.findall(r'class="claim claim-failed[^"]*"', text)) == 1
    assert (
        blocks(article(site, "part/two.html"))[0] == "Second. | exact · on the page of all claims"
    )


def test_what_teaches_and_what_else_was_printed_stand_open_and_the_check_is_folded(site):
    text = article(site, "part/one.html")
    folds = re.findall(r"<details .*?<summary>(.*?)</summary>(.*?)</details>", text)
    assert [(name, plain(code)) for name, code in folds] == [("the check", plain(CHECK))]
    before, after = (plain(part) for part in text.split("<details"))
    assert "y = f(x) no claim Two is less" in before and "y = f(x)" not in after


def test_a_fold_says_what_it_holds_and_a_solution_stays_together(site):
    text = article(site, "part/two.html")
    folds = re.findall(r"<details .*?<summary>(.*?)</summary>(.*?)</details>", text)
    assert [name for name, _ in folds] == ["the setup", "the check", "Solution"]
    assert "# Solution. So." in plain(folds[2][1]) and "Two is solved." in blocks(folds[2][1])[0]
    assert "Second." not in plain(folds[1][1])


def test_every_claim_is_listed_with_a_link_to_where_it_is_made_and_back(site):
    text = article(site, "back/all.html")
    assert "There are 4 claims in 2 chapters: 2 exact, " in plain(text)
    assert "1 measured over seeds, 1 read from a record." in plain(text)
    assert "2 of them were tried on seeds that nobody had looked at: 1 held" in plain(text)
    assert len(blocks(text)) == 6  # the one that failed stands first, too, and one that is gone
    failed = (
        "Two is less than three, as batch norm has it. | measured 0.667 to 0.7 · seeds 0 to 2 · "
        "held in 38 of 40 unseen runs, after 1 failed confirmation · Measured"
    )
    gone = "Two is three. | held in 19 of 20 unseen runs, then restated · One"
    assert blocks(text)[:3] == [failed, gone, failed]
    shown = re.findall(r'<p class="claim-facts">(failed at .*?)</p>', text)
    assert shown == [
        *["failed at block 101 on the synthetic digits: 0.9"] * 2,
        "failed at block 103 on MNIST: 0.7",
        *["failed at block 101 on the synthetic digits: 0.9"] * 2,
    ]
    rows = re.findall(r'<li class="claim ([^"]*)"( id="[^"]*")?', text)
    assert [marks for marks, _ in rows[2:]] == [
        "kind-measured method-batch claim-failed", "kind-recorded", "kind-exact", "kind-exact",
    ]  # fmt: skip
    names = re.findall(r'id="(one-claim-two[^"]*)"', text)
    assert names == ["one-claim-two-is-less-than-three-as-batch-norm-has-it"]
    assert f'href="../back/all.html#{names[0]}"' in article(site, "part/one.html")
    assert f'href="../part/one.html#{names[0].removeprefix("one-")}"' in text


def test_the_list_has_a_section_for_failures_and_one_for_each_chapter_in_the_contents(site):
    text = article(site, "back/all.html")
    headings = re.findall(r'<section id="([^"]*)">\s*<h2>(.*?)</h2>', text)
    sections = [(name, plain(title).strip("# ")) for name, title in headings]
    titles = ["Failed on unseen seeds", "One", "Two"]
    assert sections == list(zip(["claims-failed", "claims-one", "claims-two"], titles, strict=True))
    page = " ".join((site / "back/all.html").read_text("utf-8").split())
    contents = re.search(r'<nav id="pst-page-toc-nav".*?</nav>', page)[0]
    links = re.findall(r'href="#([^"]*)"[^>]*>\s*(.*?)\s*</a>', contents)
    assert links == sections


@pytest.mark.parametrize(
    "text, methods",
    [
        ("Batch or layer norm doubles it.", "batch layer"),
        (
            "It is below 0.3 with weight, layer or no norm, 0.8 with batch norm.",
            "none weight batch layer",
        ),
        (
            "In torch's batch, layer, instance, and group norm it is one.",
            "batch layer instance group",
        ),
        ("It is neither batch nor RMS norm.", "batch rms"),
        ("BatchNorm1d and instance_norm are layers.", "batch instance"),
        ("Our weight-norm layer has batch norms.", "weight batch"),
        ("The plain network has 3 layers.", "none"),
        ("Without normalization the weight doubles.", "none"),
        ("It is ahead of that of no normalization.", "none"),
        ("It travels as far without batch norm as with it.", "none batch"),
        ("Runs with weight norm and without differ.", "none weight"),
        ("It is above 0.6 with batch norm, as without.", "none batch"),
        ("Dropout raises it, and it falls without.", ""),
        ("Without scale and shift layer norm is the same.", "layer"),
        ("In a batch, or in no layer, a normal weight is normalized.", ""),
        ("No layer norm sees the batch, normalized or not.", "layer"),
    ],
)
def test_a_text_names_methods_alone_in_a_list_and_by_their_absence(monkeypatch, text, methods):
    for folder in ("tools", "book/_ext"):
        monkeypatch.syspath_prepend(chapters.ROOT / folder)
    from claims_page import methods_of

    assert methods_of(text) == methods.split()


def test_a_guess_knows_the_truth_from_the_stored_output_alone(site):
    text = article(site, "part/one.html")
    guess = r'<div class="guess".*?(?=<div class="guess"|<div class="cell)'
    slider, choices = re.findall(guess, text)
    assert 'data-truth="0.7"' in slider and 'data-step="0.1"' in slider
    assert plain(slider).startswith("How many? Measured: 0.7. Two is less than three")
    assert 'data-truth="0.667"' in choices and 'data-right="1"' in choices
    assert plain(choices).startswith("Which? below 0.5 0.5 to 1: many above 1 Measured: 0.667.")
    assert plain(choices).endswith("So.")
    (negative,) = re.findall(r'<div class="guess"[^>]*>', article(site, "part/two.html"))
    assert 'data-truth="-0.5"' in negative and 'data-from="-1.0"' in negative


def test_takeaways_lead_to_their_claims_also_of_other_chapters(site):
    text = article(site, "part/one.html")
    box = text[text.index("takeaways admonition") :]
    links = re.findall(r'<a class="claim-link[^"]*" href="([^"]*)"[^>]*>(.*?)</a>', box)
    assert [(href, plain(shown)) for href, shown in links] == [
        ("#claim-two-is-less-than-three-as-batch-norm-has-it", "as seen"),
        ("two.html#claim-second", "Second."),
    ]


def test_what_leads_to_no_claim_and_what_was_not_measured_stops_the_build(tmp_path):
    def guess(*lines: str) -> str:
        return "\n".join(["```{guess} How?", *lines, "```\n"])

    slider = (":from: 0", ":to: 0.5", ":step: 0.1")
    page = notebook(
        "# Wrong\n\n{claim}`Nobody said`, {claim}`T`.\n",
        guess(":claim: Nobody", *slider),
        guess(":claim: Three", *slider),
        guess(":claim: Two", *slider),
        guess(":claim: Two", ":from: 0.7", ":to: 1", ":step: 0.1"),
        guess(":claim: Two", "", "- below 0.5", "- above 0.9"),
        guess(":claim: Two", "", "- few", "- many"),
        guess(":claim: Two"),
        guess(*slider),
        "```{takeaways}\n- {claim}`Some <Two>`.\n- Of nothing.\n```",
        (CHECK, "\n".join(map(str, CLAIMS))),
    )
    said = built(tmp_path / "book", tmp_path / "site", {"index.ipynb": page})
    for text in (
        "0 claims begin with 'Nobody said'",
        "2 claims begin with 'T'",
        "0 claims begin with 'Nobody'; it takes one",
        "the claim 'Three' of this chapter wants 1 measured numbers; got None",
        "the truth, 0.667, is off the slider",
        "0 choices are right for 0.667",
        "'few' begins neither with 'below'",
        "guess wants a list of choices, or else",
        "guess wants :claim:",
        "takeaways wants a list with a link to a claim in each item",
        "got 'Of nothing.'",
    ):
        assert text in said
    assert said.count("is off the slider") == 2  # above it, and below


def test_a_word_of_the_glossary_leads_there_at_its_first_use_alone(site):
    text = article(site, "part/one.html")
    found = re.findall(r'<a class="glossary-word[^>]*>.*?</a>', text)
    assert [plain(link) for link in found] == ["running mean", "batch", "total variance"]
    # scale is an everyday word, and moving mean another spelling of what is linked already
    assert 'href="../back/words.html#term-batch"' in found[1]
    assert 'title="Some samples."' in found[1]
    assert f"of batch norm, and of a {found[1]}, is what" in text
    assert "glossary-word" not in article(site, "part/two.html")  # linked by hand
    assert "glossary-word" not in article(site, "back/all.html")


def test_the_end_of_a_line_parts_no_number_from_its_percent_and_no_formula_from_its_comma(site):
    text = article(site, "part/two.html")
    formula = r'<span class="math notranslate nohighlight">\(x^2\)</span>'
    kept = [f'<span class="together">{what}</span>' for what in (f"{formula},", "5 %")]
    assert f"{kept[0]} {kept[1]} of" in text
    assert re.search(r"<code[^>]*><span[^>]*>5</span> <span[^>]*>%</span></code>", text)


def test_a_page_brings_its_own_mathjax_if_it_has_formulas_and_no_script_of_icons(site):
    one, two = ((site / "part" / f"{name}.html").read_text("utf-8") for name in ("one", "two"))
    assert 'src="../_static/mathjax/tex-svg.js' in two and '"enableMenu": false' in two
    assert "window.MathJax" not in one and "tex-svg" not in one
    assert (site / "_static" / "mathjax" / "tex-svg.js").stat().st_size > 1e6
    assert "fontawesome.js" not in one + two
    assert not list(site.glob("_static/scripts/fontawesome.js*"))
    assert not list(site.glob("_static/**/*.map"))
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


def test_the_number_of_a_figure_shows_its_caption(site):
    text = article(site, "part/two.html")
    (link,) = re.findall(r'<a [^>]*href="../index.html#fig-dot"[^>]*>', text)
    assert 'title="A finding."' in link


def test_reading_takes_time_for_words_code_formulas_and_figures_that_stand_open(monkeypatch):
    monkeypatch.syspath_prepend(chapters.ROOT / "book" / "_ext")
    from chapter_head import to_read

    code = nodes.literal_block("", "x = 1\n" * 150)  # ten minutes
    page = new_document("")
    assert to_read(page) == 1
    page += nodes.paragraph("", "word " * 900)  # five
    assert to_read(page) == 5
    page += nodes.container("", code.deepcopy())
    assert to_read(page) == 15
    page += nodes.math_block("", r"a \\ b \\ c \\ d")  # one
    page += [nodes.figure(), nodes.figure(), nodes.figure()]  # one
    assert to_read(page) == 17
    page += nodes.container("", code.deepcopy(), nodes.figure(), hide_mode="all")
    shut = nodes.container("", code.deepcopy(), nodes.paragraph("", "word " * 180))
    shut["hide_mode"] = "input"
    page += shut
    assert to_read(page) == 18


def folded(source: str, tags: list[str], figure: bool = False) -> nodes.container:
    """A cell as it was read from a notebook."""
    parts = [nodes.container("", nodes.literal_block("", source), nb_element="cell_code_source")]
    about = {"mystnb": {"figure": {"name": "fig-a"}}} if figure else {}
    parts += [nodes.container("", nodes.image(), nb_element="cell_code_output")] if figure else []
    cell = nodes.container("", *parts, nb_element="cell_code", cell_metadata={"tags": tags} | about)
    if tags:
        cell["hide_mode"] = "input" if tags == ["hide-input"] else "all"
    return cell


@pytest.mark.parametrize(
    "before, order",
    [
        (folded("import a", ["hide-input"]), ["", "import a", "plt.show()"]),
        (folded("import a", ["hide-cell"]), ["", "import a", "plt.show()"]),
        (folded("import a", []), ["import a", "", "plt.show()"]),
        (folded("draw()", ["hide-cell"], figure=True), ["draw()", "", "plt.show()"]),
        (nodes.paragraph("", "import a"), ["import a", "", "plt.show()"]),
        (None, ["", "plt.show()"]),
    ],
)
def test_what_makes_a_figure_is_folded_under_it(monkeypatch, before, order):
    for folder in ("tools", "book/_ext"):
        monkeypatch.syspath_prepend(chapters.ROOT / folder)
    from folds import name_folds

    page = new_document("")
    section = nodes.section("", *([before] if before else []))
    page += section
    section += folded("plt.show()", ["hide-input"], figure=True)
    name_folds(None, page)
    assert [cell.astext().strip() for cell in section] == order
    drawing, figure = section.children[-1], section.children[order.index("")]
    assert isinstance(drawing, nodes.container) and isinstance(figure, nodes.container)
    assert (drawing["prompt_show"], drawing["hide_mode"]) == ("the drawing", "input")
    assert figure.next_node(nodes.image) and not figure.get("hide_mode")


@pytest.mark.parametrize(
    "after, order",
    [
        ([folded("b = 2", ["hide-input"])], ["a = 1b = 2"]),
        ([folded("b = 2", ["hide-input"]), folded("c = 3", ["hide-input"])], ["a = 1b = 2c = 3"]),
        ([nodes.paragraph("", "So:"), folded("b = 2", ["hide-input"])], ["a = 1", "So:", "b = 2"]),
        ([folded("b = 2", [])], ["a = 1", "b = 2"]),
        ([folded("b = 2", ["hide-cell"])], ["a = 1", "b = 2"]),
        ([folded("import b", ["hide-input"])], ["a = 1", "import b"]),
        ([folded("plt.show()", ["hide-input"], figure=True)], ["", "a = 1", "plt.show()"]),
    ],
)
def test_code_that_follows_code_is_in_one_fold(monkeypatch, after, order):
    for folder in ("tools", "book/_ext"):
        monkeypatch.syspath_prepend(chapters.ROOT / folder)
    from folds import name_folds

    page = new_document("")
    section = nodes.section("", folded("a = 1", ["hide-input"]), *after)
    page += section
    name_folds(None, page)
    assert [one.astext().replace("\n", "").strip() for one in section] == order


@pytest.mark.parametrize(
    "text, numbers",
    [
        ("0.3-0.5", ["0.3", "0.5"]),
        ("-0.3 to \u22120.1", ["-0.3", "\u22120.1"]),
        ("(-1e-5, 2e+3)", ["-1e-5", "2e+3"]),
        ("layer-2: -7", ["2", "-7"]),
    ],
)
def test_a_hyphen_is_a_sign_only_where_nothing_stands_before_it(monkeypatch, text, numbers):
    for folder in ("tools", "book/_ext"):
        monkeypatch.syspath_prepend(chapters.ROOT / folder)
    from guess import NUMBER, holds

    assert NUMBER.findall(text) == numbers
    assert holds("-0.3 to -0.1", -0.2) and not holds("-0.3 to -0.1", -0.1)
    assert holds("below \u22120.1", -0.2) and not holds("above -0.1", -0.2)


def test_in_the_index_of_sources_a_list_inside_a_list_belongs_to_an_item_of_it(monkeypatch):
    monkeypatch.syspath_prepend(chapters.ROOT / "book" / "_ext")
    from lighter import INNER_LIST

    page = "<ul><li>a</li>\n<li>b</li>\n<ul><li>b.c</li>\n</ul><li>d</li>\n</ul>"
    assert INNER_LIST.sub(r"<ul>\1</ul></li>", page) == (
        "<ul><li>a</li>\n<li>b<ul><li>b.c</li>\n</ul></li><li>d</li>\n</ul>"
    )


def test_on_top_of_the_list_is_how_many_were_tried_and_what_that_does_not_say(monkeypatch):
    for folder in ("tools", "book/_ext"):
        monkeypatch.syspath_prepend(chapters.ROOT / folder)
    from claims import Made
    from claims_page import summary
    from confirmed import Confirmation

    held = Confirmation(20, 20, [], [], "")
    failed = held._replace(held=19, failed=FAILED)
    seeds = (0, 1)
    everything = [
        Made(Claim("A.", None, seeds), "", "", held._replace(earlier=True)),
        Made(Claim("B.", None, seeds), "", "", failed),
        Made(Claim("C."), "", "", held),
        Made(Claim("D.", None, seeds), "", "", None),
        Made(Claim("E.", None, None, "mutants"), "", "", None),
        Made(Claim("F."), "", "", None),
    ]
    lines = [item.astext() for item in summary(everything, 2).children]
    assert lines[:2] == [
        "There are 6 claims in 2 chapters: 2 exact, which no seed could change, 3 measured over "
        "seeds, 1 read from a record.",
        "3 of them were tried on seeds that nobody had looked at: 2 held in every run, 1 failed in "
        "some. Of these, 1 are exact, so that the seeds made no difference.",
    ]
    assert lines[2].startswith("1 were tried with an earlier module: code that their chapters use")
    assert lines[3:] == [
        "Not tried on unseen seeds yet, though they depend on seeds: 1.",
        "Never tried so, because the record that they read has no seeds: 1.",
    ]
