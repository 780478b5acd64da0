"""What ``make study`` has recorded."""

import json
from pathlib import Path
from typing import Any

from ..runtime import seed_list

__all__ = ["recorded"]


def recorded(path: Path | str, source: str) -> dict[str, list[dict[str, Any]]]:
    """The runs that ``make study`` has recorded, at the seeds that the book runs at now.

    Args:
        path: of the record.
        source: of the images, ``"mnist"`` or ``"synthetic"``.

    Returns:
        For each setting those of its runs whose seeds are in the block of ``$NORMTUTORIAL_SEED``,
        or where that has none, in block 0; in the order of their seeds.

    Raises:
        FileNotFoundError: if there is no such record.
        ValueError: if it has nothing of this source.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> runs = {"batch": [{"seed": 1, "accuracy": 0.9}, {"seed": 0, "accuracy": 0.8}]}
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "study.json")
        ...     _ = path.write_text(json.dumps({"runs": {"mnist": runs}}))
        ...     [run["accuracy"] for run in recorded(path, "mnist")["batch"]]
        [0.8, 0.9]
    """
    found = json.loads(Path(path).read_text("utf-8"))["runs"]
    if source not in found:
        raise ValueError(f"recorded expects a source among {', '.join(found)}; got {source!r}.")
    (first,) = seed_list(1)
    runs: dict[str, list[dict[str, Any]]] = found[source]
    there = {run["seed"] // 1000 for of_setting in runs.values() for run in of_setting}
    block = first // 1000 if first // 1000 in there else 0
    return {
        setting: sorted(
            (run for run in of_setting if run["seed"] // 1000 == block), key=lambda run: run["seed"]
        )
        for setting, of_setting in runs.items()
    }
