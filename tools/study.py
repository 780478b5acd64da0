"""Run a study, what is too long for a chapter, and keep its record in records/.

    make study STUDY=compare                       all its seeds, on both sources
    python tools/study.py compare --sources mnist  some of it
    python tools/study.py status                   which records the code as it is has made

A study has ten seeds to choose by, those of block 0, and ten that nobody looks at before it is
settled what they are asked: those of block 100 ($NORMTUTORIAL_SEED). A chapter reads the first ten,
and the others when its claims are confirmed: normtutorial.studies.recorded. A claim of a study that
is restated afterwards needs ten more: --blocks 101.

The record is written after each run, and a run that is there is not repeated: a study may be cut
off and gone on with, by the same code on the same kind of machine.
"""

import argparse
import hashlib
import inspect
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import chapters
import closure
import records
from normtutorial import ConvNet, commands, digits, studies
from normtutorial.runtime import machine

SOURCES = ("mnist", "synthetic")
BLOCKS = (0, 100)


@dataclass(frozen=True)
class Study:
    """What is run.

    Args:
        settings: by name, each of which is run with every seed.
        code: what decides its results, as Python that imports it.
        run: makes the run of a source, a setting and a seed, as JSON.
    """

    settings: tuple[str, ...]
    code: str
    run: Callable[[str, str, int], dict[str, Any]]


def compare(source: str, norm: str, seed: int) -> dict[str, Any]:
    """A normalization in the original's network, with its budget of five epochs."""
    how: dict[str, Any] = {"epochs": 5, "evaluate_every": 67, "progress": False}
    (run,) = studies.compare([norm], digits(source), seeds=[seed], **how)
    return commands.entry(run)


def conv(source: str, norm: str, seed: int) -> dict[str, Any]:
    """A normalization in the network of convolutions, for one epoch: a run of the command
    ``compare --model conv --epochs 1``."""
    how: dict[str, Any] = {"epochs": 1, "make": ConvNet, "progress": False}
    (run,) = studies.compare([norm], digits(source), seeds=[seed], **how)
    return commands.entry(run)


def deep(source: str, setting: str, seed: int) -> dict[str, Any]:
    """A network of 20 or 50 layers, a hundred steps: its loss as the mean of ten at a time, as far
    as it is finite."""
    history = studies.deep(setting, digits(source), seed=seed).history
    tens = [history.train_loss[i : i + 10] for i in range(0, len(history.train_loss), 10)]
    means = [round(statistics.fmean(ten), 4) for ten in tens]
    return {
        "seed": seed,
        "loss": [loss for loss in means if math.isfinite(loss)],
        "accuracy": round(history.final_accuracy, 4),
        "diverged": history.diverged,
    }


def audit(source: str, setting: str, seed: int) -> dict[str, Any]:
    """The original's network, repaired in parts: its accuracy on 2000 test images after 25, 50, 75
    and 100 steps."""
    data = digits(source)
    quick = data.subset(len(data.train_images), 2000)
    history = studies.audit(setting, quick, seed=seed).history
    accuracy = [round(value, 4) for value in history.test_accuracy]
    return {"seed": seed, "accuracy": accuracy, "diverged": history.diverged}


def left_out(source: str, setting: str, seed: int) -> dict[str, Any]:
    """A residual network without a normalization or with what takes its place, some sixty steps:
    its first loss, the mean of ten at a time, as far as it is finite, and its accuracy on 1000 test
    images."""
    data = digits(source)
    quick = data.subset(len(data.train_images), 1000)
    history = studies.left_out(setting, quick, seed=seed).history
    tens = [history.train_loss[i : i + 10] for i in range(0, len(history.train_loss), 10)]
    means = [round(statistics.fmean(ten), 4) for ten in tens]
    return {
        "seed": seed,
        "first": round(history.train_loss[0], 4),
        "loss": [loss for loss in means if math.isfinite(loss)],
        "accuracy": round(history.final_accuracy, 4),
        "diverged": history.diverged,
    }


def placed(source: str, setting: str, seed: int) -> dict[str, Any]:
    """A transformer with its norm in some place, a hundred steps: its accuracy on 2000 test images
    and the mean loss of its last twenty steps."""
    data = digits(source)
    quick = data.subset(len(data.train_images), 2000)
    history = studies.placed(setting, quick, seed=seed).history
    last = round(statistics.fmean(history.train_loss[-20:]), 4)
    return {
        "seed": seed,
        "loss": last if math.isfinite(last) else None,
        "accuracy": round(history.final_accuracy, 4),
        "diverged": history.diverged,
    }


STUDIES = {
    "audit": Study(
        tuple(studies.AUDIT),
        "from normtutorial.studies import audit; from normtutorial import digits",
        audit,
    ),
    "compare": Study(
        ("none", "weight", "batch", "layer", "original"),
        "from normtutorial.studies import compare; from normtutorial import digits",
        compare,
    ),
    "conv": Study(
        ("none", "batch", "layer", "group"),
        "from normtutorial.studies import compare; from normtutorial import ConvNet, digits",
        conv,
    ),
    "deep": Study(
        tuple(studies.DEEP),
        "from normtutorial.studies import deep; from normtutorial import digits",
        deep,
    ),
    "left_out": Study(
        tuple(studies.LEFT_OUT),
        "from normtutorial.studies import left_out; from normtutorial import digits",
        left_out,
    ),
    "placed": Study(
        tuple(studies.PLACED),
        "from normtutorial.studies import placed; from normtutorial import digits",
        placed,
    ),
}


def digest(study: Study) -> str:
    """Of the code that decides the results, and of what is kept of them."""
    codes = [path.read_text("utf-8") for path in sorted(closure.used(study.code))]
    codes += [inspect.getsource(function) for function in (study.run, commands.entry)]
    return hashlib.sha256("\n".join(map(closure.bare, codes)).encode()).hexdigest()[:16]


def begun(path: Path, name: str) -> dict[str, Any]:
    """The record of a study as far as there is one.

    Raises:
        SystemExit: if other code or another machine made it.
    """
    made_by = {"code": digest(STUDIES[name]), "machine": machine()}
    if not path.exists():
        return {"command": f"make study STUDY={name}", "runs": {}, **made_by}
    record = records.read(path)
    for what, now in made_by.items():
        if record[what] != now:
            raise SystemExit(
                f"study: {path.name} was made with another {what}, {record[what]}; this is {now}. "
                "Delete the file to record the whole study anew."
            )
    return record


def missing(
    record: dict[str, Any], name: str, sources: list[str], blocks: list[int]
) -> Iterator[tuple]:
    """The source, setting and seed of each run that is not there, seed by seed."""
    for source in sources:
        runs = record["runs"].setdefault(source, {})
        for seed in (1000 * block + i for block in blocks for i in range(10)):
            for setting in STUDIES[name].settings:
                if all(run["seed"] != seed for run in runs.setdefault(setting, [])):
                    yield source, setting, seed


def status() -> Iterator[str]:
    """Each study that is recorded, and whether the code has changed since."""
    for name, study in STUDIES.items():
        path = chapters.ROOT / "records" / f"{name}.json"
        if path.exists():
            now = records.read(path)["code"] == digest(study)
            yield f"{name:10} made by {'the code as it is' if now else 'earlier code'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=[*STUDIES, "status"])
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--blocks", nargs="+", type=int, default=list(BLOCKS))
    options = parser.parse_args()
    if options.study == "status":
        print(*status(), sep="\n")
        return
    torch.set_num_threads(1)
    path = chapters.ROOT / "records" / f"{options.study}.json"
    with records.alone(path):
        record = begun(path, options.study)
        for job in list(missing(record, options.study, options.sources, options.blocks)):
            started = time.process_time()
            source, setting, _ = job
            record["runs"][source][setting].append(STUDIES[options.study].run(*job))
            records.write(path, record)
            print(*job, f"{time.process_time() - started:.0f} CPU s", flush=True)


if __name__ == "__main__":
    main()
