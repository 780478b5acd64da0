"""Batch, layer and RMS norm in steps, so that one can be replaced. As they stand they are right."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..functional import batch_norm, layer_norm, moments, rms_norm, standardize

__all__ = ["IN_STEPS", "affine"]

Dims = tuple[int, ...]


def affine(x_hat: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = x_hat if weight is None else x_hat * weight
    return y if bias is None else y + bias


def _normalize(
    x: Tensor, dims: Dims, weight: Tensor | None, bias: Tensor | None, eps: float, *,
    moments: Any = moments, standardize: Any = standardize, affine: Any = affine,
) -> Tensor:  # fmt: skip
    x_hat, _ = standardize(x, *moments(x, dims), eps)
    return affine(x_hat, weight, bias).to(x.dtype)


def _batch_norm(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
    weight: Tensor | None = None, bias: Tensor | None = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5, *,
    dims: Any = lambda x: (0, *range(2, x.ndim)),
    enough: Any = lambda count: count > 1,
    moments: Any = moments,
    unbiased: Any = lambda var, count: var * count / (count - 1),
    move: Any = lambda running, new, momentum: running.lerp_(new.detach(), momentum),
    choose: Any = lambda batch, running, training: batch if training else running,
    view: Any = lambda parameter, x: parameter.view(1, -1, *[1] * (x.ndim - 2)),
    **steps: Any,
) -> Tensor:  # fmt: skip
    count = x.numel() // x.shape[1]
    buffers = [b for b in (running_mean, running_var) if b is not None]
    if not enough(count) if training else len(buffers) < 2:
        return batch_norm(x, running_mean, running_var, training=training)  # says what is wrong
    mean, var = moments(x, dims(x))
    if training and buffers:
        for buffer, new in zip(buffers, (mean, unbiased(var, count)), strict=True):
            move(buffer, new.flatten().to(buffer.dtype), momentum)
    running = [view(b, x).to(mean.dtype) for b in buffers]
    used = choose((mean, var), running, training)
    weight, bias = (p if p is None else view(p, x) for p in (weight, bias))
    return _normalize(x, (), weight, bias, eps, moments=lambda *_: used, **steps)


def _layer_norm(
    x: Tensor, normalized_shape: Dims, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5, *, dims: Any = lambda x, shape: tuple(range(-len(shape), 0)), **steps: Any,
) -> Tensor:  # fmt: skip
    return _normalize(x, dims(x, normalized_shape), weight, bias, eps, **steps)


def _mean_square(x: Tensor, dims: Dims) -> tuple[Tensor, Tensor]:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return wide.new_zeros(()), wide.square().mean(dims, keepdim=True)


def _rms_norm(
    x: Tensor, normalized_shape: Dims, weight: Tensor | None = None, eps: float | None = None, *,
    mean_square: Any = _mean_square, **steps: Any,
) -> Tensor:  # fmt: skip
    dims = tuple(range(-len(normalized_shape), 0))
    eps = torch.finfo(torch.promote_types(x.dtype, torch.float32)).eps if eps is None else eps
    return _normalize(x, dims, weight, None, eps, moments=mean_square, **steps)


IN_STEPS: dict[Any, Callable[..., Tensor]] = {
    batch_norm: _batch_norm, layer_norm: _layer_norm, rms_norm: _rms_norm,
}  # fmt: skip
"""The same in steps, by the public function; a step is given by its name."""
