"""What README shows of the module and the command line runs as it stands there, on few images. Its
line of torchrun is in test_distributed.py."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import normtutorial
from normtutorial import ImageData, commands
from normtutorial.cli import main
from normtutorial.data import mnist
from tiny_mnist import FILES, fill

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
(SNIPPET,) = re.findall(r"^```python\n(.+?)^```", README, re.MULTILINE | re.DOTALL)
LINES = re.findall(r"^\$ (normtutorial .+)$", README, re.MULTILINE)


@pytest.fixture
def few(monkeypatch) -> ImageData:
    """Noise in place of MNIST, whatever is asked for."""
    images, labels = torch.rand(300, 1, 28, 28), torch.arange(300) % 10
    data = ImageData(images[:256], labels[:256], images[256:], labels[256:], "synthetic")
    for home in commands, normtutorial:
        monkeypatch.setattr(home, "digits", lambda *_: data)
    return data


def line(command: str, wanted: str = "") -> list[str]:
    """The arguments of README's only line with this command, and with these words."""
    (found,) = (one for one in LINES if f"{command} " in one and wanted in one)
    return shlex.split(found)[1:]


def test_the_program_does_what_it_says(few, capsys):
    names: dict = {}
    exec(compile(SNIPPET, "README.md", "exec"), names)  # noqa: S102  README's own
    assert re.fullmatch(r"test accuracy [01]\.\d{3}\n", capsys.readouterr().out)
    assert names["data"] is few
    assert len(names["history"].train_loss) == 4  # two epochs of two batches
    assert list(names["probe"].records) == ["act1"]
    assert isinstance(names["model"].norm1, normtutorial.BatchNorm)


def test_its_lines_are_all_run_here():
    assert [one.split()[1] for one in LINES] == ["train", "compare", "compare", "data", "checkup"]


@pytest.mark.usefixtures("few")
def test_train_prints_a_line_per_epoch(capsys):
    argv = line("train")
    assert main(argv) == 0
    *epochs, seconds = capsys.readouterr().out.splitlines()
    assert len(epochs) == int(argv[argv.index("--epochs") + 1])
    assert all(one.startswith("epoch : ") for one in epochs)
    assert seconds.startswith("seconds per epoch : ")


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("wanted", ["--json", "--model conv"])
def test_compare_prints_a_row_for_each_norm(wanted, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = line("compare", wanted)
    assert main(argv) == 0
    rows = [row.split() for row in capsys.readouterr().out.splitlines()[1:]]
    norms = argv[argv.index("--norms") + 1 : argv.index("--runs")]
    assert [row[:2] for row in rows] == [[norm, "3"] for norm in norms]
    assert [one.name for one in tmp_path.iterdir()] == ["runs.json"] * (wanted == "--json")


def test_data_says_where_the_images_are(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "FILES", FILES)
    raw = fill(tmp_path)
    argv = line("data", "--root")
    argv[argv.index("--root") + 1] = str(tmp_path)
    assert main(argv) == 0
    assert f"read from {raw}" in capsys.readouterr().out


def test_checkup_looks_at_a_network_of_one_s_own(capsys, tmp_path, monkeypatch):
    package, _, make = line("checkup")[-1].partition(":")
    path = tmp_path.joinpath(*package.split(".")).with_suffix(".py")
    path.parent.mkdir()
    path.write_text(
        "import torch\nfrom torch import nn\n"
        f"def {make}():\n"
        "    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))\n"
        "    return model, [torch.randn(16, 4)]\n"
    )
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == path.parent.name]:
        monkeypatch.delitem(sys.modules, name)
    assert main(line("checkup")) == 0
    assert capsys.readouterr().out.startswith("Checkup of Sequential: 1 norm, 1 batch, 16 samples")


def test_make_help_lists_all():
    helped = subprocess.check_output(
        ["make", "--no-print-directory", "help"], cwd=ROOT, text=True
    ).splitlines()
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (targets,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert [line.split()[1] for line in helped] == targets.split()
