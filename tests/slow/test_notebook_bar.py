"""The bar of a training in a live notebook."""

import nbformat
import pytest
from nbclient import NotebookClient

TRAINING = """
import torch
from torch import nn
from normtutorial import ImageData, fit

x, y = torch.randn(64, 1, 4, 4), torch.randint(10, (64,))
data = ImageData(x, y, x, y, source="noise")
model = nn.Sequential(nn.Flatten(), nn.Linear(16, 10))
for steps in 3, 5:
    fit(model, data, steps=steps, batch_size=16)
"""


def outputs(code: str = TRAINING) -> tuple[list, dict]:
    """What a cell leaves in the file, and the widgets that a page was shown."""
    cell = nbformat.v4.new_code_cell(code)
    client = NotebookClient(nbformat.v4.new_notebook(cells=[cell]), timeout=120)
    client.execute()
    return cell.outputs, client.widget_state


def test_a_training_shows_a_widget_and_leaves_nothing_of_it_in_the_file(monkeypatch):
    pytest.importorskip("ipywidgets")
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    left, widgets = outputs()
    made = [state["_model_name"] for state in widgets.values()]
    assert made.count("FloatProgressModel") == 2
    assert [dict(output.data) for output in left] == [{"text/plain": ""}] * 2


def test_a_run_that_diverges_leaves_nothing_of_its_widget_either(monkeypatch):
    pytest.importorskip("ipywidgets")
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    left, widgets = outputs(
        TRAINING.replace("torch.randn(64, 1, 4, 4)", "torch.full((64, 16), torch.inf)")
    )
    assert widgets and [dict(output.data) for output in left] == [{"text/plain": ""}] * 2


def test_where_no_bar_is_wanted_there_is_none(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert outputs() == ([], {})
