"""Do the claims hold at seeds that nobody has looked at? Thresholds are chosen, frozen, confirmed.

    make choose CHAPTER=batch_norm     blocks 0 to 4: look at them, and settle the thresholds
    make confirm CHAPTER=batch_norm    ten blocks that nobody has looked at: once, and recorded
    python tools/sweep.py status       what is confirmed, of the chapters as they are

A block is one value k of $NORMTUTORIAL_SEED: the seeds 1000 k, 1000 k + 1, ... of a chapter. Each
is run on MNIST and on the synthetic digits, with one thread. The margin of a claim is that of below
or above (normtutorial.claims); what compares nothing with them has none.

Blocks below 100 are there to choose by. A confirmation takes the first ten from 100 on that have
been looked at for no claim of the chapter, and is recorded in records/claims.json whatever it says:
a block is used up by looking at it. It is a claim's for as long as its sentence, its condition and
the code before it are the same (identity.py). A claim that is restated needs the next ten, and its
failed confirmations stay beside the new one; the others of its chapter are run with it, and what
comes out is added to theirs. When only the module beneath has changed, and the claim's figure with
it, the same blocks are run again: a regression test, and no confirmation.

A claim that reads a study's record is asked at one block, since there are ten seeds of the study in
it; when it is restated, at the next one, which the study must run first. One that reads a record
without seeds, of benchmarks or mutants, is checked by what makes the record anew.

What is cut off is gone on with; until then it confirms nothing, and when the code has changed
meanwhile, ten fresh blocks are needed. A process that dies, or data that is not there, ends the
command, and the block is not recorded. Exit code 1: a claim failed in what was run now.
"""

import argparse
import datetime
import itertools
import os
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

import chapters
import identity
import records
from confirmed import RECORD, earlier, last_of, restated, size, whole
from normtutorial.claims import Claim
from runs import SOURCES, Made, Run, of_blocks

CHOOSING = range(5)
CONFIRMING = 100  # the first block
KINDS = (
    "held in every unseen run", "failed in some", "not yet confirmed", "checked by their record",
)  # fmt: skip


def begun(now: str, code: str, claim: Claim | None = None) -> dict[str, Any]:
    """What is recorded of some runs, before the first."""
    return {
        "identity": now, "code": code, "torch": torch.__version__,
        "stored": claim and claim.measured, "record": claim and claim.record,
        "blocks": [], "sources": list(SOURCES),
        "runs": 0, "held": 0, "failed": [], "margin": None, "when": "",
    }  # fmt: skip


def enter(entry: dict[str, Any], sentence: str, block: int, made: dict[str, Run]) -> None:
    """Enter the runs of a block. A claim that a run did not come to has failed in it."""
    entry["blocks"].append(block)
    entry["when"] = datetime.date.today().isoformat()
    for source, run in made.items():
        claim = run.claims.get(sentence)
        if claim is None:
            why = run.error or "it was not made"
            claim = Made("", "", False, why, None, True)
        if not claim.asked:
            continue
        entry["runs"] += 1
        entry["held"] += claim.holds
        if not claim.holds:
            entry["failed"].append([block, source, claim.measured])
        if claim.margin is not None:
            margins = [claim.margin, *[m for m in [entry["margin"]] if m is not None]]
            entry["margin"] = round(min(margins), 4)


def ratio(margins: dict[str, list[float]]) -> float:
    """The mean margin over the standard deviation of the margins, on the worse of the sources."""
    found = [
        statistics.mean(of_source) / max(statistics.stdev(of_source), 1e-12)
        for of_source in margins.values()
        if len(of_source) > 1
    ]
    return min(found, default=float("inf"))


def seedless(claim: Claim) -> bool:
    """Whether it reads a record that has no seeds."""
    return claim.kind == "recorded" and claim.seeds is None


def choose(record: dict[str, Any], chapter: str, jobs: int) -> int:
    """Run the blocks that are there to choose by, and show every margin. Returns the failures."""
    found = dict(of_blocks(chapter, list(CHOOSING), jobs))
    code = identity.code(chapter)
    sentences = [s for s, (_, claim) in identity.stored(chapter).items() if not seedless(claim)]
    for run in (run for made in found.values() for run in made.values()):
        sentences += [s for s, made in run.claims.items() if made.asked]
    rows = []
    for sentence in dict.fromkeys(sentences):
        claims = {
            (block, source): run.claims[sentence]
            for block, made in found.items()
            for source, run in made.items()
            if sentence in run.claims
        }
        now = next((claim.identity for claim in claims.values()), "")
        entry = begun(now, code)
        for block, made in found.items():
            enter(entry, sentence, block, made)
        margins: dict[str, list[float]] = {}
        for (_, source), claim in claims.items():
            if claim.margin is not None and claim.asked:
                margins.setdefault(source, []).append(round(claim.margin, 4))
        entry["margins"] = margins
        worst = min(
            (c.margin, *where, c.measured) for where, c in claims.items() if c.margin is not None
        ) if margins else None  # fmt: skip
        entry["worst"] = worst and list(worst)
        of_sentence(record, chapter, sentence, now)["choose"] = entry
        rows.append((ratio(margins), sentence, entry))
        if {claim.kind for claim in claims.values()} == {"exact"}:
            for source in SOURCES:
                if len({c.measured for (_, of), c in claims.items() if of == source}) > 1:
                    print(f"HINT    exact, but its figure changes with the seed: {sentence}")
                    break
    for narrow, sentence, entry in sorted(rows, key=lambda row: row[0]):
        print(*told(narrow, sentence, entry), sep="\n", flush=True)
    return sum(len(entry["failed"]) for _, _, entry in rows)


def told(narrow: float, sentence: str, entry: dict[str, Any]) -> Iterator[str]:
    """What is shown of a claim: how it did, each margin, and the worst run."""
    yield f"{entry['held']:3} of {entry['runs']:2}  {sentence}"
    for measured in dict.fromkeys(measured for *_, measured in entry["failed"]):
        where = [f"{block} {source}" for block, source, text in entry["failed"] if text == measured]
        yield f"           FAILED in {', '.join(where)}: {measured}"
    for source, margins in entry["margins"].items():
        shown = " ".join(f"{margin:.3f}" for margin in sorted(margins))
        yield f"           {source:9} {shown}"
    if entry["worst"]:
        margin, block, source, measured = entry["worst"]
        yield (
            f"           mean / sd {narrow:.3g}; worst {margin:.4f} in block {block}, {source}: "
            f"{measured}"
        )


def of_sentence(record: dict[str, Any], chapter: str, sentence: str, now: str) -> dict[str, Any]:
    """What is recorded of a claim."""
    fresh: dict[str, Any] = {"confirmations": [], "regressions": []}
    entry = record.setdefault(chapter, {}).setdefault(sentence, fresh)
    entry["identity"] = now
    return entry


def looked_at(record: dict[str, Any], chapter: str, study: str | None) -> set[int]:
    """The blocks that have confirmed any claim of a chapter; or of those that read a study."""
    return {
        block
        for entry in record.get(chapter, {}).values()
        for confirmation in entry["confirmations"]
        if confirmation.get("record") == study
        for block in confirmation["blocks"]
    }


def first_fresh(used: set[int], many: int) -> int:
    """The first of the next so many blocks that have not been looked at."""
    starts = itertools.count(CONFIRMING, many)
    return next(k for k in starts if used.isdisjoint(range(k, k + many)))


class Group(NamedTuple):
    """Claims that are run together: as confirmations or regressions, and at which blocks."""

    name: str
    blocks: range


def wanted(
    record: dict[str, Any], chapter: str, first: int | None = None
) -> dict[Group, dict[str, dict[str, Any]]]:
    """What is to be run: of which sentences, each with the entry that takes it.

    Args:
        record: of all claims.
        chapter: whose claims are to be confirmed.
        first: of the blocks for what is not confirmed. Default: the first fresh ones.

    Raises:
        SystemExit: if those were looked at.
    """
    code, groups = identity.code(chapter), dict[Group, dict[str, dict[str, Any]]]()
    for sentence, (now, claim) in identity.stored(chapter).items():
        if seedless(claim):
            continue
        many, used = size(claim.record), looked_at(record, chapter, claim.record)
        entry = record.get(chapter, {}).get(sentence, {"confirmations": [], "regressions": []})
        made, entries = whole(entry, now), [begun(now, code, claim)]
        if not made:
            name, start = "confirmations", first_fresh(used, many) if first is None else first
            cut = [one for one in entry[name] if (one["identity"], one["code"]) == (now, code)]
            if cut and used.isdisjoint(rest(cut[-1], many)):
                entries, start = cut, cut[-1]["blocks"][0]
            elif start < CONFIRMING or not used.isdisjoint(range(start, start + many)):
                raise SystemExit(
                    f"sweep: blocks from {start} to {start + many - 1} have been looked at for "
                    f"{chapter}. A block is used up by looking at it; the next ones are from "
                    f"{first_fresh(used, many)}."
                )
        else:
            name, start = "regressions", made[-1]["blocks"][0]
            again = [one for one in entry[name] if one["identity"] == now]
            last = (made + again)[-1]
            if last["code"] == code and not rest(last, many):
                continue
            if last["code"] == code:
                entries = again
            elif claim.measured is not None and claim.measured == last["stored"]:
                continue
        groups.setdefault(Group(name, range(start, start + many)), {})[sentence] = entries[-1]
    return groups


def along(
    record: dict[str, Any], chapter: str, blocks: range, asked: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """What is confirmed already, and is looked at again where others are asked at fresh blocks."""
    code, found = identity.code(chapter), {}
    for sentence, (now, claim) in identity.stored(chapter).items():
        entry = record.get(chapter, {}).get(sentence)
        if sentence in asked or claim.record or not entry or not whole(entry, now):
            continue
        cut = [
            one
            for one in entry["confirmations"]
            if (one["identity"], one["code"]) == (now, code) and one["blocks"][0] == blocks[0]
        ]
        if cut or not any(one["blocks"] for one in asked.values()):
            found[sentence] = (cut or [begun(now, code, claim)])[-1]
    return found


def rest(entry: dict[str, Any], many: int) -> list[int]:
    """The blocks that are left of so many."""
    start = entry["blocks"][0]
    return [k for k in range(start, start + many) if k not in entry["blocks"]]


def confirm(record: dict[str, Any], chapter: str, jobs: int, first: int | None = None) -> int:
    """Run what is not confirmed on fresh blocks, and record it. Returns the failures."""
    failures = 0
    for (name, wide), entries in wanted(record, chapter, first).items():
        if name == "confirmations" and len(wide) > 1:
            entries |= along(record, chapter, wide, entries)
        there = set.intersection(*(set(entry["blocks"]) for entry in entries.values()))
        blocks = [k for k in wide if k not in there]
        print(f"{chapter}: {name} of {len(entries)} claims, blocks {blocks}", flush=True)
        for block, made in of_blocks(chapter, blocks, jobs):
            for sentence, entry in entries.items():
                before, fresh = len(entry["failed"]), not entry["blocks"]
                if block not in entry["blocks"]:
                    enter(entry, sentence, block, made)
                if not entry["runs"]:
                    print(f"NOT THERE  {entry['record']} has no seeds of block {block}: {sentence}")
                    continue
                listed = of_sentence(record, chapter, sentence, entry["identity"])[name]
                listed += [entry] * fresh
                for _, source, measured in entry["failed"][before:]:
                    failures += 1
                    print(f"FAILED  block {block}, {source}: {sentence} ({measured})", flush=True)
            records.write(RECORD, record)
    return failures


def status(record: dict[str, Any], names: list[str]) -> Iterator[str]:
    """How the claims, as they are, did on unseen seeds: those that failed, and all by chapter."""
    lines, moved, total = [], 0, dict.fromkeys(KINDS, 0)
    for name in names:
        counts, code = dict.fromkeys(KINDS, 0), identity.code(name)
        stored, recorded = identity.stored(name), record.get(name, {})
        for sentence, (now, claim) in stored.items():
            entry = recorded.get(sentence, {"confirmations": [], "regressions": []})
            made = last_of(entry, now)
            if made is None:
                counts["checked by their record" if seedless(claim) else "not yet confirmed"] += 1
                continue
            counts["failed in some" if made.failed else "held in every unseen run"] += 1
            moved += earlier(entry, now, code)
            if made.failed or made.failed_before:
                yield f"{made}: {sentence} ({name})"
        for sentence, one in restated(recorded, stored):
            how = f"held in {one['held']} of {one['runs']} unseen runs, then restated"
            yield f"{how}: {sentence} ({name})"
        lines.append(f"{name:20} {_counted(counts)}")
        total = {kind: total[kind] + counts[kind] for kind in KINDS}
    yield from lines
    yield f"{'all':20} {_counted(total)}"
    if moved:
        yield f"{moved} were confirmed with an earlier module."


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in counts.items() if number)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["choose", "confirm", "status"])
    parser.add_argument("chapters", nargs="*", help="file names without ending; default: all")
    parser.add_argument("--blocks", type=int, metavar="FIRST", help="confirm on these ten")
    parser.add_argument("--jobs", type=int, default=2, help="how many runs at once (2)")
    options = parser.parse_args()
    try:
        names = [chapters.find(name).stem for name in options.chapters]
    except LookupError as error:
        parser.error(str(error))
    names = names or [path.stem for path in chapters.notebooks()]
    if options.what == "status":
        print(*status(known(), names), sep="\n")
        return 0
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # who waits leaves the core to other runs
    failures = 0
    with records.alone(RECORD):
        record = known()
        for name in names:
            started = time.perf_counter()
            if options.what == "choose":
                failed = choose(record, name, options.jobs)
            else:
                failed = confirm(record, name, options.jobs, options.blocks)
            records.write(RECORD, record)
            print(f"{name}: {failed} failures, {time.perf_counter() - started:.0f} s", flush=True)
            failures += failed
    return int(failures > 0)


def known() -> dict[str, Any]:
    """What is recorded of all claims."""
    return records.read(RECORD) if RECORD.exists() else {}


if __name__ == "__main__":
    sys.exit(main())
