"""Normalization in deep learning: the layers by hand, and the instruments to look at them.

The layers are drop-in for :mod:`torch.nn`; the rest trains, probes, measures and plots. The book
explains each.
"""

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # below, they are imported when they are asked for
    from .claims import ClaimFailed, claim
    from .data import DataError, ImageData, digits
    from .layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
    from .models import MLP, OriginalNet, init_normal_
    from .parametrizations import WeightNormLinear, data_dependent_init_, weight_norm
    from .probes import ActivationProbe, GradientProbe, activations
    from .training import History, evaluate, fit

__version__ = "1.0.0.dev0"

__all__ = [
    "MLP",
    "ActivationProbe",
    "BatchNorm",
    "ClaimFailed",
    "DataError",
    "GradientProbe",
    "GroupNorm",
    "History",
    "ImageData",
    "InstanceNorm",
    "LayerNorm",
    "OriginalNet",
    "RMSNorm",
    "WeightNormLinear",
    "activations",
    "claim",
    "data_dependent_init_",
    "digits",
    "evaluate",
    "fit",
    "init_normal_",
    "weight_norm",
]

if not TYPE_CHECKING:  # else every name would be one of these

    def __getattr__(name: str) -> Any:
        """Import a name with the first use of it: torch takes a second that ``--help`` has not."""
        modules = [module.name for module in pkgutil.iter_modules(__path__)]
        if name in __all__:
            homes = "claims", "data", "layers", "models", "parametrizations", "probes", "training"
            for home in homes:
                module = import_module(f"{__name__}.{home}")
                if name in module.__all__:
                    globals()[name] = getattr(module, name)
                    return globals()[name]
        if name in modules:
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
