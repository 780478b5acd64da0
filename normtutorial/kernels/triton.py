r"""Normalization on a GPU, in kernels that read each number once, and that can be read.

Plain operations walk through the memory of a GPU many times: once for the mean, once for the
variance, and so on. What is here does all of it while the numbers are in registers. It is written
in Triton, where a kernel is a program that runs many times at once, each time on a *tile* of the
input: on blocks of numbers in place of single ones. A tile has lengths that are powers of two, so
that some of it may lie outside of the input: a mask, ``inside``, says which of it counts.

- *Rows*, for layer and RMS norm: what shares a mean lies side by side. A tile has whole rows, so
  that one kernel does all.
- *Columns*, for batch norm: what shares a mean is spread over the memory, and too long for one
  program. So several take a part of it each, a first kernel finds the statistics of every part, and
  a second one puts them together and uses them. Backward does the same with its two sums.

A mean is rounded, and the deviation from it is wrong by as much. So, as in
:func:`normtutorial.functional.statistics`, numbers deviate from a ``reference``, which costs no
digit, and then from the mean of these deviations, ``rest``.

On a CPU the same kernels run one number after the other in Triton's interpreter, for tests:
``TRITON_INTERPRET=1`` must be set before triton is imported.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from .. import functional as NF
from . import eager

try:
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError(
        "kernels.use('triton') needs the package triton, which comes with torch for CUDA on Linux; "
        "it was not found here. Without it the layers run as they are."
    ) from error

__all__ = ["fits", "normalize"]

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
LONGEST_ROW = 1 << 16  # bytes: more does not fit into the registers of one program
PROGRAMS = 1056  # of four warps: eight for each of the 132 multiprocessors of an H100
PARTS = 64  # at most, of a column: each program reads what all of them have found


@triton.jit
def load(x, here, inside, wide: tl.constexpr):
    """Numbers of ``x``, in the dtype that is computed in, and 0 where there are none."""
    return tl.load(x + here, inside, 0).to(wide)


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
        x_hat = tl.where(inside, x_hat, 0)
        g = load(grad, row * width + column, inside, wide)
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
            size = tl.minimum(SAMPLES, samples - sample) * tl.minimum(POSITIONS, positions - position)
            new_count = count + size
            its_mean = sum_of_columns(deviation) / size
            deviation = tl.where(inside, deviation - its_mean, 0)
            way = its_mean - mean
            squares += sum_of_columns(deviation * deviation) + way * way * (count * size / new_count)
            mean += way * (size / new_count)
            count = new_count
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
    there, here = (each < number) & (channel < channels), each * channels + channel
    counts = load(parts, here, there, wide)
    means = load(parts, number * channels + here, there, wide)
    squares = load(parts, 2 * number * channels + here, there, wide)
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
            g = load(grad, here, inside, wide)  # 0 outside, and so is what it is multiplied with
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
    there, here = (each < number) & (channel < channels), each * channels + channel
    total = tl.sum(load(parts, here, there, wide), 0, keep_dims=True)
    total_along = tl.sum(load(parts, number * channels + here, there, wide), 0, keep_dims=True)
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


def normalize(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    dims: NF.Dims,
    eps: float,
    *,
    centered: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`normtutorial.functional.normalize` on a GPU, of what :func:`fits`."""
    return Fused.apply(x, weight, bias, tuple(dims), float(eps), centered)


def fits(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, dims: NF.Dims, centered: bool
) -> bool:
    """Whether there is a kernel for it: rows, or columns of a batch, of numbers on a GPU that no
    forward-mode derivative is asked of."""
    tensors = [t for t in (x, weight, bias) if t is not None]
    plain = all(
        type(t) in (Tensor, torch.nn.Parameter)
        and t.layout == torch.strided
        and t.device == x.device
        and t.dtype in DTYPES
        for t in tensors
    )
    here = x.is_cuda or triton.knobs.runtime.interpret
    if not (plain and here and x.numel() and forward_ad._current_level < 0):
        return False
    return are_rows(x, weight, bias, dims) or (centered and are_columns(x, weight, bias, dims))


def are_rows(x: Tensor, weight: Tensor | None, bias: Tensor | None, dims: NF.Dims) -> bool:
    """Whether the last dims share a mean, and each number of them has its own weight."""
    first = x.ndim - len(dims)
    shape = x.shape[first:]
    return (
        sorted(d % x.ndim for d in dims) == list(range(first, x.ndim))
        and all(p is None or p.shape == shape for p in (weight, bias))
        and shape.numel() * x.itemsize <= LONGEST_ROW
    )


def are_columns(x: Tensor, weight: Tensor | None, bias: Tensor | None, dims: NF.Dims) -> bool:
    """Whether all dims but the second share a mean, and a weight."""
    return (
        x.ndim > 1
        and sorted(d % x.ndim for d in dims) == [0, *range(2, x.ndim)]
        and all(p is None or p.numel() == p.shape[1 - x.ndim] == x.shape[1] for p in (weight, bias))
    )


class Fused(Function):
    """``y, mean, var``. What is derived twice is derived in plain operations."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        dims: tuple[int, ...],
        eps: float,
        centered: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        run = run_rows if are_rows(x, weight, bias, dims) else run_columns
        dense = [None if t is None else t.contiguous() for t in (x, weight, bias)]
        with torch.cuda.device_of(x):
            y, stats = run(*dense, dims, eps, centered)
        shared = {d % x.ndim for d in dims}
        one = [1 if d in shared else n for d, n in enumerate(x.shape)]
        reference, rest, var = (s.view(one) for s in stats)
        mean = reference + rest
        ctx.how = dims, eps, centered
        ctx.mark_non_differentiable(mean, var)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, bias, stats)
        return y, mean, var

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple:
        if grad is None:
            return (None,) * 6
        *inputs, stats = ctx.saved_tensors
        if torch.is_grad_enabled():  # it is to be derived again
            return *derivable(grad, inputs, *ctx.how), None, None, None
        run = run_rows_back if are_rows(*inputs, ctx.how[0]) else run_columns_back
        dense = [None if t is None else t.contiguous() for t in (grad, *inputs)]
        with torch.cuda.device_of(grad):
            return *run(*dense, stats, *ctx.how), None, None, None


def derivable(
    grad: Tensor, inputs: list[Tensor | None], dims: tuple[int, ...], eps: float, centered: bool
) -> list[Tensor | None]:
    """The gradients with a graph of their own, by the kernel that autograd can follow."""
    own = [None if t is None else t.view_as(t) for t in inputs]  # one may be made of another
    y, _, _ = eager.normalize(*own, dims, eps, centered=centered)  # type: ignore[arg-type]
    asked = [t for t in own if t is not None and t.requires_grad]
    found = iter(torch.autograd.grad(y, asked, grad, create_graph=True))
    return [next(found) if t is not None and t.requires_grad else None for t in own]


def statistics_of(x: Tensor, *shape: int) -> Tensor:
    """Memory for statistics, in the dtype that is computed in."""
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_empty(shape, dtype=wide)


def cut_rows(x: Tensor, dims: tuple[int, ...]) -> tuple[int, int, dict[str, int]]:
    """How many rows there are, how long they are, and the tile: a long row, or some short ones."""
    width = NF.count(x, dims)
    longest = triton.next_power_of_2(width)
    rows = max(1, 2048 // longest)
    warps = min(32, max(4, rows * longest // 512))  # each has 32 threads, with 16 numbers each
    return x.numel() // width, width, {"ROWS": rows, "WIDTH": longest, "num_warps": warps}


def run_rows(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    dims: tuple[int, ...],
    eps: float,
    centered: bool,
) -> tuple[Tensor, Tensor]:
    """``y``, and reference, rest and variance of each row."""
    rows, width, tile = cut_rows(x, dims)
    y, stats = torch.empty_like(x), statistics_of(x, 3, rows)
    grid = (triton.cdiv(rows, tile["ROWS"]),)
    forward_rows[grid](x, weight, bias, y, stats, rows, width, eps, CENTERED=centered, **tile)
    return y, stats


def run_rows_back(
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
    rows, width, tile = cut_rows(x, dims)
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


def cut_columns(x: Tensor) -> tuple[tuple[int, ...], tuple[int, int], dict[str, int]]:
    """Samples, channels and positions, how many programs for the blocks of channels and for the
    parts of each, and the tile: 128 bytes side by side at least, 4096 numbers at most."""
    shape = x.shape[0], x.shape[1], x[0, 0].numel()
    samples, channels, positions = (triton.next_power_of_2(n) for n in shape)
    positions = min(positions, 1024)
    channels = min(channels, max(1, 128 // x.itemsize // positions))
    samples = min(samples, max(1, 4096 // positions // channels))
    blocks = triton.cdiv(shape[1], channels)
    parts = min(triton.cdiv(shape[0], samples), PARTS, max(1, PROGRAMS // blocks))
    tile = {"SAMPLES": samples, "CHANNELS": channels, "POSITIONS": positions, "num_warps": 8}
    return shape, (blocks, parts), tile


def run_columns(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    dims: tuple[int, ...],
    eps: float,
    centered: bool,
) -> tuple[Tensor, Tensor]:
    """``y``, and reference, rest and variance of each channel."""
    shape, grid, tile = cut_columns(x)
    y, stats = torch.empty_like(x), statistics_of(x, 3, shape[1])
    parts = statistics_of(x, 3, grid[1], shape[1])
    moments_of_parts[grid](x, parts, *shape, **tile)
    number = triton.next_power_of_2(grid[1])
    forward_columns[grid](x, weight, bias, y, stats, parts, *shape, eps, PARTS=number, **tile)
    return y, stats


def run_columns_back(
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
    shape, grid, tile = cut_columns(x)
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
