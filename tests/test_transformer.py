"""The transformer: attention, the placements of its norms, and what follows from them."""

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from helpers import rand, randomize_
from normtutorial import (
    ActivationProbe,
    ImageData,
    RMSNorm,
    Transformer,
    activations,
    evaluate,
    fit,
)
from normtutorial.models import Attention

PLACEMENTS = "pre", "post", "peri", "deepnorm", "rezero", "none"

close = partial(assert_close, rtol=0, atol=1e-12)


def small(*arguments, **options):
    """A net of one size for all tests, in float64."""
    options = {"width": 8, "heads": 2, "depth": 2} | options
    return Transformer(*arguments, **options).double()


def images(n=3):
    return torch.rand(n, 1, 28, 28, dtype=torch.float64)


def tokens(*shape):
    return torch.randint(5, shape)


def output(model, x, *layers):
    found = activations(model, x, layers)
    return found[layers[0]] if len(layers) == 1 else tuple(found[name] for name in layers)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_that_of_torch(causal):
    ours = Attention(8, 2, causal=causal).double()
    theirs = nn.MultiheadAttention(8, 2, batch_first=True).double()
    copied = {"in_proj_weight": ours.qkv.weight, "in_proj_bias": ours.qkv.bias}
    copied |= {"out_proj.weight": ours.out.weight, "out_proj.bias": ours.out.bias}
    theirs.load_state_dict(copied)
    x = rand(3, 5, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(5, dtype=x.dtype) if causal else None
    expected, weights = theirs(x, x, x, attn_mask=mask, average_attn_weights=False)
    close(ours(x), expected)
    close(output(ours, x, "softmax"), weights)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("qk_norm", [None, RMSNorm])
def test_attention_is_the_softmax_of_what_queries_find_in_keys(causal, qk_norm):
    attention = randomize_(Attention(8, 2, causal=causal, qk_norm=qk_norm).double())
    x = rand(3, 5, 8)
    q, k, v = attention.qkv(x).view(3, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
    if qk_norm:
        q = F.rms_norm(q, (4,), attention.query_norm.weight, attention.query_norm.eps)
        k = F.rms_norm(k, (4,), attention.key_norm.weight, attention.key_norm.eps)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    close(attention(x), attention.out(mixed.transpose(1, 2).reshape(3, 5, 8)))


def test_the_largest_logit_is_that_of_the_largest_query_and_key():
    attention = Attention(4, 1).double()
    with torch.no_grad():
        attention.qkv.weight.copy_(torch.eye(4).repeat(3, 1))
        attention.qkv.bias.zero_()
    x = torch.zeros(1, 2, 4, dtype=torch.float64)
    x[0, 1] = 3
    logits, weights = output(attention, x, "logits", "softmax")
    close(logits, torch.tensor([[[[0.0, 0.0], [0.0, 4 * 9 / 2]]]]).double())
    close(weights, logits.softmax(-1))


def test_with_qk_norm_no_logit_exceeds_the_root_of_the_features_of_a_head():
    x = 1e3 * rand(3, 5, 8)
    bare, bounded = (Attention(8, 2, qk_norm=norm).double() for norm in (None, RMSNorm))
    assert output(bare, x, "logits").max() > 100
    assert output(bounded, x, "logits").abs().max() <= math.sqrt(8 / 2) + 1e-12


def test_the_net_hands_qk_norm_to_every_block():
    model = small(qk_norm="rms")
    with torch.no_grad():
        for block in model.blocks:
            block.attention.branch.qkv.weight *= 1e3
    logits = output(model, images(), *(f"blocks.{i}.attention.branch.logits" for i in range(2)))
    assert max(one.abs().max() for one in logits) <= math.sqrt(8 / 2) + 1e-12


def test_the_feed_forward_net_is_a_gelu_as_wide_as_four_tokens():
    branch, x = small().blocks[0].feedforward.branch, rand(3, 5, 8)
    assert branch.linear1.weight.shape == (32, 8)
    close(branch(x), branch.linear2(F.gelu(branch.linear1(x))))


def test_a_later_token_changes_nothing_before_it():
    model = small(vocabulary=5, causal=True, length=6)
    x = tokens(3, 6)
    changed = x.clone()
    changed[:, 4] = (x[:, 4] + 1) % 5
    before, after = model(x), model(changed)
    assert torch.equal(before[..., :4], after[..., :4])
    assert (before[..., 4:] != after[..., 4:]).all()


def test_without_the_mask_a_later_token_changes_all():
    model = small(vocabulary=5, length=6)
    x = tokens(3, 6)
    changed = x.clone()
    changed[:, 4] = (x[:, 4] + 1) % 5
    assert (model(x) != model(changed)).all()


def by_hand(placement, x, f, norm, branch_norm, scale, depth):
    """The equations of the papers."""
    return {
        "pre": lambda: x + f(norm(x)),  # Xiong et al. 2020
        "post": lambda: norm(x + f(x)),  # Vaswani et al. 2017
        "peri": lambda: x + branch_norm(f(norm(x))),  # Kim et al. 2025
        "deepnorm": lambda: norm((2 * depth) ** (1 / 4) * x + f(x)),  # Wang et al. 2022
        "rezero": lambda: x + scale * f(x),  # Bachlechner et al. 2021
        "none": lambda: x + f(x),
    }[placement]()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_block_is_what_the_paper_says(placement):
    model = randomize_(small(placement=placement, depth=3))
    x = images()
    stream, middle, end = output(
        model, x, "positions", "blocks.0.attention", "blocks.0.feedforward"
    )
    for name, before, after in ("attention", stream, middle), ("feedforward", middle, end):
        residual = model.get_submodule(f"blocks.0.{name}")
        made = (getattr(residual, name, None) for name in ("norm", "branch_norm", "scale"))
        close(after, by_hand(placement, before, residual.branch, *made, depth=3))
    close(end, output(model, x, "blocks.0"))


@pytest.mark.parametrize(
    "placement, first", [("pre", "norm"), ("peri", "norm"), ("post", "head"), ("none", "head")]
)
def test_what_stands_before_the_head_is_a_norm_where_the_stream_had_none(placement, first):
    model = randomize_(small(placement=placement))
    stream, scores = output(model, images(), "blocks.1", "head")
    if first == "norm":
        stream = F.layer_norm(stream, (8,), model.norm.weight, model.norm.bias, model.norm.eps)
    close(scores, model.head(stream.mean(1)))


@pytest.mark.parametrize("placement, norms", [*zip(PLACEMENTS, (5, 4, 9, 4, 0, 0), strict=True)])
def test_no_norm_is_made_that_is_not_used(placement, norms):
    model = small(placement=placement)
    assert sum(isinstance(module, nn.LayerNorm) for module in model.modules()) == norms
    F.cross_entropy(model(images()), torch.zeros(3, dtype=torch.int64)).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_gradients_are_finite(placement):
    model = Transformer("rms", placement, vocabulary=5, causal=True, qk_norm="rms")
    F.cross_entropy(model(tokens(3, 6)), tokens(3, 6)).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("ours, theirs", [("layer", nn.LayerNorm), ("rms", nn.RMSNorm)])
def test_a_net_with_norms_of_torch_is_the_same(ours, theirs):
    options = dict(placement="peri", depth=1, width=8, heads=2)
    mine, other = Transformer(ours, **options), Transformer(theirs, **options)
    other.load_state_dict(mine.state_dict())
    assert type(other.norm) is theirs and type(mine.norm) is not theirs
    x = images()
    close(mine.double()(x), other.double()(x))


def shifted(model, x):
    """How far the scores move when 3 is added to all of the stream, at its beginning."""
    before = model(x)
    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved.positions.weight += 3
    return (moved(x) - before).abs().max()


def test_under_pre_norm_nothing_reads_the_mean_of_a_token_but_rms_norm_does():
    x = images()
    assert shifted(small("layer"), x) < 1e-12
    assert shifted(small("rms"), x) > 1e-2
    assert shifted(small("none"), x) > 1e-2


def test_the_norm_of_pre_is_not_on_the_stream():
    model = small("layer")
    with torch.no_grad():
        model.positions.weight += 3
    for x in output(model, images(), "blocks.0.attention", "blocks.0", "blocks"):
        assert x.mean() > 2


@pytest.mark.parametrize("placement", ["post", "deepnorm"])
def test_with_the_norm_on_the_stream_each_token_has_mean_square_1(placement):
    model = small(placement=placement)
    for x in output(model, images(), "blocks.0", "blocks.1"):
        assert_close(x.square().mean(-1), torch.ones(3, 16).double(), rtol=0, atol=1e-3)


def test_rezero_starts_as_no_block_at_all():
    model = small(placement="rezero")
    start, end = output(model, images(), "positions", "blocks")
    assert torch.equal(start, end)


def test_deepnorm_draws_what_branches_put_out_smaller_but_not_where_they_look():
    torch.manual_seed(0)
    plain = Transformer(placement="post", depth=2)
    torch.manual_seed(0)
    deep = Transformer(placement="deepnorm", depth=2)
    factor = (8 * 2) ** -0.25
    for name, weight in plain.state_dict().items():
        if name.endswith(("branch.out.weight", "linear1.weight", "linear2.weight")):
            weight = weight * factor
        elif name.endswith("qkv.weight"):
            weight = torch.cat([weight[:64], weight[64:] * factor])
        assert_close(deep.state_dict()[name], weight)


def test_weights_are_xavier_and_biases_0():
    model = Transformer(width=64)
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for layer in linear:
        std = math.sqrt(2 / (layer.in_features + layer.out_features))
        assert_close(layer.weight.std().item(), std, rtol=0.15, atol=0)
        assert (layer.bias == 0).all()
    assert len(linear) == 1 + 4 * 4 + 1


def test_a_token_is_a_patch_in_reading_order():
    model = small(patch=14)
    x = images()
    patches = x.view(3, 2, 14, 2, 14).transpose(2, 3).reshape(3, 4, 196)
    expected = F.linear(patches, model.embedding.weight, model.embedding.bias)
    close(output(model, x, "positions"), expected + model.positions.weight)


def test_with_positions_alike_the_order_of_the_tokens_is_only_that_of_the_scores():
    model = small(vocabulary=5, length=6)
    with torch.no_grad():
        model.positions.weight.copy_(model.positions.weight[:1].expand(6, -1))
    x, order = tokens(3, 6), torch.randperm(6)
    close(model(x[:, order]), model(x)[..., order])


def test_shapes():
    assert Transformer(classes=3, patch=4)(torch.zeros(5, 1, 28, 28)).shape == (5, 3)
    assert Transformer(vocabulary=7, length=9)(torch.zeros(5, 8, dtype=torch.int64)).shape == (
        5,
        7,
        8,
    )


def test_an_empty_batch_has_no_scores():
    assert Transformer()(torch.zeros(0, 1, 28, 28)).shape == (0, 10)


def test_children_are_named_for_probes():
    names = [name for name, _ in Transformer(depth=1, placement="peri").named_modules()]
    residual = "branch norm branch_norm"
    for name in ["embedding", "positions", "blocks", "norm", "head"]:
        assert name in names
    for branch in "attention", "feedforward":
        for name in residual.split():
            assert f"blocks.0.{branch}.{name}" in names
    for name in ["qkv", "query_norm", "key_norm", "logits", "softmax", "out"]:
        assert f"blocks.0.attention.branch.{name}" in names


def test_a_probe_records_every_head_and_every_feature():
    model = Transformer(depth=2)
    layers = ["blocks.0.attention.branch.logits", "blocks.1"]
    with ActivationProbe(model, layers) as probe:
        model(torch.rand(5, 1, 28, 28))
    assert [probe.records[name].mean.shape for name in layers] == [(1, 4), (1, 32)]


def test_nothing_of_a_pass_is_kept():
    model = small(causal=True)
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    model(images())
    assert before == {name: set(vars(module)) for name, module in model.named_modules()}
    assert not list(model.buffers())


def test_it_can_be_saved_loaded_and_copied():
    model, other = small("rms", qk_norm="rms"), small("rms", qk_norm="rms")
    other.load_state_dict(model.state_dict())
    x = images()
    assert torch.equal(model(x), other(x))
    assert torch.equal(model(x), copy.deepcopy(model)(x))


@pytest.mark.parametrize("norm", [None, "none"])
def test_without_norm_there_is_none_wherever_it_would_stand(norm):
    torch.manual_seed(0)
    bare = small(placement="none")
    torch.manual_seed(0)
    model, x = small(norm), images()
    assert torch.equal(model(x), bare(x))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"norm": "batch"}, r"Transformer knows no norm 'batch'\. Known ones: none, layer, rms"),
        ({"qk_norm": "lauer"}, r"knows no norm 'lauer'\. Known ones: none, layer, rms"),
        ({"norm": nn.LayerNorm(8)}, "the name of a norm, or what makes one.*got LayerNorm"),
        ({"placement": "per"}, "knows no placement 'per'. Known ones: pre, post, peri, deepnorm"),
        ({"heads": 3}, "heads that divide the width of 32; got 3"),
        ({"patch": 5}, "a patch that divides 28; got 5"),
        ({"depth": 0}, "depth of at least 1; got 0"),
        ({"classes": 2.0}, "a whole number for classes; got 2.0"),
        ({"vocabulary": 0}, "vocabulary of at least 1; got 0"),
        ({"length": 0, "vocabulary": 5}, "length of at least 1; got 0"),
    ],
    ids=str,
)
def test_what_makes_no_transformer_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Transformer(**options)


@pytest.mark.parametrize(
    "options, x, words",
    [
        ({}, torch.zeros(2, 28, 28), r"images of shape \(N, 1, 28, 28\); got \(2, 28, 28\)"),
        ({}, torch.zeros(2, 1, 32, 32), r"images of shape \(N, 1, 28, 28\); got \(2, 1, 32, 32\)"),
        (
            {"vocabulary": 5, "length": 4},
            torch.zeros(2, 5, dtype=torch.int64),
            r"tokens of shape \(N, T\), at most 4 in a row; got \(2, 5\)",
        ),
        (
            {"vocabulary": 5},
            torch.zeros(5, dtype=torch.int64),
            r"tokens of shape \(N, T\), at most 64 in a row; got \(5,\)",
        ),
    ],
    ids=["no channel", "size", "length", "no batch"],
)
def test_an_input_of_another_shape_is_refused(options, x, words):
    with pytest.raises(ValueError, match=words):
        Transformer(**options)(x)


def test_it_learns_to_tell_images_apart():
    torch.manual_seed(0)
    labels = torch.arange(256) % 4
    x = 0.3 * torch.rand(256, 1, 28, 28)
    x[torch.arange(256), 0, 7 * labels, :] = 1  # a line at one of four heights
    data = ImageData(x[:192], labels[:192], x[192:], labels[192:], "synthetic")
    model = Transformer(depth=1, classes=4)
    before, _ = evaluate(model, data.test_images, data.test_labels)
    history = fit(model, data, steps=30, batch_size=32, lr=3e-3, progress=False)
    assert history.test_loss[-1] < before / 2


def test_it_learns_to_sort():
    torch.manual_seed(0)
    x = torch.randint(4, (256, 3))
    y = x.sort(1).values
    data = ImageData(x[:192], y[:192], x[192:], y[192:], "synthetic")
    model = Transformer(depth=1, vocabulary=4, length=3)
    before, _ = evaluate(model, data.test_images, data.test_labels)
    history = fit(model, data, steps=60, batch_size=32, lr=1e-2, progress=False)
    assert history.test_loss[-1] < before / 2
