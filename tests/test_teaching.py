"""What the page for teachers lets students run prints what the page says."""

import re
import runpy
from pathlib import Path

import chapters

PAGE = (chapters.ROOT / "book" / "reference" / "teaching.md").read_text("utf-8")
RUN = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PRINTED = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


BETTER = """
def test(layer_norm):
    for scale, offset in ((1, 0), (1e-3, 0), (1, 5e3)):
        x = scale * torch.randn(4, 5, 6) + offset
        for shape in ((6,), (5, 6)):
            weight, bias = torch.randn(shape), torch.randn(shape)
            y = layer_norm(x, shape, weight, bias)
            wanted = F.layer_norm(x, shape, weight, bias)
            torch.testing.assert_close(y, wanted, rtol=1e-2, atol=1e-2)

"""


def run(code: str, folder: Path) -> None:
    (folder / "run.py").write_text(code, "utf-8")
    runpy.run_path(str(folder / "run.py"))


def test_the_first_test_of_layer_norm_notices_and_misses_what_the_page_says(tmp_path, capsys):
    run(RUN[0], tmp_path)
    assert [capsys.readouterr().out] == PRINTED


def test_a_better_test_notices_all(tmp_path, capsys):
    """So the search can be won, with what the page says that the missed ones need."""
    first = RUN[0][RUN[0].index("def test") : RUN[0].index("test(functional")]
    run(RUN[0].replace(first, BETTER), tmp_path)
    said = capsys.readouterr().out
    assert said.count("noticed") == PRINTED[0].count("\n") and "missed" not in said


def test_every_chapter_that_the_plans_name_is_in_the_book():
    named = set(re.findall(r"\{exercise\}`(\w+) \d+`", PAGE))
    named |= {n for names in re.findall(r"\{reading\}`(.+?)`", PAGE) for n in names.split(", ")}
    assert len(named) > 8 and all(chapters.find(name) for name in named)
