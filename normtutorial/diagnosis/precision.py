"""Evidence of precision: digits that are lost, numbers that are none, variances below eps."""

import math
from collections.abc import Iterator

from torch import nn

from .findings import Finding, many, short
from .patient import Patient

__all__ = ["eps_rules", "low_precision", "nonfinite_activation"]

WRONG = 0.05


def low_precision(patient: Patient) -> Iterator[Finding]:
    """Whether a norm loses its digits, against itself in float64 on the same input."""
    lost = {call.layer: call.error for call in patient.evaluation.calls if call.error is not None}
    lost = {layer: error for layer, error in lost.items() if error > WRONG}
    if lost:
        worst = max(lost, key=lambda layer: lost[layer])
        error = lost[worst]
        wrong = f"is off by {short(100 * error)} %" if math.isfinite(error) else "is not finite"
        yield Finding(
            "low-precision",
            "fault",
            worst,
            f"Its output {wrong} against the same layer in float64, on the same numbers; so it is "
            f"in {many(list(lost))}.",
            {"layers": len(lost), "error": error},
            "Compute mean, variance and eps in float32, in two passes, and go back to the narrow "
            "dtype at the end, as torch's own layers do.",
        )


def nonfinite_activation(patient: Patient) -> Iterator[Finding]:
    """Where NaN or infinity first comes out of finite numbers."""
    broken = patient.evaluation.broken
    if broken is None:
        return
    layer, batch = broken
    module = patient.norms.get(layer or "")
    if module is not None and (_is_lost(patient, layer or "") or _has_bad_buffers(module)):
        return  # low-precision or statistics-nonfinite says why
    if layer is None:
        where = f"Batch {batch} brings NaN or infinity"
    else:
        where = f"NaN or infinity comes out of {layer or 'the model'!r} for finite inputs"
        where += f", in batch {batch}"
    yield Finding(
        "nonfinite-activation",
        "fault",
        layer or "",
        f"{where}, for the first time; what comes after it can't be judged.",
        {"batch": batch},
        "Look at what comes into this layer: a division by 0, the logarithm of 0, or a number too "
        "large for its dtype; float16 ends at 65504.",
    )


def _is_lost(patient: Patient, layer: str) -> bool:
    return any((call.error or 0.0) > WRONG for call in patient.calls(layer))


def _has_bad_buffers(module: nn.Module) -> bool:
    buffers = dict(module.named_buffers()).items()
    return any(key.endswith("var") and bool((one < 0).any()) for key, one in buffers) or any(
        not one.isfinite().all() for _, one in buffers if one.is_floating_point()
    )


def eps_rules(patient: Patient) -> Iterator[Finding]:
    """Whether eps is larger than the variance, so that the layer hardly normalizes."""
    shares = {call.layer: call.tiny for call in patient.evaluation.calls if call.tiny}
    if shares:
        worst = max(shares, key=lambda layer: shares[layer])
        yield Finding(
            "eps-rules",
            "note",
            worst,
            f"The variance is below eps in {short(100 * shares[worst])} % of what it normalizes, "
            f"which then hardly is; there are such sets in {many(list(shares))}.",
            {"layers": len(shares), "share": shares[worst]},
            "Nothing, if these are dead channels. If all are small, scale up what comes in or take "
            "a smaller eps.",
        )
