"""The steps of :mod:`normtutorial.functional`, faster: same signatures, same values.

The layers hand them to the definitions: ``layer_norm(x, ..., normalize=kernels.normalize)``.
"""

from torch import Tensor

from .. import functional as NF
from . import eager

__all__ = ["normalize"]


def normalize(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    dims: NF.Dims,
    eps: float,
    *,
    centered: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`normtutorial.functional.normalize`, by what is fastest for these arguments.

    Example:
        >>> import torch
        >>> x, ones = torch.randn(2, 3), torch.ones(3)
        >>> y, mean, var = normalize(x, ones, None, (1,), 1e-5)
        >>> torch.allclose(y, NF.normalize(x, ones, None, (1,), 1e-5)[0])
        True
    """
    if NF.must_be_plain():
        return NF.normalize(x, weight, bias, dims, eps, centered=centered)
    return eager.normalize(x, weight, bias, dims, eps, centered=centered)
