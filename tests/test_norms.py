"""The registry of normalizations."""

import re

import pytest
import torch
from torch import nn

from normtutorial.norms import NORMS, ORIGINAL

ALL = [*NORMS.values(), ORIGINAL]


def test_each_stands_under_its_own_name():
    assert all(norm.name == name for name, norm in NORMS.items())
    assert ORIGINAL.name not in NORMS


@pytest.mark.parametrize("what", ["label", "color", "marker"])
def test_no_two_can_be_mixed_up(what):
    assert len({getattr(norm, what) for norm in ALL}) == len(ALL)


@pytest.mark.parametrize("norm", ALL, ids=lambda norm: norm.name)
def test_a_color_stands_out_from_white(norm):
    assert re.fullmatch("#[0-9A-F]{6}", norm.color)
    channels = [int(norm.color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    assert 1.05 / (luminance + 0.05) >= 3  # WCAG 2.2, 1.4.11


@pytest.mark.parametrize("norm", NORMS.values(), ids=lambda norm: norm.name)
def test_a_factory_makes_a_layer_from_the_number_of_features(norm):
    layer = nn.Identity() if norm.factory is None else norm.factory(16)
    x = torch.randn(4, 16)
    assert layer(x).shape == norm.linear(16, 16)(x).shape == (4, 16)
