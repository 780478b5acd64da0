"""The checkup: all checks, one after the other, on one model and a few batches."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from . import buffers, configuration, perturbation, precision, samples, steps, structure
from .batches import LossFunction, size
from .findings import CHAPTERS, Finding, Report
from .guard import reached, untouched
from .patient import Patient
from .watching import PassFailed

__all__ = ["checkup"]

PATIENCE = 3.0  # seconds, after which a bar is shown
Check = Callable[[Patient], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    configuration.ignored_flag,
    configuration.not_optimized,
    configuration.decay_on_gain,
    configuration.dead_gain,
    configuration.old_weight_norm,
    buffers.nonfinite,
    precision.nonfinite_activation,
    precision.low_precision,
    precision.eps_rules,
    structure.bias_before_norm,
    structure.never_called,
    steps.updated_twice,
    steps.frozen_drifts,
    steps.left_in_eval,
    steps.trained_in_evaluation,
    perturbation.batch_leak,
    perturbation.degenerate_set,
    perturbation.wrong_axis,
    perturbation.padding_counted,
    samples.batch_composition,
    samples.one_norm_two_domains,
    buffers.statistics,
    buffers.averaged_statistics,
)


def checkup(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    loss: LossFunction | None = None,
    step: Callable[[Any], Any] | None = None,
    evaluate: Callable[[], Any] | None = None,
    optimizer: Any = None,
    averaged: nn.Module | None = None,
    limit: int = 8,
) -> Report:
    """What is wrong with the normalization of a network, as far as a few batches show it.

    A fault is only what is proven, by evidence that is exact or by a repair, on a copy, that lowers
    the loss. What is only odd is a note. Nothing remains in the model: parameters, buffers,
    gradients, modes, hooks, the optimizer's state and those of the random generators are as before,
    also when the model raises.

    Norms are those of torch and their subclasses, and modules without children whose class has
    "norm" in its name. One that you have written is a norm to it only if it is called so: the first
    line of the report says how many it has seen.

    What it cannot see:

    - how a network was trained. If it was on batches of two, its weights are spoiled and its memory
      is right; only those batches, or ``step``, show it.
    - which has moved, the inputs or the running statistics, where they disagree and new statistics
      would do as well as other inputs.
    - a norm that is called otherwise, or is no module, but for what it does to the outputs.
    - what numbers mean. Behind linear layers it can't tell positions from features, and without
      targets not better from worse: then it says how far the outputs are from others.
    - what is small or rare: a repair must lower the loss by a tenth of what a constant guess loses,
      or by a fiftieth where other evidence says the same, in a few batches, of which some dozens
      of samples are needed, and without targets some batches. What happens in one batch of a
      thousand is not in them.
    - a second cause behind a first one: what new statistics repair gets one name.
    - other processes, and all that is no matter of normalization.

    Args:
        model: any module, with norms of torch, of ours, or of your own.
        batches: a list, or any iterable such as a ``DataLoader``, of x or (x, target), shapes
            (N, ...). The model is called as ``model(x)``, with a tuple as ``model(*x)``, with a
            dict as ``model(**x)``.
        loss: of output and target. None is cross entropy for indices of classes and the mean
            squared error for floats; of an output that is a dict or an object, its ``logits``.
        step: your training step, for a batch. It is run at most twice.
        evaluate: your evaluation.
        optimizer: to see who is in it; or a list of several.
        averaged: a second model, with averaged weights.
        limit: so many batches are taken at most.

    Returns:
        The :class:`Report`.

    Raises:
        ValueError: if there are no batches, the model has no parameters yet, or an argument is of
            another kind.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        >>> _ = model[1].running_var.fill_(-1.0)
        >>> report = checkup(model, [torch.randn(32, 4)])
        >>> [(fault.name, fault.layer) for fault in report.faults]
        [('statistics-nonfinite', '1')]
    """
    began = time.perf_counter()
    models = [model] if averaged is None else [model, averaged]
    optimizers = optimizer if isinstance(optimizer, (list, tuple)) else [optimizer]
    optimizers = [one for one in optimizers if one is not None]
    _refuse("a module", models, lambda one: isinstance(one, nn.Module))
    _refuse("an optimizer, or several", optimizers, lambda one: hasattr(one, "param_groups"))
    _refuse("functions for step, evaluate and loss", [step, evaluate, loss], _may_be_called)
    if any(is_lazy(value) for one in models for value in one.parameters()):
        raise ValueError(
            "checkup expects a model whose parameters are there; got lazy ones. Call it with one "
            "batch first."
        )
    with untouched(*models, batches, *optimizers, *reached(step), *reached(evaluate)):
        patient = Patient(
            model,
            batches,
            loss=loss,
            step=step,
            evaluate=evaluate,
            optimizers=optimizers,
            averaged=averaged,
            limit=limit,
        )
        findings, errors = examine(patient)
    about = {
        "model": type(patient.model).__name__,
        "norms": len(patient.norms),
        "batches": len(patient.batches),
        "samples": sum(map(size, patient.batches)),
        "seconds": time.perf_counter() - began,
    }
    return Report(findings, errors, about)


def _refuse(wanted: str, given: list[Any], fits: Callable[[Any], bool]) -> None:
    for one in given:
        if not fits(one):
            raise ValueError(
                f"checkup expects {wanted}; got {type(one).__name__}. Its first two arguments are "
                "the model and the batches, the others have names."
            )


def _may_be_called(one: Any) -> bool:
    return one is None or callable(one)


def examine(patient: Patient) -> tuple[list[Finding], list[str]]:
    """The findings of all checks, in the order of the names; and what went wrong in a pass, or in
    a check, which ends that check alone."""
    from tqdm import tqdm  # as late as possible: it reads $TQDM_DISABLE when it is imported

    findings: list[Finding] = []
    errors: dict[str, None] = {}
    shown = {"disable": not sys.stderr.isatty(), "delay": PATIENCE, "leave": False}
    for check in tqdm(CHECKS, desc="checkup", **shown):
        try:
            findings += check(patient)
        except PassFailed as failed:
            errors[str(failed)] = None
        except Exception as error:  # of its own: the others look all the same
            said = (str(error) or type(error).__name__).splitlines()[0]
            name = check.__name__
            errors[f"The check {name} raised {type(error).__name__}: {said}"] = None
    order = list(CHAPTERS)
    return sorted(findings, key=lambda finding: order.index(finding.name)), list(errors)
