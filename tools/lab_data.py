"""The images of the lab: ``python tools/lab_data.py`` writes ``book/_static/lab/digits.js``.

They are the first of the book's synthetic digits, at half the resolution and in 16 shades of gray,
two pixels in a byte, so that a page that was opened as a file can read them, from a classic script.
"""

import base64
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from chapters import ROOT
from normtutorial import digits
from normtutorial.data import ImageData

TARGET = ROOT / "book" / "_static" / "lab" / "digits.js"
TRAIN, TEST = 2000, 500
NOTE = "/* Written by tools/lab_data.py: synthetic digits, which are not MNIST's. */"


def packed(images: Tensor) -> bytes:
    """Images (N, 1, 28, 28) at half the resolution, two pixels in a byte, the first one high.

    Example:
        >>> packed(torch.ones(1, 1, 2, 4)).hex()
        'ff'
    """
    shades = (F.avg_pool2d(images, 2) * 15).round().to(torch.uint8).flatten()
    return bytes((shades[::2] * 16 + shades[1::2]).tolist())


def script(data: ImageData) -> str:
    """The text of the script, from the first images of both splits."""
    data = data.subset(TRAIN, TEST)
    pixels = base64.b64encode(packed(data.train_images) + packed(data.test_images)).decode()
    train, test = ("".join(map(str, s.tolist())) for s in (data.train_labels, data.test_labels))
    return (
        f"{NOTE}\nwindow.normtutorial.lab.digits = {{\n"
        f'  train: "{train}",\n  test: "{test}",\n  pixels: "{pixels}",\n}};\n'
    )


def main(target: Path = TARGET) -> None:
    target.write_text(script(digits("synthetic")), "utf-8")


if __name__ == "__main__":
    main()
