"""Evidence of configuration: attributes, hooks, and who is in the optimizer. No pass is needed."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from .findings import Finding, many, short
from .kinds import affine, holds_matrix
from .patient import Patient

__all__ = [
    "dead_gain",
    "decay_on_gain",
    "ignored_flag",
    "not_optimized",
    "old_weight_norm",
]

NEAR_ZERO = 1e-3  # of the largest gain


def ignored_flag(patient: Patient) -> Iterator[Finding]:
    """``track_running_stats`` was changed after the layer was made: batch norm asks its buffers."""
    wrong = [
        name
        for name, module in patient.norms.items()
        if isinstance(module, _BatchNorm)
        and module.track_running_stats != isinstance(module.running_mean, Tensor)
    ]
    if not wrong:
        return
    flag = patient.norms[wrong[0]].track_running_stats
    used = "they are still used" if not flag else "those of the batch are used"
    yield Finding(
        "ignored-flag",
        "fault",
        wrong[0],
        f"track_running_stats is {flag} in {many(wrong)}, though the running statistics are "
        f"{'there' if not flag else 'not there'}: in evaluation mode {used}.",
        {"layers": len(wrong), "flag": bool(flag)},
        "Give track_running_stats when the layer is made; to take it away from one that is there, "
        "set running_mean and running_var to None as well.",
    )


def not_optimized(patient: Patient) -> Iterator[Finding]:
    """A parameter of a norm that requires a gradient and is in no optimizer."""
    if not patient.optimizers:
        return
    known = {id(p) for one in patient.optimizers for g in one.param_groups for p in g["params"]}
    left = [
        name
        for name, module in patient.norms.items()
        if any(p.requires_grad and id(p) not in known for p in affine(module))
    ]
    if left:
        yield Finding(
            "not-optimized",
            "fault",
            left[0],
            f"The gain or shift of {many(left)} requires a gradient and is not in the optimizer, "
            "so it never learns.",
            {"layers": len(left), "norms": len(patient.norms)},
            "Make the optimizer of model.parameters() after the last change of the model, or, if "
            "the layer is meant to stay, set requires_grad to False.",
        )


def decay_on_gain(patient: Patient) -> Iterator[Finding]:
    """Weight decay on what is no weight."""
    decayed: dict[int, float] = {}
    for optimizer in patient.optimizers:
        for group in optimizer.param_groups:
            decayed |= {id(p): group.get("weight_decay", 0.0) for p in group["params"]}
    found = [
        name
        for name, module in patient.norms.items()
        if any(decayed.get(id(p), 0.0) > 0 for p in affine(module))
    ]
    if found:
        decay = max(decayed.get(id(p), 0.0) for p in affine(patient.norms[found[0]]))
        yield Finding(
            "decay-on-gain",
            "note",
            found[0],
            f"Weight decay of {decay:g} acts on the gains or shifts of {many(found)}.",
            {"layers": len(found), "weight_decay": decay},
            "Whether it harms is contested. To leave them out, give them a group of their own with "
            "weight_decay=0.",
        )


def dead_gain(patient: Patient) -> Iterator[Finding]:
    """Gains that have become nothing, next to the largest of their layer.

    Those of weight norm are the lengths of a layer's weights, which may differ by any factor: they
    have died where they are 0.
    """
    shares: dict[str, float] = {}
    for name, module in patient.norms.items():
        near, of = (0.0, "weight_g") if holds_matrix(module) else (NEAR_ZERO, "weight")
        gain: Any = getattr(module, of, None)
        if isinstance(gain, Tensor) and gain.numel() > 1 and gain.isfinite().all():
            size = gain.detach().abs()
            if size.max() > 0 and (share := float((size <= near * size.max()).float().mean())):
                shares[name] = share
    if shares:
        worst = max(shares, key=lambda name: shares[name])
        yield Finding(
            "dead-gain",
            "note",
            worst,
            f"{short(100 * shares[worst])} % of its gains are almost 0, so these channels are "
            f"constant; there are such gains in {many(list(shares))}.",
            {"layers": len(shares), "share": shares[worst]},
            "Nothing, if the network is good: it can be pruned there. Else look at weight decay "
            "and at a learning rate that was too large early on.",
        )


def old_weight_norm(patient: Patient) -> Iterator[Finding]:
    """The weight norm of hooks, which copies badly."""
    kind = torch.nn.utils.weight_norm.__globals__["WeightNorm"]
    found = [
        name
        for name, module in patient.model.named_modules()
        if any(isinstance(hook, kind) for hook in module._forward_pre_hooks.values())
    ]
    if found:
        yield Finding(
            "old-weight-norm",
            "note",
            found[0],
            f"torch.nn.utils.weight_norm is a hook of {many(found)}: copy.deepcopy of the model, "
            "as for averaged weights, may raise.",
            {"layers": len(found)},
            "Use torch.nn.utils.parametrizations.weight_norm.",
        )
