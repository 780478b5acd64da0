"""The steps of :mod:`normtutorial.functional`, faster: same signatures, same values.

The layers hand them to the definitions: ``layer_norm(x, ..., normalize=kernels.normalize)``.
"""

import torch
from torch import Tensor

from .. import functional as NF
from . import eager, shared

__all__ = ["normalize"]


def normalize(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    dims: NF.Dims,
    eps: float,
    *,
    centered: bool = True,
    group: NF.Group | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`normtutorial.functional.normalize`, by what is fastest for these arguments.

    Example:
        >>> x, ones = torch.randn(2, 3), torch.ones(3)
        >>> y, mean, var = normalize(x, ones, None, (1,), 1e-5)
        >>> torch.allclose(y, NF.normalize(x, ones, None, (1,), 1e-5)[0])
        True
    """
    if group is not None:
        return shared.normalize(x, weight, bias, dims, eps, group=group)
    if torch.compiler.is_exporting() or is_transformed_and_compiled():
        return NF.normalize(x, weight, bias, dims, eps, centered=centered)  # plain operations
    return eager.normalize(x, weight, bias, dims, eps, centered=centered)


def is_transformed_and_compiled() -> bool:
    """Whether a compiler traces what :mod:`torch.func` transforms: it cannot look into functions of
    autograd."""
    functorch = torch._C._functorch
    return torch.compiler.is_compiling() and functorch.get_dynamic_layer_stack_depth() > 0
