"""Records have a line per entry, in an order of their own, and are read back as they were."""

import pytest

import chapters
import records

RECORD = {
    "b": {"runs": [[1, "x"], [0, "ö"]], "digest": None},
    "a": [],
    "c": [{"z": 0.1, "y": True}, {}],
}
TEXT = """\
{
 "a": [],
 "b": {
  "digest": null,
  "runs": [
   [1, "x"],
   [0, "ö"]
  ]
 },
 "c": [
  {"y": true, "z": 0.1},
  {}
 ]
}
"""


def test_a_record_is_written_a_line_per_entry_and_read_back(tmp_path):
    path = tmp_path / "new" / "record.json"
    records.write(path, RECORD)
    assert path.read_text("utf-8") == TEXT
    assert records.read(path) == RECORD


def test_what_is_no_json_is_refused_and_the_file_kept(tmp_path):
    path = tmp_path / "record.json"
    records.write(path, RECORD)
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.write(path, {"a": float("nan")})
    assert records.read(path) == RECORD


@pytest.mark.parametrize("path", sorted(chapters.ROOT.glob("records/*.json")), ids=lambda p: p.stem)
def test_every_record_is_laid_out_so(path):
    assert path.read_text("utf-8") == f"{records.layout(records.read(path))}\n"


@pytest.mark.parametrize("path", sorted(chapters.ROOT.glob("records/*.json")), ids=lambda p: p.stem)
def test_internals_says_how_each_record_is_made(path):
    page = (chapters.ROOT / "book" / "reference" / "internals.md").read_text("utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `records/{path.name}`")]
    command = records.read(path).get("command", "")
    assert f"`{command}`" in row or not command.startswith("make ")
