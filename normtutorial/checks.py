"""What is given as an argument, numbers and labels: what makes no sense is refused in words."""

import math
import operator
from typing import Any

import torch
from torch import Tensor

__all__ = ["classes", "is_finite", "pairs", "positive", "whole", "whole_data"]


def whole(who: str, name: str, value: Any, least: int | None = 1) -> int:
    """``value``, a whole number, from ``least`` on if there is one; ``True`` and 2.0 are none.

    Raises:
        ValueError: in the name of ``who`` asks for ``name``.

    Example:
        >>> whole("fit", "epochs", 1.5)
        Traceback (most recent call last):
        ValueError: fit expects a whole number for epochs; got 1.5.
    """
    try:
        number = None if _is_bool(value) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise ValueError(f"{who} expects a whole number for {name}; got {value!r}.")
    if least is not None and number < least:
        raise ValueError(f"{who} expects {name} of at least {least}; got {number}.")
    return number


def is_finite(value: Any) -> bool:
    """Whether it is a number, neither infinite nor NaN.

    Example:
        >>> [is_finite(value) for value in (0.5, 2, True, "2", None, math.nan)]
        [True, True, False, False, False, False]
    """
    try:
        return not _is_bool(value) and not isinstance(value, str) and math.isfinite(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # such as several numbers
        return False


def positive(who: str, name: str, value: Any) -> float:
    """``value``, a finite number above 0.

    Raises:
        ValueError: in the name of ``who`` asks for ``name``.

    Example:
        >>> positive("fit", "lr", 0.0)
        Traceback (most recent call last):
        ValueError: fit expects a positive, finite number for lr; got 0.0.
    """
    if not (is_finite(value) and value > 0):
        raise ValueError(f"{who} expects a positive, finite number for {name}; got {value!r}.")
    return float(value)


def _is_bool(value: Any) -> bool:
    """Whether it is one of Python, numpy or torch: they count as 0 and 1 where numbers do."""
    return isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")


def pairs(who: str, which: str, images: Any, labels: Any) -> None:
    """Let tensors of one length pass; ``which`` images they are is said where they are not.

    Raises:
        ValueError: in the name of ``who``.

    Example:
        >>> pairs("fit", "test ", torch.zeros(3, 5), torch.zeros(2))
        Traceback (most recent call last):
        ValueError: fit expects a label for each test image; got 3 images and 2 labels.
    """
    if not (isinstance(images, Tensor) and isinstance(labels, Tensor)):
        kinds = f"{type(images).__name__} and {type(labels).__name__}"
        raise ValueError(f"{who} expects tensors of {which}images and labels; got {kinds}.")
    if images.ndim == 0 or labels.ndim == 0 or len(images) != len(labels):
        counts = [len(x) if x.ndim else "no" for x in (images, labels)]
        raise ValueError(
            f"{who} expects a label for each {which}image; got {counts[0]} images and "
            f"{counts[1]} labels."
        )


def whole_data(who: str, data: Any) -> int:
    """The number of training images, if there are four tensors, of images and their labels.

    Raises:
        ValueError: in the name of ``who``.
    """
    names = "train_images", "train_labels", "test_images", "test_labels"
    found = [getattr(data, name, None) for name in names]
    if not all(isinstance(tensor, Tensor) for tensor in found):
        raise ValueError(
            f"{who} expects ImageData, four tensors to draw from; got {type(data).__name__}. "
            f"Make it of what a Dataset or DataLoader holds: ImageData({', '.join(names)}, source)."
        )
    pairs(who, "training ", *found[:2])
    pairs(who, "test ", *found[2:])
    if len(data.test_images) == 0:
        raise ValueError(f"{who} expects at least one test image; got none.")
    return len(data.train_images)


def classes(
    who: str, asked: str, outputs: Any, labels: Tensor, entropy: bool, ignored: int | None = None
) -> None:
    """Let labels pass that are classes for which the outputs of a model hold a score.

    Args:
        who: asks.
        asked: what for, if not for ``who`` itself.
        outputs: of a batch, shape (N, K, ...).
        labels: of all images, shape (M, ...).
        entropy: whether torch's cross entropy, too, is to take them.
        ignored: the number that is no class and means no label.

    Raises:
        ValueError: in the name of ``who``.
    """
    purpose = f" for {asked}" if asked else ""
    if not isinstance(outputs, Tensor) or outputs.ndim < 2:
        got = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs)
        raise ValueError(f"{who} expects scores (N, K, ...){purpose}; the model put out {got}.")
    shape, count = (len(labels), *outputs.shape[2:]), outputs.shape[1]
    kept = labels if ignored is None else labels[labels != ignored]
    if labels.shape != shape or not _are_whole(labels.dtype, entropy):
        got = f"{labels.dtype} of shape {tuple(labels.shape)}"
    elif kept.numel() and not 0 <= kept.min() <= kept.max() < count:
        got = f"numbers from {kept.min()} to {kept.max()}"
    else:
        return
    way_out = " For targets of another kind give loss= and metric=." if asked else ""
    raise ValueError(
        f"{who} expects labels from 0 to {count - 1}{purpose}, as there are {count} scores, int64 "
        f"of shape {shape}; got {got}.{way_out}"
    )


def _are_whole(dtype: torch.dtype, entropy: bool) -> bool:
    if entropy:
        return dtype in (torch.int64, torch.uint8)
    return not (dtype.is_floating_point or dtype.is_complex or dtype is torch.bool)
