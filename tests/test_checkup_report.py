"""What a checkup says, in a terminal, in a notebook and in a file, and its command."""

import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
from torch import nn

from checkup_cases import FAULTS, batches, mlp
from normtutorial import checkup
from normtutorial.cli import main
from normtutorial.diagnosis.findings import CHAPTERS, COLUMNS, Finding, Report
from page_rules import COLUMNS as OF_A_PAGE

ROOT = Path(__file__).parent.parent


def test_the_report_is_no_wider_than_a_page_and_has_every_finding():
    for name in "the_backbone_was_frozen_by_requires_grad", "batches_of_two":
        report = checkup(**FAULTS[name].make(True))
        lines = str(report).splitlines()
        assert max(map(len, lines)) <= COLUMNS <= OF_A_PAGE
        for finding in report.faults + report.notes:
            assert any(finding.name in line for line in lines)
    assert "No fault was found." in str(checkup(mlp(), batches()))


def test_a_long_name_of_a_layer_has_a_line_of_its_own():
    model: nn.Module = nn.BatchNorm1d(12)
    model.running_var[:] = -1.0
    for i in range(8):
        around = nn.Sequential()
        around.add_module(f"a_long_name_{i}", model)
        model = around
    lines = str(checkup(model, batches(count=1))).splitlines()
    assert max(map(len, lines)) <= COLUMNS and "a_long_name_7." in "".join(lines)


def test_a_notebook_gets_a_table_and_no_markup_of_a_layers_name():
    model = nn.Sequential()
    model.add_module("<i>", nn.BatchNorm1d(12))
    model[0].running_var[:] = -1.0
    html = checkup(model, batches())._repr_html_()
    assert "&lt;i&gt;" in html and "<i>" not in html and "statistics-nonfinite" in html


def test_a_notebook_shows_it_in_the_colors_of_the_page():
    finding = Finding("eps-rules", "note", "x" * 80, "It is so.", {}, "Nothing.")
    html = Report([finding], ["in layer 'y'"], {"model": "M"})._repr_html_()
    assert not re.search(r"color|background|<(table|td|code|pre)\b", html)
    assert "overflow-wrap: anywhere" in html


def labels() -> set[str]:
    """Of the chapters of the book."""
    found: set[str] = set()
    for path in (ROOT / "book").rglob("*"):
        if path.suffix == ".ipynb":
            cells = nbformat.read(path, as_version=4).cells
            text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        elif path.suffix == ".md":
            text = path.read_text("utf-8")
        else:
            continue
        found |= set(re.findall(r"^\((ch-[a-z-]+)\)=$", text, re.MULTILINE))
    return found


def test_each_finding_names_a_chapter_of_the_book():
    assert set(CHAPTERS.values()) <= labels()


def test_the_record_is_strict_json():
    report = checkup(**FAULTS["rms_norm_by_hand_in_half_precision"].make(True))
    record = json.loads(report.to_json())
    (fault,) = record["faults"]
    assert fault["name"] == "low-precision" and fault["chapter"] == "ch-numerics"
    assert set(record) == {"about", "faults", "notes", "errors"}
    for finding in report.faults + report.notes:
        assert all(isinstance(one, (int, float, str, bool)) for one in finding.evidence.values())


def test_a_report_is_a_mapping_of_findings_by_name():
    report = checkup(**FAULTS["batches_of_two"].make(True))
    assert (
        list(report) == ["degenerate-set"] and report["degenerate-set"][0].evidence["values"] == 2
    )
    with pytest.raises(KeyError, match="no finding 'x'; there are degenerate-set"):
        report["x"]


# The command line.


def make_well():
    return mlp(), batches(count=2)


def make_faulty():
    return FAULTS["one_sample_was_infinite"].make(True)


class Raises(nn.Module):
    def forward(self, x):
        raise RuntimeError("no such kernel")


def make_raising():
    return nn.Sequential(Raises()), batches(count=2)


def make_nothing():
    raise FileNotFoundError("weights.pt")


@pytest.mark.parametrize(
    "name, code", [("well", 0), ("faulty", 1), ("raising", 2), ("nothing", 2), ("missing", 2)]
)
def test_the_exit_code_says_what_was_found(name, code, tmp_path, capsys):
    file = tmp_path / "findings.json"
    assert main(["checkup", f"{__name__}:make_{name}", "--json", str(file)]) == code
    said = capsys.readouterr()
    if name in ("well", "faulty", "raising"):
        assert "Checkup of Sequential" in said.out
        assert bool(json.loads(file.read_text())["faults"]) == (code == 1)
    else:
        assert not file.exists() and "normtutorial: " in said.err


def test_a_function_of_a_module_in_the_folder_is_found(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_net.py").write_text("def make():\n    return 1\n")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    assert main(["checkup", "my_net:make"]) == 2
    assert sys.path == path
    assert "my_net:make is to make (model, batches), or a dict" in capsys.readouterr().err
    for written, said in {
        "my_net": "Put a colon between the two",
        "my_net:made": "could not be imported: module 'my_net' has no attribute 'made'",
        "my_nets:make": "could not be imported: No module named 'my_nets'",
        "broken_net:make": "could not be imported: invalid syntax",
    }.items():
        (tmp_path / "broken_net.py").write_text("def make(:\n")
        assert main(["checkup", written]) == 2
        assert said in capsys.readouterr().err
