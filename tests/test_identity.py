"""A claim is its sentence, its condition and the code before it; what only shows may change."""

import nbformat
import pytest

import chapters
import identity

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
        ("unrelated = 3", "unrelated = 4"),
        ("max(runs) < 4", "max(runs) < 5"),
        ("max(runs) < 4", "max(runs) < 4, seeds=[0]"),
        ("max(runs) < 4", 'max(runs) < 4, record="study"'),
        ("max(runs) < 4", "holds=max(runs) < 5"),
        ("other = 2", "fig = [runs]\nfig.append(7)"),
        ("other = 2", "ax.append(7)"),
        *(
            ("other = 2", added)
            for added in (
                "for run in runs:\n    fit(run, steps=20)",
                "for run, n in zip(runs, [1, 2]):\n    run.train(n)",
                "more = [fit(run) for run in runs]",
                "net = runs\nfit(net)",
                "runs[0].layer.weight.data.mul_(7)",
                "loss = model(3).sum() * 7\nloss.backward()",
                "model(3)",
                "torch.manual_seed(0)",
                "torch.set_default_dtype(torch.float64)",
                "import os\nos.environ['X'] = '17'",
                "def change():\n    global runs\n    runs = 7\nchange()",
                "async def change():\n    return 7",
                "match runs:\n    case other:\n        pass",
                "try:\n    fit(7)\nexcept ValueError as runs:\n    pass",
                "try:\n    from a import b\nexcept ImportError:\n    b = 7",
                "if (runs := [7]):\n    pass",
                "del runs",
            )
        ),
    ],
)
def test_what_a_claim_may_depend_on_makes_it_another_one(old, new):
    assert changed(old, new)


@pytest.mark.parametrize(
    "old, new",
    [
        ("import torch\n", "import torch\nimport json\n"),
        ("import claim, fit", "import above, claim, fit"),
        ("measured=1", "measured=str(fit)"),
        ("max(runs) < 4", "holds=max(runs) < 4"),
        ("other = 2", "other = 2  # a comment"),
        ("return fit", "'It trains.'\n    return fit"),
        ("return fit", "print(seed)\n    return fit"),
        ("ax.plot(run.steps, run.loss)", "ax.plot(run.steps)\n    plt.grid()"),
        ("    ax.plot(run.steps, run.loss)", "    ax.plot(run.steps)\nax.legend()\nplt.show()"),
        ("fig, ax = plt.subplots()", "fig, ax = plt.subplots(figsize=(3, 2))\nfig.legend()"),
        ("other = 2", "print(runs)\nother = 2"),
        ("other = 2", 'claim("C.", other < 4)\nother = 2'),
        ("other < 3", "other < 4"),
        ('claim("B."', 'claim("C."'),
        ("other < 3)", "other < 3)\nruns.append(5)"),
    ],
)
def test_what_is_drawn_printed_imported_or_claimed_elsewhere_may_change(old, new):
    assert not changed(old, new)


@pytest.mark.parametrize("around", ["for n in (1, 2):", "with torch.no_grad():", "if runs:"])
def test_the_text_of_figures_may_change_wherever_the_claim_stands(around):
    cells = ["import torch\nruns = [1]", f'{around}\n    claim("A.", max(runs) < 3, measured=1)']
    assert not changed("measured=1", "measured=2", cells)
    assert changed("< 3", "< 4", cells)
    assert changed(around, "if True:", cells)


def test_of_a_loop_that_claims_all_but_its_claims_counts_for_later_ones():
    cells = ['for n in (1, 2):\n    claim(f"{n}.", n < 3)', 'claim("A.", 1 < 2)']
    assert not changed("n < 3", "n < 4", cells)
    assert changed("(1, 2)", "(1, 2, 3)", cells)


def test_a_sentence_is_part_of_its_claim():
    cells = ['claim("A.", 1 < 2)', 'claim("B.", 1 < 2)']
    one, other = (identity.identity([cell], 0, cell[7:9]) for cell in cells)
    assert one != other


def test_a_claim_whose_sentence_is_put_together_is_known_by_its_loop():
    cells = ['for n in (1, 2):\n    claim(f"{n}.", n < LIMIT)\nclaim("A.", 1 < 2)']
    assert changed("(1, 2)", "(1, 2, 3)", cells, "1.")
    assert not changed("1 < 2", "1 < 3", cells, "1.")


def test_a_claim_that_a_function_of_an_earlier_cell_makes_depends_on_it():
    cells = ['def check(n):\n    claim(f"{n}.", n < 3)', "check(1)"]
    assert changed("n < 3", "n < 4", cells, "1.")


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
