"""What a command has recorded, as JSON that two contributors can merge and a diff can show.

Whatever holds lists or objects has a line for each of its entries, objects in the order of their
keys; what holds only numbers and words is one line. ``python tools/records.py FILE`` lays out a
file that another program has written.
"""

import contextlib
import fcntl
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from normtutorial.data.files import atomic_write


def read(path: Path) -> Any:
    """A record."""
    return json.loads(path.read_text("utf-8"))


def write(path: Path, record: Any) -> None:
    """Store a record, whole or not at all."""
    atomic_write(path, f"{layout(record)}\n".encode())


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Let one command at a time read a record, add to it and store it.

    Raises:
        SystemExit: if another one is at it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SystemExit(
                f"{path.name} is being added to by another command. Begin when that has ended."
            ) from None
        yield


def layout(record: Any, indent: str = "") -> str:
    """The text of a record; its inner lines stand further in than ``indent``."""
    inner = list(record.values()) if isinstance(record, dict) else record
    if not isinstance(inner, list) or not any(isinstance(one, dict | list) for one in inner):
        return json.dumps(record, sort_keys=True, ensure_ascii=False, allow_nan=False)
    deeper = f"{indent} "
    if isinstance(record, dict):
        rows = [f"{layout(key)}: {layout(record[key], deeper)}" for key in sorted(record)]
        return "{\n" + ",\n".join(deeper + row for row in rows) + f"\n{indent}}}"
    return "[\n" + ",\n".join(deeper + layout(one, deeper) for one in record) + f"\n{indent}]"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write(Path(name), read(Path(name)))
