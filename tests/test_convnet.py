"""The networks of convolutions: how they are wired, and what their variances are."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized
from torch.testing import assert_close

from helpers import rand, toy
from normtutorial import (
    ActivationProbe,
    BatchNorm,
    ConvNet,
    GroupNorm,
    InstanceNorm,
    ResidualConvNet,
    activations,
    fit,
    init_normal_,
    weight_standardization,
)
from normtutorial.norms import NORMS

IMAGES = [name for name, norm in NORMS.items() if norm.images]
NETWORKS = [ConvNet, partial(ResidualConvNet, blocks=1)]
BOTH = pytest.mark.parametrize("make", NETWORKS, ids=["ConvNet", "ResidualConvNet"])


def names(model):
    return [name for name, _ in model.named_children()]


def sizes(model):
    """The width of the maps that the convolutions put out, one after the other."""
    seen = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, i, y: seen.append(y.shape[-1]))
    model(torch.randn(2, 1, 28, 28))
    return seen


# --- both -----------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("name", ["none", "weight", "batch", "layer", "group"])
def test_with_every_norm_it_learns_from_a_step(make, name):
    torch.manual_seed(0)
    data, model = toy(side=28), make(name)
    before = [p.detach().clone() for p in model.parameters()]
    history = fit(model, data, steps=4, batch_size=64, lr=3e-3, progress=False)
    assert history.train_loss[-1] < history.train_loss[0]
    assert all((p != old).any() for p, old in zip(model.parameters(), before, strict=True))
    assert model(data.test_images).shape == (32, 10)


@BOTH
@pytest.mark.parametrize(
    "ours, theirs",
    [
        (BatchNorm, nn.BatchNorm2d),
        (partial(GroupNorm, 4), partial(nn.GroupNorm, 4)),
        (partial(InstanceNorm, affine=True), partial(nn.InstanceNorm2d, affine=True)),
    ],
    ids=["batch", "group", "instance"],
)
def test_with_torch_s_norms_it_computes_the_same(make, ours, theirs):
    options = {"channels": (8, 8), "strides": (1, 2, 1) if make is not ConvNet else (1, 2)}
    a, b = make(ours, **options).double(), make(theirs, **options).double()
    b.load_state_dict(a.state_dict())
    x = rand(4, 1, 28, 28)
    assert_close(a(x), b(x))
    assert_close(a.eval()(x), b.eval()(x))


@BOTH
def test_all_norms_start_with_the_same_weights(make):
    drawn = []
    for name in ("none", "weight", *IMAGES):
        torch.manual_seed(0)
        model = make(name)
        kinds = (nn.Conv2d, nn.Linear)
        drawn.append([m.weight.detach() for m in model.modules() if isinstance(m, kinds)])
    for weights in drawn[1:]:
        assert_close(weights, drawn[0])


@BOTH
def test_a_name_is_the_norm_that_the_registry_has_for_images(make):
    for name in ("none", "weight", *IMAGES):
        convolutions = [m for m in make(name).modules() if isinstance(m, nn.Conv2d)]
        assert all(is_parametrized(conv) is (name == "weight") for conv in convolutions)
        made = [type(module) for module in make(name).modules()]
        for kind in BatchNorm, GroupNorm, InstanceNorm:
            expected = NORMS[name].images and type(NORMS[name].images(8))
            assert made.count(kind) == (4 if make is ConvNet else 5) * (kind is expected)


@BOTH
def test_a_convolution_that_is_given_counts_before_that_of_the_named_norm(make):
    assert not any(is_parametrized(m) for m in make("weight", conv=nn.Conv2d).modules())


@BOTH
def test_the_classes_are_those_that_were_asked_for(make):
    assert make(classes=3)(torch.randn(2, 1, 28, 28)).shape == (2, 3)


@BOTH
@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"norm": "bach"}, "knows no norm 'bach'. Known ones: none, weight, batch, layer, instan"),
        ({"norm": "rms"}, "knows no norm 'rms'. Known ones: none, weight, batch, layer, instance"),
        ({"norm": nn.BatchNorm2d(16)}, r"name of a norm, or what makes one .*; got BatchNorm2d"),
        ({"classes": 0}, "classes of at least 1; got 0"),
        ({"channels": ()}, r"one (convolution|stage) or more, .*got \(\) and"),
        ({"channels": (8, 8), "strides": (1,)}, r"got \(8, 8\) and \(1,\)"),
        ({"channels": (8, 0)}, "each number of channels of at least 1; got 0"),
        ({"channels": (8.0, 8)}, "a whole number for each number of channels; got 8.0"),
    ],
    ids=str,
)
def test_what_makes_no_network_is_a_sentence(make, arguments, match):
    with pytest.raises(ValueError, match=f"^(Residual)?ConvNet .*{match}"):
        make(**arguments)


# --- ConvNet --------------------------------------------------------------------------------------


def test_its_children_are_named_for_probes():
    layers = [f"conv{i} norm{i} act{i}" for i in range(1, 5)]
    assert names(ConvNet("batch")) == " ".join(["halve", *layers, "flatten linear"]).split()
    plain = "halve conv1 act1 conv2 act2 flatten linear"
    assert names(ConvNet(channels=(8, 8))) == plain.split()
    with ActivationProbe(model := ConvNet("batch")) as probe:
        model(torch.randn(4, 1, 28, 28))
    assert list(probe.records) == names(model)


def test_its_maps_are_7_4_2_and_1_wide_and_its_channels_16_32_32_and_64():
    model = ConvNet("group")
    assert sizes(model) == [7, 4, 2, 1]
    channels = [conv.out_channels for conv in (model.conv1, model.conv2, model.conv3, model.conv4)]
    assert channels == [16, 32, 32, 64] and model.linear.in_features == 64


def test_it_computes_what_its_parts_compute():
    model, x = ConvNet("batch", (4, 6), strides=(1, 2)).double(), rand(5, 1, 28, 28)
    first, second = model.conv1, model.conv2
    h = F.conv2d(F.avg_pool2d(x, 2), first.weight, first.bias, padding=1)
    h = F.batch_norm(h, None, None, training=True).relu()
    h = F.conv2d(h, second.weight, second.bias, stride=2, padding=1)
    h = F.batch_norm(h, None, None, training=True).relu()
    assert_close(model(x), model.linear(h.flatten(1)))


def test_it_can_keep_wide_maps_and_average_over_them():
    model = ConvNet("batch", (16, 32, 32), strides=(1, 2, 1), global_pool=True).double()
    assert sizes(model.float()) == [14, 7, 7]
    x = torch.randn(2, 1, 28, 28)
    assert_close(model(x), model.linear(activations(model, x, ["act3"])["act3"].mean((2, 3))))


def test_a_single_position_is_too_little_for_instance_norm():
    with pytest.raises(ValueError, match=r"InstanceNorm\(64\) expects more than one position"):
        ConvNet("instance")(torch.randn(2, 1, 28, 28))
    model = ConvNet("instance", strides=(1, 2, 2, 2))
    assert model(torch.randn(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("stride", [0, 1.5])
def test_a_stride_is_a_whole_number_from_1(stride):
    with pytest.raises(ValueError, match=f"ConvNet expects .*each stride.*; got {stride}"):
        ConvNet(channels=(8, 8), strides=(2, stride))


# --- ResidualConvNet ------------------------------------------------------------------------------

GAIN = math.sqrt(2 / (1 - 1 / math.pi))


def standardized(*arguments, **options):
    """What keeps the variance of its input, up to the edge: there is none."""
    options["padding_mode"] = "circular"
    conv = weight_standardization(nn.Conv2d(*arguments, **options))
    nn.init.zeros_(conv.bias)
    return conv


def variances(model):
    """Of the stream on Gaussian images, relative to what is predicted."""
    with torch.no_grad():
        found = activations(model, torch.randn(32, 1, 28, 28), list(model.predicted))
    measured = torch.stack([y.var((0, 2, 3)).mean() for y in found.values()])
    return measured / torch.tensor(list(model.predicted.values()))


def test_the_children_of_a_residual_network_are_named_for_probes():
    model = ResidualConvNet("batch", (8, 16), blocks=2)
    blocks = [f"block{i}" for i in range(1, 5)]
    assert names(model) == ["stem", *blocks, "norm", "act", "linear"]
    parts = ["norm1", "act1", "conv1", "norm2", "act2", "conv2"]
    assert names(model.block1) == names(model.block2) == names(model.block4) == parts
    assert names(model.block3) == [*parts, "shortcut"]
    with ActivationProbe(model) as probe:
        model(torch.randn(4, 1, 28, 28))
    assert len(probe.records) == 1 + 4 * 6 + 1 + 3 and "block3.shortcut" in probe.records


def test_strides_are_those_of_the_stem_and_of_the_stages():
    maps = sizes(ResidualConvNet("batch", (4, 4, 8), blocks=1, strides=(2, 1, 2, 1)))
    assert maps == [14, 14, 14, 7, 7, 7, 7, 7, 7]  # a shortcut stands where a stage changes any


def block_by_hand(block, x):
    """Of a network with batch norm."""
    first, second = block.conv1, block.conv2
    h = block.gain * F.batch_norm(x / block.beta, None, None, training=True).relu()
    start = h
    h = F.conv2d(h, first.weight, first.bias, first.stride, padding=1)
    h = block.gain * F.batch_norm(h, None, None, training=True).relu()
    h = block.alpha * F.conv2d(h, second.weight, second.bias, padding=1)
    if block.shortcut is None:
        return x + h
    return h + F.conv2d(start, block.shortcut.weight, block.shortcut.bias, block.shortcut.stride)


@pytest.mark.parametrize("scales", [{}, {"alpha": 0.3, "gain": 1.7}], ids=str)
def test_a_residual_network_computes_what_its_parts_compute(scales):
    model = ResidualConvNet("batch", (4, 6), blocks=2, strides=(1, 1, 2), **scales).double()
    x = rand(5, 1, 8, 8)
    h = model.stem(x)
    for i in range(1, 5):
        h = block_by_hand(model.get_submodule(f"block{i}"), h)
    h = F.batch_norm(h / model.beta, None, None, training=True).relu().mean((2, 3))
    assert_close(model(x), model.linear(h))


def test_a_network_without_norm_divides_before_its_last_activation():
    model = ResidualConvNet(channels=(4,), blocks=1, strides=(1, 1), alpha=2.0).double()
    x = rand(5, 1, 8, 8)
    h = model.block1(model.stem(x)) / 5**0.5
    assert_close(model(x), model.linear(h.relu().mean((2, 3))))


def test_what_is_predicted_starts_anew_at_each_stage():
    model = ResidualConvNet(channels=(4, 8), blocks=3, strides=(1, 1, 2), alpha=1.0)
    assert list(model.predicted.values()) == [1, 2, 3, 4, 2, 3, 4]
    betas = [model.get_submodule(f"block{i}").beta ** 2 for i in range(1, 7)]
    assert betas == pytest.approx([1, 2, 3, 4, 2, 3]) and model.beta**2 == pytest.approx(4)


def test_without_alpha_it_is_a_usual_residual_network():
    model = ResidualConvNet("batch", blocks=2)
    blocks = [model.get_submodule(f"block{i}") for i in range(1, 5)]
    assert all(block.alpha == block.beta == block.gain == 1 for block in blocks)
    assert model.beta == 1


@pytest.mark.parametrize("alpha", [1.0, 0.2])
def test_with_standardized_weights_the_variance_is_the_predicted_one(alpha):
    torch.manual_seed(0)
    settings = {"channels": (64,) * 3, "blocks": 5, "strides": (1, 1, 2, 2)}
    model = ResidualConvNet(conv=standardized, alpha=alpha, gain=GAIN, **settings)
    assert (variances(model) - 1).abs().max() < 0.12


@pytest.mark.parametrize(
    "change",
    [
        {"gain": 1.0},
        {"conv": partial(nn.Conv2d, padding_mode="circular")},
        {"alpha": None},
    ],
    ids=["no gain", "usual filters", "no scales"],
)
def test_what_breaks_the_prediction_is_seen(change):
    torch.manual_seed(0)
    settings = {"channels": (64,) * 2, "blocks": 3, "strides": (1, 1, 2)}
    scales = {"conv": standardized, "alpha": 1.0, "gain": GAIN} | change
    assert (variances(ResidualConvNet(**settings, **scales)) - 1).abs().max() > 0.5


def test_with_skip_init_a_network_starts_as_its_skips():
    model = ResidualConvNet(channels=(8,), blocks=3, strides=(2, 1), skip_init=True)
    found = activations(model, torch.randn(4, 1, 28, 28), list(model.predicted))
    for block in ("block1", "block2", "block3"):
        assert_close(found[block], found["stem"])
    nn.init.ones_(model.block2.strength)
    found = activations(model, torch.randn(4, 1, 28, 28), ["block1", "block2"])
    assert (found["block2"] != found["block1"]).any()


def test_all_weights_can_be_drawn_anew():
    model = init_normal_(ResidualConvNet(channels=(16,), blocks=2, strides=(1, 1)))
    assert_close(model.block1.conv1.weight.std().item(), (2 / 144) ** 0.5, rtol=0.1, atol=0)
    assert not any(p.any() for name, p in model.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"blocks": 0}, "blocks of at least 1; got 0"),
        ({"alpha": -1.0}, "positive, finite number for alpha; got -1.0"),
        ({"gain": float("nan")}, "positive, finite number for gain; got nan"),
    ],
    ids=str,
)
def test_what_makes_no_residual_network_is_a_sentence(arguments, match):
    with pytest.raises(ValueError, match=f"^ResidualConvNet expects .*{match}"):
        ResidualConvNet(**arguments)


def test_a_saved_network_can_be_loaded():
    make = partial(ResidualConvNet, conv=standardized, alpha=0.2, gain=GAIN, skip_init=True)
    a, b = make(blocks=1), make(blocks=1)
    b.load_state_dict(a.state_dict())
    x = torch.randn(2, 1, 28, 28)
    assert_close(a(x), b(x), rtol=0, atol=0)
