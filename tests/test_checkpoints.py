"""Weight norm of every kind: what is saved by one loads into the others, and can be drawn anew."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.testing import assert_close

import normtutorial as nt
from helpers import randomize_
from normtutorial import WeightNormLinear, init_normal_


def by_hooks(module: nn.Module, dim: int | None = 0) -> nn.Module:
    """Torch's older weight norm, which newer versions call deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(module, dim=dim)


def by_torch(module: nn.Module, dim: int | None = 0) -> nn.Module:
    return parametrizations.weight_norm(module, dim=dim)


def by_us(module: nn.Module, dim: int | None = 0) -> nn.Module:
    return nt.weight_norm(module, dim=dim)


def layer_of_ours(module: nn.Linear, dim: int | None = 0) -> nn.Module:
    return WeightNormLinear(module.in_features, module.out_features)


KINDS = {f.__name__: f for f in (by_hooks, by_torch, by_us, layer_of_ours)}


@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("make", [lambda: nn.Linear(3, 4), lambda: nn.Conv2d(3, 4, 2)])
def test_state_dicts_of_the_older_weight_norm_load(make, dim):
    old = by_hooks(make(), dim)
    x = torch.randn(5, 3) if isinstance(old, nn.Linear) else torch.randn(5, 3, 4, 4)
    with torch.no_grad():
        old.weight_g.mul_(2.0)
    for kind in by_us, by_torch:
        new = kind(make(), dim)
        new.load_state_dict(old.state_dict())
        assert_close(new(x), old(x))


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_what_one_kind_saves_another_loads(source, target):
    if target == "by_hooks" and source in ("by_torch", "by_us"):
        pytest.skip("the older one has no names for it")
    saved, loaded = (
        nn.Sequential(nn.ReLU(), KINDS[kind](nn.Linear(3, 4))) for kind in (source, target)
    )
    randomize_(saved)
    state = saved.state_dict()
    before = copy.deepcopy(state)
    loaded.load_state_dict(state)
    x = torch.randn(5, 3)
    assert_close(loaded(x), saved(x))
    assert list(state) == list(before)


def test_a_copy_loads_too():
    old = by_hooks(nn.Linear(3, 4))
    new = copy.deepcopy(by_us(nn.Linear(3, 4)))
    new.load_state_dict(old.state_dict())
    assert_close(new.weight, old.weight)


@pytest.mark.parametrize("first", [by_us, by_torch, parametrizations.orthogonal])
def test_weight_norm_upon_another_parametrization_is_refused_with_the_way_out(first):
    layer = first(nn.Linear(4, 4))
    with pytest.raises(ValueError, match=r"first parametrization of 'weight'; .*remove_param"):
        nt.weight_norm(layer)
    weight = layer.weight.detach()
    parametrize.remove_parametrizations(layer, "weight")
    assert_close(nt.weight_norm(layer).weight, weight)


@pytest.mark.parametrize("make", [by_hooks, lambda layer: WeightNormLinear(3, 4)])
def test_a_weight_that_is_computed_already_is_no_parameter(make):
    with pytest.raises(ValueError, match=r"expects the name of a parameter.*It has: .*weight_g"):
        nt.weight_norm(make(nn.Linear(3, 4)))


@pytest.mark.parametrize("bias", [True, False])
def test_reset_parameters_starts_as_a_linear_layer_does(bias):
    layer = randomize_(WeightNormLinear(3, 4, bias=bias).double())
    torch.manual_seed(0)
    layer.reset_parameters()
    torch.manual_seed(0)
    linear = nn.Linear(3, 4, bias=bias).double()
    torch.manual_seed(0)
    fresh = nn.Linear(3, 4, bias=bias, dtype=torch.float64)
    assert_close(layer.weight, fresh.weight)
    assert_close(layer.weight_v, fresh.weight)
    assert (layer.bias is None) == (linear.bias is None)
    assert layer.bias is None or torch.equal(layer.bias, fresh.bias)
    assert layer.weight_v.requires_grad and layer.weight_v.is_leaf


def test_a_layer_from_meta_can_be_reset():
    layer = WeightNormLinear(3, 4, device="meta").to_empty(device="cpu")
    layer.reset_parameters()
    assert_close(layer.weight, layer.weight_v)


@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("kind", KINDS)
def test_init_normal_sets_every_kind(kind, dim):
    if kind == "layer_of_ours" and dim != 0:
        pytest.skip("it keeps dim 0")
    layer = KINDS[kind](nn.Linear(400, 100), dim)
    init_normal_(layer, 0.3, generator=torch.Generator().manual_seed(0))
    layer(torch.randn(2, 400))  # hooks compute the weight when the layer is called
    wanted = torch.empty(100, 400).normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
    assert_close(layer.weight.detach(), wanted)
    assert (layer.bias == 0).all()


def test_init_normal_sets_convolutions_with_weight_norm():
    for kind in by_hooks, by_torch, by_us:
        conv = kind(nn.Conv2d(40, 20, 3))
        init_normal_(conv, 0.3)
        conv(torch.randn(1, 40, 3, 3))
        assert abs(conv.weight.std().item() - 0.3) < 0.01
