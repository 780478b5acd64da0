"""Execute chapters in place and store their outputs: ``make refresh [CHAPTER=batch_norm]``.

The only writer of outputs. A chapter is written when it ran through without a word on stderr, whole
or not at all. What it shows is MNIST: the synthetic digits stand in for it only where
``NORMTUTORIAL_SOURCE=synthetic`` asks for them.
"""

import os
import re
import sys
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import chapters
from normtutorial.data import DataError, digits
from normtutorial.data.files import atomic_write

CELL_SECONDS = 900
WITHOUT_MNIST = (
    "The book shows MNIST. To try a chapter without it, on the synthetic digits, type "
    "`NORMTUTORIAL_SOURCE=synthetic make refresh`, and do not commit these outputs."
)
ANSI = re.compile(r"\x1b\[[0-9;]*m")
METADATA = {
    "kernelspec": {
        "name": "python3",
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
    },
    "language_info": {"name": "python"},
}


class RefreshError(Exception):
    """Why a chapter was not stored."""


class ThisPython(KernelSpecManager):
    """Knows one kernel, this Python's, whatever else is installed for the user."""

    ensure_native_kernel = True

    def find_kernel_specs(self) -> dict[str, str]:
        from ipykernel.kernelspec import RESOURCES

        return {"python3": RESOURCES}


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Leave nothing in a notebook that another run would change."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell.setdefault("id", f"cell-{number:03d}")
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise RefreshError(f"cell {number} wrote to stderr:\n{output.text}")
            if output.output_type == "error":  # the way there is full of this machine's paths
                output.traceback = [f"{output.ename}: {output.evalue}"]


def cpu_seconds() -> float:
    """What all child processes that have ended took: a busy machine changes it little."""
    times = os.times()
    return times.children_user + times.children_system


def refresh(path: Path) -> float:
    """Execute one notebook in place. Returns the CPU seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.create_kernel_manager().kernel_spec_manager = ThisPython()
    start = cpu_seconds()
    try:
        client.execute()
    except CellExecutionError as error:
        raise RefreshError(ANSI.sub("", str(error)).strip()) from None
    seconds = cpu_seconds() - start
    tidy(notebook)
    notebook.metadata["cpu_seconds"] = 10 * max(1, round(seconds / 10))  # shown above it
    atomic_write(path, (nbformat.writes(notebook) + "\n").encode())
    return seconds


def main(names: list[str]) -> int:
    try:
        paths = [chapters.find(name) for name in names] or chapters.notebooks()
    except LookupError as error:
        print(error, file=sys.stderr)
        return 2
    os.environ.pop("MPLBACKEND", None)  # figures are drawn inline
    os.environ["TQDM_DISABLE"] = "1"  # bars have no place in stored outputs
    os.environ.setdefault("NORMTUTORIAL_SOURCE", "mnist")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        digits()
    except DataError as error:
        print(f"Nothing was refreshed: {error}\n{WITHOUT_MNIST}", file=sys.stderr)
        return 1
    failed = 0
    for path in paths:
        try:
            print(f"{path.stem:20s} {refresh(path):6.1f} CPU s", flush=True)
        except RefreshError as error:
            failed += 1
            print(f"{path.stem:20s} not stored: {error}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
