"""Evidence of calls: what no batch reaches, and what the next layer undoes."""

from collections.abc import Iterator

from torch import nn

from .findings import Finding, many
from .kinds import is_batch_norm, is_instance_norm
from .patient import Patient

__all__ = ["bias_before_norm", "never_called"]


def never_called(patient: Patient) -> Iterator[Finding]:
    """Norms that take no part in an evaluation nor in a step."""
    called = {call.layer for call in patient.evaluation.calls}
    called |= {update.layer for update in patient.one_step.updates}
    idle = [name for name in patient.norms if name not in called]
    if idle:
        yield Finding(
            "never-called",
            "note",
            idle[0],
            f"No batch reaches {many(idle, 'norm')}.",
            {"layers": len(idle), "norms": len(patient.norms)},
            "Nothing, if they are for other inputs. Else look whether forward calls them.",
        )


def bias_before_norm(patient: Patient) -> Iterator[Finding]:
    """Biases that the next mean removes."""
    found = {
        call.layer: call.before.name
        for call in patient.evaluation.calls
        if call.before is not None
        and call.direct
        and getattr(call.before.module, "bias", None) is not None
        and isinstance(call.before.module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
        and call.before.dim == 1
        and _removes(patient.norms[call.layer])
    }
    if found:
        layers = list(found)
        yield Finding(
            "bias-before-norm",
            "note",
            layers[0],
            f"Its mean removes the bias of {found[layers[0]]!r}; so it is in {many(layers)}.",
            {"layers": len(layers)},
            "Nothing is wrong. bias=False in the layer before saves parameters.",
        )


def _removes(module: nn.Module) -> bool:
    return is_batch_norm(module) or is_instance_norm(module)
