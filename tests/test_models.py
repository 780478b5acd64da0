"""The networks of the book and how their weights are drawn."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from normtutorial import (
    MLP,
    BatchNorm,
    GroupNorm,
    ResidualMLP,
    WeightNormLinear,
    init_normal_,
)
from normtutorial.norms import NORMS


def names(model):
    return [name for name, _ in model.named_children()]


def test_children_are_named_for_probes():
    expected = "flatten linear1 norm1 act1 linear2 norm2 act2 linear3"
    assert names(MLP((8, 6, 4, 2), norm=BatchNorm)) == expected.split()


def test_without_norm_there_is_none():
    assert names(MLP((8, 6, 4, 2))) == ["flatten", "linear1", "act1", "linear2", "act2", "linear3"]


def test_two_widths_are_a_linear_classifier():
    assert names(MLP((8, 2), norm=BatchNorm)) == ["flatten", "linear1"]


def test_widths_are_those_of_the_layers():
    model = MLP((8, 6, 4), norm=BatchNorm)
    assert [tuple(p.shape) for p in model.parameters()] == [(6, 8), (6,), (6,), (6,), (4, 6), (4,)]


def test_the_norm_is_made_from_the_number_of_features():
    model = MLP((8, 6, 4, 2), norm=partial(GroupNorm, 2))
    assert [model.norm1.num_channels, model.norm2.num_channels] == [6, 4]


def test_linear_and_activation_can_be_chosen():
    model = MLP((8, 6, 2), linear=WeightNormLinear, activation=nn.Tanh)
    assert isinstance(model.linear2, WeightNormLinear) and isinstance(model.act1, nn.Tanh)


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_can_be_named(name):
    torch.manual_seed(0)
    named = MLP((8, 16, 16, 2), name)
    torch.manual_seed(0)
    made = MLP((8, 16, 16, 2), NORMS[name].factory, linear=NORMS[name].linear)
    assert repr(named) == repr(made)
    assert_close(named.state_dict(), made.state_dict())


def test_a_linear_layer_that_is_given_counts_before_that_of_the_named_norm():
    assert type(MLP((8, 6, 2), "weight", linear=nn.Linear).linear1) is nn.Linear


def test_an_unknown_norm_is_refused_with_those_that_are_known():
    with pytest.raises(
        ValueError, match=r"no norm 'bach'\. Known ones: none, weight, batch, layer"
    ):
        MLP((8, 6, 2), "bach")


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(6), 3], ids=["module", "number"])
def test_what_makes_no_norm_is_refused(norm):
    with pytest.raises(ValueError, match=r"name of a norm, or what makes one.*got"):
        MLP((8, 6, 2), norm)


@pytest.mark.parametrize("width", [6.0, True, "6"])
def test_a_width_is_a_whole_number(width):
    with pytest.raises(
        ValueError, match=f"^MLP expects a whole number for each width; got {width!r}"
    ):
        MLP((8, width, 2))


def test_a_layer_may_have_a_single_unit():
    assert MLP((1, 1, 1))(torch.zeros(2, 1)).shape == (2, 1)


def test_images_are_flattened():
    model, x = MLP((12, 6, 2)), torch.randn(5, 1, 3, 4)
    assert_close(model(x), model(x.flatten(1)))


def test_it_computes_what_its_parts_compute():
    model, x = MLP((8, 6, 2)), torch.randn(5, 8)
    assert_close(model(x), model.linear2(model.linear1(x).relu()))


@pytest.mark.parametrize("widths", [(), (8,), (8, 0, 2), (8, -1)], ids=str)
def test_too_few_or_bad_widths_are_refused(widths):
    with pytest.raises(ValueError, match="at least two and all positive; got"):
        MLP(widths)


@pytest.mark.parametrize(
    "layer, kaiming, xavier",
    [
        (nn.Linear(400, 100), 2 / 400, 2 / 500),
        (nn.Conv2d(40, 20, 3), 2 / (40 * 9), 2 / (60 * 9)),
        (WeightNormLinear(400, 100), 2 / 400, 2 / 500),
    ],
    ids=["Linear", "Conv2d", "WeightNormLinear"],
)
@pytest.mark.parametrize("std", ["kaiming", "xavier", 0.3])
def test_the_spread_of_the_weights_is_the_one_that_was_asked_for(layer, kaiming, xavier, std):
    init_normal_(layer, std)
    expected = {"kaiming": kaiming**0.5, "xavier": xavier**0.5}.get(std, std)
    weight = layer.weight.detach()
    tolerance = 5 / (2 * weight.numel()) ** 0.5  # five standard errors of a standard deviation
    assert_close(weight.std().item(), expected, rtol=tolerance, atol=0)
    assert abs(weight.mean().item()) < 5 * expected / weight.numel() ** 0.5


def test_biases_become_0():
    assert (init_normal_(nn.Linear(8, 6)).bias == 0).all()


def test_kaiming_is_the_default():
    a, b = MLP((8, 6, 2)), MLP((8, 6, 2))
    for model, arguments in ((a, ()), (b, ("kaiming",))):
        init_normal_(model, *arguments, generator=torch.Generator().manual_seed(0))
    assert_close(a.state_dict(), b.state_dict(), rtol=0, atol=0)


def test_a_weight_normalized_layer_starts_with_the_length_of_its_direction():
    layer = init_normal_(WeightNormLinear(8, 6), 3.0)
    assert_close(layer.weight, layer.weight_v)


def test_normalizations_are_left_alone():
    model = init_normal_(MLP((8, 6, 2), norm=BatchNorm))
    assert (model.norm1.weight == 1).all()


def test_layers_without_bias_are_fine():
    init_normal_(nn.Sequential(nn.Linear(8, 6, bias=False), WeightNormLinear(6, 2, bias=False)))


def test_it_returns_the_model():
    model = nn.Linear(8, 6)
    assert init_normal_(model) is model


def test_with_a_generator_the_global_random_state_is_untouched():
    before = torch.get_rng_state()
    init_normal_(nn.Linear(1, 1).requires_grad_(False), generator=torch.Generator())
    torch.set_rng_state(before)
    layer = nn.Linear(8, 6)
    before = torch.get_rng_state()
    init_normal_(layer, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("std", ["he", 0, -1.0, None, float("nan"), float("inf"), True])
def test_another_std_is_refused(std):
    with pytest.raises(ValueError, match='expects a positive std, "kaiming" or "xavier"; got'):
        init_normal_(nn.Linear(8, 6), std)


def by_hand(model, x):
    """What a residual network of two hidden layers and batch norm puts out."""
    first = model.linear1(x.flatten(1))
    second = first + model.linear2(model.act1(model.norm1(first)))
    return model.linear3(model.act2(model.norm2(second)))


def test_a_skip_adds_what_enters_a_layer_to_what_leaves_it():
    model = ResidualMLP((8, 6, 6, 3), "batch").double()
    x = torch.randn(5, 2, 4, dtype=torch.float64)
    assert_close(model(x), by_hand(model, x))


def test_with_skips_the_parameters_are_the_same():
    plain, residual = MLP((8, 6, 6, 3), "layer"), ResidualMLP((8, 6, 6, 3), "layer")
    residual.load_state_dict(plain.state_dict())
    assert names(residual) == names(plain)


def test_around_a_single_hidden_layer_there_is_no_skip():
    residual = ResidualMLP((8, 6, 3))
    plain = MLP((8, 6, 3))
    plain.load_state_dict(residual.state_dict())
    x = torch.randn(4, 8)
    assert_close(residual(x), plain(x))


@pytest.mark.parametrize("widths", [(8, 6, 5, 3), (8, 3)])
def test_layers_that_cannot_be_added_are_refused(widths):
    with pytest.raises(ValueError, match=r"ResidualMLP expects hidden layers of one width.*got"):
        ResidualMLP(widths)
