"""Which modules are norms, and which of them remember: by torch's classes, attributes and names."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

__all__ = [
    "affine",
    "frozen",
    "holds_matrix",
    "is_batch_norm",
    "is_instance_norm",
    "is_untouched",
    "looks_trained",
    "memory",
    "norms",
    "tells_moments",
]

TORCH = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
MEANS, VARS = ("running_mean", "moving_mean"), ("running_var", "moving_var")


def norms(model: nn.Module) -> dict[str, nn.Module]:
    """The norms of a model by name, torch's and their subclasses, and those that are called so."""
    return {
        name: module
        for name, module in model.named_modules()
        if "parametrizations" not in name.split(".")
        and (isinstance(module, TORCH) or _is_called_norm(module))
    }


def _is_called_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower() and not list(module.children())


def is_batch_norm(module: nn.Module) -> bool:
    """Whether the samples of a batch share a mean, as far as its class or its memory tells."""
    if isinstance(module, TORCH):
        return isinstance(module, _BatchNorm)
    return memory(module) is not None


def is_instance_norm(module: nn.Module) -> bool:
    """Whether each sample and channel has a mean of its own."""
    return isinstance(module, _InstanceNorm)


def memory(module: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Its running mean and variance, if it has both."""
    for mean, var in zip(MEANS, VARS, strict=True):
        first, second = getattr(module, mean, None), getattr(module, var, None)
        if isinstance(first, Tensor) and isinstance(second, Tensor):
            return first, second
    return None


def tells_moments(module: nn.Module) -> bool:
    """Whether it is torch's own batch norm, which with a momentum of 1 remembers just one batch."""
    own = type(module).__module__ == "torch.nn.modules.batchnorm"
    return own and isinstance(module, _BatchNorm) and module.track_running_stats


def is_untouched(module: nn.Module) -> bool:
    """Whether its running mean is exactly 0 and its variance exactly 1, as in the beginning."""
    mean, var = memory(module) or (torch.ones(1), torch.ones(1))
    return bool((mean == 0).all() and (var == 1).all())


def affine(module: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters that are its own."""
    yield from module.parameters(recurse=False)


def frozen(module: nn.Module, parent: nn.Module | None = None) -> bool:
    """Whether its parameters are not to learn; where it has none, those next to it."""
    own = list(affine(module))
    if not own and parent is not None:
        own = list(parent.parameters())
    return bool(own) and not any(parameter.requires_grad for parameter in own)


def holds_matrix(module: nn.Module) -> bool:
    """Whether it is a linear layer or a convolution that is called norm for its weights' sake."""
    weight = getattr(module, "weight", None)
    if isinstance(module, TORCH) or not isinstance(weight, Tensor):
        return False
    return sum(n > 1 for n in weight.shape) > 1


def looks_trained(module: nn.Module) -> bool:
    """Whether its shifts differ: all initializations make them alike, but for linear layers."""
    bias = None if holds_matrix(module) else getattr(module, "bias", None)
    return isinstance(bias, Tensor) and bias.numel() > 1 and bool((bias != bias.flatten()[0]).any())
