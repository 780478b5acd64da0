"""The chapters of the book, as ``_toc.yml`` lists them: nothing else does.

``python tools/chapters.py`` prints the notebooks in the order of the book, a path a line.
"""

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def parts() -> list[tuple[str | None, list[str]]]:
    """The caption of each part and its documents; the first page is a part without a caption."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    listed = [(part["caption"], [c["file"] for c in part["chapters"]]) for part in toc["parts"]]
    return [(None, [toc["root"]]), *listed]


def documents() -> list[str]:
    """Every page of the book in its order, as ``book/1_before/signals``."""
    return [document for _, listed in parts() for document in listed]


def notebooks() -> list[Path]:
    """The pages that are notebooks, in the order of the book."""
    paths = [ROOT / f"{document}.ipynb" for document in documents()]
    return [path for path in paths if path.exists()]


def find(name: str) -> Path:
    """The notebook of a chapter, by its file name without folder and ending.

    Raises:
        LookupError: if there is no such chapter; it names those that there are.
    """
    known = {path.stem: path for path in notebooks()}
    if name not in known:
        raise LookupError(f"There is no chapter {name!r}; there are {', '.join(known)}.")
    return known[name]


if __name__ == "__main__":
    print(*notebooks(), sep="\n")
