"""Evidence of buffers: what batch norm remembers, against what the batches are."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .batches import size
from .chance import LEVEL
from .findings import Finding, counted, deviations, many, short
from .kinds import is_untouched, looks_trained, memory
from .patient import Patient
from .repair import Proof, Recalibration
from .scaling import maps

__all__ = ["averaged_statistics", "nonfinite", "statistics"]

OLD_SHARE = 0.05  # of the start, in an average that is not young
HIGH_MOMENTUM = 0.5
RECALIBRATED = "statistics computed anew from half of the samples"
AGAIN = (
    "Compute the statistics anew: torch.optim.swa_utils.update_bn(loader, model), with the batches "
    "that the model is to be used for."
)


def nonfinite(patient: Patient) -> Iterator[Finding]:
    """NaN, infinity or a negative variance among the buffers of a norm."""
    bad: dict[str, tuple[str, int]] = {}
    for name, module in patient.norms.items():
        for key, buffer in module.named_buffers(recurse=False):
            if not buffer.is_floating_point():
                continue
            wrong = ~buffer.isfinite()
            if key.endswith("var"):
                wrong |= buffer < 0
            if wrong.any() and name not in bad:
                bad[name] = key, int(wrong.sum())
    if not bad:
        return
    layer = next(iter(bad))
    key, count = bad[layer]
    yield Finding(
        "statistics-nonfinite",
        "fault",
        layer,
        f"{key} has {counted(count, 'bad value')}: NaN, infinity or a negative variance. There are "
        f"such buffers in {many(list(bad))}. In evaluation mode they reach every output.",
        {"layers": len(bad), "values": count},
        "Find the batch that brought them (one infinite value is enough, and they never leave an "
        "average), skip such batches, call reset_running_stats() and compute the statistics anew.",
    )


def statistics(patient: Patient) -> Iterator[Finding]:
    """Whether the running statistics are at fault, proven by computing them anew, and why."""
    called = {call.layer for call in patient.evaluation.calls}
    layers = [
        name
        for name, module in patient.memories.items()
        if name in called and all(one.isfinite().all() for one in memory(module) or ())
    ]
    few = sum(map(size, patient.batches)) < 4
    if not layers or few or not patient.trained or patient.evaluation.broken:
        return
    anew = patient.recalibration
    explained = False
    for name, explain, belongs in CAUSES:
        group = [layer for layer in layers if belongs(patient.memories[layer])]
        if not group:
            continue
        part = anew.proof(group)
        if part.shows or (name != "statistics-young" and part.before != part.after):
            yield explain(name, patient, group, part)
        explained |= part.shows
        layers = [layer for layer in layers if layer not in group]
    if explained or not layers:
        return
    proof = anew.proof(layers)
    if proof.shows and (dropped := _dropout(patient, layers, proof)):
        yield dropped
    elif proof.holds:
        yield _input_scale(patient, layers) or _stale(patient, layers, proof, "fault")
    elif odd := _odd(patient, layers):
        yield _input_scale(patient, odd) or _stale(patient, odd, proof, "note")


def _count(module: nn.Module) -> int:
    counter = getattr(module, "num_batches_tracked", None)
    return int(counter) if isinstance(counter, Tensor) else 0


def _share_of_start(module: nn.Module) -> float:
    """The weight that the first values, 0 and 1, still have in the running average."""
    momentum: Any = getattr(module, "momentum", None)
    count = _count(module)
    return float((1 - momentum) ** count) if isinstance(momentum, float) and count else 0.0


def _is_odd_momentum(module: nn.Module) -> bool:
    momentum: Any = getattr(module, "momentum", None)
    odd = isinstance(momentum, (int, float)) and not 0 < momentum < HIGH_MOMENTUM
    return odd and (momentum != 0 or is_untouched(module))


def _is_young(module: nn.Module) -> bool:
    return _share_of_start(module) > OLD_SHARE


def _found(
    name: str,
    layers: list[str],
    says: str,
    evidence: dict[str, Any],
    remedy: str,
    proof: Proof,
    kind: str = "",
) -> Finding:
    return Finding(
        name,
        kind or ("fault" if proof.shows else "note"),
        layers[0],
        says,
        {"layers": len(layers), **evidence},
        remedy,
        proof.told(RECALIBRATED),
    )


def _momentum(name: str, patient: Patient, layers: list[str], proof: Proof) -> Finding:
    """A large momentum is a fault where the memory that the network has does harm, and a note where
    its last batch happens to be a good one. What other batches would do is no proof: the loss with
    the true last batch was often outside of what memories drawn at random gave.
    """
    momentum: Any = getattr(patient.memories[layers[0]], "momentum", None)
    share = (
        "the running statistics are those of the last batch or two, good or bad by luck"
        if momentum
        else "the running statistics never move"
    )
    return _found(
        name,
        layers,
        f"momentum is {momentum:g} in {many(layers)}. In torch it is the share of the new batch, "
        f"so {share}.",
        {"momentum": float(momentum)},
        f"Set it to 1 minus the value, {1 - momentum:g}, if that came from another framework; the "
        "default is 0.1. Then compute the statistics anew.",
        proof,
    )


def _untouched(name: str, patient: Patient, layers: list[str], proof: Proof) -> Finding:
    return _found(
        name,
        layers,
        f"The running mean is exactly 0 and the variance exactly 1 in {many(layers)}, although the "
        "network has learned: they were never computed, or not saved or loaded.",
        {"memories": len(patient.memories)},
        "Save and load state_dict(), which has the buffers, and not parameters() alone. " + AGAIN,
        proof,
    )


def _young(name: str, patient: Patient, layers: list[str], proof: Proof) -> Finding:
    module = patient.memories[layers[0]]
    share, count = _share_of_start(module), _count(module)
    return _found(
        name,
        layers,
        f"After {counted(count, 'batch', 'es')} with a momentum of {module.momentum:g} the first "
        f"values, 0 and 1, still have a weight of {short(share)} in {many(layers)}.",
        {"batches": count, "share": share},
        "Train on, take momentum=None, which has no start, or " + AGAIN[0].lower() + AGAIN[1:],
        proof,
    )


Explain = Callable[[str, Patient, list[str], Proof], Finding]
CAUSES: list[tuple[str, Explain, Callable[[nn.Module], bool]]] = [
    ("momentum-convention", _momentum, _is_odd_momentum),
    ("statistics-untouched", _untouched, is_untouched),
    ("statistics-young", _young, _is_young),
]


def _distance(module: nn.Module, anew: Recalibration, name: str) -> tuple[float, float]:
    """How far the statistics are from those of the batches: the mean in standard deviations, root
    of the mean square over channels; the variance as a factor, median."""
    remembered, found = memory(module), anew.moments(name)
    if remembered is None or found is None:
        return 0.0, 1.0
    mean, var = (one.detach().double().flatten() for one in remembered)
    least = float(getattr(module, "eps", 1e-5))
    off = ((mean - found[0]).square() / (found[1] + least)).mean().sqrt()
    factor = ((var + least) / (found[1] + least)).clamp_min(1e-30).log().median().exp()
    return float(off), float(factor)


def _stale(patient: Patient, layers: list[str], proof: Proof, kind: str) -> Finding:
    anew = patient.recalibration
    far = {name: _distance(patient.memories[name], anew, name) for name in layers}
    worst = max(layers, key=lambda name: far[name][0] + abs(math.log(far[name][1])))
    off, factor = far[worst]
    among = "" if len(layers) == 1 else f", here, where it is worst of {len(layers)} layers"
    return _found(
        "statistics-stale",
        [worst, *(name for name in layers if name != worst)],
        f"The running mean is {deviations(off)} from that of these batches, and the running "
        f"variance {short(factor)} times theirs{among}.",
        {"mean_off": off, "variance_factor": factor},
        AGAIN + " If they are not of these batches at all, look at how the inputs are made.",
        proof,
        kind,
    )


def _odd(patient: Patient, layers: list[str]) -> list[str]:
    """The layers whose running mean no batch of these would have.

    Were it one of the means of the batches, its squared distance from their mean, in units of
    their variance, would have an F distribution of 1 and k - 1 degrees of freedom.
    """
    from scipy import stats

    odd = []
    for name in layers:
        remembered = memory(patient.memories[name])
        parts = [part for half in patient.recalibration.found for part in half[name].parts]
        k = len(parts)
        if k < 3 or remembered is None:
            continue
        means = torch.stack([mean for _, mean, _ in parts])
        spread = means.var(0) * (1 + 1 / k) + 1e-30
        ratio = (remembered[0].detach().double().flatten() - means.mean(0)).square() / spread
        if float(ratio.median()) > stats.f.isf(LEVEL / len(layers), 1, k - 1):
            odd.append(name)
    return odd


def _dropout(patient: Patient, layers: list[str], proof: Proof) -> Finding | None:
    """Whether they are those of the batches, if dropout is at work."""
    anew = patient.recalibration
    dropped = anew.with_dropout()
    off_distance, on_distance, ratios = 0.0, 0.0, {}
    for name in layers:
        remembered, off = memory(patient.memories[name]), anew.moments(name)
        on = [half[name] for half in dropped if name in half]
        if remembered is None or off is None or not on:
            continue
        with_it = torch.stack([pooled.values()[1] for pooled in on]).mean(0)
        logs = [
            v.double().flatten().clamp_min(1e-30).log() for v in (remembered[1], with_it, off[1])
        ]
        ratios[name] = float((logs[1] - logs[2]).median().exp())
        on_distance += float((logs[0] - logs[1]).abs().mean())
        off_distance += float((logs[0] - logs[2]).abs().mean())
    if not ratios or on_distance > off_distance / 2:
        return None
    worst = max(ratios, key=lambda name: abs(math.log(ratios[name])))
    return _found(
        "dropout-before-batch-norm",
        [worst],
        f"With dropout at work the variance here is {short(ratios[worst])} times what it is "
        "without, and batch norm remembers the first: in evaluation mode it divides by the wrong "
        "one.",
        {"variance_ratio": ratios[worst]},
        "Move the dropout behind the last batch norm, or compute the statistics anew with "
        "dropout off.",
        proof,
    )


def _input_scale(patient: Patient, layers: list[str]) -> Finding | None:
    """Whether one affine map of the input makes it what the first norm remembers.

    Where new statistics do as well as the map, no batch can tell whether the inputs are not those
    of the training or the memory has moved away from them.
    """
    anew = patient.recalibration
    first = next(call.layer for call in patient.evaluation.calls if call.layer in layers)
    for change in maps(patient.model, patient.batches, patient.memories[first]):
        proof, alone = anew.proof_of_input(change.apply, first)
        if not proof.holds:
            continue
        off, factor = _distance(patient.memories[first], anew, first)
        why = "The inputs are not scaled as in training"
        remedy = f"Give the model {change.name}, if its inputs are not made as in training."
        if not alone:
            why += ", or the running statistics have moved"
            remedy += f" If they are, the memory has moved: c{AGAIN[1:]}"
        return Finding(
            "input-scale",
            "fault",
            first,
            f"{why}: with {change.name} in place of x the first norm gets what it remembers. As "
            f"they are, its mean is off by {deviations(off)}, and its variance {short(factor)} "
            "times theirs.",
            {"mean_off": off, "variance_factor": factor, "map": change.name},
            remedy,
            proof.told(f"{change.name} as the input"),
        )
    return None


def averaged_statistics(patient: Patient) -> Iterator[Finding]:
    """Averaged weights with statistics of other weights."""
    anew, averaged = patient.averaged_recalibration, patient.averaged
    if anew is None or averaged is None or not anew.layers:
        return
    if not any(map(looks_trained, anew.layers.values())):
        return
    proof = anew.proof(anew.layers)
    if proof.shows:
        far = {name: _distance(one, anew, name) for name, one in anew.layers.items()}
        worst = max(far, key=lambda name: far[name][0] + abs(math.log(far[name][1])))
        yield _found(
            "averaged-statistics",
            [worst, *(name for name in far if name != worst)],
            "The averaged model has statistics that are not those of its weights: here, where it "
            f"is worst, the mean is off by {deviations(far[worst][0])}, and the variance "
            f"{short(far[worst][1])} times that of the batches.",
            {"mean_off": far[worst][0], "variance_factor": far[worst][1]},
            AGAIN.replace("model)", "averaged_model)"),
            proof,
        )
