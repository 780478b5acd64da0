"""What a reader sees of a chapter without opening a fold, and the figures of its rules."""

import nbformat
import pytest

import page_rules
import visible
from normtutorial.claims import Claim

CLAIM = 'claim("They agree.", worst < 1)'


@pytest.mark.parametrize(
    "source, shown, check",
    [
        ("y = f(x)\nprint(y)", "y = f(x)\nprint(y)", ""),
        (CLAIM, "", CLAIM),
        (f"worst = f(x)\n{CLAIM}", "", f"worst = f(x)\n{CLAIM}"),
        (f"y = f(x)\nworst = g(y)\n{CLAIM}", "y = f(x)", f"worst = g(y)\n{CLAIM}"),
        (f"worst = f(x)\nstep()\n{CLAIM}", "worst = f(x)\nstep()", CLAIM),
        (f"worst += f(x)\n{CLAIM}", "worst += f(x)", CLAIM),
        (f"x.worst = f(x)\n{CLAIM}", "x.worst = f(x)", CLAIM),
        (f"worst, y = f(x)\n{CLAIM}", "worst, y = f(x)", CLAIM),
        (f"worst = fit(x)\n{CLAIM}", "worst = fit(x)", CLAIM),
        (f"worst = max(train(s) for s in y)\n{CLAIM}", "worst = max(train(s) for s in y)", CLAIM),
        (f"worst = f(build('none'))\n{CLAIM}", "worst = f(build('none'))", CLAIM),
        (f"worst = y.sum().backward()\n{CLAIM}", "worst = y.sum().backward()", CLAIM),
        (f"worst = y.fit + build\n{CLAIM}", "", f"worst = y.fit + build\n{CLAIM}"),
        (f"y = f(x)\n\n# why\nworst = y\n{CLAIM}", "y = f(x)", f"# why\nworst = y\n{CLAIM}"),
        (f"y = 1\nfor worst in y:\n    {CLAIM}\nz = 2", "y = 1", None),
    ],
)
def test_the_check_begins_at_the_first_claim_or_where_its_figures_get_their_names(
    source, shown, check
):
    assert visible.split(source)[0] == shown
    assert check is None or visible.split(source)[1] == check
    assert "".join("".join(visible.split(source)).split()) == "".join(source.split())


@pytest.mark.parametrize(
    "source, tags, words",
    [
        ("# Solution. So.\nclaim('It is.', x > 1)", ["hide-cell"], "Solution"),
        ("worst = 1\nclaim('It is.', worst > 1)", ["hide-input"], "the check"),
        ("plt.plot(x)\nplt.show()", ["hide-input"], "the drawing"),
        ("def draw(ax):\n    ax.plot(x)", ["hide-input"], "the drawing"),
        ("import torch\nx = 1", ["hide-input"], "the setup"),
        ("for x in y:\n    print(x)", ["hide-cell"], "the numbers"),
        ("for x in y:\n    print(x)", ["hide-input"], "the code"),
        ("def shown(x):\n    print(x)", ["hide-cell"], "the code"),
        ("x = 1", ["hide-cell"], "the code"),
    ],
)
def test_a_fold_says_what_it_holds(source, tags, words):
    assert visible.label(source, tags) == words


def chapter(path, *cells):
    """A chapter of prose, and of code with its tags."""
    made = [
        nbformat.v4.new_markdown_cell(cell)
        if isinstance(cell, str)
        else nbformat.v4.new_code_cell(cell[0], metadata={"tags": list(cell[1:])})
        for cell in cells
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=made), path)
    return path


def test_a_chapter_is_measured_by_what_stands_open(tmp_path):
    long = "x = 1  # " + "o" * 80
    path = chapter(
        tmp_path / "a.ipynb",
        "(ch-a)=\n# A mean\n\nThe mean of two numbers $a + b$ is half of it.\n\n$$\na + b\n$$",
        ("x = 1\n\ny = 2",),
        (f"worst = 1\n{CLAIM}\n{long}",),
        ("a = 1\n" * 40, "hide-input"),
        (long + "\n" * 40 + long, "hide-cell"),
        ("z = 3",),
    )
    page = page_rules.measure(path)
    assert page == page_rules.Page(columns=5, longest=3, median=2, words=12, lines=4)
    assert page.missed() == {"words"}


@pytest.mark.parametrize(
    "tag, columns",
    [("nbval-ignore-output", 81), ("hide-input", 81), ("hide-output", 5), ("hide-cell", 1)],
)
def test_what_was_printed_is_measured_too_where_it_is_seen_but_no_claim(tmp_path, tag, columns):
    claim = Claim("A claim is set in the type of the text, so that it may be " + "long " * 20)
    text = "o" * 81 + f"\nshort\n{claim}\n"
    cells = [nbformat.v4.new_code_cell(source) for source in ("x", "y = 2")]
    cells[1].metadata["tags"] = [tag]
    cells[1].outputs = [
        nbformat.v4.new_output("stream", name=name, text=more + text)
        for name, more in (("stdout", ""), ("stderr", "ooo"))
    ]
    path = tmp_path / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    assert page_rules.measure(path).columns == columns


@pytest.mark.parametrize(
    "changed, rule",
    [
        ({"columns": 77}, "columns"),
        ({"longest": 16}, "lines"),
        ({"median": 6.5}, "median"),
        ({"words": 119}, "words"),
    ],
)
def test_each_rule_has_a_limit_that_can_be_missed(changed, rule):
    kept = page_rules.Page(columns=76, longest=15, median=6, words=120, lines=10)
    assert kept.missed() == set()
    assert kept._replace(**changed).missed() == {rule}


@pytest.mark.parametrize(
    "markdown, count",
    [
        ("One, two - three.", 3),
        (":::{admonition} A title\n:class: tip\n\nTwo words\n:::", 4),
        ('<div class="demo" data-demo="x"><p>Two words</p></div>', 2),
        ("| a | b |\n|---|---|\n| 1 | 2 |", 4),
        ("$$\na = b\n$$ (eq-a)\n\nSo", 1),
    ],
)
def test_words_are_those_that_are_read(markdown, count):
    assert page_rules.words(markdown) == count


def test_one_command_prints_the_figures_of_a_chapter(capsys):
    assert page_rules.main(["intro"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "chapter              columns  longest  median  words a line  misses"
    assert lines[1].split()[2:] == ["76", "15", "6", "12"]
    assert [line.split()[0] for line in lines[2:]] == ["intro"]
    assert page_rules.main(["bach_norm"]) == 2
    assert "There is no chapter 'bach_norm'" in capsys.readouterr().err
