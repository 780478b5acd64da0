"""The multilayer perceptron with skip connections."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .mlp import MLP

__all__ = ["ResidualMLP"]


class ResidualMLP(MLP):
    """An :class:`MLP` with a skip connection around each layer between the first and the last.

    What a linear map has put out goes on in two ways: through normalization, activation and the
    next linear map, and past them, to be added to what comes out. The children, their names and
    their parameters are those of the :class:`MLP`, so either loads what the other has saved.

    Args:
        widths: features from input to output; the hidden layers all have as many.
        norm, options: as for :class:`MLP`.

    Shape:
        - Input :math:`(N, *)`, ``widths[0]`` numbers each; output :math:`(N, K)`, ``widths[-1]``
          of them.

    Raises:
        ValueError: hidden layers of several widths, or none; else as for :class:`MLP`.

    Example:
        >>> print(*ResidualMLP((784, 32, 32, 10), "batch")._modules)
        flatten linear1 norm1 act1 linear2 norm2 act2 linear3

    References:
        He et al., *Identity mappings in deep residual networks*, 2016: nothing stands on the skip.
    """

    def __init__(self, widths: Sequence[int], norm: Any = None, **options: Any) -> None:
        super().__init__(widths, norm, **options)
        if len(set(widths[1:-1])) != 1:
            raise ValueError(
                "ResidualMLP expects hidden layers of one width, so that one can be added to the "
                f"next; got {tuple(widths)}."
            )

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.named_children()
        carried: Tensor | None = None
        for name, layer in hidden:
            x = layer(x)
            if name.startswith("linear"):
                carried = x = x if carried is None else carried + x
        return last[1](x)
