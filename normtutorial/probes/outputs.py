"""What a module puts out: which tensors, and which of their dims holds the units."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

Units = tuple[int, int | None]  # their dim, and their number where it is known

FIRST = ("num_features", "num_channels", "out_channels")  # (N, C, *): batch norm, convolutions
LAST = ("out_features", "embedding_dim", "embed_dim")  # (*, D): linear layers, attention


def tensors(output: Any) -> dict[str, Tensor]:
    """The tensors of an output, by what is added to the name of its module.

    Of a tuple or list it is the first, where that is a tensor: so it is with recurrent layers and
    attention. Of a dict it is each one, by its key.

    Example:
        >>> list(tensors((torch.ones(2), None))), list(tensors({"a": torch.ones(2), "b": 3}))
        ([''], ['[a]'])
    """
    if isinstance(output, Mapping):
        return {f"[{key}]": value for key, value in output.items() if isinstance(value, Tensor)}
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return {"": output} if isinstance(output, Tensor) else {}


def is_real(x: Tensor) -> bool:
    """Whether its values are numbers in a row, with an order: not complex, sparse or nested."""
    return not (x.is_complex() or x.is_nested or x.layout != torch.strided)


def units(layer: nn.Module) -> Units | None:
    """Dim and number of the units that a layer puts out, by its attributes; None if it has none.

    Example:
        >>> [units(m) for m in (nn.Conv1d(3, 4, 1), nn.Linear(3, 4), nn.LSTM(3, 4), nn.ReLU())]
        [(1, 4), (-1, 4), (-1, None), None]
    """
    for dim, names in (1, FIRST), (-1, LAST):
        for name in names:
            if hasattr(layer, name):
                return dim, getattr(layer, name)
    normalized: Any = getattr(layer, "normalized_shape", ())
    if len(normalized) == 1:  # else there are positions among them, as in (C, H, W)
        return -1, normalized[0]
    return (-1, None) if hasattr(layer, "hidden_size") else None  # twice as many, if both ways


def unit_dim(x: Tensor, known: Units | None) -> int:
    """The dim of ``x``, of two or more, that holds the units.

    Args:
        x: what a module put out.
        known: of the module itself or, where it does not say, of the last one before it that does.
            Units are looked for in the dim that is said, then where as many are: a block may swap
            its dims, and a layer norm of images may have its features in dim 1.

    Example:
        >>> unit_dim(torch.ones(8, 5, 4), (-1, 4)), unit_dim(torch.ones(8, 4, 5), (-1, 4))
        (-1, 1)
    """
    dim, number = known or (1, None)
    other = -1 if dim == 1 else 1
    if number is None or x.shape[dim] == number:
        return dim
    if x.shape[other] == number:
        return other
    return dim if x.ndim <= 3 else 1
