"""The functions, against torch, against one-line formulas, and against what must hold of them."""

import math

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from helpers import in_torch_and_here, rand
from normtutorial import functional as NF

SHAPES = [(6, 4), (3, 4, 5), (3, 4, 2, 5), (2, 4, 2, 3, 2)]


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("dims", [(0,), (1,), (-1,), (0, 2), (1, 2), (0, 1, 2)], ids=str)
def test_moments_are_those_of_torch(dims, correction):
    x = rand(3, 4, 5, shift=2.0)
    var, mean = torch.var_mean(x, dims, correction=correction, keepdim=True)
    assert_close(NF.moments(x, dims, correction=correction), (mean, var))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
def test_moments_of_half_precision_are_computed_in_float32(half):
    x = torch.full((4096, 1), 200.0, dtype=half)
    x[::2] = 100.0  # the sum, and every square, is beyond float16
    mean, var = NF.moments(x, (0,))
    assert (mean.dtype, mean.item()) == (torch.float32, 150.0)
    assert (var.dtype, var.item()) == (torch.float32, 2500.0)


def test_the_variance_does_not_cancel_when_the_mean_is_large():
    x = torch.tensor([0.0, 1.0, 2.0, 3.0]) + 2.0**20
    assert NF.moments(x, (0,))[1].item() == 1.25  # E[x^2] - E[x]^2 gives a multiple of 2^17


def test_eps_is_inside_the_root():
    x = torch.tensor([-1.0, 1.0])
    x_hat, rstd = NF.standardize(x, *NF.moments(x, (0,)), eps=3.0)
    assert rstd.item() == 0.5
    assert x_hat.tolist() == [-0.5, 0.5]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_batch_norm_is_that_of_torch(shape, training, scale):
    x, weight, bias = rand(*shape, scale=scale, shift=1.0), rand(4), rand(4)
    mean, var = rand(4), rand(4).square() + 0.1
    ours, theirs = (mean.clone(), var.clone()), (mean.clone(), var.clone())
    affine = {"weight": weight, "bias": bias}
    assert_close(
        NF.batch_norm(x, *ours, **affine, training=training, momentum=0.3, eps=1e-4),
        F.batch_norm(x, *theirs, **affine, training=training, momentum=0.3, eps=1e-4),
    )
    assert_close(ours, theirs)
    assert training != torch.equal(ours[0], mean)


@pytest.mark.parametrize("which", ["weight", "bias"])
def test_weight_and_bias_may_come_alone(which):
    x, alone = rand(6, 4), {which: rand(4)}
    assert_close(
        NF.batch_norm(x, None, None, training=True, **alone),
        F.batch_norm(x, None, None, training=True, **alone),
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_without_running_statistics_is_that_of_torch(shape):
    x = rand(*shape)
    assert_close(
        NF.batch_norm(x, None, None, training=True), F.batch_norm(x, None, None, training=True)
    )


@pytest.mark.parametrize("shape", [(4,), (3, 4), (1, 1), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("lead", [(), (5,), (2, 3)], ids=str)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_layer_norm_is_that_of_torch(shape, lead, scale):
    x, weight, bias = rand(*lead, *shape, scale=scale, shift=1.0), rand(*shape), rand(*shape)
    assert_close(NF.layer_norm(x, shape), F.layer_norm(x, shape))
    assert_close(
        NF.layer_norm(x, shape, weight, bias, 1e-4), F.layer_norm(x, shape, weight, bias, 1e-4)
    )


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("eps", [None, 0.0, 1e-4])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_rms_norm_is_that_of_torch(shape, eps, scale):
    x, weight = rand(2, *shape, scale=scale, shift=1.0), rand(*shape)
    assert_close(NF.rms_norm(x, shape, eps=eps), F.rms_norm(x, shape, eps=eps))
    assert_close(NF.rms_norm(x, shape, weight, eps), F.rms_norm(x, shape, weight, eps))


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_instance_norm_is_that_of_torch(shape, scale):
    x, weight, bias = rand(*shape, scale=scale, shift=1.0), rand(4), rand(4)
    ours = NF.instance_norm(x, weight, bias, 1e-4)
    assert_close(ours, F.instance_norm(x, weight=weight, bias=bias, eps=1e-4))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_group_norm_is_that_of_torch(shape, groups, scale):
    x, weight, bias = rand(*shape, scale=scale, shift=1.0), rand(4), rand(4)
    assert_close(
        NF.group_norm(x, groups, weight, bias, 1e-4), F.group_norm(x, groups, weight, bias, 1e-4)
    )


NORMS = {
    "batch": (lambda x: NF.batch_norm(x, None, None, training=True), (0, 2)),
    "layer": (lambda x: NF.layer_norm(x, x.shape[1:]), (1, 2)),
    "instance": (NF.instance_norm, (2,)),
    "group": (lambda x: NF.group_norm(x, 2), None),
}


@pytest.mark.parametrize("name", ["batch", "layer", "instance"])
def test_mean_is_0_and_variance_1_over_the_dims_that_share_them(name):
    norm, dims = NORMS[name]
    y = norm(rand(8, 4, 6, scale=100.0, shift=50.0))
    assert_close(y.mean(dims), torch.zeros_like(y.mean(dims)))
    assert_close(y.var(dims, correction=0), torch.ones_like(y.mean(dims)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NORMS)
def test_shift_and_scale_of_the_input_are_undone(name):
    norm, _ = NORMS[name]
    x = rand(8, 4, 6, scale=100.0)
    assert_close(norm(3.0 * x + 70.0), norm(x), rtol=0, atol=1e-6)  # eps / variance = 1e-9


@pytest.mark.parametrize("name", NORMS)
def test_the_order_of_the_batch_is_kept(name):
    norm, _ = NORMS[name]
    x, order = rand(8, 4, 6), torch.randperm(8)
    assert_close(norm(x[order]), norm(x)[order])


@pytest.mark.parametrize(
    "name, sharing",
    [
        ("batch", (slice(None), 2)),
        ("layer", (1,)),
        ("instance", (1, 2)),
        ("group", (1, slice(2, 4))),
    ],
)
def test_a_number_moves_those_that_share_its_mean_and_no_others(name, sharing):
    norm, _ = NORMS[name]
    x, expected = rand(8, 4, 6), torch.zeros(8, 4, 6, dtype=torch.bool)
    expected[sharing] = True
    touched = x.clone()
    touched[1, 2, 3] += 1
    assert_close(norm(touched) != norm(x), expected)


@pytest.mark.parametrize("name", ["layer", "instance", "group"])
def test_no_sample_sees_another(name):
    norm, _ = NORMS[name]
    x = rand(8, 4, 6)
    assert_close(norm(x[:1]), norm(x)[:1])


def test_in_batch_norm_samples_see_each_other():
    norm, _ = NORMS["batch"]
    x = rand(8, 4, 6)
    assert (norm(x[:4]) - norm(x)[:4]).abs().max() > 0.01


def test_one_group_is_layer_norm_over_channels_and_positions():
    x = rand(3, 4, 5)
    assert_close(NF.group_norm(x, 1), NF.layer_norm(x, (4, 5)))


def test_as_many_groups_as_channels_is_instance_norm():
    x = rand(3, 4, 5)
    assert_close(NF.group_norm(x, 4), NF.instance_norm(x))


def test_instance_norm_of_a_batch_of_one_is_batch_norm():
    x = rand(1, 4, 5)
    assert_close(NF.instance_norm(x), NF.batch_norm(x, None, None, training=True))


def test_rms_norm_is_layer_norm_where_the_mean_is_0():
    x = rand(3, 8)
    x = x - x.mean(-1, keepdim=True)
    assert_close(NF.rms_norm(x, (8,), eps=1e-5), NF.layer_norm(x, (8,)))


def test_rms_norm_keeps_the_mean():
    x = torch.tensor([[1.0, 7.0]])
    assert_close(NF.rms_norm(x, (2,), eps=0.0), x / 5)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1)], ids=str)
def test_batch_norm_in_training_says_that_one_value_is_too_few(shape):
    match = r"more than one value per channel; got input of shape .*\. Use a larger batch"
    with pytest.raises(ValueError, match=match + r"\.$"):
        NF.batch_norm(torch.zeros(shape), None, None, training=True)
    with pytest.raises(
        ValueError, match=match + r", or call \.eval\(\) to use the running statistics"
    ):
        NF.batch_norm(torch.zeros(shape), torch.zeros(3), torch.ones(3), training=True)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2), (4, 3, 0)], ids=str)
def test_an_empty_batch_in_training_comes_out_empty_and_teaches_nothing(shape):
    mean, var = torch.zeros(3), torch.ones(3)
    y = NF.batch_norm(torch.zeros(shape), mean, var, training=True)
    assert y.shape == shape
    assert (mean == 0).all() and (var == 1).all()


# --- where numbers end ----------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("name", ["batch", "layer", "instance", "group", "rms"])
def test_what_is_not_finite_stays_in_its_row_or_channel(bad, name):
    x = torch.randn(4, 6, 3, dtype=torch.float64)
    x[1, 2, 0] = bad
    ours, theirs = {
        "batch": (lambda x: NF.batch_norm(x, None, None, training=True),
                  lambda x: F.batch_norm(x, None, None, training=True)),
        "layer": (lambda x: NF.layer_norm(x, (6, 3)), lambda x: F.layer_norm(x, (6, 3))),
        "instance": (NF.instance_norm, F.instance_norm),
        "group": (lambda x: NF.group_norm(x, 2), lambda x: F.group_norm(x, 2)),
        "rms": (lambda x: NF.rms_norm(x, (3,)), lambda x: F.rms_norm(x, (3,))),
    }[name]  # fmt: skip
    a, b = ours(x), theirs(x)
    assert torch.equal(a.isfinite(), b.isfinite())
    assert not a.isfinite().all()
    assert_close(a[a.isfinite()], b[b.isfinite()])


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
def test_values_near_the_ends_of_half_precision_do_not_overflow(half):
    big = torch.finfo(half).max / 4
    x = (torch.rand(64, 32) * 2 - 1).mul(min(big, 1e18)).to(half)
    for function in (
        lambda x: NF.layer_norm(x, (32,)),
        lambda x: NF.batch_norm(x, None, None, training=True),
        lambda x: NF.rms_norm(x, (32,)),
    ):
        y, exact = function(x), function(x.double())
        assert y.isfinite().all()
        assert (y - exact).abs().max() < 4 * torch.finfo(half).eps * exact.abs().max()


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e30, 1e-40])
def test_without_variance_the_output_is_zero(value):
    x = torch.full((4, 8), value)
    for y in (NF.layer_norm(x, (8,)), NF.batch_norm(x, None, None, training=True)):
        assert torch.equal(y, torch.zeros_like(x))


@pytest.mark.parametrize("eps", [1e-38, 1e-12, 1e30])
@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-19, 1.0, 1e15], ids=str)
def test_at_the_ends_of_float32_it_is_torch_that_is_met(scale, eps):
    x = (torch.randn(3, 4, 8, dtype=torch.float64) * scale).float()  # 1e-42 is subnormal
    for ours, theirs in in_torch_and_here(x, eps):
        assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_one_element_has_no_variance():
    x = torch.randn(5, 1)
    assert torch.equal(NF.layer_norm(x, (1,)), torch.zeros(5, 1))
    assert_close(NF.rms_norm(x, (1,), eps=0.0), x.sign())
    assert torch.equal(NF.group_norm(x, 1), torch.zeros(5, 1))


# --- weight norm ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2, 2)], ids=str)
@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm_is_the_formula(shape, dim):
    v = rand(*shape)
    kept = [n if d == dim else 1 for d, n in enumerate(shape)]
    g = rand(*kept)
    others = [d for d in range(len(shape)) if d != dim]
    assert_close(NF.weight_norm(v, g, dim), g * v / v.square().sum(others, keepdim=True).sqrt())


def test_weight_norm_keeps_dim_0_unless_told():
    v = rand(3, 4)
    assert_close(NF.weight_norm(v, torch.ones(3, 1)).norm(dim=1), torch.ones(3).double())


@pytest.mark.parametrize("dim", [0, 1, None])
def test_g_is_the_length_of_the_weight(dim):
    g = rand(*{0: (3, 1), 1: (1, 4), None: (1, 1)}[dim])
    assert_close(NF.lengths(NF.weight_norm(rand(3, 4), g, dim), dim), g.abs())


def test_the_length_of_v_has_no_effect():
    v, g = rand(3, 4), rand(3, 1)
    assert_close(NF.weight_norm(100 * v, g), NF.weight_norm(v, g))


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
def test_one_length_for_the_whole_tensor_may_have_any_shape(shape):
    v = rand(3, 4)
    assert_close(NF.weight_norm(v, torch.full(shape, 2.0).double(), None), 2 * v / v.norm())


def test_lengths_of_half_precision_do_not_overflow():
    v = torch.full((2, 1024), 100.0, dtype=torch.float16)  # a square is beyond float16
    assert NF.lengths(v, 0).flatten().tolist() == [3200.0, 3200.0]


@pytest.mark.parametrize("call", [NF.weight_norm, NF.weight_norm_backward])
def test_a_zero_row_is_reported_and_named(call):
    v = torch.ones(3, 2)
    v[1] = 0
    arguments = (v, torch.ones(3, 1)) if call is NF.weight_norm else (v, v, torch.ones(3, 1))
    with pytest.raises(ValueError, match=r"zero slice \(dim=0\) at \[1\]"):
        call(*arguments)


def test_a_zero_tensor_is_reported():
    with pytest.raises(ValueError, match=r"shape \(2, 2\) has a zero slice \(dim=None\)\."):
        NF.weight_norm(torch.zeros(2, 2), torch.ones(()), None)


@pytest.mark.parametrize("dim", [-1, 2])
def test_a_dim_that_is_not_there_is_reported(dim):
    with pytest.raises(ValueError, match=rf"expects dim from 0 to 1, .* got dim={dim}"):
        NF.weight_norm(torch.ones(2, 2), torch.ones(2, 1), dim)


def test_all_names_are_there_and_documented():
    for name in NF.__all__:
        assert "Example" in getattr(NF, name).__doc__, name


def test_a_number_worked_by_hand():
    x = torch.tensor([[1.0, 2.0, 3.0, 6.0]])  # mean 3, variance (4 + 1 + 0 + 9) / 4 = 3.5
    expected = torch.tensor([[-2.0, -1.0, 0.0, 3.0]]) / math.sqrt(3.5)
    assert_close(NF.layer_norm(x, (4,), eps=0.0), expected)


def test_running_statistics_are_needed_both_where_the_batch_s_are_not_used():
    x, one = torch.randn(3, 2), torch.ones(2)
    for mean, var in ((None, None), (one, None), (None, one)):
        with pytest.raises(ValueError, match="needs running_mean and running_var"):
            NF.batch_norm(x, mean, var)


def test_the_default_momentum_is_a_tenth():
    x, mean, var = torch.tensor([[0.0], [4.0]]), torch.zeros(1), torch.ones(1)
    NF.batch_norm(x, mean, var, training=True)
    assert mean.item() == pytest.approx(0.9 * 0 + 0.1 * 2)


def test_one_running_statistic_moves_without_the_other():
    x = torch.tensor([[0.0], [4.0]])
    for at in 0, 1:
        running: list[torch.Tensor | None] = [None, None]
        running[at] = torch.zeros(1)
        NF.batch_norm(x, *running, training=True, momentum=1.0)
        assert running[at].item() == (2.0, 8.0)[at]


def test_instance_norm_has_the_same_default_momentum():
    x, mean, var = torch.tensor([[[0.0, 4.0]]]), torch.zeros(1), torch.zeros(1)
    NF.instance_norm(x, running_mean=mean, running_var=var)
    assert (mean.item(), var.item()) == pytest.approx((0.1 * 2, 0.1 * 8))


def test_the_running_variance_is_the_unbiased_one():
    x, mean, var = torch.tensor([[0.0], [4.0]]), torch.zeros(1), torch.ones(1)
    NF.batch_norm(x, mean, var, training=True, momentum=1.0)
    assert var.item() == 8.0  # ((0 - 2)^2 + (4 - 2)^2) / (2 - 1)
    NF.batch_norm(x, mean, var.fill_(0), training=True)
    assert var.item() == pytest.approx(0.1 * 8)
