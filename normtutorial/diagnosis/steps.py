"""Evidence of a step: which buffers move when the model is trained, and when it is evaluated."""

from collections.abc import Iterator

from .findings import Finding, many
from .kinds import affine, frozen, is_batch_norm
from .patient import Patient
from .stepping import Steps

__all__ = ["frozen_drifts", "left_in_eval", "trained_in_evaluation", "updated_twice"]


def updated_twice(patient: Patient) -> Iterator[Finding]:
    """Whether what a layer remembers moves twice for one input: in backward, or in a second pass
    of the same batch."""
    once = patient.one_step
    again = [layer for layer in patient.memories if any(u.again for u in once.lasting(layer))]
    why = "backward computes the layer again, for activation checkpointing"
    remedy = (
        "Make the layer's second pass leave its statistics alone: take batch norm out of what is "
        "checkpointed, or set its momentum to 0 while backward is at work."
    )
    if not again and patient.step:
        first, _, _ = patient.users_steps
        again = [layer for layer in patient.memories if _has_seen_twice(first, layer)]
        why = "the step calls the model twice for the same batch"
        if any(one.again for layer in again for one in first.lasting(layer)):
            why = "backward computes the layer again, for activation checkpointing"
        else:
            remedy = (
                "Set momentum to 0 in the second pass, and back after it, or put the running "
                "statistics back."
            )
    if again:
        yield Finding(
            "updated-twice",
            "fault",
            again[0],
            f"The running statistics of {many(again)} move twice in a step: {why}.",
            {"layers": len(again)},
            remedy,
        )


def _layers(names: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _has_seen_twice(steps: Steps, layer: str) -> bool:
    """Whether it moved for one input of the model in two passes, or while backward was at work,
    and was not put back."""
    moved = steps.lasting(layer)
    passes = [one.nth_pass for one in moved if not one.again]
    sources = {one.nth_pass: one.source for one in moved if not one.again}
    repeated = len(set(passes)) > len(set(sources.values()))
    return repeated or any(one.again for one in moved)


def frozen_drifts(patient: Patient) -> Iterator[Finding]:
    """Whether buffers move in a layer whose parameters do not."""
    first = patient.users_steps[0] if patient.step else patient.one_step
    drifting = [
        name
        for name, module in patient.memories.items()
        if frozen(module, patient.parent(name))
        and (patient.step or module.training)  # as it was put by the user
        and any(one.moved and one.training for one in first.of(name))
    ]
    if drifting:
        yield Finding(
            "frozen-drifts",
            "fault",
            drifting[0],
            f"The parameters of {many(drifting)} are frozen, but the running statistics move in a "
            "step, because training mode is on.",
            {"layers": len(drifting), "memories": len(patient.memories)},
            "Put these layers into evaluation mode after every model.train(), best by overriding "
            "train(); requires_grad is for parameters alone.",
        )


def left_in_eval(patient: Patient) -> Iterator[Finding]:
    """Whether batch norm evaluates while its parameters learn."""
    if not patient.step:
        return
    first, _, third = patient.users_steps
    for steps, when in (first, ""), (third, " after evaluate()"):
        learning = [
            name
            for name, module in patient.memories.items()
            if is_batch_norm(module)
            and steps.of(name)
            and any(p.requires_grad for p in affine(module))
        ]
        changed = any(name.rpartition(".")[0] in learning for name in steps.changed)
        if changed and not any(one.training for name in learning for one in steps.of(name)):
            yield Finding(
                "left-in-eval",
                "fault",
                learning[0],
                f"In the training step{when} evaluation mode is on in all batch norms whose "
                f"parameters learn: {many(learning)}.",
                {"layers": len(learning)},
                "Call model.train() at the beginning of every epoch, and after every evaluation.",
            )
            return


def trained_in_evaluation(patient: Patient) -> Iterator[Finding]:
    """Whether the user's evaluation moves buffers."""
    if not patient.evaluate:
        return
    _, second, _ = patient.users_steps
    moved = _layers(one.layer for one in second.updates if one.moved)
    if moved:
        yield Finding(
            "trained-in-evaluation",
            "fault",
            moved[0],
            f"evaluate() moves the running statistics of {many(moved)}: the model is in training "
            "mode while it is evaluated, and learns from the test data.",
            {"layers": len(moved)},
            "Call model.eval() before the evaluation; torch.no_grad() does not do it.",
        )
