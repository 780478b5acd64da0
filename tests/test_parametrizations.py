"""Weight norm, beside torch's, and the initialization that looks at data."""

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm as torch_weight_norm
from torch.testing import assert_close

from helpers import assert_same_step, rand, randomize_
from normtutorial import (
    MLP,
    BatchNorm,
    WeightNormLinear,
    data_dependent_init_,
    init_normal_,
    weight_norm,
    weight_standardization,
)
from normtutorial import functional as NF

LAYERS = {
    "Linear": (partial(nn.Linear, 6, 4), (5, 6)),
    "Conv1d": (partial(nn.Conv1d, 6, 4, 3), (2, 6, 7)),
    "Conv2d": (partial(nn.Conv2d, 6, 4, 3), (2, 6, 5, 5)),
    "ConvTranspose2d": (partial(nn.ConvTranspose2d, 6, 4, 3), (2, 6, 3, 3)),
}
WRAPPED = pytest.mark.parametrize("make, shape", LAYERS.values(), ids=LAYERS)
DIMS = pytest.mark.parametrize("dim", [0, 1, None])


@WRAPPED
@DIMS
def test_weight_norm_is_that_of_torch(make, shape, dim):
    ours = make().double()
    theirs = torch_weight_norm(copy.deepcopy(ours), dim=dim)
    weight_norm(ours, dim=dim)
    assert_close(dict(ours.state_dict()), dict(theirs.state_dict()))
    randomize_(ours)
    theirs.load_state_dict(ours.state_dict())
    assert_same_step(ours, theirs, rand(*shape))
    ours.load_state_dict(randomize_(theirs).state_dict())
    assert_same_step(ours, theirs, rand(*shape))


@WRAPPED
@DIMS
def test_the_module_computes_what_it_computed_before(make, shape, dim):
    plain = make().double()
    x = rand(*shape)
    assert_close(weight_norm(copy.deepcopy(plain), dim=dim)(x), plain(x))


def test_dim_0_is_kept_unless_told():
    g = weight_norm(nn.Linear(6, 4)).parametrizations.weight.original0
    assert g.shape == (4, 1)


def test_another_parameter_can_be_named():
    layer = weight_norm(nn.LSTM(3, 2), name="weight_hh_l0")
    assert layer.parametrizations.weight_hh_l0.original0.shape == (8, 1)


def test_removing_the_parametrization_leaves_the_function():
    layer, x = weight_norm(nn.Linear(6, 4)), torch.randn(5, 6)
    y = layer(x)
    parametrize.remove_parametrizations(layer, "weight")
    assert_close(layer(x), y)
    assert type(layer) is nn.Linear and isinstance(layer.weight, nn.Parameter)


def test_a_weight_can_be_assigned():
    layer, weight = weight_norm(nn.Linear(6, 4)), torch.randn(4, 6)
    layer.weight = weight
    assert_close(layer.weight, weight)
    assert_close(layer.parametrizations.weight.original0, weight.norm(dim=1, keepdim=True))


@DIMS
def test_a_deep_copy_is_the_same_and_apart(dim):
    layer, x = weight_norm(nn.Linear(6, 4), dim=dim), torch.randn(5, 6)
    other = copy.deepcopy(layer)
    assert_close(other(x), layer(x), rtol=0, atol=0)
    with torch.no_grad():
        other.parametrizations.weight.original0.zero_()
    assert (layer(x) != other(x)).any()


def test_on_meta_the_shape_comes_out():
    layer = weight_norm(nn.Linear(6, 4, device="meta"))
    assert layer(torch.empty(5, 6, device="meta")).shape == (5, 4)


def test_a_zero_row_is_reported_before_anything_is_changed():
    layer = nn.Linear(6, 4)
    nn.init.zeros_(layer.weight[2])
    with pytest.raises(ValueError, match=r"weight_norm expects .* zero slice \(dim=0\) at \[2\]"):
        weight_norm(layer)
    assert not parametrize.is_parametrized(layer)


def test_a_row_that_becomes_zero_is_reported():
    layer = WeightNormLinear(6, 4)
    nn.init.zeros_(layer.weight_v[2])
    with pytest.raises(ValueError, match=r"zero slice \(dim=0\) at \[2\]"):
        layer(torch.randn(5, 6))


@pytest.mark.parametrize(
    "module, known",
    [(nn.Linear(2, 2), "weight, bias"), (nn.Sequential(nn.Linear(2, 2)), "none")],
    ids=["its own", "its child's"],
)
def test_a_name_that_is_not_there_is_reported_with_those_that_are(module, known):
    match = rf"parameter of {type(module).__name__}; got 'wight'\. It has: {known}\."
    with pytest.raises(ValueError, match=match):
        weight_norm(module, "wight")


# --- weight standardization ----------------------------------------------------------------------


def standardized(v, g):
    """The papers' formula."""
    dims = tuple(range(1, v.ndim))
    std, mean = torch.std_mean(v, dims, correction=0, keepdim=True)
    return g * (v - mean) / (std * v[0].numel() ** 0.5)


@WRAPPED
def test_a_standardized_weight_is_the_formula(make, shape):
    plain = make().double()
    layer = weight_standardization(copy.deepcopy(plain))
    g, v = layer.parametrizations.weight.parameters()
    assert_close(v, plain.weight)
    assert_close(layer.weight, standardized(plain.weight, 1.0))
    randomize_(layer)
    assert_close(layer.weight, standardized(v, g))
    same = make().double()
    same.load_state_dict({"weight": layer.weight, "bias": layer.bias})
    x = rand(*shape)
    assert_close(layer(x), same(x))


def test_the_gradients_of_weight_standardization_are_those_of_its_formula():
    layer = randomize_(weight_standardization(nn.Conv2d(2, 3, 2).double()))
    (standardize,) = layer.parametrizations.weight.children()
    g, v = layer.parametrizations.weight.parameters()
    assert torch.autograd.gradcheck(standardize, (g, v))
    assert torch.autograd.gradgradcheck(standardize, (g, v))
    upstream = rand(3, 2, 2, 2)
    ours = torch.autograd.grad(standardize(g, v), (g, v), upstream)
    assert_close(ours, torch.autograd.grad(standardized(v, g), (g, v), upstream))


def test_inputs_with_one_mean_come_out_with_mean_0_and_variance_1():
    layer = weight_standardization(nn.Linear(400, 300, bias=False).double())
    y = layer(rand(2000, 400, shift=10.0))
    assert y.mean().abs() < 0.01 and (y.var() - 1).abs() < 0.02


@pytest.mark.parametrize("gain", [True, False])
def test_the_gain_is_learned_unless_it_is_not_asked_for(gain):
    g, v = weight_standardization(nn.Linear(6, 4), gain=gain).parametrizations.weight.parameters()
    assert g.requires_grad is gain and v.requires_grad
    assert g.shape == (4, 1) and (g == 1).all()


def test_an_assigned_weight_comes_back_less_the_mean_of_each_filter():
    layer, weight = weight_standardization(nn.Conv2d(3, 4, 3)), torch.randn(4, 3, 3, 3) + 2
    layer.weight = weight
    assert_close(layer.weight, weight - weight.mean((1, 2, 3), keepdim=True))
    once = layer.weight.detach().clone()
    layer.weight = once
    assert_close(layer.weight, once)


def test_a_standardized_layer_can_be_drawn_anew():
    layer = init_normal_(weight_standardization(nn.Linear(400, 100)), 0.3)
    assert 0.29 < layer.weight.std() < 0.31 and not layer.bias.any()


def test_removing_weight_standardization_leaves_the_function():
    layer, x = weight_standardization(nn.Linear(6, 4)), torch.randn(5, 6)
    y = layer(x)
    parametrize.remove_parametrizations(layer, "weight")
    assert_close(layer(x), y)
    assert isinstance(layer.weight, nn.Parameter)


def test_state_dicts_of_standardized_layers_load():
    a, b = (randomize_(weight_standardization(nn.Conv2d(3, 4, 3))) for _ in range(2))
    b.load_state_dict(a.state_dict())
    assert_close(b.weight, a.weight, rtol=0, atol=0)


def test_on_meta_a_standardized_weight_has_its_shape():
    layer = weight_standardization(nn.Conv2d(3, 4, 3, device="meta"))
    assert layer(torch.empty(2, 3, 5, 5, device="meta")).shape == (2, 4, 3, 3)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_a_constant_filter_is_reported_before_anything_is_changed(value):
    layer = nn.Conv2d(3, 4, 3)
    nn.init.constant_(layer.weight[2], value)
    with pytest.raises(ValueError, match=r"weight_standardization .* constant in filter \[2\]\."):
        weight_standardization(layer)
    assert not parametrize.is_parametrized(layer)


@pytest.mark.parametrize(
    "prepare, name, match",
    [
        (nn.Identity(), "wight", r"the name of a parameter of Linear; got 'wight'"),
        (weight_norm, "weight", r"first parametrization of 'weight'; that of .* _WeightNorm"),
        (nn.Identity(), "bias", r"two dims or more; 'bias' of Linear has shape \(4,\)"),
    ],
    ids=["unknown", "parametrized", "no filters"],
)
def test_what_cannot_be_standardized_is_a_sentence(prepare, name, match):
    with pytest.raises(ValueError, match=f"^weight_standardization expects .*{match}"):
        weight_standardization(prepare(nn.Linear(6, 4)), name)


# --- WeightNormLinear -----------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_its_state_dict_loads_into_a_linear_layer_with_torchs_weight_norm(bias):
    ours = randomize_(WeightNormLinear(6, 4, bias=bias).double())
    theirs = torch_weight_norm(nn.Linear(6, 4, bias=bias).double())
    theirs.load_state_dict(ours.state_dict())
    assert_close(ours.weight, theirs.weight)
    x = rand(5, 6)
    assert_close(ours(x), theirs(x))


def test_its_parameters_are_g_v_and_bias():
    shapes = {name: tuple(p.shape) for name, p in WeightNormLinear(6, 4).named_parameters()}
    assert shapes == {"weight_g": (4, 1), "weight_v": (4, 6), "bias": (4,)}


def test_it_starts_as_linear_does():
    torch.manual_seed(3)
    plain = nn.Linear(6, 4)
    torch.manual_seed(3)
    ours = WeightNormLinear(6, 4)
    assert_close(ours.weight, plain.weight)
    assert_close(ours.bias, plain.bias, rtol=0, atol=0)


def test_its_gain_is_the_length_of_each_row():
    layer = WeightNormLinear(6, 4).double()
    nn.init.constant_(layer.weight_g, 3.0)
    assert_close(layer.weight.norm(dim=1), torch.full((4,), 3.0).double())


def test_without_bias_there_is_none():
    layer = WeightNormLinear(6, 4, bias=False)
    assert layer.bias is None
    assert_close(layer(torch.zeros(1, 6)), torch.zeros(1, 4))


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
    ids=["deepcopy", "pickle"],
)
def test_its_copies_are_the_same(duplicate):
    layer, x = randomize_(WeightNormLinear(6, 4)), torch.randn(5, 6)
    layer(x)
    assert_close(duplicate(layer)(x), layer(x), rtol=0, atol=0)


def test_device_and_dtype_reach_every_parameter():
    layer = WeightNormLinear(6, 4, device="meta", dtype=torch.float64)
    assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", torch.float64)}
    assert layer(torch.empty(5, 6, device="meta", dtype=torch.float64)).shape == (5, 4)


def test_its_repr_can_be_read_back():
    layer = WeightNormLinear(6, 4, bias=False)
    assert repr(layer) == "WeightNormLinear(6, 4, bias=False)"
    assert repr(eval(repr(layer))) == repr(layer)


# --- data_dependent_init_ -------------------------------------------------------------------------


def deep(bias: bool = True) -> MLP:
    return MLP((12, 16, 16, 16, 3), linear=partial(WeightNormLinear, bias=bias)).double()


def pre_activations(model, x):
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, WeightNormLinear):
            module.register_forward_hook(lambda m, i, y, name=name: found.update({name: y}))
    model(x)
    return found


def test_every_pre_activation_has_mean_0_and_variance_1_through_all_layers():
    model, x = deep(), rand(64, 12, scale=5.0, shift=3.0)
    assert data_dependent_init_(model, x) is model
    found = pre_activations(model, x)
    assert list(found) == ["linear1", "linear2", "linear3", "linear4"]
    for name, y in found.items():
        assert_close(y.mean(0), torch.zeros_like(y[0]), msg=name)
        assert_close(y.var(0, correction=0), torch.ones_like(y[0]), msg=name)


def test_once_initialized_it_is_batch_norm_without_the_batch():
    x = rand(64, 12)
    layer = WeightNormLinear(12, 5).double()
    expected = BatchNorm(5, eps=0.0).double()(layer(x))
    assert_close(data_dependent_init_(layer, x)(x), expected)


def test_positions_are_pooled_with_samples():
    layer, x = WeightNormLinear(12, 5).double(), rand(8, 7, 12, shift=1.0)
    y = data_dependent_init_(layer, x)(x)
    assert_close(y.mean((0, 1)), torch.zeros(5).double())
    assert_close(y.var((0, 1), correction=0), torch.ones(5).double())


def test_directions_stay_as_they_were():
    model = deep()
    before = model.linear2.weight_v.clone()
    data_dependent_init_(model, rand(64, 12))
    assert_close(model.linear2.weight_v, before, rtol=0, atol=0)


def test_no_hook_and_no_graph_is_left():
    model = deep()
    data_dependent_init_(model, rand(64, 12))
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.requires_grad and p.is_leaf and p.grad is None for p in model.parameters())


def test_no_hook_is_left_after_an_error():
    model = deep()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        data_dependent_init_(model, rand(64, 11))
    assert not any(m._forward_hooks for m in model.modules())


def test_a_unit_that_does_not_vary_is_reported():
    model = deep()
    with pytest.raises(ValueError, match=r"every unit to vary.*WeightNormLinear\(12.* has 16 that"):
        data_dependent_init_(model, rand(1, 12))
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize("model", [nn.Linear(12, 3), deep(bias=False)], ids=["none", "no bias"])
def test_it_wants_weight_normalized_layers_with_a_bias(model):
    with pytest.raises(ValueError, match="expects WeightNormLinear layers, each with a bias"):
        data_dependent_init_(model, rand(64, 12))


class Calls(nn.Module):
    """Calls the first layer, the normalization and the last; ``order`` says which ones."""

    def __init__(self, order):
        super().__init__()
        layers = [WeightNormLinear(6, 6), nn.BatchNorm1d(6), WeightNormLinear(6, 6)]
        self.layers, self.order = nn.ModuleList(layers).double(), order

    def forward(self, x):
        for i in self.order:
            x = self.layers[i](x)
        return x


def refused(model, x, match):
    """It leaves the model as it was: parameters, running statistics and hooks."""
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=match):
        data_dependent_init_(model, x)
    assert_close(dict(model.state_dict()), dict(before), rtol=0, atol=0)
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize(
    "order, match",
    [
        ((0, 1, 2, 0), r"called once; 'layers\.0', .* is called more than once"),
        ((0, 1), r"called once; 'layers\.2', .* is called never"),
        ((), r"'layers\.0', .* is called never"),
    ],
    ids=["shared", "uncalled", "none"],
)
def test_a_layer_that_is_not_called_once_is_named(order, match):
    refused(Calls(order), rand(64, 6, shift=1.0), match)


def test_a_second_call_is_named_although_its_outputs_do_not_vary():
    layer = WeightNormLinear(6, 6).double()
    model = nn.Sequential(layer, nn.Threshold(1e9, 0.0), layer)
    refused(model, rand(64, 6, shift=1.0), "'0', .* is called more than once")


def test_a_layer_that_is_not_called_is_named_although_another_has_its_bias():
    model = Calls((0, 1))
    model.layers[2].bias = model.layers[0].bias
    refused(model, rand(64, 6, shift=1.0), r"'layers\.2', .* is called never")


@pytest.mark.parametrize("name", ["weight_g", "weight_v", "bias"])
def test_a_layer_with_the_parameter_of_another_is_named(name):
    model = Calls((0, 1, 2))
    setattr(model.layers[2], name, getattr(model.layers[0], name))
    refused(model, rand(64, 6, shift=1.0), "with its parameters, is called more than once")


def test_a_unit_of_a_later_layer_that_does_not_vary_leaves_the_model_as_it_was():
    model = Calls((0, 1, 2))
    nn.init.zeros_(model.layers[2].weight_g)
    refused(model, rand(64, 6, shift=1.0), "every unit to vary over the batch.* has 6 that do not")


def test_weight_norm_works_under_vmap_over_the_parameters():
    v, g = torch.randn(5, 3, 4), torch.rand(5, 3, 1)
    one_by_one = torch.stack([NF.weight_norm(*pair) for pair in zip(v, g, strict=True)])
    assert_close(torch.func.vmap(NF.weight_norm)(v, g), one_by_one)


@pytest.mark.parametrize("dim", [0, 7])
def test_what_is_refused_is_left_as_it_was(dim):
    layer = nn.Linear(6, 4)
    layer.weight.data[1] = 0
    before = layer.weight
    with pytest.raises(ValueError, match="weight_norm expects"):
        weight_norm(layer, dim=dim)
    assert type(layer) is nn.Linear and layer.weight is before


def test_the_parametrization_says_its_dim():
    assert "_WeightNorm(dim=1)" in repr(weight_norm(nn.Linear(6, 4), dim=1))
