"""How often the checkup is right, for records/checkup.json.

    python tools/confusion.py    looks at all cases and random networks anew; some minutes

Its record has two confusion matrices, of the cases that the checks were built with and of those
from threads that were set aside, and what was said of random networks that are well, at seeds that
nobody had looked at before. ``code`` is a digest of the checkup and its cases: a test fails when it
is of other code. That the threads' cases were once blind is history, which no run can repeat.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch

import chapters
import closure
import records
from normtutorial.diagnosis import checkup

TESTS = chapters.ROOT / "tests"
RECORD = chapters.ROOT / "records" / "checkup.json"
UNSEEN = range(2000, 2200)  # tests/slow/test_checkup_many.py has others
BLIND = {  # by the first version; those that it got wrong are in tests/slow/test_checkup_threads.py
    "faults": 27, "found": 23, "well": 40, "well_with_a_fault": 1, "mended_in": "daf23d9",
}  # fmt: skip


class Case(NamedTuple):
    """What a checkup is to find; None in a network that is well."""

    name: str
    finds: str | None
    make: Callable[[], dict[str, Any]]


def said(make: Callable[[], dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The faults and the notes of what is made, and a fault ``error`` if it could not look."""
    torch.manual_seed(0)
    report = checkup(**make())
    faults = [fault.name for fault in report.faults] + ["error"] * bool(report.errors)
    return faults, [note.name for note in report.notes]


def matrix(cases: list[Case]) -> dict[str, Any]:
    """How many of the faults are found, each alone and under its name, and of the networks that are
    well how many get a fault; of all others what was said."""
    faults = {case.name: said(case.make)[0] for case in cases}
    broken = {case.name: case.finds for case in cases if case.finds}
    missed = {name: faults[name] for name, finds in broken.items() if faults[name] != [finds]}
    false = {name: names for name, names in faults.items() if name not in broken and names}
    return {
        "faults": len(broken), "found": len(broken) - len(missed), "others": missed,
        "well": len(cases) - len(broken), "well_with_a_fault": len(false), "alarms": false,
    }  # fmt: skip


def own() -> Iterator[Case]:
    """The cases that the checks were built with, broken and repaired, and others that are well."""
    from checkup_cases import FAULTS, HEALTHY

    for name, (finds, make) in FAULTS.items():
        yield Case(name, finds, partial(make, True))
        yield Case(f"{name}, repaired", None, partial(make, False))
    yield from (Case(name, None, make) for name, make in HEALTHY.items())


def threads() -> Iterator[Case]:
    """Those from public threads."""
    from checkup_threads import FAULTS, HEALTHY

    for name, case in FAULTS.items():
        yield Case(name, case.finding, partial(case.make, False))
        yield Case(f"{name}, repaired", None, partial(case.make, True))
    yield from (Case(name, None, make) for name, make in HEALTHY.items())


def drawn(seeds: range) -> dict[str, Any]:
    """What is said of random networks that are well."""
    from checkup_random import random_network

    faults: dict[str, list[str]] = {}
    notes: Counter[str] = Counter()
    for seed in seeds:
        found, odd = said(partial(random_network, seed))
        notes.update(set(odd))
        if found:
            faults[str(seed)] = found
    return {
        "seeds": [seeds[0], seeds[-1]], "networks": len(seeds), "with_a_fault": len(faults),
        "alarms": faults, "with_a_note": dict(notes),
    }  # fmt: skip


def digest() -> str:
    """Of the checkup and of what it is shown, without comments and docstrings."""
    paths = [*(chapters.ROOT / "normtutorial" / "diagnosis").glob("*.py")]
    paths += [*TESTS.glob("checkup_*.py"), *TESTS.glob("checkup_*/*.py")]
    codes = [closure.bare(path.read_text("utf-8")) for path in sorted(paths)]
    return hashlib.sha256("\n".join(codes).encode()).hexdigest()[:16]


def main() -> None:
    sys.path.append(str(TESTS))
    torch.set_num_threads(1)
    record = {"command": "python tools/confusion.py", "code": digest(), "blind": BLIND}
    for name, cases in (("own", own), ("threads", threads)):
        record[name] = matrix(list(cases()))
        print(name, record[name], flush=True)
    record["random"] = drawn(UNSEEN)
    print("random", record["random"])
    records.write(RECORD, record)


if __name__ == "__main__":
    main()
