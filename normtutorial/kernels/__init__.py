"""The steps of :mod:`normtutorial.functional`, faster: same signatures, same values.

The layers hand them to the definitions: ``layer_norm(x, ..., normalize=kernels.normalize)``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from .. import functional as NF
from . import eager, shared

__all__ = ["normalize", "use"]

_fused: Any = None  # the module of the kernels for a GPU, while they are in use


@contextmanager
def use(name: str) -> Iterator[None]:
    """Within ``with use("triton"):`` layers on a GPU take the kernels of ``kernels/triton``.

    There are some for layer and RMS norm, over rows of at most 64 KiB, and for batch norm in
    training. Everything else, second derivatives, and what a compiler traces, run as without it.

    Args:
        name: ``"triton"``, or ``"eager"`` for what runs without it.

    Raises:
        ImportError: if triton is not installed.
        RuntimeError: if there is no GPU.
        ValueError: if the name is unknown.

    Example:
        >>> with use("eager"):
        ...     normalize(torch.tensor([[1.0, 3.0]]), None, None, (1,), 0.0)[0].tolist()
        [[-1.0, 1.0]]
    """
    global _fused
    if name not in ("eager", "triton"):
        raise ValueError(f"kernels.use expects eager or triton; got {name!r}.")
    fused = import_module(".triton", __name__) if name == "triton" else None
    if fused and not (torch.cuda.is_available() or fused.INTERPRETED):
        raise RuntimeError(
            "kernels.use('triton') needs a GPU, and torch finds none. Without it the layers run "
            "as they are. To try the kernels on a CPU, set TRITON_INTERPRET=1 for the process."
        )
    before, _fused = _fused, fused
    try:
        yield
    finally:
        _fused = before


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

    Args:
        x, weight, bias, dims, eps, centered, group: as there; so are shapes, what is returned, and
            what is raised.

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
    compiling = torch.compiler.is_compiling()
    if _fused and not compiling and _fused.fits(x, weight, bias, dims, centered):
        return _fused.normalize(x, weight, bias, dims, eps, centered=centered)
    return eager.normalize(x, weight, bias, dims, eps, centered=centered)


def is_transformed_and_compiled() -> bool:
    """Whether a compiler traces what :mod:`torch.func` transforms: it cannot look into functions of
    autograd."""
    functorch = torch._C._functorch
    return torch.compiler.is_compiling() and functorch.get_dynamic_layer_stack_depth() > 0
