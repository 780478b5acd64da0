"""The real MNIST: what is expected of its files, and the files themselves where they are."""

import gzip
import os
import shutil
from pathlib import Path

import pytest
import torch
from torchvision.datasets import MNIST

from normtutorial import data as room
from normtutorial.data import DataError, locate, mnist

PLACE = os.environ.get("NORMTUTORIAL_DATA")
real = pytest.mark.skipif(not PLACE, reason="$NORMTUTORIAL_DATA names no folder with MNIST")


def test_names_checksums_and_mirrors_are_those_of_torchvision():
    ours = {(f"{name}.gz", packed) for name, (_, packed, _) in room._FILES.items()}
    assert ours == set(map(tuple, MNIST.resources))
    assert set(room.MIRRORS) == set(MNIST.mirrors)


def test_there_are_70_000_images_of_28_by_28_in_the_order_of_the_fields():
    shapes = [shape for shape, *_ in room._FILES.values()]
    assert shapes == [(60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,)]


def test_a_mirror_has_four_seconds_to_answer():
    assert room.TIMEOUT == 4


@real
def test_the_archives_are_read_and_so_are_the_unpacked_files(tmp_path):
    packed = Path(PLACE) / "MNIST" / "raw"
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in room._FILES:
        if (packed / f"{name}.gz").exists():
            (raw / name).write_bytes(gzip.decompress((packed / f"{name}.gz").read_bytes()))
        else:
            shutil.copy(packed / name, raw)
    assert locate(tmp_path) == raw
    theirs = mnist("mnist", root=PLACE, device="cpu")
    ours = mnist("mnist", root=tmp_path, device="cpu")
    for field in "train_images", "train_labels", "test_images", "test_labels":
        assert torch.equal(getattr(ours, field), getattr(theirs, field))
    assert ours.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert ours.test_labels.bincount().tolist()[:3] == [980, 1135, 1032]

    one = raw / "t10k-labels-idx1-ubyte"
    content = bytearray(one.read_bytes())
    content[-1] ^= 1
    one.write_bytes(content)
    with pytest.raises(DataError, match="it has been altered"):
        mnist("mnist", root=tmp_path)
