"""Digits that stand in for MNIST, drawn with the fonts of matplotlib and kept in the user cache."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from .files import DataError, atomic_write, cache_dir, checksum

__all__ = ["load", "stored"]

COUNTS = 60_000, 10_000  # as many as MNIST has in its two splits; each has a seed of its own
_FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Oblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmr10", "cmb10", "cmss10", "cmti10", "cmtt10"),
)
_CELL = 84  # a glyph is kept at three times the resolution of an image


def load() -> list[Tensor]:
    """Images (N, 28, 28) and labels (N,) of both splits as bytes, in ImageData's order.

    They are drawn once, in some ten seconds, and then read from the user cache.

    Raises:
        DataError: if they are to be drawn and matplotlib is missing.
    """
    content = stored()
    shapes = [shape for count in COUNTS for shape in ((count, 28, 28), (count,))]
    sizes = [math.prod(shape) for shape in shapes]
    if content is None:
        glyphs = _glyphs()
        drawn = [part for seed, count in enumerate(COUNTS) for part in _draw(glyphs, count, seed)]
        content = bytearray(sum(sizes))
        torch.frombuffer(content, dtype=torch.uint8).copy_(torch.cat([p.flatten() for p in drawn]))
        with contextlib.suppress(OSError):
            atomic_write(_cache(), bytes.fromhex(checksum(content)) + content)
    parts = torch.frombuffer(content, dtype=torch.uint8).split(sizes)
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def stored() -> bytearray | None:
    """All four parts as they are in the user cache, or ``None`` where they are not, or damaged."""
    whole = b""
    with contextlib.suppress(OSError):
        whole = _cache().read_bytes()
    digest, content = whole[:16], bytearray(whole[16:])
    return content if digest == bytes.fromhex(checksum(content)) else None


def _cache() -> Path:
    return cache_dir() / "synthetic-digits-1"  # another number for other digits


def _draw(glyphs: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random digits: (count, 28, 28) images and (count,) labels, all bytes.

    Each mixes two fonts, then varies in slant, size, shape, stroke width and intensity, and is
    centered by its mass as MNIST's are. The ranges are tuned so that pixels have nearly MNIST's
    mean and spread, and so that an MLP reaches about 97 % in five epochs.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.empty(shape).uniform_(low, high, generator=generator)

    def normal(std: float, *shape: int) -> Tensor:
        return torch.empty(shape).normal_(0, std, generator=generator)

    labels = torch.randperm(count, generator=generator) % 10
    pixels = torch.arange(28.0) - 13.5
    images = []
    for digit in labels.split(1000):
        n = len(digit)
        one, other = torch.randint(glyphs.shape[1], (2, n), generator=generator)
        shapes = torch.lerp(glyphs[digit, one], glyphs[digit, other], uniform(0, 1, n, 1, 1))

        angle, shear, size = normal(0.2, n), normal(0.3, n), uniform(-0.07, 0.23, n)
        wide, high = (size + uniform(-0.2, 0.2, n)).exp(), size.exp()  # above 1 is smaller
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(n)
        across = torch.stack([wide * cos + shear * sin, shear * cos - wide * sin, zero], -1)
        down = torch.stack([high * sin, high * cos, zero], -1)
        grid = F.affine_grid(torch.stack([across, down], 1), [n, 1, 28, 28], align_corners=False)
        warp = normal(0.108, n, 2, 4, 4)  # in half widths of the image
        warp = F.interpolate(warp, (28, 28), mode="bicubic", align_corners=True)
        grid = grid + warp.permute(0, 2, 3, 1)
        outside = F.grid_sample(
            shapes.unsqueeze(1), grid, padding_mode="border", align_corners=False
        )  # (n, 1, 28, 28), the distance to the stroke, in pixels
        image = (0.5 + (uniform(-0.05, 0.35, n, 1, 1, 1) - outside) / 0.8).clamp(0, 1)

        ink = image.sum((1, 2, 3)).clamp_min(1e-6)
        x = image.sum((1, 2)) @ pixels / ink / 14  # the center of mass, in half widths
        y = image.sum((1, 3)) @ pixels / ink / 14
        shift = torch.eye(2, 3) + F.pad(torch.stack([x, y], 1).unsqueeze(2), (2, 0))
        grid = F.affine_grid(shift, [n, 1, 28, 28], align_corners=False)
        image = F.grid_sample(image, grid, align_corners=False)  # between pixels: blurs a little
        image = (image * uniform(1.15, 1.55, n, 1, 1, 1) - 0.15).clamp(0, 1)
        images.append((image.squeeze(1) * 255).round().byte())
    return torch.cat(images), labels.byte()


def _glyphs() -> Tensor:
    """The digits of every font as signed distances to the outline: (10, fonts, 84, 84).

    Distances are in pixels of the final image, negative inside, so that a threshold sets the width
    of the stroke and an average of two fonts is a digit again.
    """
    try:
        import matplotlib.style
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.font_manager import FontProperties
    except ImportError as error:
        raise DataError(
            "digits draws synthetic images with the fonts of matplotlib, which is missing: "
            "pip install matplotlib."
        ) from error

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    pages = []
    with matplotlib.style.context("default"):  # whatever the user's style says
        for font in _FONTS:
            face = FontProperties(fname=folder / f"{font}.ttf", size=90)
            canvas = FigureCanvasAgg(Figure(figsize=(20, 2), dpi=100))
            for digit in range(10):
                x = (digit + 0.5) / 10
                canvas.figure.text(x, 0.5, str(digit), ha="center", va="center", font=face)
            canvas.draw()
            pages.append(torch.frombuffer(bytearray(canvas.buffer_rgba()), dtype=torch.uint8))

    glyphs = torch.zeros(10, len(_FONTS), _CELL, _CELL)
    for index, page in enumerate(pages):
        ink = 1 - page.view(200, 2000, 4)[..., 0] / 255
        for digit, cell in enumerate(ink.chunk(10, dim=1)):
            rows, columns = (cell > 0.5).nonzero(as_tuple=True)
            box = cell[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            size = [round(side * 60 / max(box.shape)) for side in box.shape]  # 20 pixels of 28
            box = F.interpolate(box[None, None], size, mode="bilinear", antialias=True)[0, 0]
            top, left = ((_CELL - side) // 2 for side in size)
            glyphs[digit, index, top : top + size[0], left : left + size[1]] = box
    inside = glyphs > 0.5
    return (_distance(inside) - _distance(~inside)) * 28 / _CELL


def _distance(mask: Tensor) -> Tensor:
    """Euclidean distance from each cell to the nearest true one, exact: columns, then rows."""
    steps = torch.arange(_CELL, dtype=torch.float32)
    gaps = (steps - steps[:, None]) ** 2
    squares = torch.where(mask, 0.0, 1e4).flatten(0, -3)
    for _ in range(2):
        squares = torch.stack([(s.mT.unsqueeze(1) + gaps).amin(2) for s in squares])
    return squares.sqrt().view(mask.shape)
