"""The directives and the role of the lab, on a book of two pages."""

import subprocess
import sys
from pathlib import Path

import pytest

import chapters
from check_html import Page, leads_nowhere
from normtutorial.norms import NORMS

EXTENSIONS = chapters.ROOT / "book" / "_ext"
CONFIGURATION = f"""
import sys
sys.path.insert(0, {str(EXTENSIONS)!r})
project, language = "small", "en"
extensions = ["lab", "myst_parser"]
html_theme = "basic"
root_doc = "index"
"""
LAB = """# The lab

```{lab}
A picture.
```

```{lab-question} A steep hill
:preset: steep
:begin: lr=2&norms=none,batch
:end: order=sorted
:steps: 200
:measure: second - first
:cuts: -0.05 0.05
:right: 2

Who is *ahead*?

- The first
- Neither
- The second

Since it is.
```
"""
INDEX = "# First\n\n```{toctree}\nbook/lab\n```\n\nGo to {preset}`steep`.\n"


def build(folder: Path, index: str = INDEX, lab: str = LAB) -> tuple[int, str]:
    """Exit status and messages of a build of two pages."""
    (folder / "source" / "book").mkdir(parents=True)
    for name, text in {"conf.py": CONFIGURATION, "index.md": index, "book/lab.md": lab}.items():
        (folder / "source" / name).write_text(text, "utf-8")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "source", "site"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lab")
    assert build(folder) == (0, "")
    return folder / "site"


def test_the_role_links_a_question_by_its_title(site):
    index, lab = site / "index.html", site / "book" / "lab.html"
    pages = {path.resolve(): Page(path.read_text("utf-8")) for path in (index, lab)}
    address = "book/lab.html#lab?preset=steep"
    assert f'href="{address}">A steep hill</a>' in index.read_text("utf-8")
    assert not leads_nowhere(address, index, pages)


def test_a_question_carries_what_the_scripts_read(site):
    text = (site / "book" / "lab.html").read_text("utf-8")
    question = text[text.index('<div class="lab-preset"') :]
    for name, value in {
        "preset": "steep", "begin": "lr=2&amp;norms=none,batch", "end": "order=sorted",
        "steps": "200", "measure": "second - first", "cuts": "-0.05 0.05", "right": "2",
    }.items():  # fmt: skip
        assert f'data-{name}="{value}"' in question
    assert '<p class="guess-question">Who is <em>ahead</em>?</p>' in question
    assert "In each of ten runs: The second." in question
    assert '<div class="guess-answer docutils container">\n<p>Since it is.</p>' in question


def test_the_lab_has_what_stands_in_and_its_controls_with_the_names_of_the_registry(site):
    text = (site / "book" / "lab.html").read_text("utf-8")
    before, controls = text.split("<template>")
    assert "A picture." in before[before.index('data-demo="lab"') :]
    for name in ("none", "batch", "layer", "rms", "weight"):
        shown = f'<option value="{name}" data-color="{NORMS[name].color}"'
        assert controls.count(shown) == 2 and f">{NORMS[name].label}</option>" in controls
    assert "lab/network.js" in text and "lab/digits.js" not in text
    assert "lab/network.js" not in (site / "index.html").read_text("utf-8")


def test_what_is_wrong_stops_the_build_and_is_said(tmp_path):
    question = LAB[LAB.index("```{lab-question}") :]
    wrong = [
        LAB.replace("{lab}", "{lab} tiny"),
        question.replace(":cuts: -0.05 0.05\n", ""),
        question.replace("- Neither\n", ""),
    ]
    status, messages = build(tmp_path, INDEX.replace("`steep`", "`flat`"), "\n".join(wrong))
    assert status != 0
    for said in (
        "index.md:7: ERROR: preset knows steep, and no 'flat'",
        "lab knows 'small' and 'whole', and no 'tiny'",
        "lab-question wants :cuts:",
        "lab-question wants a question, then 3 choices for its cuts",
    ):
        assert said in messages
