"""The synthetic digits, as they are drawn."""

from pathlib import Path

import pytest
import torch
from matplotlib import ft2font
from PIL import Image

from normtutorial.data import digits, synthetic

FREETYPE = "2.14.3"  # which drew tests/slow/synthetic_digits.png; others place outlines differently


@pytest.fixture(scope="module")
def glyphs():
    return synthetic._glyphs()


@pytest.fixture(scope="module")
def drawn(glyphs):
    """2000 images and their labels, as bytes."""
    return synthetic._draw(glyphs, 2000, seed=3)


def test_a_seed_gives_the_same_digits_again_and_leaves_other_random_numbers_alone(glyphs, drawn):
    before = torch.random.get_rng_state()
    again, other = (synthetic._draw(glyphs, 2000, seed=seed) for seed in (3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(map(torch.equal, drawn, again))
    assert not torch.equal(drawn[0], other[0]) and not torch.equal(drawn[1], other[1])


def test_synthetic_digits_have_the_statistics_of_mnist(drawn):
    images = drawn[0] / 255
    assert abs(images.mean() - 0.131) < 0.015 and abs(images.std() - 0.308) < 0.02
    assert (images == 0).float().mean() > 0.75 and images.max() == 1
    assert images[:, [0, -1]].mean() < 0.005 and images[:, :, [0, -1]].mean() < 0.005
    assert images.amax((1, 2)).min() > 0.4  # no empty image


def test_synthetic_labels_are_balanced_and_shuffled(drawn):
    labels = drawn[1]
    assert labels.bincount().tolist() == [200] * 10
    assert labels[:100].bincount(minlength=10).min() > 0
    assert (labels[1:] < labels[:-1]).float().mean() > 0.3


def test_synthetic_digits_are_centered_by_mass(drawn):
    images = drawn[0].float()
    for dim in 1, 2:
        center = (images.sum(dim) * torch.arange(28)).sum(1) / images.sum((1, 2))
        assert (center - 13.5).abs().mean() < 0.1 and (center - 13.5).abs().max() < 1.5


def test_synthetic_digits_of_a_class_resemble_each_other(drawn):
    images, labels = drawn[0].float().flatten(1), drawn[1]
    half = len(labels) // 2
    means = torch.stack([images[:half][labels[:half] == d].mean(0) for d in range(10)])
    nearest = torch.cdist(images[half:], means).argmin(1)
    assert 0.6 < (nearest == labels[half:]).float().mean() < 0.95


def test_the_distance_to_a_shape_is_that_of_its_nearest_cell():
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, 3, 84, 84, generator=generator) < 0.003
    cells = torch.cartesian_prod(torch.arange(84.0), torch.arange(84.0))
    distances = synthetic._distance(masks)
    for mask, distance in zip(masks.flatten(0, 1), distances.flatten(0, 1), strict=True):
        expected = torch.cdist(cells, mask.nonzero().float()).amin(1).view(84, 84)
        torch.testing.assert_close(distance, expected, rtol=0, atol=1e-3)


@pytest.mark.skipif(ft2font.__freetype_version__ != FREETYPE, reason=f"FreeType is not {FREETYPE}")
def test_synthetic_digits_are_the_same_on_every_machine(glyphs):
    """But for rounding: synthetic_digits.png holds 60 of them."""
    images, labels = synthetic._draw(glyphs, 1040, seed=3)
    assert images.shape == (1040, 28, 28) and images.dtype == labels.dtype == torch.uint8
    assert labels[:10].tolist() == [6, 8, 1, 8, 4, 5, 6, 2, 5, 4]
    stored = Image.open(Path(__file__).parent / "synthetic_digits.png")
    cells = torch.frombuffer(bytearray(stored.tobytes()), dtype=torch.uint8).view(6, 28, 10, 28)
    expected = cells.permute(0, 2, 1, 3).reshape(60, 28, 28).int()
    difference = (torch.cat([images[:30], images[-30:]]).int() - expected).abs()
    assert difference.float().mean() < 0.1 and difference.max() < 20


def test_there_are_as_many_synthetic_digits_as_in_mnist(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, cached = (digits("synthetic", device="cpu") for _ in range(2))
    for data in first, cached:
        assert (
            data.train_images.shape == (60_000, 1, 28, 28) and data.test_images.shape[0] == 10_000
        )
        assert data.train_labels.bincount().tolist() == [6_000] * 10
        assert data.test_labels.bincount().tolist() == [1_000] * 10
    assert torch.equal(first.train_images, cached.train_images)
    # An MD5, then images and labels of 70 000 bytes: the name has a new number if they change.
    (stored,) = (tmp_path / "normtutorial").iterdir()
    assert stored.name == "synthetic-digits-1" and stored.stat().st_size == 16 + 70_000 * 785
