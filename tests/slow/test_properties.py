"""Properties for every shape, scale, layout and parameter: hypothesis hunts for exceptions."""

import math

import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from helpers import gradients, in_torch_and_here
from normtutorial import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from normtutorial import functional as NF

settings.register_profile(
    "book", max_examples=60, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
settings.load_profile("book")


def laid_out(x: torch.Tensor, layout: str) -> torch.Tensor:
    """The same numbers, otherwise in memory."""
    if layout == "transposed":
        return x.transpose(0, 1).contiguous().transpose(0, 1)
    if layout == "sliced":
        return torch.stack([x, x + 1], dim=-1)[..., 0]
    if layout == "flipped":
        return x.flip(0).contiguous().flip(0)
    if layout == "channels last":
        last = [0, *range(2, x.ndim), 1]
        back = [0, x.ndim - 1, *range(1, x.ndim - 1)]
        return x.permute(last).contiguous().permute(back)
    return x


@st.composite
def inputs(draw, least_dims=2, dtype=torch.float64):
    """(N, C, *) of any scale, offset and layout."""
    shape = draw(st.lists(st.integers(1, 5), min_size=least_dims, max_size=4))
    scale = 10.0 ** draw(st.integers(-3, 3))
    offset = draw(st.sampled_from([0.0, 1.0, -100.0])) * scale
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    x = scale * torch.randn(shape, generator=generator, dtype=torch.float64) + offset
    layouts = ["contiguous", "transposed", "sliced", "flipped", "channels last"]
    return laid_out(x.to(dtype), draw(st.sampled_from(layouts)))


def parameters(model: nn.Module) -> nn.Module:
    for p in model.parameters():
        nn.init.uniform_(p, 0.5, 2.0)
    return model


def assert_same_function(ours, theirs, x):
    theirs.load_state_dict(parameters(ours).state_dict())
    upstream = torch.randn(x.shape, dtype=x.dtype)
    results = []
    for model in ours, theirs:
        leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        y = model(leaf)
        results.append((y, *gradients(y, [leaf, *model.parameters()], upstream)))
    scale = 1 / max(x.std(correction=0).item(), 1e-300) if x.numel() > 1 else 1.0
    for i, (a, b) in enumerate(zip(*results, strict=True)):
        # Gradients with respect to x are of the size 1 / scale, where single ones may cancel.
        assert_close(a, b, rtol=1e-7, atol=1e-7 * (max(scale, 1.0) if i == 1 else 1.0))
    assert_close(dict(ours.named_buffers()), dict(theirs.named_buffers()))


def torch_batch_norm(x):
    return {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[x.ndim]


@given(inputs(), st.booleans(), st.sampled_from([0.1, 1.0, None]))
def test_batch_norm_is_that_of_torch(x, training, momentum):
    assume(x.numel() > x.shape[1])
    options = {"momentum": momentum, "dtype": torch.float64}
    ours, theirs = BatchNorm(x.shape[1], **options), torch_batch_norm(x)(x.shape[1], **options)
    assert_same_function(ours.train(training), theirs.train(training), x)


@given(inputs(), st.data())
def test_layer_norm_is_that_of_torch(x, data):
    shape = x.shape[-data.draw(st.integers(1, x.ndim - 1)) :]
    options = {"eps": data.draw(st.sampled_from([1e-5, 1e-12, 10.0])), "dtype": torch.float64}
    assert_same_function(LayerNorm(shape, **options), nn.LayerNorm(shape, **options), x)


@given(inputs(), st.data())
def test_group_norm_is_that_of_torch(x, data):
    channels = x.shape[1]
    groups = data.draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
    assume(x[0].numel() > groups)
    options = {"dtype": torch.float64}
    ours, theirs = GroupNorm(groups, channels, **options), nn.GroupNorm(groups, channels, **options)
    assert_same_function(ours, theirs, x)


@given(inputs(least_dims=3))
def test_instance_norm_is_that_of_torch(x):
    assume(x[0, 0].numel() > 1)
    theirs = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d}[x.ndim]
    options = {"affine": True, "dtype": torch.float64}
    assert_same_function(InstanceNorm(x.shape[1], **options), theirs(x.shape[1], **options), x)


@given(inputs(), st.sampled_from([None, 1e-5, 10.0]))
def test_rms_norm_is_that_of_torch(x, eps):
    options = {"eps": eps, "dtype": torch.float64}
    ours, theirs = RMSNorm(x.shape[-1], **options), nn.RMSNorm(x.shape[-1], **options)
    assert_same_function(ours, theirs, x)


@given(inputs())
def test_layer_group_and_instance_norm_are_one_function_under_reshapes(x):
    flat = x.reshape(x.shape[0], -1)
    assume(flat.shape[1] > 1)
    by_layer = NF.layer_norm(flat, flat.shape[1:])
    assert_close(by_layer, NF.group_norm(x, 1).reshape_as(flat))
    assert_close(by_layer, NF.instance_norm(flat[:, None])[:, 0])
    centered = flat - flat.mean(1, keepdim=True)
    assert_close(by_layer, NF.rms_norm(centered, flat.shape[1:], eps=1e-5))


@given(inputs(), st.floats(0.1, 10), st.floats(-10, 10))
def test_shift_and_scale_of_what_shares_a_mean_are_undone(x, scale, shift):
    assume(x.numel() > x.shape[1] and x.reshape(x.shape[0], -1).shape[1] > 1)
    moved = scale * x + shift * x.std(correction=0)
    same = {"eps": 1e-30}
    for f in (
        lambda x: NF.batch_norm(x, None, None, training=True, **same),
        lambda x: NF.group_norm(x, 1, **same),
    ):
        assume(torch.isfinite(f(x)).all() and x.std(correction=0) > 0)
        if f(x).abs().max() > 1e-3:  # else nothing varies, and noise is divided by noise
            assert_close(f(moved), f(x), rtol=1e-5, atol=1e-5)


@given(inputs(), st.randoms(use_true_random=False))
def test_the_order_of_the_batch_does_not_matter(x, random):
    order = list(range(len(x)))
    random.shuffle(order)
    assume(x.numel() > x.shape[1])
    mixed = NF.batch_norm(x[order], None, None, training=True)
    assert_close(mixed, NF.batch_norm(x, None, None, training=True)[order])
    shape = x.shape[1:]
    if math.prod(shape) > 1:
        assert torch.equal(NF.layer_norm(x[order], shape), NF.layer_norm(x, shape)[order])


@given(inputs())
def test_in_eval_batch_norm_is_an_affine_map(x):
    norm = parameters(BatchNorm(x.shape[1], dtype=torch.float64)).eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    f0, f1, f2 = norm(torch.zeros_like(x)), norm(x), norm(2 * x)
    assert_close(f2 - f1, f1 - f0)


@given(inputs(), st.floats(1e-3, 1e3), st.data())
def test_weight_norm_forgets_the_length_of_v(v, scale, data):
    dim = data.draw(st.sampled_from([None, *range(v.ndim)]))
    dims = [d for d in range(v.ndim) if d != dim]
    assume(torch.linalg.vector_norm(v, dim=dims).min() > 0)
    g = torch.rand([n if d == dim else 1 for d, n in enumerate(v.shape)]).double() + 0.5
    w = NF.weight_norm(v, g, dim)
    assert_close(NF.weight_norm(scale * v, g, dim), w)
    assert_close(NF.lengths(w, dim), g)


@given(inputs(dtype=torch.float32), st.sampled_from([1.0, 1e2, 1e4, 1e6]))
def test_in_float32_an_offset_costs_no_more_than_rounding_the_input(x, offset):
    shape = x.shape[1:]
    assume(math.prod(shape) > 1)
    spread = x.std(correction=0)
    assume(spread > 0)
    shifted = x + offset * spread
    exact = NF.layer_norm(shifted.double(), shape)
    error = (NF.layer_norm(shifted, shape) - exact).abs().max()
    theirs = (F.layer_norm(shifted, shape) - exact).abs().max()
    assert error <= 4 * theirs + 1e-5


@given(st.sampled_from([(1, 4, 8), (3, 1, 8), (3, 4, 1)]), st.integers(0, 100))
def test_an_expanded_input_without_strides_counts_as_its_copy(small, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(small, generator=generator, dtype=torch.float64).expand(3, 4, 8)
    assert 0 in x.stride()
    for (ours, _), (again, theirs) in zip(
        in_torch_and_here(x, 1e-5), in_torch_and_here(x.contiguous(), 1e-5), strict=True
    ):
        assert_close(ours, again)
        assert_close(ours, theirs)
