"""Images to train on: MNIST as tensors, or digits that are drawn on the spot.

``images`` has the container, ``mnist`` and ``synthetic`` fill it, and ``files`` checks, downloads
and writes what they keep.
"""

from __future__ import annotations

import os
import warnings

import torch

from . import mnist, synthetic
from .files import DataError, cache_dir
from .images import ImageData
from .mnist import locate

__all__ = ["SOURCES", "DataError", "ImageData", "cache_dir", "digits", "locate"]

SOURCES = ("auto", "mnist", "synthetic")
"""What :func:`~normtutorial.digits` takes as ``source``."""


def digits(
    source: str = "auto",
    root: str | os.PathLike[str] | None = None,
    device: torch.device | str | None = None,
) -> ImageData:
    """MNIST, 60 000 images to train on and 10 000 to test, or as many digits that stand in for it.

    Args:
        source: ``"mnist"`` takes the files that are there, or downloads them, or fails.
            ``"synthetic"`` draws digits with the fonts that matplotlib ships. ``"auto"`` is
            ``"mnist"`` where that works and else ``"synthetic"``, with a warning;
            ``$NORMTUTORIAL_SOURCE`` takes its place if set.
        root: folder with torchvision's layout, ``MNIST/raw/*.gz`` or the unpacked files; it is
            only read. ``None`` means ``$NORMTUTORIAL_DATA``, and where that is not set, the user
            cache, which a download fills. ``"synthetic"`` asks for no folder.
        device: ``None`` means CUDA if there is one, else the CPU.

    Raises:
        DataError: if a folder that was named, by ``root`` or the variable, does not hold the files,
            or one is damaged or unreadable, with ``"auto"`` too (what was meant to be MNIST is
            reported, not passed over); if ``"mnist"`` finds no files and no network; if
            digits are to be drawn and matplotlib is missing.
        ValueError: if the source is unknown.

    Example:
        >>> digits("letters")
        Traceback (most recent call last):
        ...
        ValueError: digits expects source to be one of auto, mnist, synthetic; got 'letters'.

    References:
        LeCun et al., *Gradient-based learning applied to document recognition*, 1998.
    """
    if source == "auto":
        source = os.environ.get("NORMTUTORIAL_SOURCE") or "auto"
    if source not in SOURCES:
        raise ValueError(
            f"digits expects source to be one of {', '.join(SOURCES)}; got {source!r}."
        )
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"

    raw = None
    if source != "synthetic":
        try:
            raw = mnist.find(root) or mnist.fetch()
        except OSError as error:
            if source == "mnist":
                raise DataError(
                    f"digits found no files and could not download them: {error}. Put the archives "
                    f"{', '.join(mnist.ARCHIVES)} into MNIST/raw of a folder, and name the folder "
                    "as root or in $NORMTUTORIAL_DATA; or use source='synthetic'."
                ) from error
            warnings.warn(
                "digits draws synthetic digits in place of MNIST, which could not be downloaded: "
                f"{error}. source='synthetic' asks for them without a warning.",
                stacklevel=2,
            )
    splits = mnist.read(raw) if raw else synthetic.load()
    train_images, train_labels, test_images, test_labels = (part.to(device) for part in splits)
    return ImageData(
        train_images.unsqueeze(1).float().div_(255),
        train_labels.long(),
        test_images.unsqueeze(1).float().div_(255),
        test_labels.long(),
        "mnist" if raw else "synthetic",
    )
