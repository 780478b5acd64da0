"""The container that every source of images fills."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ImageData"]


@dataclass(frozen=True, eq=False)
class ImageData:
    """Two splits of labeled images, as tensors on one device.

    Two objects are equal only if they are the same one: nothing compares the pixels.

    Args:
        train_images: (N, 1, 28, 28), float32 in [0, 1].
        train_labels: (N,), int64.
        test_images: (M, 1, 28, 28), float32 in [0, 1].
        test_labels: (M,), int64.
        source: ``"mnist"`` or ``"synthetic"``.

    Example:
        >>> images, labels = torch.zeros(5, 1, 28, 28), torch.zeros(5, dtype=torch.int64)
        >>> data = ImageData(images, labels, images, labels, "synthetic")
        >>> data
        ImageData(synthetic: 5 training and 5 test images of shape (1, 28, 28) on cpu)
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    source: str

    @property
    def device(self) -> torch.device:
        """Where the tensors are; a model goes there with ``model.to(data.device)``."""
        return self.train_images.device

    def subset(self, train: int, test: int | None = None) -> ImageData:
        """Keep the first ``train`` and ``test`` images; ``None`` keeps the whole test split.

        Raises:
            ValueError: if a split does not have that many images, or none would be left.

        Example:
            >>> images, labels = torch.zeros(5, 1, 28, 28), torch.zeros(5, dtype=torch.int64)
            >>> ImageData(images, labels, images, labels, "synthetic").subset(3, 2)
            ImageData(synthetic: 3 training and 2 test images of shape (1, 28, 28) on cpu)
        """
        test = len(self.test_labels) if test is None else test
        most = len(self.train_labels), len(self.test_labels)
        if not (0 < train <= most[0] and 0 < test <= most[1]):
            raise ValueError(
                f"subset expects 1 to {most[0]} training and 1 to {most[1]} test images; "
                f"got {train} and {test}."
            )
        train_split = self.train_images[:train], self.train_labels[:train]
        test_split = self.test_images[:test], self.test_labels[:test]
        return ImageData(*train_split, *test_split, self.source)

    def to(self, device: torch.device | str) -> ImageData:
        """The same data on ``device``.

        Example:
            >>> images, labels = torch.zeros(5, 1, 28, 28), torch.zeros(5, dtype=torch.int64)
            >>> ImageData(images, labels, images, labels, "synthetic").to("meta").device
            device(type='meta')
        """
        train_split = self.train_images.to(device), self.train_labels.to(device)
        test_split = self.test_images.to(device), self.test_labels.to(device)
        return ImageData(*train_split, *test_split, self.source)

    def __repr__(self) -> str:
        train, test = len(self.train_labels), len(self.test_labels)
        return (
            f"ImageData({self.source}: {train} training and {test} test images "
            f"of shape {tuple(self.train_images.shape[1:])} on {self.device})"
        )
