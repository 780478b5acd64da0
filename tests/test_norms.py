"""The registry of normalizations."""

import re
from dataclasses import FrozenInstanceError

import pytest
import torch
from matplotlib.lines import Line2D
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from normtutorial import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm, WeightNormLinear
from normtutorial.norms import NORMS, ORIGINAL, layer_maker

ALL = [*NORMS.values(), ORIGINAL]


def test_each_stands_under_its_own_name():
    assert all(norm.name == name for name, norm in NORMS.items())
    assert ORIGINAL.name not in NORMS


def test_names_and_labels_are_those_of_the_command_line_and_the_figures():
    assert {norm.name: norm.label for norm in ALL} == {
        "none": "no norm", "weight": "weight norm", "batch": "batch norm", "layer": "layer norm",
        "instance": "instance norm", "group": "group norm", "rms": "RMS norm",
        "original": "the original",
    }  # fmt: skip


def test_an_entry_makes_what_it_is_called():
    made = {name: norm.factory(16) for name, norm in NORMS.items() if norm.factory}
    types = {name: type(layer) for name, layer in made.items() if name != "instance"}
    assert types == {"batch": BatchNorm, "layer": LayerNorm, "group": GroupNorm, "rms": RMSNorm}
    assert made["group"].num_groups == 8
    linear = {name: norm.linear for name, norm in NORMS.items() if norm.linear is not nn.Linear}
    assert linear == {"weight": WeightNormLinear}


def test_an_entry_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        ORIGINAL.color = "#000000"


@pytest.mark.parametrize("norm", ALL, ids=lambda norm: norm.name)
def test_its_marker_and_line_are_some_of_matplotlib_s(norm):
    Line2D([], [], marker=norm.marker, linestyle=norm.linestyle)


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


def test_an_entry_makes_what_it_is_called_for_images_and_for_tokens():
    images = {name: norm.images(16) for name, norm in NORMS.items() if norm.images}
    types = {name: type(layer) for name, layer in images.items()}
    assert types == {
        "batch": BatchNorm, "layer": GroupNorm, "instance": InstanceNorm, "group": GroupNorm,
    }  # fmt: skip
    assert images["layer"].num_groups == 1 and images["group"].num_groups == 8
    tokens = {name: type(norm.tokens(16)) for name, norm in NORMS.items() if norm.tokens}
    assert tokens == {"layer": LayerNorm, "rms": RMSNorm}


@pytest.mark.parametrize("norm", NORMS.values(), ids=lambda norm: norm.name)
def test_convolutions_are_torch_s_but_for_weight_norm(norm):
    layer = norm.conv(3, 16, 3, stride=2, padding=1)
    assert isinstance(layer, nn.Conv2d) and is_parametrized(layer) is (norm.name == "weight")
    x = layer(torch.randn(4, 3, 8, 8))
    assert x.shape == (4, 16, 4, 4)
    assert norm.images is None or norm.images(16)(x).shape == x.shape


def test_layer_norm_of_an_image_is_over_channels_and_positions():
    x = torch.randn(4, 16, 3, 3)
    torch.testing.assert_close(NORMS["layer"].images(16)(x), nn.LayerNorm(x.shape[1:])(x))


@pytest.mark.parametrize(
    "kind, known",
    [
        ("factory", "none, weight, batch, layer, instance, group, rms"),
        ("images", "none, weight, batch, layer, instance, group"),
        ("tokens", "none, layer, rms"),
    ],
)
def test_a_name_that_has_no_layer_is_refused_with_those_that_have(kind, known):
    with pytest.raises(ValueError, match=f"^Net knows no norm 'bach'. Known ones: {known}.$"):
        layer_maker("Net", "bach", kind)
    for name, norm in NORMS.items():
        if name in known.split(", "):
            assert layer_maker("Net", name, kind) is getattr(norm, kind)
        else:
            with pytest.raises(ValueError, match=f"Net knows no norm '{name}'"):
                layer_maker("Net", name, kind)
