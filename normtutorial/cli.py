"""The command line, ``normtutorial`` or ``python -m normtutorial``: train, compare, data, checkup.

Exit codes: 0, all went well; 1, it could not be done or a run diverged, and a sentence on stderr
says so; 2, the command line was not understood; 130, interrupted. A run that diverged, was
interrupted or ended for lack of memory is in the JSON file all the same. Of a checkup: 0, no fault;
1, faults; 2, it could not look.

What is here needs no torch, so that ``--help`` and a usage error come at once.
"""

import argparse
import io
import math
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from . import __version__

__all__ = ["main"]

NAMES = ("none", "weight", "batch", "layer", "instance", "group", "rms", "original")
MODELS = ("mlp", "conv", "transformer")
SOURCES = ("auto", "mnist", "synthetic")  # all as the modules have them that need torch
INTERRUPTED = "normtutorial: interrupted."


def _whole_number(text: str, least: int = 0) -> int:
    if not text.isdecimal() or not least <= int(text) < 2**32:
        raise argparse.ArgumentTypeError(f"expected a whole number from {least}; got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    return _whole_number(text, least=1)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0; got {text!r}")
    return rate


def parser() -> argparse.ArgumentParser:
    """Of the commands and their options."""
    top = argparse.ArgumentParser(
        prog="normtutorial",
        description="Normalization in deep learning: train, compare, look after the data, and find "
        "out what is wrong with a network.",
        epilog="Exit codes: 0 done, 1 could not be done or diverged, 2 not understood, "
        "130 interrupted.",
    )
    top.add_argument("--version", action="version", version=f"normtutorial {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="name")
    source = argparse.ArgumentParser(add_help=False)
    source.add_argument(
        "--source",
        choices=SOURCES,
        default="auto",
        help="where the images come from; auto tries mnist, then synthetic (default: auto)",
    )
    source.add_argument("--root", type=Path, help="a torchvision folder that holds MNIST")
    run = argparse.ArgumentParser(add_help=False, parents=[source])
    run.add_argument(
        "--model",
        choices=MODELS,
        default="mlp",
        help="the original notebook's 784-512-512-256-10, a network of convolutions or a "
        "transformer, which have norms for images and for tokens (default: mlp)",
    )
    run.add_argument("--epochs", type=_positive, default=5, help="passes over the images (5)")
    run.add_argument("--lr", type=_rate, default=1e-3, help="learning rate of Adam (0.001)")
    run.add_argument("--batch-size", type=_positive, default=128, help="images per step (128)")
    run.add_argument(
        "--seed",
        type=_whole_number,
        default=0,
        help="of weights and batches; the first of several (0)",
    )
    run.add_argument("--threads", type=_positive, help="of the CPU (as torch has it)")
    run.add_argument("--compile", action="store_true", help="with torch.compile")
    run.add_argument("--json", type=Path, metavar="FILE", help="write settings and histories")

    command = commands.add_parser(
        "train",
        parents=[run],
        help="train one network",
        description="Train a network with Adam, and print a line per epoch.",
    )
    command.add_argument(
        "--norm", choices=NAMES, default="none", help="which normalization (default: none)"
    )
    command.add_argument(
        "--sync",
        action="store_true",
        help="share each batch among the processes that torchrun starts",
    )

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
        metavar="NORM",
        help=f"any of {', '.join(NAMES)} (default: none batch layer; of a transformer none layer "
        "rms)",
    )
    command.add_argument(
        "--runs", type=_positive, default=3, help="of each, at as many seeds in a row (3)"
    )
    command.add_argument(
        "--evaluate-every", type=_positive, metavar="STEPS", help="test so often (every epoch)"
    )
    command.add_argument(
        "--figure", type=Path, metavar="FILE", help="save the curves, as .png, .svg or .pdf"
    )

    commands.add_parser(
        "data",
        parents=[source],
        help="fetch and verify the images",
        description="Fetch and verify the images, and say where they are.",
    )

    command = commands.add_parser(
        "checkup",
        help="what is wrong with the normalization of a network",
        description="Look at a network with a few batches, and print what is wrong with its "
        "normalization.",
        epilog="Exit codes: 0 no fault, 1 faults, 2 could not look.",
    )
    command.add_argument(
        "make",
        metavar="MODULE:FUNCTION",
        help="what makes (model, batches), or a dict of the arguments of normtutorial.checkup",
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write the findings")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    args = parser().parse_args(argv, argparse.Namespace(argv=argv))
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that it cannot show is no error
        sys.stdout.reconfigure(errors="backslashreplace")
    # Threads that spin while they wait take the cores from those of another training. OpenMP reads
    # this when torch loads it.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        code: int = _commands().run(args)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130
    return code


def _commands() -> ModuleType:
    """What needs torch, which loads for a second or two: an interrupt ends the program there.

    As an exception in the midst of torch's modules it would not be quiet, or not even end it.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        from . import commands

        return commands
    signal.signal(signal.SIGINT, _exit)
    try:
        from . import commands
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return commands


def _exit(*_: Any) -> None:
    print(INTERRUPTED, file=sys.stderr, flush=True)
    os._exit(130)
