"""Evidence of samples: whether batches are alike, and whether all calls of a layer are."""

from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor

from .chance import LEVEL, differ, share_between
from .findings import Finding, deviations, short
from .kinds import is_batch_norm
from .patient import Patient

__all__ = ["batch_composition", "one_norm_two_domains"]

APART = 0.5  # standard deviations, or as much in the logarithm of a deviation: what is worth saying


def batch_composition(patient: Patient) -> Iterator[Finding]:
    """Whether the samples of a batch are more alike than those of all batches.

    The share of the variance that lies between batches, over all channels of the batch norms, is
    compared with what it is when the samples are dealt out at random.
    """
    layers: dict[str, dict[int, Tensor]] = defaultdict(dict)
    for call in patient.evaluation.calls:
        if call.samples is not None and call.nth == 0:
            layers[call.layer][call.batch] = call.samples
    whole = [one for one in layers.values() if len(one) == len(patient.batches)]
    if not patient.shares or not whole or len(patient.batches) < 2:
        return
    counts = torch.tensor([len(rows) for rows in whole[0].values()])
    rows = torch.cat([torch.cat(list(one.values())) for one in whole], dim=1)
    if counts.max() < 2 or not rows.isfinite().all():
        return
    batch = torch.arange(len(counts)).repeat_interleave(counts)
    share, usual = share_between(rows, batch), (len(counts) - 1) / (len(batch) - 1)
    sorted_by = _labels(patient, counts.tolist())
    by_label = sorted_by is not None and differ(sorted_by, batch, LEVEL / 2)
    if by_label or differ(rows, batch, LEVEL / 2):
        yield Finding(
            "batch-composition",
            "fault",
            "",
            f"The batches are not alike: {short(100 * share)} % of the variance of what comes into "
            f"the batch norms lies between batches, and {short(100 * usual)} % would if the "
            "samples were dealt out at random.",
            {"share": share, "expected": usual, "batches": len(counts)},
            "Shuffle before batches are made: shuffle=True in the DataLoader, or a sampler that "
            "mixes classes, sources and subjects.",
        )


def _labels(patient: Patient, counts: list[int]) -> Tensor | None:
    """The classes of all samples, each a column; None where not every sample has just one."""
    targets = [batch.target for batch in patient.batches if isinstance(batch.target, Tensor)]
    if [tuple(t.shape) for t in targets] != [(n,) for n in counts]:
        return None
    labels = torch.cat(targets)
    if labels.is_floating_point():
        return labels[:, None] if labels.isfinite().all() else None
    return torch.nn.functional.one_hot(labels.unique(return_inverse=True)[1])


def one_norm_two_domains(patient: Patient) -> Iterator[Finding]:
    """Whether one memory serves several calls, in a pass or in the user's step, that differ."""
    several = _several(patient)
    alike: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for layer, calls in several.items():
        alike[tuple(len(rows) for rows, _ in calls)].append(layer)
    apart: dict[str, tuple[float, float, int]] = {}
    for layers in alike.values():
        far = {layer: found for layer in layers if (found := _apart(several[layer]))}
        if far and _stand_out([several[layer] for layer in layers], LEVEL / len(alike)):
            apart |= {layer: (*found, len(several[layer])) for layer, found in far.items()}
    if apart:
        worst = max(apart, key=lambda layer: sum(apart[layer][:2]))
        mean, var, count = apart[worst]
        yield Finding(
            "one-norm-two-domains",
            "fault",
            worst,
            f"It is called {count} times for inputs that differ: their means are "
            f"{deviations(mean)} apart, their variances a factor of {short(var)}. It remembers a "
            "mixture that fits none of them.",
            {"layers": len(apart), "calls": count, "mean_apart": mean, "variance_factor": var},
            "Give each kind of input a norm of its own, or call the model once, on all of them "
            "together.",
        )


Calls = list[tuple[Tensor, Tensor]]  # of each, the means of its samples (N, C), its variances (C,)


def _several(patient: Patient) -> dict[str, Calls]:
    """The calls of those layers that have several, of one pass or step each."""
    found: dict[str, Calls] = defaultdict(list)
    for call in patient.evaluation.calls:
        if call.batch or call.samples is None or call.var is None:
            continue
        if call.layer in patient.memories:
            found[call.layer].append((call.samples, call.var))
    if patient.step:
        first, _, _ = patient.users_steps
        for layer in patient.memories:
            updates = [one for one in first.lasting(layer) if not one.again]
            sources = {one.source: one for one in updates}
            if len(sources) > 1 and len(found[layer]) < 2:
                found[layer] = [
                    (one.samples, one.var) for one in sources.values() if one.samples is not None
                ]
    return {
        layer: calls
        for layer, calls in found.items()
        if len(calls) > 1 and is_batch_norm(patient.memories[layer])
    }


def _apart(calls: Calls) -> tuple[float, float] | None:
    """How far the two calls that differ most are apart, if that is worth saying."""
    means = torch.stack([rows.double().mean(0) for rows, _ in calls])
    variances = torch.stack([var for _, var in calls]).clamp_min(1e-12)
    deviation = variances.mean(0).sqrt()
    mean = max(_root(a - b, deviation) for a in means for b in means)
    logs = variances.log() / 2
    factor = max(_root(a - b, torch.ones(())) for a in logs for b in logs)
    if max(mean, factor) < APART:
        return None
    return mean, float(torch.tensor(2 * factor).exp())


def _root(difference: Tensor, unit: Tensor) -> float:
    return float((difference / unit).square().mean().sqrt())


def _stand_out(layers: list[Calls], level: float) -> bool:
    """Whether the means of the samples differ between calls by more than chance, over all channels
    of layers whose calls are of the same sizes."""
    counts = torch.tensor([len(rows) for rows, _ in layers[0]])
    groups = torch.arange(len(counts)).repeat_interleave(counts)
    rows = torch.cat([torch.cat([rows for rows, _ in calls]) for calls in layers], dim=1)
    return differ(rows, groups, level)
