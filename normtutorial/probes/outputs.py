"""What a module puts out: which tensors, and which of their dims holds the units."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

FIRST = ("num_features", "num_channels", "out_channels")  # (N, C, *): batch norm, convolutions
LAST = ("out_features", "normalized_shape", "embedding_dim", "embed_dim", "hidden_size")  # (*, D)


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


def unit_dim(module: nn.Module) -> int | None:
    """The dim of the units, by the attributes of a layer; None where they do not say.

    Example:
        >>> [unit_dim(m) for m in (nn.Conv1d(3, 4, 1), nn.Linear(3, 4), nn.ReLU())]
        [1, -1, None]
    """
    if any(hasattr(module, name) for name in FIRST):
        return 1
    normalized: Any = getattr(module, "normalized_shape", (0,))
    if len(normalized) > 1:  # positions among them, as in (C, H, W)
        return None
    return -1 if any(hasattr(module, name) for name in LAST) else None


def dim_after(x: Tensor, before: tuple[int, int] | None) -> int:
    """The dim of the units of what does not say, such as a ReLU or a block.

    Args:
        x: what it put out, of two or more dims.
        before: the dim and the number of the units of the last layer before it that does say. Units
            are looked for in that dim, then where as many are: a block may swap its dims.
    """
    if before is None:
        return 1
    dim, units = before
    dims = [d for d in (dim, -1 if dim == 1 else 1) if x.shape[d] == units]
    return dims[0] if dims else dim if x.ndim <= 3 else 1
