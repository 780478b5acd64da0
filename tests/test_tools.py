"""Tools of torch and others that ask what class a layer has: they know ours."""

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.utils import fusion, parametrize
from torch.optim import swa_utils
from torch.testing import assert_close

from helpers import rand, randomize_
from normtutorial import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm

NAMESAKES = [
    (BatchNorm(4), _BatchNorm),
    (BatchNorm(4), _NormBase),
    (InstanceNorm(4), _NormBase),
    (InstanceNorm(4), nn.modules.instancenorm._InstanceNorm),
    (GroupNorm(2, 4), nn.GroupNorm),
    (LayerNorm(4), nn.LayerNorm),
    (RMSNorm(4), nn.RMSNorm),
]


@pytest.mark.parametrize("ours, theirs", NAMESAKES, ids=lambda v: getattr(v, "__name__", None))
def test_a_layer_is_its_namesake(ours, theirs):
    assert isinstance(ours, theirs)
    assert ours._version == theirs._version
    assert ours.__constants__ == theirs.__constants__


def test_update_bn_estimates_anew():
    model = nn.Sequential(nn.Linear(3, 4), BatchNorm(4), nn.ReLU(), BatchNorm(4, momentum=None))
    for _ in range(20):
        model(torch.randn(16, 3) + 5)
    batches = [torch.randn(16, 3) for _ in range(4)]
    swa_utils.update_bn(batches, model)
    assert model[1].num_batches_tracked.item() == model[3].num_batches_tracked.item() == 4
    with torch.no_grad():
        mean = torch.stack([model[0](x).mean(0) for x in batches]).mean(0)
    assert_close(model[1].running_mean, mean)
    assert model[1].momentum == 0.1


def test_an_averaged_model_takes_our_buffers_along():
    model = nn.Sequential(nn.Linear(3, 4), BatchNorm(4))
    averaged: Any = swa_utils.AveragedModel(model, use_buffers=True)
    model(torch.randn(16, 3) + 5)
    averaged.update_parameters(model)
    assert_close(averaged.module[1].running_mean, model[1].running_mean)


def test_sync_batch_norm_takes_the_place_of_ours_with_its_statistics():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), randomize_(BatchNorm(4, eps=0.1)), InstanceNorm(4))
    model(torch.randn(5, 3, 2, 2))
    state = copy.deepcopy(model.state_dict())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert type(converted[1]) is nn.SyncBatchNorm and type(converted[2]) is InstanceNorm
    assert converted[1].eps == 0.1
    assert_close(dict(converted.state_dict()), dict(state), rtol=0, atol=0)


def test_a_helper_that_freezes_batch_norm_freezes_ours():
    model = nn.Sequential(nn.Linear(3, 4), BatchNorm(4))
    for module in model.modules():  # as detection frameworks do
        if isinstance(module, _BatchNorm):
            module.eval().requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    model(torch.randn(6, 3)).sum().backward()
    assert_close(dict(model.state_dict()), dict(before), rtol=0, atol=0)
    assert model[1].weight.grad is None and model[0].weight.grad is not None


def test_torchvision_s_converter_to_frozen_batch_norm_is_told_to_whom_it_applies():
    misc = pytest.importorskip("torchvision.ops.misc")
    state = randomize_(BatchNorm(4)).state_dict()
    frozen = misc.FrozenBatchNorm2d(4)
    frozen.load_state_dict(state)
    ours = BatchNorm(4).eval()
    ours.load_state_dict(state)
    x = torch.randn(2, 4, 3, 3)
    assert_close(frozen(x), ours(x))


def test_a_rule_of_weight_decay_by_class_finds_our_layers():
    ops = pytest.importorskip("torchvision.ops._utils")
    model = nn.Sequential(nn.Linear(3, 4), BatchNorm(4), LayerNorm(4), GroupNorm(2, 4))
    norms, others = ops.split_normalization_params(model)
    assert len(norms) == 6 and len(others) == 2
    assert [p for p in model.parameters() if p.ndim <= 1] == [others[1], *norms]  # as in timm


def test_an_initializer_by_class_sets_our_groups():
    for module in (layer := nn.Sequential(GroupNorm(2, 4), LayerNorm(4))).modules():
        if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)):  # as in torchvision
            nn.init.constant_(module.weight, 3)
    assert all((norm.weight == 3).all() for norm in layer)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_batch_norm_folds_into_a_convolution(dims):
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](3, 4, 1).double()
    norm = randomize_(BatchNorm(4).double())
    x = rand(6, 3, *[2] * dims)
    norm(conv(x))
    pair = nn.Sequential(conv, norm).eval()
    assert_close(fusion.fuse_conv_bn_eval(conv, norm)(x), pair(x))


def test_batch_norm_folds_into_a_linear_layer():
    linear, norm, x = nn.Linear(3, 4).double(), randomize_(BatchNorm(4).double()), rand(6, 3)
    norm(linear(x))
    pair = nn.Sequential(linear, norm).eval()
    assert_close(fusion.fuse_linear_bn_eval(linear, norm)(x), pair(x))


@pytest.mark.parametrize("layer", [BatchNorm(4), LayerNorm(4), GroupNorm(2, 4), RMSNorm(4)])
def test_functional_call_uses_the_parameters_and_buffers_it_is_given(layer):
    layer, x = layer.double(), rand(6, 4)
    before = copy.deepcopy(layer.state_dict())
    other = randomize_(copy.deepcopy(layer))
    state = {k: v.clone() for k, v in other.state_dict().items()}
    y = torch.func.functional_call(layer, state, (x,))
    assert_close(y, other(x))
    assert_close(state, dict(other.state_dict()))  # the buffers it was given have moved
    assert_close(dict(layer.state_dict()), dict(before), rtol=0, atol=0)


def test_gradients_per_sample_are_those_of_single_samples():
    layer, x = randomize_(LayerNorm(4)).double(), rand(6, 4)

    def loss(parameters, x):
        return torch.func.functional_call(layer, parameters, (x,)).pow(3).sum()

    parameters = dict(layer.named_parameters())
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    for i in range(6):
        for name, grad in torch.func.grad(loss)(parameters, x[i]).items():
            assert_close(each[name][i], grad)


class Plus1(nn.Module):
    def forward(self, weight):
        return weight + 1


def test_a_weight_may_be_parametrized_as_in_gemma():
    layer, x = RMSNorm(4), torch.randn(6, 4)
    parametrize.register_parametrization(layer, "weight", Plus1(), unsafe=True)
    nn.init.zeros_(layer.parametrizations.weight.original)
    assert_close(layer(x), RMSNorm(4)(x))
    layer(x).sum().backward()
    assert layer.parametrizations.weight.original.grad is not None


def test_skip_init_makes_a_layer_without_values_and_reset_gives_them():
    layer = nn.utils.skip_init(BatchNorm, 4)
    layer.reset_parameters()
    assert_close(dict(layer.state_dict()), dict(BatchNorm(4).state_dict()))


def test_a_subclass_of_ours_keeps_its_books():
    class Mine(BatchNorm):
        def forward(self, x):
            self._check_input_dim(x)
            return super().forward(x) + 1

    layer, x = Mine(4), torch.randn(6, 4)
    assert_close(layer(x), BatchNorm(4)(x) + 1)
    with pytest.raises(ValueError, match="features in dim 1"):
        layer(torch.randn(6, 3))
    with pytest.raises(ValueError, match="features in dim 1"):
        InstanceNorm(4)._check_input_dim(torch.randn(6, 4))


def test_a_transformer_layer_takes_ours_in_place_of_its_own():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    ours = copy.deepcopy(layer)
    ours.norm1, ours.norm2 = LayerNorm(8), LayerNorm(8)
    x = torch.randn(2, 5, 8)
    assert_close(ours(x), layer(x))
    with torch.no_grad(), warnings.catch_warnings():
        assert_close(ours.eval()(x), layer.eval()(x))  # torch's fast path reads weights and eps


def test_checkpointing_over_batch_norm_counts_as_with_torch():
    from torch.utils.checkpoint import checkpoint

    counts = []
    for norm in BatchNorm(4), nn.BatchNorm1d(4):
        x = torch.randn(6, 4, requires_grad=True)
        checkpoint(norm, x, use_reentrant=False).sum().backward()
        counts.append(norm.num_batches_tracked.item())
    assert counts[0] == counts[1]


@pytest.mark.parametrize("layer", [LayerNorm(4), RMSNorm(4)], ids=["layer", "rms"])
def test_sequences_of_different_lengths_in_one_nested_tensor(layer):
    parts = [torch.randn(n, 4) for n in (2, 5, 3)]
    jagged = torch.nested.nested_tensor(parts, layout=torch.jagged, requires_grad=True)
    y = randomize_(layer)(jagged)
    for a, part in zip(y.unbind(), parts, strict=True):
        assert_close(a, layer(part))
    y.values().sum().backward()
    assert layer.weight.grad is not None and jagged.grad is not None


@pytest.mark.parametrize("layer", [BatchNorm(4), InstanceNorm(4), GroupNorm(2, 4)])
def test_where_a_nested_tensor_has_no_meaning_there_is_a_sentence(layer):
    jagged = torch.nested.nested_tensor([torch.randn(n, 4) for n in (2, 5)], layout=torch.jagged)
    with pytest.raises(ValueError, match=r"Norm\(.*\) got a nested tensor.*pad the input"):
        layer(jagged)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_of_the_older_layout_is_told_the_newer():
    strided = torch.nested.nested_tensor([torch.randn(n, 4) for n in (2, 5)])
    with pytest.raises(ValueError, match=r"of layout torch\.jagged"):
        LayerNorm(4)(strided)


def test_what_prepares_batch_norm_for_vmap_finds_ours():
    model = nn.Sequential(nn.Linear(3, 4), BatchNorm(4))
    torch.func.replace_all_batch_norm_modules_(model)
    assert model[1].running_mean is None and not model[1].track_running_stats
    x = torch.randn(5, 6, 3)
    assert_close(torch.func.vmap(model)(x), torch.stack([model(part) for part in x]))


# What asks for the exact class does not know ours. For each there is a way.


def test_fx_fusion_asks_for_the_exact_class_and_folding_by_hand_is_the_way():
    optimization = pytest.importorskip("torch.fx.experimental.optimization")
    model = nn.Sequential(nn.Conv2d(3, 4, 1), BatchNorm(4)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fused = optimization.fuse(model)
    x = torch.randn(2, 3, 2, 2)
    assert_close(fused(x), model(x))  # left as it is: not fused, and not wrong
    assert_close(fusion.fuse_conv_bn_eval(*model)(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer, shape",
    [(BatchNorm(3), (2, 4)), (InstanceNorm(3), (2, 4, 5)), (InstanceNorm(3), (2, 3))],
    ids=str,
)
def test_torchs_name_for_the_check_of_a_shape_is_ours(layer, shape):
    with pytest.raises(ValueError, match=r"Norm\(3\) expects input \(N, 3, "):
        layer._check_input_dim(torch.zeros(shape))
    layer._check_input_dim(torch.zeros(2, 3, 5))
