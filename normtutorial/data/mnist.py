"""MNIST: found, verified, read and downloaded.

Folder layout, mirror and checksums are torchvision's, so that both share one copy of the files.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import torch
from torch import Tensor

from .files import DataError, atomic_write, cache_dir, checksum, download

__all__ = ["fetch", "find", "locate", "read"]

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"  # PyTorch's; LeCun's is gone
FILES = {  # the archives in the order of ImageData's fields, and what is in them: bytes, MD5
    "train-images-idx3-ubyte.gz": (9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    "train-images-idx3-ubyte": (47_040_016, "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte.gz": (28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
    "train-labels-idx1-ubyte": (60_008, "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte.gz": (1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
    "t10k-images-idx3-ubyte": (7_840_016, "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte.gz": (4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    "t10k-labels-idx1-ubyte": (10_008, "27ae3e4e09519cfbb04c329615203637"),
}
ARCHIVES = [name for name in FILES if name.endswith(".gz")]


def locate(root: str | os.PathLike[str] | None = None) -> Path | None:
    """The folder whose files :func:`~normtutorial.digits` takes, all four verified, or ``None``.

    Args:
        root: as for ``digits``; ``None`` means ``$NORMTUTORIAL_DATA``, or else the user cache.

    Raises:
        DataError: if a folder that was named holds no files; if a file is missing, damaged or
            unreadable.

    Example:
        >>> locate("no/such/folder")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        normtutorial.data.files.DataError: digits expects four archives in no/such/folder/MNIST...
    """
    raw = find(root)
    if raw is not None:
        read(raw)
    return raw


def find(root: str | os.PathLike[str] | None = None) -> Path | None:
    """The folder that was named, or else the user cache if it holds all four files; they are not
    verified.

    Raises:
        DataError: if a folder was named, and does not hold them.
    """
    named = "root" if root else "$NORMTUTORIAL_DATA"
    given = root or os.environ.get("NORMTUTORIAL_DATA")
    if given:
        raw = Path(os.path.expanduser(given)) / "MNIST" / "raw"  # as it is, for an unknown user
        if missing := _missing(raw):
            raise DataError(
                f"digits expects four archives in {raw}, below the folder that {named} names; "
                f"missing: {', '.join(missing)}. Copy them there, name another folder, or leave "
                "root and $NORMTUTORIAL_DATA out to have them downloaded."
            )
        return raw
    raw = cache_dir() / "MNIST" / "raw"
    return None if _missing(raw) else raw


def fetch() -> Path:
    """Download what the user cache lacks, and return its folder.

    A file appears there whole and verified, or not at all.

    Raises:
        OSError: if a file cannot be had, or not be written.
    """
    raw = cache_dir() / "MNIST" / "raw"
    for archive in _missing(raw):
        atomic_write(raw / archive, download(MIRROR + archive, FILES[archive][1]))
    return raw


def read(raw: Path) -> list[Tensor]:
    """Images (N, 28, 28) and labels (N,) of both splits as bytes, in ImageData's order.

    Raises:
        DataError: if a file is not the original, or cannot be read.
    """
    return [_read(raw, archive) for archive in ARCHIVES]


def _read(raw: Path, archive: str) -> Tensor:
    """One file in LeCun's IDX format: four bytes, four for each dimension, then the values."""
    path = _path(raw, archive) or raw / archive
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"digits cannot read {path} ({error.strerror}). Make it readable, or use "
            "source='synthetic'."
        ) from error
    size, md5 = FILES[path.name]
    if checksum(content) != md5:
        what = "truncated" if len(content) < size else "damaged"
        raise DataError(
            f"digits cannot use {path}: it is {what} ({len(content)} bytes of {size}) or another "
            f"file. Remove it and put the original there ({MIRROR}{archive}), or use "
            "source='synthetic'."
        )
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    shape = (-1, 28, 28) if "images" in archive else (-1,)
    start = 4 * (1 + len(shape))
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).view(shape)


def _missing(raw: Path) -> list[str]:
    return [archive for archive in ARCHIVES if _path(raw, archive) is None]


def _path(raw: Path, archive: str) -> Path | None:
    """The archive, or else the unpacked file, or ``None``."""
    for path in raw / archive, raw / archive.removesuffix(".gz"):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            pass  # it is there; reading it will say what is wrong
        return path
    return None
