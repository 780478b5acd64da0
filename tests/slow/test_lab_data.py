"""The images of the lab, which a script in the page reads."""

import base64
import re

import pytest
import torch
from matplotlib import ft2font
from test_drawing import FREETYPE

import lab_data
from normtutorial import digits


def stored():
    """The labels and the shades (2500, 196) that the page has."""
    text = lab_data.TARGET.read_text("utf-8")
    train, test, pixels = (
        re.search(rf'{name}: "([^"]*)"', text)[1] for name in ("train", "test", "pixels")
    )
    packed = torch.frombuffer(bytearray(base64.b64decode(pixels)), dtype=torch.uint8)
    return train + test, torch.stack([packed >> 4, packed & 15], -1).view(-1, 196)


def test_the_page_has_two_thousand_images_and_five_hundred_more():
    labels, shades = stored()
    assert shades.shape == (2500, 196) and len(labels) == 2500
    counts = torch.tensor([int(one) for one in labels]).bincount()
    assert counts.tolist() == pytest.approx([250] * 10, abs=40)
    assert 0.1 < shades.float().mean() / 15 < 0.2 and shades.max() == 15
    assert lab_data.TARGET.stat().st_size <= 350_000


@pytest.mark.skipif(ft2font.__freetype_version__ != FREETYPE, reason=f"FreeType is not {FREETYPE}")
def test_the_script_makes_the_same_file_again(tmp_path):
    lab_data.main(tmp_path / "digits.js")
    assert (tmp_path / "digits.js").read_text("utf-8") == lab_data.TARGET.read_text("utf-8")


def test_a_pixel_of_the_page_is_the_mean_of_four():
    data = digits("synthetic").subset(lab_data.TRAIN, lab_data.TEST)
    labels, shades = stored()
    assert labels[:2000] == "".join(map(str, data.train_labels.tolist()))
    image = data.test_images[7, 0]
    mean = image.unfold(0, 2, 2).unfold(1, 2, 2).mean((-1, -2))
    assert (shades[2007].view(14, 14) / 15 - mean).abs().max() <= 0.5 / 15 + 1e-6
