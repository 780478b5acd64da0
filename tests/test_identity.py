"""A claim is its sentence, its condition, and what that depends on; all else may change."""

import ast

import nbformat
import pytest

import chapters
import identity
from identity import Names

CELLS = [
    "import matplotlib.pyplot as plt\nimport torch\n"
    "from normtutorial import claim, fit\nRATE = 0.1",
    "def train(seed):\n    return fit(seed, lr=RATE)",
    "runs = [train(seed) for seed in range(3)]\nunrelated = 3",
    "fig, ax = plt.subplots()\nfor run in runs:\n    ax.plot(run.steps, run.loss)",
    'other = 2\nclaim("A.", max(runs) < 4, measured=1)\nclaim("B.", other < 3)',
]


def changed(old: str, new: str, cells: list[str] = CELLS, sentence: str = "A.") -> bool:
    """Whether a claim of the last cell is another one when its chapter has other code."""
    others = [code.replace(old, new) for code in cells]
    assert others != cells
    last = len(cells) - 1
    return identity.identity(others, last, sentence) != identity.identity(cells, last, sentence)


@pytest.mark.parametrize(
    "old, new",
    [
        ("RATE = 0.1", "RATE = 0.2"),
        ("lr=RATE", "rate=RATE"),
        ("range(3)", "range(4)"),
        ("max(runs) < 4", "max(runs) < 5"),
        ("max(runs) < 4", "max(runs) < 4, seeds=[0]"),
        ("runs = ", "torch.manual_seed(0)\nruns = torch.tensor(3), "),
        ("other = 2", "runs.append(7)"),
        ("other = 2", "fit(runs)"),
        ("other = 2", "runs[0] = 7"),
        ("other = 2", "runs += [7]"),
        ("other = 2", "del runs"),
        ("other = 2", "for runs in [3]: pass"),
        ("other = 2", "result = sorted(fit(runs[0]))"),
        ("other = 2", "def note():\n    runs.append(1)\nnote()"),
    ],
)
def test_what_a_claim_depends_on_makes_it_another_one(old, new):
    assert changed(old, new)


@pytest.mark.parametrize(
    "old, new",
    [
        ("unrelated = 3", "unrelated = 4"),
        ("measured=1", "measured=2"),
        ("other = 2", "other = 3  # a comment"),
        ("ax.plot(run.steps, run.loss)", "ax.plot(run.steps)"),
        ("other = 2", "print(runs)"),
        ("other < 3", "other < 4"),
        ('claim("B."', 'claim("C."'),
        ("other = 2", "lengths = [len(runs) for runs in [[1]]]"),
        ("def train", "def unused():\n    pass\n\ndef train"),
        ("import torch\n", "import torch\nimport json\n"),
        ("other < 3)", "other < 3)\nruns.append(5)"),
    ],
)
def test_all_else_may_change(old, new):
    assert not changed(old, new)


def test_the_call_of_a_function_counts_that_changes_what_is_needed():
    cells = ["runs = []\ndef note():\n    runs.append(1)", 'note()\nclaim("A.", len(runs) < 3)']
    assert changed("note()\nclaim", "claim", cells)


def test_a_sentence_is_part_of_its_claim():
    cells = ['claim("A.", 1 < 2)', 'claim("B.", 1 < 2)']
    one, other = (identity.identity([cell], 0, cell[7:9]) for cell in cells)
    assert one != other


def test_a_seed_that_is_set_for_all_counts_where_torch_is_used():
    cells = ["import torch", "torch.manual_seed(0)", 'claim("A.", torch.rand(1) < 2)']
    assert changed("seed(0)", "seed(1)", cells)


def test_a_claim_whose_sentence_is_put_together_is_known_by_its_loop():
    cells = ['for n in (1, 2):\n    claim(f"{n}.", n < LIMIT)\nclaim("A.", 1 < 2)']
    assert changed("(1, 2)", "(1, 2, 3)", cells, "1.")
    assert not changed("1 < 2", "1 < 3", cells, "1.")


def test_a_claim_that_a_function_of_an_earlier_cell_makes_depends_on_it():
    cells = ['def check(n):\n    claim(f"{n}.", n < 3)', "check(1)"]
    assert changed("n < 3", "n < 4", cells, "1.")


@pytest.mark.parametrize(
    "code, used, bound, touched",
    [
        ("x = f(y)", {"f", "y"}, {"x"}, {"y"}),
        ("x.a.b(y[0])", {"x", "y"}, set(), {"x", "y"}),
        ("x = [y for y in z]", {"z"}, {"x"}, set()),
        ("x = lambda y=u: y + z", {"u", "z"}, {"x"}, set()),
        ("def f(a, *b, c=d):\n    e = a\n    g(h)", {"d", "g", "h"}, {"f"}, {"h"}),
        (
            "@k\nclass C(B):\n    a = b\n    def m(self): u(v)",
            {"k", "B", "b", "u", "v"},
            {"C"},
            {"v"},
        ),
        ("with open(x) as y: z = len(y)", {"open", "x", "len", "y"}, {"y", "z"}, set()),
        ("x.y = z", {"x", "z"}, set(), {"x"}),
        ("print(x)", {"print", "x"}, set(), set()),
        ("import a.b, c as d", set(), {"a", "d"}, set()),
        ("f(*x, k=[y, z.w])", {"f", "x", "y", "z"}, set(), {"x", "y", "z"}),
    ],
)
def test_a_statement_has_names(code, used, bound, touched):
    names = Names.of(ast.parse(code))
    assert (names.used, names.bound, names.changed) == (used, bound, touched)


def test_a_chapter_stores_the_claims_it_has_made(tmp_path, monkeypatch):
    monkeypatch.setattr(chapters, "find", lambda name: tmp_path / f"{name}.ipynb")
    cells = [nbformat.v4.new_markdown_cell("Text."), *map(nbformat.v4.new_code_cell, CELLS)]
    output = nbformat.v4.new_output("stream", text="✓ A. (measured 1)\nstep 1\n✓ B.\n")
    cells[-1].outputs = [output]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "chapter.ipynb")
    found = identity.stored.__wrapped__("chapter")
    assert {s: (now, str(claim)) for s, (now, claim) in found.items()} == {
        "A.": (identity.identity(CELLS, 4, "A."), "✓ A. (measured 1)"),
        "B.": (identity.identity(CELLS, 4, "B."), "✓ B."),
    }


def test_the_claims_of_the_book_are_told_apart():
    for path in chapters.notebooks():
        made = identity.read(path.stem)[1]
        stored = identity.stored(path.stem)
        assert len(made) == len(stored), f"{path.stem} makes a claim twice"
        assert len({now for now, _ in stored.values()}) == len(stored)
