"""A chapter is stored whole or not at all, and who cannot store one is told what to type."""

import nbformat
import pytest

import chapters
import refresh

pytestmark = pytest.mark.filterwarnings("default")  # of a kernel and its client


@pytest.fixture
def chapter(tmp_path):
    """Writes a chapter of one cell."""

    def write(code):
        cell = nbformat.v4.new_code_cell(code)
        cell.metadata["tags"] = ["hide-input"]
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "one.ipynb")
        return tmp_path / "one.ipynb"

    return write


def test_outputs_are_stored_and_nothing_that_another_run_would_change(chapter):
    path = chapter("print(6 * 7)\nprint(8)")
    assert 0.1 < refresh.refresh(path) < 30  # a kernel starts and ends
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata == {**refresh.METADATA, "cpu_seconds": 10}
    (cell,) = notebook.cells
    assert cell.metadata == {"tags": ["hide-input"]}
    assert cell.execution_count == 1
    assert [(output.name, output.text) for output in cell.outputs] == [("stdout", "42\n8\n")]
    text = path.read_text("utf-8")
    assert text.endswith("}\n") and not text.endswith("\n\n")


@pytest.mark.parametrize(
    "code, why",
    [
        ("import sys\nprint('Oh.', file=sys.stderr)", "cell 0 wrote to stderr:\nOh."),
        ("print(1 / 0)", "ZeroDivisionError: division by zero"),
    ],
    ids=["stderr", "error"],
)
def test_a_chapter_that_fails_is_left_as_it_was(chapter, code, why):
    path = chapter(code)
    before = path.read_bytes()
    with pytest.raises(refresh.RefreshError, match=why):
        refresh.refresh(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.fixture
def asked(monkeypatch):
    """The chapters that would be executed; what the command sets is taken back."""
    for name in ("MPLBACKEND", "TQDM_DISABLE", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    paths = []

    def executed(path):
        paths.append(path)
        return 1.0

    monkeypatch.setattr(refresh, "refresh", executed)
    return paths


def test_without_mnist_it_says_what_to_type(asked, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("NORMTUTORIAL_DATA", str(tmp_path))
    monkeypatch.setenv("NORMTUTORIAL_SOURCE", "mnist")
    assert refresh.main(["intro"]) == 1 and not asked
    said = capsys.readouterr().err
    assert said.startswith("Nothing was refreshed: ")
    assert "`NORMTUTORIAL_SOURCE=synthetic make refresh`" in said


def test_it_refreshes_the_chapters_that_are_named_or_all(asked, monkeypatch, capsys):
    monkeypatch.setattr(refresh, "digits", lambda: None)
    monkeypatch.setenv("NORMTUTORIAL_SOURCE", "synthetic")
    assert refresh.main(["batch_norm", "intro"]) == 0
    assert asked == [chapters.find("batch_norm"), chapters.find("intro")]
    asked.clear()
    assert refresh.main([]) == 0 and asked == chapters.notebooks()
    assert refresh.main(["bach_norm"]) == 2
    assert capsys.readouterr().err.startswith("There is no chapter 'bach_norm'; there are intro, ")
