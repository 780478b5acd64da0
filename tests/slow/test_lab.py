"""``make lab``: what it hands to JupyterLab, and what JupyterLab has for the chapters."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
@pytest.mark.parametrize("uid, root", [(0, " --allow-root"), (1000, "")])
def test_make_lab_takes_arguments_and_root(tmp_path, uid, root):
    for name, said in ("jupyter", '"$@"'), ("id", str(uid)):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {said}\n")
        (tmp_path / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    arguments = ["-o", "venv", "lab", f"BIN={tmp_path}", "ARGS=--no-browser --port 8899"]
    said = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert said == f"lab book{root} --no-browser --port 8899\n"


def test_jupyterlab_has_widgets_and_myst():
    for name in "ipywidgets", "jupyterlab_myst":
        pytest.importorskip(name)
    listed = subprocess.run(
        [sys.executable, "-m", "jupyter", "labextension", "list"], capture_output=True, text=True
    )
    said = re.sub(r"\x1b\[[0-9;]*m", "", listed.stdout + listed.stderr)
    for name in "jupyterlab-myst", "@jupyter-widgets/jupyterlab-manager":
        assert re.search(rf"{name} v\S+ enabled", said), said
