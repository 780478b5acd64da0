"""The real MNIST: what is expected of its files, and the files themselves where they are."""

import gzip
import os
import shutil
from pathlib import Path

import pytest
import torch
from torchvision.datasets import MNIST

from normtutorial.data import DataError, digits, locate, mnist

PLACE = os.environ.get("NORMTUTORIAL_DATA")
real = pytest.mark.skipif(not PLACE, reason="$NORMTUTORIAL_DATA names no folder with MNIST")


def test_names_checksums_and_mirror_are_those_of_torchvision():
    assert {(name, mnist.FILES[name][1]) for name in mnist.ARCHIVES} == set(MNIST.resources)
    assert mnist.MIRROR in MNIST.mirrors


@pytest.fixture
def unpacked(tmp_path):
    """A folder with the four files unpacked."""
    packed = Path(PLACE) / "MNIST" / "raw"
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in mnist.ARCHIVES:
        name = archive.removesuffix(".gz")
        if (packed / archive).exists():
            (raw / name).write_bytes(gzip.decompress((packed / archive).read_bytes()))
        else:
            shutil.copy(packed / name, raw)
    return raw


@real
def test_the_archives_are_read_and_so_are_the_unpacked_files(tmp_path, unpacked):
    assert locate(tmp_path) == unpacked
    theirs = digits("mnist", root=PLACE, device="cpu")
    ours = digits("mnist", root=tmp_path, device="cpu")
    for field in "train_images", "train_labels", "test_images", "test_labels":
        assert torch.equal(getattr(ours, field), getattr(theirs, field))
    assert ours.train_images.shape == (60_000, 1, 28, 28)
    assert ours.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert ours.test_labels.bincount().tolist()[:3] == [980, 1135, 1032]


@real
def test_one_altered_bit_is_found(tmp_path, unpacked):
    one = unpacked / "t10k-labels-idx1-ubyte"
    content = bytearray(one.read_bytes())
    content[-1] ^= 1
    one.write_bytes(content)
    with pytest.raises(DataError, match="it is damaged \\(10008 bytes of 10008\\)"):
        digits("mnist", root=tmp_path)


@real
def test_the_sizes_in_the_table_are_those_of_the_files(unpacked):
    for path in [*(Path(PLACE) / "MNIST" / "raw").iterdir(), *unpacked.iterdir()]:
        if path.name in mnist.FILES:
            assert path.stat().st_size == mnist.FILES[path.name][0]
