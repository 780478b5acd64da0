"""Evidence of perturbation: what moves what, and which numbers share a mean."""

from collections.abc import Iterator

from torch import nn

from .batches import size
from .evaluation import Call
from .findings import Finding, counted, deviations, many, short
from .kinds import is_batch_norm, is_instance_norm, memory
from .patient import Patient
from .precision import WRONG

__all__ = ["batch_leak", "degenerate_set", "padding_counted", "wrong_axis"]

FEW_VALUES = 8
MOVED = 0.25  # standard deviations
OF_SEQUENCES = (nn.Embedding, nn.RNNBase, nn.MultiheadAttention)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def batch_leak(patient: Patient) -> Iterator[Finding]:
    """Whether in evaluation mode a sample comes out otherwise in other company."""
    seen = patient.company
    if seen is None or seen.layer is None:
        return
    norm = patient.norms.get(seen.layer)
    certain = norm is not None and is_batch_norm(norm)
    if not certain and (_pairs_up(patient) or _may_be_time(patient)):
        return
    if seen.difference == 0 and not (certain and seen.at_layer > 0 and _pairs_up(patient)):
        return
    where = f"first in {seen.layer!r}" if seen.layer else "in the model's own forward"
    yield Finding(
        "batch-leak",
        "fault",
        seen.layer,
        f"In evaluation mode the output for a sample changes by {short(seen.difference)} of its "
        f"size when the rest of its batch, {counted(seen.samples - 1, 'sample')}, is exchanged; it "
        f"shows {where}.",
        {"difference": seen.difference, "at_layer": seen.at_layer, "samples": seen.samples},
        "Use running statistics in evaluation mode (track_running_stats=True, module.training as "
        "the switch), or average over dims that do not hold samples.",
    )


def _pairs_up(patient: Patient) -> bool:
    """Whether the output compares each sample with each, as contrastive networks do."""
    seen, rows = patient.company, patient.evaluation.rows
    widest = max(map(size, patient.batches))
    return (
        seen is not None
        and seen.width == seen.samples
        and rows is not None
        and (rows.shape[1] == widest)
    )


def _may_be_time(patient: Patient) -> bool:
    """Whether dim 0 may be time: a layer says so, and no target has a row for each sample."""
    target = patient.batches[0].target
    said = any(getattr(one, "batch_first", True) is False for one in patient.model.modules())
    return said and getattr(target, "ndim", 0) != 1


def degenerate_set(patient: Patient) -> Iterator[Finding]:
    """Sets of one value, whose output is 0, or of two, whose output is 1 and -1."""
    faults, notes = [], []
    for call in _sets(patient):
        module = patient.norms[call.layer]
        lost = (call.error or 0.0) > WRONG  # low-precision says why
        evaluating = memory(module) is not None and not module.training
        if (
            call.constant
            and not lost
            and not is_batch_norm(module)
            and not _is_switched_off(module)
        ):
            faults.append(call)
        elif call.values is None or call.values >= FEW_VALUES:
            continue
        elif call.values > 2 or evaluating:
            notes.append(call)
        else:
            faults.append(call)
    for kind, calls in (("fault", faults), ("note", notes)):
        if calls:
            worst = min(calls, key=lambda call: call.values or 1)
            number = worst.values or 1
            comes = {1: "0, whatever came in", 2: "1 and -1, whatever came in"}
            yield Finding(
                "degenerate-set",
                kind,
                worst.layer,
                f"Of an input of shape {worst.shape} it normalizes "
                f"{counted(number, 'value')} at a time, so that what is left is "
                f"{comes.get(number, 'little but their order')}; so it is in "
                f"{many(list(dict.fromkeys(call.layer for call in calls)))}.",
                {"values": number, "layers": len({call.layer for call in calls})},
                "Larger batches (drop_last=True, if only the last is small), fewer groups, or no "
                "norm behind a pooling to 1 x 1.",
            )


def _sets(patient: Patient) -> Iterator[Call]:
    """One call of each norm, the one with the smallest sets."""
    smallest: dict[str, Call] = {}
    for call in patient.evaluation.calls:
        known = smallest.get(call.layer)
        if known is None or (call.values or 0) < (known.values or 0):
            smallest[call.layer] = call
    yield from smallest.values()


def _is_switched_off(module: nn.Module) -> bool:
    gain = getattr(module, "weight", None)
    return gain is not None and bool((gain == 0).all())


def wrong_axis(patient: Patient) -> Iterator[Finding]:
    """Whether a norm averages over positions what should be features, or the reverse.

    Where the features are is known from the layer before, also where its output was turned over
    or went through an activation. That is a proof for layers that tell positions from features:
    convolutions, embeddings, recurrent layers and attention. A linear layer does not: that of a
    mixer maps positions, and with a batch norm behind it the rows of a sample may well be meant, as
    the fields of a table are. So behind linear layers it is a note.
    """
    seen: set[str] = set()
    for call in patient.evaluation.calls:
        if call.layer in seen or call.before is None or len(call.shape) < 3:
            continue
        seen.add(call.layer)
        kind, words = _judge_axes(patient, call)
        if kind:
            before = call.before
            yield Finding(
                "wrong-axis",
                kind,
                call.layer,
                f"Of an input of shape {call.shape} with the features of {before.name!r} in dim "
                f"{before.dim} {words}",
                {"features": call.shape[before.dim], "dim": before.dim},
                "Bring the features to where the norm expects them: dim 1 for batch, group and "
                "instance norm, the last for layer and RMS norm; x.transpose(1, 2) does it.",
            )


def _judge_axes(patient: Patient, call: Call) -> tuple[str, str]:
    """Fault, note or nothing, and what the norm does."""
    assert call.before is not None  # noqa: S101 - the caller has asked
    features, module = call.before.dim, patient.norms[call.layer]
    positions = [d for d in range(1, len(call.shape)) if d != features]
    certain = isinstance(call.before.module, OF_SEQUENCES) or _of_indices(patient)
    if call.axes is None:
        of_channels = is_batch_norm(module) or is_instance_norm(module)
        if features == 1 or not (of_channels or isinstance(module, nn.GroupNorm)):
            return "", ""
        words = f"it takes the {call.shape[1]} positions of dim 1 for features."
        return ("fault" if certain else "note"), words
    over = sorted(call.axes - {0})
    if features in over and set(over) & set(positions):
        return "note", "it normalizes positions and features together."
    if over and features not in over:
        one = "over the positions, which are no features."
        whole = f"it normalizes along dim {', '.join(map(str, over))}, {one}"
        certain |= isinstance(call.before.module, CONVOLUTIONS)
        return ("fault" if certain and len(over) == 1 else "note"), whole
    return "", ""


def _of_indices(patient: Patient) -> bool:
    """Whether the model's input is a sequence of indices."""
    x = patient.batches[0].x
    return getattr(x, "ndim", 0) == 2 and not x.is_floating_point()


def padding_counted(patient: Patient) -> Iterator[Finding]:
    """Whether padding takes part in the mean."""
    moved: dict[str, float] = {}
    for call in patient.evaluation.calls:
        if call.padded is not None and call.padded > MOVED:
            moved[call.layer] = max(call.padded, moved.get(call.layer, 0.0))
    if moved:
        worst = max(moved, key=lambda layer: moved[layer])
        yield Finding(
            "padding-counted",
            "fault",
            worst,
            "Padded positions take part in the mean, which without them is "
            f"{deviations(moved[worst])} from here; so it is in {many(list(moved))}.",
            {"layers": len(moved), "moved": moved[worst]},
            "Take the valid positions out before the norm, x[mask], or use layer norm, whose mean "
            "is that of one position.",
        )
