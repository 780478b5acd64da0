"""The page of first aid names what the checkup finds, and what it lets the reader run runs."""

import copy
import re
import runpy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import chapters
from checkup_cases import FAULTS
from normtutorial import checkup
from normtutorial.diagnosis.findings import CHAPTERS

PAGE = (chapters.ROOT / "book" / "reference" / "first_aid.md").read_text("utf-8")
TEXT = " ".join(PAGE.split())
NAMED = set(re.findall(r"(?<!})`([a-z]+(?:-[a-z]+)+)`", TEXT))
SEEN = re.findall(r"\*See:\* `([^`]+)`", TEXT)
(OPENING,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def reader():
    """What a reader has: a network, its batches, a step, an optimizer, an average."""
    torch.manual_seed(0)
    bn, ln = nn.BatchNorm1d(8), nn.LayerNorm(8)
    model = nn.Sequential(nn.Linear(4, 8), bn, nn.ReLU(), ln, nn.Linear(8, 3))
    x, y = torch.randn(16, 4), torch.arange(16) % 3
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def step(batch):
        optimizer.zero_grad()
        F.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()

    return {
        "F": F, "copy": copy, "checkup": checkup, "model": model, "bn": bn, "ln": ln,
        "h": model[0](x), "x": x, "y": y, "batches": [(x, y)] * 2, "data": x, "batch_size": 5,
        "step": step, "optimizer": optimizer, "average": copy.deepcopy(model),
        "weight": model[0].weight,
    }  # fmt: skip


def test_it_names_every_fault_and_nothing_that_the_checkup_does_not_know():
    assert {fault.finds for fault in FAULTS.values()} <= NAMED
    assert set(CHAPTERS) == NAMED


def run(code: str, names: dict, folder) -> None:
    (folder / "run.py").write_text(code, "utf-8")
    runpy.run_path(str(folder / "run.py"), names)


def test_the_lines_of_its_beginning_print_a_report(reader, tmp_path, capsys):
    run(OPENING, reader, tmp_path)
    assert capsys.readouterr().out.startswith("Checkup of Sequential: 2 norms, 2 batches")


@pytest.mark.parametrize("line", SEEN)
def test_a_line_that_shows_something_runs(line, reader, tmp_path):
    run(line, reader, tmp_path)


def test_every_entry_has_a_line_or_a_remedy_and_leads_to_a_section():
    entries = re.split(r"^\.\.\. ", PAGE, flags=re.MULTILINE)[1:]
    assert len(entries) > 20 and len(SEEN) > 15
    for entry in entries:
        assert "*See:*" in entry or "*Do:*" in entry, entry
        assert ".ipynb#" in entry or "<checkup-" in entry, entry


def test_its_first_screen_names_what_each_entry_is_about():
    rows = dict(re.findall(r"^\| \{ref\}`.+ <([\w-]+)>` \| (.+) \|$", PAGE, re.MULTILINE))
    assert len(rows) > 5
    for label, symptoms in rows.items():
        (section,) = re.findall(rf"^\({label}\)=\n(.+?)(?=^\([\w-]+\)=|\Z)", PAGE, re.M | re.S)
        entries = re.findall(r"^\.\.\. (.+)$", section, re.MULTILINE)
        begins = tuple(symptoms.split(" · "))
        assert all(entry.startswith(begins) for entry in entries), (label, entries)
        assert all(any(entry.startswith(one) for entry in entries) for one in begins), label
