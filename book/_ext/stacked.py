"""Sphinx extension: on a narrow screen the panels of a figure stand one below the other.

A figure is stored as one picture. Where white bands divide it into a row of panels, a second one is
made with the panels in a column, each with the labels of the first axis if it has none of its own;
the browser shows it on screens up to 600 pixels. One that is not much wider than those is shown
whole there; other figures keep their width and scroll (``scrollers.js``).
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sphinx.application import Sphinx

# An image, with what finish() has put around it where an earlier build wrote the page.
IMAGE = re.compile(
    r"(?P<done><picture>(?:<source [^>]*>)?)?"
    r'<img [^>]*src="(?P<address>[^"]*_images/(?P<name>\w+)\.png)"[^>]*/?>'
)
MOST = 3  # panels
WIDE = 600  # pixels; narrower figures need no second picture
SMALL = 640  # pixels; can be read when they are as narrow as a phone
GAP = 8  # white columns at least between two panels
TICK = 12  # columns at most between the first ink of a panel and its axis, if it has no labels
NOTE = (
    '<p class="stacked-note">Panels that are side by side in the text stand in a column here.</p>'
)


def axis(panel: np.ndarray) -> int | None:
    """The column in which the vertical axis of a panel stands: a thin dark line, half as high."""
    dark = (panel < 120).all(axis=2).mean(axis=0)
    for column in np.flatnonzero(dark > 0.5):
        if dark[column + 4 : column + 8].max(initial=0) < 0.3:
            return int(column)
    return None


def panels(picture: np.ndarray) -> list[np.ndarray]:
    """The two or three panels of a picture, with an axis each, between bands of white columns."""
    ink = ~(picture > 250).all(axis=(0, 2))
    columns = np.flatnonzero(ink)
    cuts = np.flatnonzero(np.diff(columns) > GAP)
    starts, stops = [0, *(cuts + 1)], [*cuts, len(columns) - 1]
    parts = []
    begin = None
    for start, stop in zip(columns[starts], columns[stops], strict=True):
        begin = start if begin is None else begin  # labels belong to the axis at their right
        if axis(picture[:, begin : stop + 1]) is not None:
            parts.append(picture[:, begin : stop + 1])
            begin = None
    widths = [part.shape[1] for part in parts]
    alike = begin is None and 2 <= len(parts) <= MOST and max(widths) < 1.6 * min(widths)
    return parts if alike else []


def stacked(picture: np.ndarray) -> np.ndarray | None:
    """The picture with its panels in a column, if it is a row of at least two."""
    height, width, _ = picture.shape
    parts = panels(picture) if height < width >= WIDE else []
    if not parts:
        return None
    first = axis(parts[0])
    rows = [parts[0]]
    for part in parts[1:]:
        own = axis(part)
        shares = own <= TICK < first  # it has no labels, so those of the first are its own
        rows.append(np.concatenate([parts[0][:, : first - own], part], axis=1) if shares else part)
    widest = max(row.shape[1] for row in rows)
    return np.concatenate([
        np.pad(row, [(0, 0), (0, widest - row.shape[1]), (0, 0)], constant_values=255)
        for row in rows
    ])  # fmt: skip


def finish(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    made, small = set(), set()
    for path in site.glob("_images/*.png"):
        with Image.open(path) as opened:
            if opened.width < SMALL:
                small.add(path.stem)
            tall = stacked(np.asarray(opened.convert("RGB")))
        if tall is not None:
            picture = Image.fromarray(tall).quantize(64)
            picture.save(path.with_name(f"{path.stem}-stacked.png"), optimize=True)
            made.add(path.stem)

    def both(image: re.Match[str]) -> str:
        if image["done"]:
            return image[0]
        if image["name"] not in made:  # a picture has the width of the screen (custom.css)
            return f"<picture>{image[0]}</picture>" if image["name"] in small else image[0]
        narrow = image["address"].replace(".png", "-stacked.png")
        source = f'<source media="(max-width: 600px)" srcset="{narrow}">'
        return f"<picture>{source}{image[0]}</picture>{NOTE}"

    for page in site.rglob("*.html"):
        old = page.read_text("utf-8")
        new = IMAGE.sub(both, old)
        if new != old:
            page.write_text(new, "utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
