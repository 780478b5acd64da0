"""Normalization in deep learning: the layers by hand, and the instruments to look at them.

The layers are drop-in for :mod:`torch.nn`; the rest trains, probes, measures and plots. The book
explains each.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # below, they are imported when they are asked for
    from .claims import ClaimFailed, above, below, claim
    from .data import DataError, ImageData, digits
    from .diagnosis import checkup
    from .distributed import SyncBatchNorm, convert_sync_batchnorm
    from .layers import BatchNorm, DyT, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
    from .models import (
        MLP,
        ConvNet,
        OriginalNet,
        ResidualConvNet,
        ResidualMLP,
        Transformer,
        init_normal_,
    )
    from .parametrizations import (
        WeightNormLinear,
        data_dependent_init_,
        weight_norm,
        weight_standardization,
    )
    from .probes import ActivationProbe, GradientProbe, activations
    from .processes import run_processes
    from .training import History, evaluate, fit

__version__ = "1.0.0"

__all__ = [
    "MLP",
    "ActivationProbe",
    "BatchNorm",
    "ClaimFailed",
    "ConvNet",
    "DataError",
    "DyT",
    "GradientProbe",
    "GroupNorm",
    "History",
    "ImageData",
    "InstanceNorm",
    "LayerNorm",
    "OriginalNet",
    "RMSNorm",
    "ResidualConvNet",
    "ResidualMLP",
    "SyncBatchNorm",
    "Transformer",
    "WeightNormLinear",
    "above",
    "activations",
    "below",
    "checkup",
    "claim",
    "convert_sync_batchnorm",
    "data_dependent_init_",
    "digits",
    "evaluate",
    "fit",
    "init_normal_",
    "run_processes",
    "weight_norm",
    "weight_standardization",
]

if not TYPE_CHECKING:  # to a type checker, any name would be there

    def __getattr__(name: str) -> Any:
        """Import a name when it is first asked for: ``--help`` does not wait for torch."""
        homes = (
            "claims", "data", "layers", "models", "parametrizations", "probes", "training",
            "distributed", "processes", "diagnosis",
        )  # fmt: skip
        for home in homes if name in __all__ else ():
            module = import_module(f"{__name__}.{home}")
            if name in module.__all__:
                return globals().setdefault(name, getattr(module, name))
        if find_spec(f"{__name__}.{name}"):
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
