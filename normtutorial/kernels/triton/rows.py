"""Rows, for layer and RMS norm: what shares a mean lies side by side.

A tile has whole rows, one long or some short ones, and a program does all that is to do with it.
"""

from functools import lru_cache
from math import prod

import torch
import triton
import triton.language as tl
from torch import Tensor

from .tiles import OPTIONS, again, load, multiprocessors, statistics_of

WARPS = 20  # that a multiprocessor has registers for, with 100 a thread, as backward needs them


@triton.jit
def forward_rows(
    x, weight, bias, y, stats, rows, width, eps: tl.constexpr,
    ROWS: tl.constexpr, WIDTH: tl.constexpr, CENTERED: tl.constexpr,
):  # fmt: skip
    """``y`` and the statistics (reference, rest, mean, variance) of a tile of rows."""
    wide: tl.constexpr = stats.dtype.element_ty  # float32; float64 for float64
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]).to(tl.int64)
    column = tl.arange(0, WIDTH)[None, :]
    inside = (row < rows) & (column < width)
    deviation = load(x, row * width + column, inside, wide)
    reference = tl.zeros((ROWS, 1), wide)
    rest = tl.zeros((ROWS, 1), wide)
    if CENTERED:
        mean = tl.sum(deviation, 1, keep_dims=True) / width
        first = load(x, row * width, row < rows, wide)
        # What is constant shall deviate by exactly 0: if the first number cannot be told from the
        # mean, so that a 64th of the way to it leads nowhere, it is the reference.
        reference = tl.where(mean + (first - mean) / 64 == mean, first, mean)
        deviation = tl.where(inside, deviation - reference, 0)
        rest = tl.sum(deviation, 1, keep_dims=True) / width
        deviation = tl.where(inside, deviation - rest, 0)  # else what is outside counts as -rest
    var = tl.sum(deviation * deviation, 1, keep_dims=True) / width
    result = deviation / tl.sqrt(var + eps)
    if weight is not None:
        result *= load(weight, column, column < width, wide)
    if bias is not None:
        result += load(bias, column, column < width, wide)
    tl.store(y + row * width + column, result, inside)
    tl.store(stats + row, reference, row < rows)
    tl.store(stats + rows + row, rest, row < rows)
    tl.store(stats + 2 * rows + row, reference + rest, row < rows)
    tl.store(stats + 3 * rows + row, var, row < rows)


@triton.jit
def backward_rows(
    x, weight, bias, stats, grad, grad_x, sums, rows, width, eps: tl.constexpr,
    ROWS: tl.constexpr, WIDTH: tl.constexpr, CENTERED: tl.constexpr,
):  # fmt: skip
    """``grad_x`` of some tiles, and what they contribute to the other two gradients.

    No two programs add to the same number: each adds up in registers, and writes into ``sums`` a
    row of its own for the weight, and one for the bias. :func:`add_up` does the rest.
    """
    wide: tl.constexpr = stats.dtype.element_ty
    part = tl.program_id(0)
    column = tl.arange(0, WIDTH)[None, :]
    total = tl.zeros((ROWS, WIDTH), wide)
    total_along = tl.zeros((ROWS, WIDTH), wide)
    for tile in range(part, tl.cdiv(rows, ROWS), tl.num_programs(0)):
        row = (tile * ROWS + tl.arange(0, ROWS)[:, None]).to(tl.int64)
        inside = (row < rows) & (column < width)
        reference = load(stats, row, row < rows, wide)
        rest = load(stats, rows + row, row < rows, wide)
        rstd = 1 / tl.sqrt(tl.load(stats + 3 * rows + row, row < rows, 1) + eps)
        x_hat = (load(x, row * width + column, inside, wide) - reference - rest) * rstd
        g = load(grad, row * width + column, inside, wide)  # 0 outside, and so are the products
        if weight is not None:
            g *= load(weight, column, column < width, wide)
        shift = tl.sum(g, 1, keep_dims=True) / width
        along = tl.sum(g * x_hat, 1, keep_dims=True) / width
        # The cache still has what is needed again: in registers it would take the room of others.
        x_hat = (again(x, row * width + column, inside, wide) - reference - rest) * rstd
        g = again(grad, row * width + column, inside, wide)
        total += g
        total_along += g * x_hat
        if weight is not None:
            g *= again(weight, column, column < width, wide)
        # Less what a rescale of the row would undo, and what a shift would.
        result = g - x_hat * along
        if CENTERED:
            result -= shift
        tl.store(grad_x + row * width + column, result * rstd, inside)
    own = sums + part * width + column
    if weight is not None:
        tl.store(own, tl.sum(total_along, 0, keep_dims=True), column < width)
    if bias is not None:
        own += tl.num_programs(0) * width
        tl.store(own, tl.sum(total, 0, keep_dims=True), column < width)


@triton.jit
def add_up(
    sums, grad_weight, grad_bias, parts, width, PARTS: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    """The gradients of weight and bias, some columns of them, from what all programs have found."""
    wide: tl.constexpr = sums.dtype.element_ty
    column = (tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    total = tl.zeros((PARTS, COLUMNS), wide)
    total_along = tl.zeros((PARTS, COLUMNS), wide)
    for first in range(0, parts, PARTS):
        part = first + tl.arange(0, PARTS)[:, None]
        inside = (part < parts) & (column < width)
        if grad_weight is not None:
            total_along += load(sums, part * width + column, inside, wide)
        if grad_bias is not None:
            total += load(sums, (parts + part) * width + column, inside, wide)
    if grad_weight is not None:
        tl.store(grad_weight + column, tl.sum(total_along, 0, keep_dims=True), column < width)
    if grad_bias is not None:
        tl.store(grad_bias + column, tl.sum(total, 0, keep_dims=True), column < width)


@lru_cache
def cut(shape: torch.Size, dims: int) -> tuple[int, int, tuple[int, ...], dict[str, int]]:
    """How many rows there are, how long they are, the shape of their statistics, and the tile."""
    others = shape[: len(shape) - dims]
    width = prod(shape[len(others) :])
    longest = triton.next_power_of_2(width)
    rows = max(1, 2048 // longest)
    warps = min(32, max(4, rows * longest // 512))  # each has 32 threads, with 16 numbers each
    tile = {"ROWS": rows, "WIDTH": longest, "num_warps": warps, **OPTIONS}
    return prod(others), width, (4, *others, *[1] * dims), tile


def forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    dims: tuple[int, ...],
    eps: float,
    centered: bool,
) -> tuple[Tensor, Tensor]:
    """``y``, and reference, rest, mean and variance of each row."""
    rows, width, shape, tile = cut(x.shape, len(dims))
    y, stats = torch.empty_like(x), statistics_of(x, *shape)
    grid = (triton.cdiv(rows, tile["ROWS"]),)
    forward_rows[grid](x, weight, bias, y, stats, rows, width, eps, CENTERED=centered, **tile)
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
    rows, width, _, tile = cut(x.shape, len(dims))
    if width <= 512:  # the sums of short rows take registers, too
        tile = {**tile, "ROWS": tile["ROWS"] // 2}
    # As many programs as there is room for at a time, so that few sums are to be added up.
    room = multiprocessors(x.device) * max(1, WARPS // tile["num_warps"])
    parts = min(triton.cdiv(rows, tile["ROWS"]), room)
    grad_x, sums = torch.empty_like(x), statistics_of(x, 2, parts, width)
    backward_rows[parts,](
        x, weight, bias, stats, grad, grad_x, sums, rows, width, eps, CENTERED=centered, **tile
    )
    if weight is None and bias is None:
        return grad_x, None, None
    grads = [None if p is None else torch.empty_like(p) for p in (weight, bias)]
    add_up[triton.cdiv(width, 32),](sums, *grads, parts, width, PARTS=128, COLUMNS=32, num_warps=8)
    return grad_x, *grads
