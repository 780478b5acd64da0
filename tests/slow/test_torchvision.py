"""Networks of torchvision, with our layers in place of torch's: the same function."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchvision.models import (
    SwinTransformer,
    VisionTransformer,
    mobilenet_v2,
    regnet_y_400mf,
    resnet18,
)

import normtutorial as nt
from helpers import assert_same_step, rand

VISION = partial(
    VisionTransformer,
    image_size=32,
    patch_size=8,
    num_layers=2,
    num_heads=2,
    hidden_dim=16,
    mlp_dim=32,
    num_classes=10,
)
SWIN = partial(
    SwinTransformer,
    patch_size=[4, 4],
    embed_dim=16,
    depths=[2, 2],
    num_heads=[2, 4],
    window_size=[4, 4],
    num_classes=10,
)
NETWORKS = {
    "resnet18": (resnet18, nt.BatchNorm, nn.BatchNorm2d, 64),
    "resnet18 with groups": (resnet18, partial(nt.GroupNorm, 8), partial(nn.GroupNorm, 8), 32),
    "mobilenet_v2": (mobilenet_v2, nt.BatchNorm, nn.BatchNorm2d, 64),
    "regnet_y_400mf": (regnet_y_400mf, nt.BatchNorm, nn.BatchNorm2d, 64),
    "VisionTransformer": (
        VISION,
        partial(nt.LayerNorm, eps=1e-6),
        partial(nn.LayerNorm, eps=1e-6),
        32,
    ),
    "SwinTransformer": (
        SWIN,
        partial(nt.LayerNorm, eps=1e-5),
        partial(nn.LayerNorm, eps=1e-5),
        32,
    ),
}


@pytest.mark.parametrize("network, ours, theirs, size", NETWORKS.values(), ids=NETWORKS)
def test_a_network_is_the_same_function_with_our_layers(network, ours, theirs, size):
    ours, theirs = network(norm_layer=ours).double(), network(norm_layer=theirs).double()
    assert any(type(m).__module__.startswith("normtutorial") for m in ours.modules())
    assert not any(type(m).__module__.startswith("normtutorial") for m in theirs.modules())
    ours.load_state_dict(theirs.state_dict(), strict=True)
    for step in range(2):
        torch.manual_seed(step)
        x = rand(4, 3, size, size)
        if step == 0:  # rounding grows over the layers: 1e-6 is far below a wrong formula's error
            assert_same_step(ours, theirs, x, rtol=1e-6, atol=1e-6)
        else:
            with torch.no_grad():
                ys = []
                for model in ours, theirs:
                    torch.manual_seed(step)  # for dropout
                    ys.append(model(x))
            assert_close(*ys)
    assert_close(dict(ours.named_buffers()), dict(theirs.named_buffers()))
    theirs.load_state_dict(ours.state_dict(), strict=True)
    with torch.no_grad():
        assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_features_are_extracted_from_a_network_with_our_layers(training):
    from torchvision.models.feature_extraction import create_feature_extractor

    model = resnet18(norm_layer=nt.BatchNorm).train(training)
    extractor = create_feature_extractor(
        copy.deepcopy(model), {"relu": "first", "layer1": "middle", "avgpool": "last"}
    )
    extractor.train(training)
    seen = {}
    for name in "relu", "layer1", "avgpool":
        module = model.get_submodule(name)
        module.register_forward_hook(lambda *args, n=name: seen.update({n: args[-1].clone()}))
    for _ in range(3):
        x = torch.randn(2, 3, 64, 64)
        model(x)
        features = extractor(x)
        for key, name in ("first", "relu"), ("middle", "layer1"), ("last", "avgpool"):
            assert_close(features[key], seen[name])
        buffers = dict(model.named_buffers())
        for name, buffer in extractor.named_buffers():
            assert_close(buffer, buffers[name], msg=name)


def test_extracted_features_follow_the_mode_where_our_layers_are_leaves():
    from torchvision.models.feature_extraction import create_feature_extractor

    model = resnet18(norm_layer=nt.BatchNorm)
    extractor = create_feature_extractor(
        model, ["layer1"], tracer_kwargs={"leaf_modules": [nt.BatchNorm]}
    )
    extractor(torch.randn(2, 3, 64, 64))
    assert model.bn1.num_batches_tracked.item() == 1
    extractor.eval()(torch.randn(2, 3, 64, 64))
    assert model.bn1.num_batches_tracked.item() == 1
