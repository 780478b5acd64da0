"""Columns, for batch norm: what shares a mean is spread over the memory, too much for one program.

So several programs take a part of each channel. A first kernel finds out what the parts have, and
every program of a second one puts that together and goes over its part again.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .tiles import OPTIONS, PROGRAMS, load, statistics_of

PARTS = 64  # at most, of a channel: each program reads what all of them have found


@triton.jit
def tile_of_columns(
    sample, position, samples, channels, positions,
    SAMPLES: tl.constexpr, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: skip
    """Where the numbers of a tile are, samples x channels x positions, and which are inside."""
    sample = sample + tl.arange(0, SAMPLES)[:, None, None]
    channel = (tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS))[None, :, None]
    position = position + tl.arange(0, POSITIONS)[None, None, :]
    here = (sample.to(tl.int64) * channels + channel) * positions + position
    return here, (sample < samples) & (channel < channels) & (position < positions)


@triton.jit
def sum_of_columns(tile):
    """One number for each channel, in the shape of a tile."""
    return tl.sum(tl.sum(tile, 2, keep_dims=True), 0, keep_dims=True)


@triton.jit
def moments_of_parts(
    x, parts, samples, channels, positions,
    SAMPLES: tl.constexpr, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: skip
    """Of each channel's part: how many numbers it has, their mean less the first number of the
    channel, and the sum of squared deviations from it. Tile after tile they are put together as
    :func:`normtutorial.functional.combine` does it."""
    wide: tl.constexpr = parts.dtype.element_ty
    channel = (tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS))[None, :, None]
    first = load(x, channel * positions, channel < channels, wide)
    count = tl.zeros((1, 1, 1), wide)
    mean = tl.zeros((1, CHANNELS, 1), wide)
    squares = tl.zeros((1, CHANNELS, 1), wide)
    part, stride = tl.program_id(1), tl.num_programs(1) * SAMPLES
    for sample in range(part * SAMPLES, samples, stride):
        for position in range(0, positions, POSITIONS):
            here, inside = tile_of_columns(
                sample, position, samples, channels, positions, SAMPLES, CHANNELS, POSITIONS
            )
            deviation = tl.where(inside, load(x, here, inside, wide) - first, 0)
            size = tl.minimum(SAMPLES, samples - sample)
            size *= tl.minimum(POSITIONS, positions - position)
            its_mean = sum_of_columns(deviation) / size
            deviation = tl.where(inside, deviation - its_mean, 0)
            way = its_mean - mean
            share = size / (count + size)
            squares += sum_of_columns(deviation * deviation) + way * way * (count * share)
            mean += way * share
            count += size
    here = part * channels + channel
    total = tl.num_programs(1) * channels
    tl.store(parts + here, count + tl.zeros_like(mean), channel < channels)
    tl.store(parts + total + here, mean, channel < channels)
    tl.store(parts + 2 * total + here, squares, channel < channels)


@triton.jit
def forward_columns(
    x, weight, bias, y, stats, parts, samples, channels, positions, eps: tl.constexpr,
    SAMPLES: tl.constexpr, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """``y`` of a part, and the statistics (reference, rest and variance) of its channels."""
    wide: tl.constexpr = stats.dtype.element_ty
    part, number = tl.program_id(1), tl.num_programs(1)
    channel = (tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS))[None, :, None]
    each = tl.arange(0, PARTS)[:, None, None]
    there, one = (each < number) & (channel < channels), each * channels + channel
    counts = load(parts, one, there, wide)
    means = load(parts, number * channels + one, there, wide)
    squares = load(parts, 2 * number * channels + one, there, wide)
    reference = load(x, channel * positions, channel < channels, wide)
    n = tl.maximum(tl.sum(counts, 0, keep_dims=True), 1)  # 0 where there is no channel
    rest = tl.sum(counts * means, 0, keep_dims=True) / n
    way = means - rest
    var = tl.sum(squares + counts * way * way, 0, keep_dims=True) / n
    factor = 1 / tl.sqrt(var + eps)
    if weight is not None:
        factor *= load(weight, channel, channel < channels, wide)
    for sample in range(part * SAMPLES, samples, number * SAMPLES):
        for position in range(0, positions, POSITIONS):
            here, inside = tile_of_columns(
                sample, position, samples, channels, positions, SAMPLES, CHANNELS, POSITIONS
            )
            result = (load(x, here, inside, wide) - reference - rest) * factor
            if bias is not None:
                result += load(bias, channel, channel < channels, wide)
            tl.store(y + here, result, inside)
    if part == 0:  # all of them know, one says it
        tl.store(stats + channel, reference, channel < channels)
        tl.store(stats + channels + channel, rest, channel < channels)
        tl.store(stats + 2 * channels + channel, var, channel < channels)


@triton.jit
def sums_of_parts(
    x, stats, grad, parts, samples, channels, positions, eps: tl.constexpr,
    SAMPLES: tl.constexpr, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: skip
    """Of each channel's part: the sum of the gradients, and of the gradients times ``x_hat``."""
    wide: tl.constexpr = parts.dtype.element_ty
    channel = (tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS))[None, :, None]
    reference = load(stats, channel, channel < channels, wide)
    rest = load(stats, channels + channel, channel < channels, wide)
    rstd = 1 / tl.sqrt(tl.load(stats + 2 * channels + channel, channel < channels, 1) + eps)
    total = tl.zeros((1, CHANNELS, 1), wide)
    total_along = tl.zeros((1, CHANNELS, 1), wide)
    part, stride = tl.program_id(1), tl.num_programs(1) * SAMPLES
    for sample in range(part * SAMPLES, samples, stride):
        for position in range(0, positions, POSITIONS):
            here, inside = tile_of_columns(
                sample, position, samples, channels, positions, SAMPLES, CHANNELS, POSITIONS
            )
            g = load(grad, here, inside, wide)  # 0 outside, and so are the products
            total += sum_of_columns(g)
            x_hat = (load(x, here, inside, wide) - reference - rest) * rstd
            total_along += sum_of_columns(g * x_hat)
    here = part * channels + channel
    tl.store(parts + here, total, channel < channels)
    tl.store(parts + tl.num_programs(1) * channels + here, total_along, channel < channels)


@triton.jit
def backward_columns(
    x, weight, stats, grad, parts, grad_x, sums, samples, channels, positions, eps: tl.constexpr,
    SAMPLES: tl.constexpr, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """``grad_x`` of a part, and the two sums of its channels, the gradients of bias and weight."""
    wide: tl.constexpr = stats.dtype.element_ty
    part, number = tl.program_id(1), tl.num_programs(1)
    channel = (tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS))[None, :, None]
    each = tl.arange(0, PARTS)[:, None, None]
    there, one = (each < number) & (channel < channels), each * channels + channel
    total = tl.sum(load(parts, one, there, wide), 0, keep_dims=True)
    total_along = tl.sum(load(parts, number * channels + one, there, wide), 0, keep_dims=True)
    reference = load(stats, channel, channel < channels, wide)
    rest = load(stats, channels + channel, channel < channels, wide)
    rstd = 1 / tl.sqrt(tl.load(stats + 2 * channels + channel, channel < channels, 1) + eps)
    n = tl.zeros_like(total) + samples * positions
    factor = rstd
    if weight is not None:
        factor *= load(weight, channel, channel < channels, wide)
    for sample in range(part * SAMPLES, samples, number * SAMPLES):
        for position in range(0, positions, POSITIONS):
            here, inside = tile_of_columns(
                sample, position, samples, channels, positions, SAMPLES, CHANNELS, POSITIONS
            )
            x_hat = (load(x, here, inside, wide) - reference - rest) * rstd
            result = load(grad, here, inside, wide) - total / n - x_hat * (total_along / n)
            tl.store(grad_x + here, result * factor, inside)
    if part == 0:
        tl.store(sums + channel, total, channel < channels)
        tl.store(sums + channels + channel, total_along, channel < channels)


def cut(x: Tensor) -> tuple[tuple[int, ...], tuple[int, int], dict[str, int]]:
    """Samples, channels and positions, how many programs there are for blocks of channels and for
    the parts of each, and the tile: at least 128 bytes side by side, at most 4096 numbers."""
    shape = x.shape[0], x.shape[1], x[0, 0].numel()
    samples, channels, positions = (triton.next_power_of_2(n) for n in shape)
    positions = min(positions, 1024)
    channels = min(channels, max(1, 128 // x.itemsize // positions))
    samples = min(samples, max(1, 4096 // positions // channels))
    blocks = triton.cdiv(shape[1], channels)
    parts = min(triton.cdiv(shape[0], samples), PARTS, max(1, PROGRAMS // blocks))
    tile = {"SAMPLES": samples, "CHANNELS": channels, "POSITIONS": positions}
    return shape, (blocks, parts), {**tile, "num_warps": 8, **OPTIONS}


def forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    dims: tuple[int, ...],
    eps: float,
    centered: bool,
) -> tuple[Tensor, Tensor]:
    """``y``, and reference, rest and variance of each channel."""
    shape, grid, tile = cut(x)
    y, stats = torch.empty_like(x), statistics_of(x, 3, shape[1])
    parts = statistics_of(x, 3, grid[1], shape[1])
    moments_of_parts[grid](x, parts, *shape, **tile)
    number = triton.next_power_of_2(grid[1])
    forward_columns[grid](x, weight, bias, y, stats, parts, *shape, eps, PARTS=number, **tile)
    return y, stats


def backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    stats: Tensor,
    dims: tuple[int, ...],
    eps: float,
    centered: bool,
) -> tuple[Tensor | None, ...]:
    """The gradients of x, weight and bias."""
    shape, grid, tile = cut(x)
    grad_x, sums = torch.empty_like(x), statistics_of(x, 2, shape[1])
    parts = statistics_of(x, 2, grid[1], shape[1])
    sums_of_parts[grid](x, stats, grad, parts, *shape, eps, **tile)
    number = triton.next_power_of_2(grid[1])
    backward_columns[grid](
        x, weight, stats, grad, parts, grad_x, sums, *shape, eps, PARTS=number, **tile
    )
    of_bias, of_weight = sums
    return grad_x, *(
        None if p is None else f.to(p.dtype).view(p.shape)
        for f, p in ((of_weight, weight), (of_bias, bias))
    )
