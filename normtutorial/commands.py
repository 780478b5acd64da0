"""What the commands of the command line do: train, compare, look after the data, check up."""

import argparse
import io
import json
import os
import shlex
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from torch import distributed as dist
from torch import nn
from torch.distributed.rendezvous import rendezvous

from . import __version__
from .data import DataError, ImageData, cache_dir, digits, locate, synthetic
from .data.files import atomic_write
from .diagnosis import checkup
from .diagnosis.findings import finite
from .distributed import convert_sync_batchnorm
from .models import ConvNet, Transformer
from .processes import SplitBatches
from .runtime import machine, threads
from .studies import Run, build, compare
from .training import History, fit

__all__ = ["run"]

FIGURES = (".png", ".svg", ".pdf")
TABLE = "{:10}{:>5}{:>10}{:>9}{:>9}{:>9}{:>12}"
MODELS: dict[str, Any] = {"mlp": None, "conv": ConvNet, "transformer": Transformer}
OUT_OF_MEMORY = (RuntimeError, MemoryError)  # torch says it with the first


class CommandError(Exception):
    """What was asked for could not be done; the message says why."""


COULD_NOT_LOOK = 2
ERRORS = (DataError, CommandError, OSError, ValueError)  # what they say is enough


def run(args: argparse.Namespace) -> int:
    """Run the command that was asked for, and return its exit code."""
    commands = {"train": train, "compare": compare_norms, "data": show_data, "checkup": look}
    n = getattr(args, "threads", None)
    try:
        with warnings.catch_warnings(), threads(n) if n else nullcontext():
            warnings.showwarning = _say
            return commands[args.name](args) or 0
    except ERRORS as error:
        _say(error)
        return COULD_NOT_LOOK if args.name == "checkup" else 1


def _say(message: object, *_: Any, **__: Any) -> None:
    print(f"normtutorial: {message}", file=sys.stderr)


def train(args: argparse.Namespace) -> None:
    """Train one network and print a line per epoch."""
    with in_touch(args) if args.sync else nullcontext():
        get = partial(_data, args)
        _train(args, alike(get) if args.sync else get())


@contextmanager
def in_touch(args: argparse.Namespace) -> Iterator[None]:
    """With the other processes that torchrun has started. The first of them speaks and writes for
    all; an error is said once, by the first that meets it."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        raise CommandError(
            "--sync expects several processes. Start them with torchrun: "
            "torchrun --nproc-per-node 2 -m normtutorial train --sync"
        )
    store, rank, world = next(rendezvous("env://"))
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    try:
        if rank == 0:
            yield
            return
        args.json, warnings.showwarning = None, lambda *_, **__: None
        with redirect_stdout(io.StringIO()):
            yield
    except ERRORS as error:
        if store.add(f"said: {error}", 1) > 1:
            raise SystemExit(1) from None
        raise
    finally:
        dist.destroy_process_group()


def alike(get: Callable[[], ImageData]) -> ImageData:
    """What ``get`` gives, if it gives the same in all processes; else all raise the same error."""
    try:
        data, word = get(), ""
        here = data.to("cpu")
        tensors = here.train_images, here.train_labels, here.test_images, here.test_labels
        sums = [crc32(tensor.contiguous().numpy().data) for tensor in tensors]
        about = f"{here}, checksum {crc32(repr(sums).encode()):08x}"
    except ERRORS as error:
        word, about = str(error), ""
    everywhere: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everywhere, (word, about))
    for rank, (word, _) in enumerate(everywhere):
        if word:
            raise CommandError(f"process {rank}: {word}" if rank else word)
    for rank, (_, there) in enumerate(everywhere):
        if there != everywhere[0][1]:
            raise CommandError(
                f"--sync expects the same images in all processes; got {everywhere[0][1]} in "
                f"process 0, {there} in process {rank}. Name them by --source and --root."
            )
    return data


def _data(args: argparse.Namespace) -> ImageData:
    """The images, if the rest of what was asked for can be done."""
    check_writable(args.json)
    if args.sync and args.norm == "original":
        raise CommandError(
            "--sync cannot share the batches of the original network, whose batch norm is a layer "
            "of its own. Choose another --norm."
        )
    return digits(args.source, args.root)


def _train(args: argparse.Namespace, data: ImageData) -> None:
    from tqdm import tqdm  # its write() keeps clear of the bar

    def report(history: History) -> None:
        accuracy = history.test_accuracy[-1]
        tqdm.write(f"epoch : {len(history.test_accuracy)}, test acc : {accuracy:.4f}")
        sys.stdout.flush()

    history, fault = History(), None
    settings = {"epochs": args.epochs, "lr": args.lr, "batch_size": args.batch_size}
    try:
        model = _network(args, data.device)
        fit(model, data, history=history, seed=args.seed, on_evaluation=report, **settings)
    except OUT_OF_MEMORY as error:
        fault = error
    except KeyboardInterrupt:  # before the first step
        history.interrupted = True
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


def _network(args: argparse.Namespace, device: torch.device) -> nn.Module:
    model = build(args.norm, make=MODELS[args.model], seed=args.seed, device=device)
    if args.sync:
        convert_sync_batchnorm(model)
    if args.compile:
        model.compile()
    return SplitBatches(model) if args.sync else model


def compare_norms(args: argparse.Namespace) -> None:
    """Train several networks over several seeds and print a table."""
    check_writable(args.json)
    check_writable(args.figure, FIGURES)
    data = digits(args.source, args.root)
    seeds = range(args.seed, args.seed + args.runs)
    usual = ["none", "layer", "rms"] if args.model == "transformer" else ["none", "batch", "layer"]
    norms = list(dict.fromkeys(args.norms or usual))
    settings = {name: getattr(args, name) for name in ("epochs", "lr", "batch_size", "compile")}
    settings["make"] = make = MODELS[args.model]
    runs: dict[str, list[Run]] = {norm: [] for norm in norms}
    fault, interrupted = None, False
    try:
        found = compare(norms, data, seeds=seeds, evaluate_every=args.evaluate_every, **settings)
        print(
            TABLE.format("norm", "runs", "accuracy", "lowest", "highest", "s/epoch", "parameters")
        )
        for run in found:
            runs[run.norm].append(run)
            if len(runs[run.norm]) == len(seeds):
                print_row(runs[run.norm], make)
    except OUT_OF_MEMORY as error:
        fault = error
    except KeyboardInterrupt:  # between two runs
        interrupted = True
    for of_norm in runs.values():  # of one at most, and of each whole run of it
        if 0 < len(of_norm) < len(seeds):
            print_row(of_norm, make)
    entries = {norm: [entry(run) for run in of_norm] for norm, of_norm in runs.items() if of_norm}
    write_json(args.json, {**describe(args, data.source), "seeds": list(seeds), "runs": entries})
    draw(args.figure, runs)
    if fault:
        ended = next(norm for norm in norms if not all_ended(runs[norm], len(seeds)))
        raise CommandError(f"{ended} ended before its time: {reason(fault)}") from fault
    if interrupted or any(run.history.interrupted for of_norm in runs.values() for run in of_norm):
        raise KeyboardInterrupt
    if diverged := [norm for norm in norms if any(run.history.diverged for run in runs[norm])]:
        names = ", ".join(diverged)
        raise CommandError(f"it diverged: the loss was not finite in a run of {names}.")


def all_ended(runs: list[Run], count: int) -> bool:
    """Whether there are so many runs, each of which came to its end."""
    return len(runs) == count and not any(run.history.interrupted for run in runs)


def print_row(runs: list[Run], make: Callable[..., nn.Module] | None) -> None:
    """What the table says of the runs of one normalization: of those that came to their end."""
    norm, histories = runs[0].norm, [r.history for r in runs if not r.history.interrupted]
    if not histories:
        return
    accuracy = [history.final_accuracy for history in histories]
    scores = statistics.median(accuracy), min(accuracy), max(accuracy)
    seconds = statistics.median(s for history in histories for s in history.epoch_seconds)
    size = sum(p.numel() for p in build(norm, make=make).parameters())
    row = norm, len(histories), *(f"{score:.4f}" for score in scores), f"{seconds:.1f}", f"{size:,}"
    print(TABLE.format(*row), flush=True)


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
    elif synthetic.stored():
        print(f"cached in {cache_dir()}")
    else:
        print(f"not cached: {cache_dir()} cannot be written")


def look(args: argparse.Namespace) -> int:
    """Print what is wrong with the network that a function of the user's makes."""
    check_writable(args.json)
    wanted = f"{args.make} is to make (model, batches), or a dict of the arguments of checkup"
    try:
        made = _function(args.make)()
        given = dict(zip(("model", "batches"), made, strict=True)) if _is_pair(made) else made
        if not isinstance(given, dict):
            raise CommandError(f"{wanted}; it made {type(made).__name__}.")
        report = checkup(**given)
    except ERRORS:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {reason(error)}"
        raise CommandError(f"{wanted}; it raised {said}") from error
    print(report)
    write_json(args.json, report.to_dict())
    if report.faults:
        return 1
    return COULD_NOT_LOOK if report.errors else 0


def _is_pair(made: Any) -> bool:
    return isinstance(made, (tuple, list)) and len(made) == 2


def _function(name: str) -> Callable[[], Any]:
    """What is called so, ``package.module:function``; of a module in the folder, too."""
    module, _, function = name.partition(":")
    if not (module and function):
        raise CommandError(f"{name} is no package.module:function. Put a colon between the two.")
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = getattr(import_module(module), function)
    except Exception as error:  # whatever stands in the module
        raise CommandError(f"{name} could not be imported: {reason(error)}.") from error
    finally:
        sys.path.remove(os.getcwd())
    return found


def describe(args: argparse.Namespace, source: str) -> dict[str, Any]:
    """What was run, and on what machine."""
    return {
        "command": f"normtutorial {shlex.join(args.argv)}",
        "version": __version__,
        "source": source,
        "model": args.model,
        "epochs": args.epochs,
        "lr": args.lr,
        "batch_size": args.batch_size,
        "seed": args.seed,
        "compile": args.compile,
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
    text = json.dumps(finite(record), allow_nan=False) + "\n"
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
