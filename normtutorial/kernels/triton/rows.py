"""Rows, for layer and RMS norm: what shares a mean lies side by side.

A tile has whole rows, one long or some short ones, and a program does all that is to do with it.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ... import functional as NF
from .tiles import OPTIONS, PROGRAMS, load, statistics_of


@triton.jit
def forward_rows(
    x, weight, bias, y, stats, rows, width, eps: tl.constexpr,
    ROWS: tl.constexpr, WIDTH: tl.constexpr, CENTERED: tl.constexpr,
):  # fmt: skip
    """``y`` and the statistics (reference, rest and variance) of a tile of rows."""
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
    tl.store(stats + 2 * rows + row, var, row < rows)


@triton.jit
def backward_rows(
    x, weight, stats, grad, grad_x, grad_weight, grad_bias, rows, width, eps: tl.constexpr,
    ROWS: tl.constexpr, WIDTH: tl.constexpr, CENTERED: tl.constexpr,
):  # fmt: skip
    """``grad_x`` of some tiles, and what they contribute to the other two gradients.

    No two programs add to the same number: each adds up in registers, and writes a row of its own
    into ``grad_weight`` and ``grad_bias``, which are added up afterwards.
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
        rstd = 1 / tl.sqrt(tl.load(stats + 2 * rows + row, row < rows, 1) + eps)
        x_hat = (load(x, row * width + column, inside, wide) - reference - rest) * rstd
        g = load(grad, row * width + column, inside, wide)  # 0 outside, and so are the products
        total += g
        total_along += g * x_hat
        if weight is not None:
            g *= load(weight, column, column < width, wide)
        # Less what a rescale of the row would undo, and what a shift would.
        result = g - x_hat * (tl.sum(g * x_hat, 1, keep_dims=True) / width)
        if CENTERED:
            result -= tl.sum(g, 1, keep_dims=True) / width
        tl.store(grad_x + row * width + column, result * rstd, inside)
    own = part * width + tl.arange(0, WIDTH)
    if grad_weight is not None:
        tl.store(grad_weight + own, tl.sum(total_along, 0), tl.arange(0, WIDTH) < width)
    if grad_bias is not None:
        tl.store(grad_bias + own, tl.sum(total, 0), tl.arange(0, WIDTH) < width)


def cut(x: Tensor, dims: tuple[int, ...]) -> tuple[int, int, dict[str, int]]:
    """How many rows there are, how long they are, and the tile."""
    width = NF.count(x, dims)
    longest = triton.next_power_of_2(width)
    rows = max(1, 2048 // longest)
    warps = min(32, max(4, rows * longest // 512))  # each has 32 threads, with 16 numbers each
    tile = {"ROWS": rows, "WIDTH": longest, "num_warps": warps, **OPTIONS}
    return x.numel() // width, width, tile


def forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    dims: tuple[int, ...],
    eps: float,
    centered: bool,
) -> tuple[Tensor, Tensor]:
    """``y``, and reference, rest and variance of each row."""
    rows, width, tile = cut(x, dims)
    y, stats = torch.empty_like(x), statistics_of(x, 3, rows)
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
    rows, width, tile = cut(x, dims)
    parts = min(triton.cdiv(rows, tile["ROWS"]), 4 * PROGRAMS // tile["num_warps"])
    grad_x = torch.empty_like(x)
    found = [None if p is None else stats.new_empty(parts, width) for p in (weight, bias)]
    backward_rows[parts,](
        x, weight, stats, grad, grad_x, *found, rows, width, eps, CENTERED=centered, **tile
    )
    return grad_x, *(
        None if p is None or f is None else f.sum(0).to(p.dtype).view(p.shape)
        for f, p in zip(found, (weight, bias), strict=True)
    )
