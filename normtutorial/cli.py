"""The command line: ``normtutorial train | compare | data``, or ``python -m normtutorial``.

Exit codes: 0, all went well; 1, it could not be done or a run diverged, and a sentence on stderr
says so; 2, the command line was not understood; 130, interrupted. A run that diverged, was
interrupted or ended for lack of memory is in the JSON file all the same.
"""

import argparse
import io
import json
import math
import shlex
import statistics
import sys
import tempfile
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from .data import SOURCES, DataError, cache_dir, digits, locate
from .data.files import atomic_write
from .runtime import machine
from .studies import NAMES, WIDTHS, Run, build, compare
from .training import History, fit

__all__ = ["main"]

FIGURES = (".png", ".svg", ".pdf")
OUT_OF_MEMORY = (RuntimeError, MemoryError)  # torch says it with the first


class CommandError(Exception):
    """What was asked for could not be done; the message says why."""


def train(args: argparse.Namespace) -> None:
    """Train one network and print a line per epoch."""
    from tqdm import tqdm  # its write() keeps clear of the bar

    check_writable(args.json)
    data = digits(args.source, args.root)

    def report(history: History) -> None:
        accuracy = history.test_accuracy[-1]
        tqdm.write(f"epoch : {len(history.test_accuracy)}, test acc : {accuracy:.4f}")
        sys.stdout.flush()

    history, fault = History(), None
    try:
        model = build(args.norm, seed=args.seed, device=data.device)
        settings = {"epochs": args.epochs, "seed": args.seed, "on_evaluation": report}
        fit(model, data, history=history, **settings)
    except OUT_OF_MEMORY as error:
        fault = error
    if history.epoch_seconds:
        print(f"seconds per epoch : {statistics.median(history.epoch_seconds):.1f}")
    write_json(args.json, {**describe(args, data.source), "history": history.to_dict()})
    if fault:
        ended = f"it ended after {len(history.train_loss)} steps"
        raise CommandError(f"{ended}: {reason(fault)}") from fault
    if history.interrupted:
        raise KeyboardInterrupt
    if history.diverged:
        steps = len(history.train_loss)
        raise CommandError(f"it diverged: the loss of step {steps} is not finite.")


def compare_norms(args: argparse.Namespace) -> None:
    """Train several networks over several seeds and print a table."""
    check_writable(args.json)
    check_writable(args.figure, FIGURES)
    data = digits(args.source, args.root)
    seeds = range(args.seed, args.seed + args.runs)
    norms = list(dict.fromkeys(args.norms))
    settings = {"seeds": seeds, "epochs": args.epochs, "evaluate_every": args.evaluate_every}
    runs: dict[str, list[Run]] = {norm: [] for norm in norms}
    fault = None
    print(f"{'norm':10}{'accuracy':>9}{'lowest':>9}{'highest':>9}{'s/epoch':>9}{'parameters':>12}")
    try:
        for run in compare(norms, data, **settings):
            runs[run.norm].append(run)
            if len(runs[run.norm]) == len(seeds) and not run.history.interrupted:
                print(table_row(runs[run.norm]), flush=True)
    except OUT_OF_MEMORY as error:
        fault = error
    entries = {norm: [entry(run) for run in of_norm] for norm, of_norm in runs.items() if of_norm}
    write_json(args.json, {**describe(args, data.source), "seeds": list(seeds), "runs": entries})
    draw(args.figure, runs)
    if fault:
        raise CommandError(f"{run.norm} ended before its time: {reason(fault)}") from fault
    if any(run.history.interrupted for of_norm in runs.values() for run in of_norm):
        raise KeyboardInterrupt
    if diverged := [norm for norm in norms if any(run.history.diverged for run in runs[norm])]:
        names = ", ".join(diverged)
        raise CommandError(f"it diverged: the loss was not finite in a run of {names}.")


def table_row(runs: list[Run]) -> str:
    """What the table says of the runs of one normalization."""
    norm, histories = runs[0].norm, [run.history for run in runs]
    accuracy = [history.final_accuracy for history in histories]
    seconds = statistics.median(s for history in histories for s in history.epoch_seconds)
    size = sum(p.numel() for p in build(norm).parameters())
    return (
        f"{norm:10}{statistics.median(accuracy):9.4f}{min(accuracy):9.4f}{max(accuracy):9.4f}"
        f"{seconds:9.1f}{size:12,}"
    )


def entry(run: Run) -> dict[str, Any]:
    """A run for the file: its training loss as the mean from one evaluation to the next."""
    history = run.history
    between = pairwise([0, *history.eval_steps])
    return {
        "seed": run.seed,
        "eval_steps": history.eval_steps,
        "test_accuracy": [round(a, 4) for a in history.test_accuracy],
        "test_loss": [round(loss, 5) for loss in history.test_loss],
        "train_loss_mean": [
            round(statistics.fmean(history.train_loss[a:b]), 5) for a, b in between
        ],
        "epoch_seconds": [round(s, 2) for s in history.epoch_seconds],
        "diverged": history.diverged,
        "interrupted": history.interrupted,
    }


def draw(path: Path | None, runs: dict[str, list[Run]]) -> None:
    """Test accuracy over steps for each normalization, without the runs that ended early."""
    whole = {
        norm: [r.history for r in of_norm if not (r.history.diverged or r.history.interrupted)]
        for norm, of_norm in runs.items()
    }
    if path is None or not any(whole.values()):
        return
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from . import plotting

    plotting.use_style()
    fig, ax = plt.subplots()
    for norm, histories in whole.items():
        if histories:
            accuracy = [history.test_accuracy for history in histories]
            plotting.curves(ax, histories[0].eval_steps, accuracy, label=norm)
    ax.set(xlabel="training step", ylabel="test accuracy")
    ax.legend()
    image = io.BytesIO()
    fig.savefig(image, format=path.suffix[1:].lower())
    plt.close(fig)
    atomic_write(path, image.getvalue())


def show_data(args: argparse.Namespace) -> None:
    """Fetch and verify the images, and say where they are."""
    data = digits(args.source, args.root)
    print(data)
    if data.source == "mnist":
        print(f"read from {locate(args.root)}")
    else:
        print(f"cached in {cache_dir()}")


def describe(args: argparse.Namespace, source: str) -> dict[str, Any]:
    """What was run, and on what machine."""
    return {
        "command": f"normtutorial {shlex.join(args.argv)}",
        "source": source,
        "widths": WIDTHS,
        "epochs": args.epochs,
        "seed": args.seed,
        "machine": machine(),
    }


def check_writable(path: Path | None, kinds: Sequence[str] = ()) -> None:
    """Complain before the training, not after it."""
    if path is None:
        return
    if kinds and path.suffix.lower() not in kinds:
        raise CommandError(f"{path} cannot be drawn: its name must end in {', '.join(kinds)}.")
    if path.is_dir():
        raise CommandError(f"{path} cannot be written: it is a folder. Name a file.")
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        wrong = f"{path} cannot be written ({error.strerror})"
        raise CommandError(f"{wrong}. Name another file.") from error


def write_json(path: Path | None, record: dict[str, Any]) -> None:
    """Strict JSON: what is not finite becomes null. A record that finds no place is printed."""
    if path is None:
        return
    text = json.dumps(_finite(record), allow_nan=False) + "\n"
    try:
        atomic_write(path, text.encode())
    except OSError as error:
        print(text, end="", flush=True)
        raise CommandError(
            f"{path} could not be written ({error.strerror}). What it would hold is printed above."
        ) from error


def reason(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error) or type(error).__name__).splitlines()[0]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _whole_number(text: str, least: int = 0) -> int:
    if not text.isdecimal() or not least <= int(text) < 2**32:
        raise argparse.ArgumentTypeError(f"expected a whole number from {least}; got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    return _whole_number(text, least=1)


def parser() -> argparse.ArgumentParser:
    """Of the three commands and their options."""
    top = argparse.ArgumentParser(
        prog="normtutorial",
        description="Normalization in deep learning: train, compare, and look after the data.",
        epilog="Exit codes: 0 done, 1 could not be done or diverged, 2 not understood, "
        "130 interrupted.",
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    source = argparse.ArgumentParser(add_help=False)
    source.add_argument(
        "--source",
        choices=SOURCES,
        default="auto",
        help="where the images come from; auto tries mnist, then synthetic (default: auto)",
    )
    source.add_argument("--root", type=Path, help="a torchvision folder that holds MNIST")
    run = argparse.ArgumentParser(add_help=False, parents=[source])
    run.add_argument("--epochs", type=_positive, default=5, help="passes over the images (5)")
    run.add_argument(
        "--seed",
        type=_whole_number,
        default=0,
        help="of weights and batches; the first of several (0)",
    )
    run.add_argument("--json", type=Path, metavar="FILE", help="write settings and histories")

    command = commands.add_parser(
        "train",
        parents=[run],
        help="train one network",
        description="Train the 784-512-512-256-10 network of the original notebook, with Adam at "
        "0.001 and batches of 128, and print a line per epoch.",
    )
    command.add_argument(
        "--norm", choices=NAMES, default="none", help="which normalization (default: none)"
    )
    command.set_defaults(run=train)

    command = commands.add_parser(
        "compare",
        parents=[run],
        help="train with several normalizations over several seeds",
        description="Print median, lowest and highest test accuracy over the seeds, the seconds "
        "per epoch and the number of parameters of each normalization.",
    )
    command.add_argument(
        "--norms",
        nargs="+",
        choices=NAMES,
        default=["none", "batch", "layer"],
        metavar="NORM",
        help=f"any of {', '.join(NAMES)} (default: none batch layer)",
    )
    command.add_argument(
        "--runs", type=_positive, default=3, help="of each, at as many seeds in a row (3)"
    )
    command.add_argument(
        "--evaluate-every", type=_positive, metavar="STEPS", help="test so often (every epoch)"
    )
    command.add_argument(
        "--figure", type=Path, metavar="FILE", help=f"save the curves, as {', '.join(FIGURES)}"
    )
    command.set_defaults(run=compare_norms)

    command = commands.add_parser(
        "data",
        parents=[source],
        help="fetch and verify the images",
        description="Fetch and verify the images, and say where they are.",
    )
    command.set_defaults(run=show_data)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    args = parser().parse_args(argv, argparse.Namespace(argv=argv))
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _say
            args.run(args)
    except (DataError, CommandError, OSError, ValueError) as error:
        print(f"normtutorial: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("normtutorial: interrupted.", file=sys.stderr)
        return 130
    return 0


def _say(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"normtutorial: {message}", file=sys.stderr)
