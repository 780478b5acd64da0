"""The layers beside torch's: the same function, the same names, in every situation."""

import copy
import inspect
import pickle
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_linear_bn_eval
from torch.testing import assert_close

from helpers import assert_same_step, knows, rand, randomize_
from normtutorial import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm

TWINS: list[tuple] = [  # ours, torch's, the leading arguments, shapes of input
    (BatchNorm, nn.BatchNorm1d, (4,), [(6, 4), (3, 4, 5)]),
    (BatchNorm, nn.BatchNorm2d, (4,), [(3, 4, 2, 5)]),
    (BatchNorm, nn.BatchNorm3d, (4,), [(2, 4, 2, 3, 2)]),
    (InstanceNorm, nn.InstanceNorm1d, (4,), [(3, 4, 5)]),
    (InstanceNorm, nn.InstanceNorm2d, (4,), [(3, 4, 2, 5)]),
    (InstanceNorm, nn.InstanceNorm3d, (4,), [(2, 4, 2, 3, 2)]),
    (GroupNorm, nn.GroupNorm, (2, 4), [(6, 4), (3, 4, 5), (3, 4, 2, 5)]),
    (GroupNorm, nn.GroupNorm, (1, 4), [(3, 4, 5)]),
    (GroupNorm, nn.GroupNorm, (4, 4), [(3, 4, 5)]),
    (LayerNorm, nn.LayerNorm, (4,), [(4,), (6, 4), (3, 5, 4)]),
    (LayerNorm, nn.LayerNorm, ((3, 4),), [(3, 4), (2, 5, 3, 4)]),
    (LayerNorm, nn.LayerNorm, ([2, 3, 4],), [(5, 2, 3, 4)]),
    (LayerNorm, nn.LayerNorm, (torch.Size([4]),), [(6, 4)]),
    (RMSNorm, nn.RMSNorm, (4,), [(4,), (6, 4), (3, 5, 4)]),
    (RMSNorm, nn.RMSNorm, ((3, 4),), [(2, 5, 3, 4)]),
]
OPTIONS: dict[type, list[dict]] = {
    BatchNorm: [
        {},
        {"eps": 0.1},
        {"momentum": 0.7},
        {"momentum": 0.0},
        {"momentum": None},
        {"affine": False},
        {"bias": False},
        {"track_running_stats": False},
        {"track_running_stats": False, "momentum": None},
        {"affine": False, "track_running_stats": False},
    ],
    InstanceNorm: [
        {},
        {"eps": 0.1},
        {"affine": True},
        {"affine": True, "bias": False},
        {"affine": True, "track_running_stats": True},
        {"track_running_stats": True, "momentum": 0.7},
    ],
    GroupNorm: [{}, {"eps": 0.1}, {"affine": False}, {"bias": False}],
    LayerNorm: [{}, {"eps": 0.1}, {"elementwise_affine": False}, {"bias": False}],
    RMSNorm: [{}, {"eps": 0.1}, {"eps": 0.0}, {"elementwise_affine": False}],
}
PAIRS = [
    pytest.param(
        partial(ours, *arguments, **options),
        partial(theirs, *arguments, **options),
        shape,
        id=f"{theirs.__name__}{arguments} {options or 'defaults'} on {shape}",
    )
    for ours, theirs, arguments, shapes in TWINS
    for options in OPTIONS[ours]
    for shape in shapes
    if all(knows(theirs, option) for option in options)
]
NAMED = {
    ours: (ours, theirs, arguments, shapes[-1])
    for ours, theirs, arguments, shapes in TWINS
    if arguments in [(4,), (2, 4)]
}
EACH = pytest.mark.parametrize(
    "ours, theirs, arguments, shape", NAMED.values(), ids=[c.__name__ for c in NAMED]
)
FULL = {
    InstanceNorm: {"affine": True, "track_running_stats": True}
}  # as much state as there can be


def assert_in_step(ours, theirs, shape, scale) -> None:
    """The same function in training and in eval, and the same state after it."""
    ours, theirs = randomize_(ours().double()), theirs().double()
    theirs.load_state_dict(ours.state_dict())
    for _ in range(3):
        assert_same_step(ours, theirs, rand(*shape, scale=scale, shift=scale))
    assert_same_step(ours.eval(), theirs.eval(), rand(*shape, scale=scale))
    assert_same_step(ours.train(), theirs.train(), rand(*shape, scale=scale))
    ours.load_state_dict(theirs.state_dict())  # and back


@pytest.mark.parametrize("ours, theirs, shape", PAIRS)
def test_layer_walks_in_step_with_torch(ours, theirs, shape):
    assert_in_step(ours, theirs, shape, scale=1e-3)  # there the variance is that of eps


@pytest.mark.parametrize("ours, theirs, shape", PAIRS)
def test_public_attributes_are_those_of_torch(ours, theirs, shape):
    ours, theirs = ours(), theirs()
    there = {k: v for k, v in vars(theirs).items() if not k.startswith("_")}
    assert {k: getattr(ours, k) for k in there} == there
    names = dict(theirs.named_parameters()) | dict(theirs.named_buffers())
    for name in {"weight", "bias", "running_mean", "running_var"} & set(dir(theirs)):
        assert (getattr(ours, name) is None) == (name not in names), name


@EACH
def test_arguments_and_defaults_are_those_of_torch(ours, theirs, arguments, shape):
    def of(layer):
        return [(p.name, p.default, p.kind) for p in inspect.signature(layer).parameters.values()]

    assert [p for p in of(ours) if knows(theirs, p[0])] == of(theirs)


@EACH
def test_state_dict_is_that_of_torch(ours, theirs, arguments, shape):
    options = FULL.get(ours, {})
    a, b = ours(*arguments, **options).state_dict(), theirs(*arguments, **options).state_dict()
    assert list(a) == list(b)
    assert_close(dict(a), dict(b))  # values, shapes and dtypes as they start


@pytest.mark.parametrize(
    "theirs", [nn.BatchNorm2d, partial(nn.InstanceNorm2d, **FULL[InstanceNorm])]
)
def test_state_dicts_from_before_batches_were_counted_load(theirs):
    ours = BatchNorm(4) if theirs is nn.BatchNorm2d else InstanceNorm(4, **FULL[InstanceNorm])
    state = theirs(4).state_dict()
    del state["num_batches_tracked"]
    state._metadata = {}
    ours.load_state_dict(state)
    assert ours.num_batches_tracked.item() == 0


def test_a_missing_count_of_batches_is_an_error_otherwise():
    state = nn.BatchNorm1d(4).state_dict()
    del state["num_batches_tracked"]
    with pytest.raises(RuntimeError, match=r"Missing key.*num_batches_tracked"):
        BatchNorm(4).load_state_dict(state)


@EACH
def test_repr_can_be_read_back(ours, theirs, arguments, shape):
    layer = ours(*arguments, eps=0.25, **FULL.get(ours, {}))
    assert repr(eval(repr(layer))) == repr(layer)


@EACH
def test_a_layer_starts_with_weight_1_and_bias_0(ours, theirs, arguments, shape):
    layer = ours(*arguments, **FULL.get(ours, {}))
    assert (layer.weight == 1).all()
    bias = getattr(layer, "bias", None)  # RMS norm has none
    assert bias is None or (bias == 0).all()


@EACH
def test_reset_parameters_starts_anew(ours, theirs, arguments, shape):
    layer = randomize_(ours(*arguments, **FULL.get(ours, {})))
    layer(torch.randn(shape))
    layer.reset_parameters()
    fresh = ours(*arguments, **FULL.get(ours, {}))
    assert_close(dict(layer.state_dict()), dict(fresh.state_dict()))


# --- what batch norm remembers --------------------------------------------------------------------


def test_momentum_is_the_share_of_the_new_value():
    layer = BatchNorm(1, momentum=0.25)
    layer(torch.tensor([[0.0], [4.0]]))
    assert layer.running_mean.item() == 0.5  # 0.75 * 0 + 0.25 * 2


def test_the_running_variance_is_the_unbiased_one():
    layer = BatchNorm(1, momentum=1.0)
    layer(torch.tensor([[0.0], [4.0]]))
    assert layer.running_var.item() == 8.0  # ((0 - 2)^2 + (4 - 2)^2) / (2 - 1)


def test_the_variance_that_normalizes_is_the_biased_one():
    y = BatchNorm(1, eps=0.0)(torch.tensor([[0.0], [4.0]]))
    assert y.tolist() == [[-1.0], [1.0]]


def test_momentum_none_averages_all_batches_alike():
    layer, batches = BatchNorm(4, momentum=None).double(), rand(5, 6, 4)
    for x in batches:
        layer(x)
    assert_close(layer.running_mean, batches.mean((0, 1)))
    assert_close(layer.running_var, batches.var(1).mean(0))


def test_batches_are_counted_in_training_only():
    layer, x = BatchNorm(4), torch.randn(6, 4)
    for _ in range(3):
        layer(x)
    layer.eval()(x)
    assert layer.num_batches_tracked.item() == 3


def test_nothing_changes_in_eval():
    layer = BatchNorm(4).eval()
    before = copy.deepcopy(layer.state_dict())
    layer(torch.randn(6, 4))
    assert_close(dict(layer.state_dict()), dict(before), rtol=0, atol=0)


def test_in_eval_a_sample_does_not_see_the_others():
    layer, x = BatchNorm(4).eval(), torch.randn(6, 4)
    assert_close(layer(x[:1]), layer(x)[:1])


def test_in_eval_a_linear_layer_can_take_it_in():
    linear, layer, x = nn.Linear(5, 4).double(), BatchNorm(4).double(), rand(7, 5)
    layer.running_mean.copy_(rand(4))
    layer.running_var.copy_(rand(4).exp())
    layer.weight.data, layer.bias.data = rand(4), rand(4)
    folded = fuse_linear_bn_eval(linear.eval(), layer.eval())
    assert_close(folded(x), layer(linear(x)))


def test_without_running_statistics_eval_takes_those_of_the_batch():
    layer, x = BatchNorm(4, track_running_stats=False), torch.randn(6, 4)
    assert_close(layer.eval()(x), layer.train()(x))
    assert layer.running_mean is None and layer.num_batches_tracked is None


def test_the_mode_is_that_of_the_module_and_not_of_autograd():
    layer, x = BatchNorm(4), torch.randn(64, 4) + 5
    with torch.no_grad():
        assert layer(x).mean().abs() < 1e-5
        assert layer.num_batches_tracked.item() == 1
    layer.eval()
    assert layer(x.requires_grad_()).mean() > 1
    assert layer.num_batches_tracked.item() == 1


def test_the_running_statistics_do_not_keep_the_graph():
    layer = nn.Sequential(nn.Linear(4, 4), BatchNorm(4))
    for _ in range(2):
        layer(torch.randn(6, 4))
    for name, buffer in layer.named_buffers():
        assert buffer.grad_fn is None and not buffer.requires_grad, name


def test_the_running_statistics_are_in_the_state_dict():
    layer = BatchNorm(4)
    layer(torch.randn(6, 4))
    assert_close(layer.state_dict()["running_mean"], layer.running_mean)
    assert_close(layer.state_dict()["running_var"], layer.running_var)


def test_running_statistics_that_were_not_moved_stay_the_same_tensors():
    layer = BatchNorm(4)
    mean, var = layer.running_mean, layer.running_var
    layer(torch.randn(6, 4))
    assert layer.running_mean is mean and layer.running_var is var  # others may hold them


def test_instance_norm_with_running_statistics_normalizes_by_its_own_in_training():
    tracking, plain = InstanceNorm(4, track_running_stats=True), InstanceNorm(4)
    x = torch.randn(3, 4, 5)
    assert_close(tracking(x), plain(x))
    assert (tracking.eval()(x) - plain(x)).abs().max() > 0.01


def test_instance_norm_with_momentum_none_leaves_its_statistics():
    layer = InstanceNorm(4, track_running_stats=True, momentum=None)
    layer(torch.randn(3, 4, 5))
    assert (layer.running_mean == 0).all() and (layer.running_var == 1).all()


# --- precision ------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_in_float32_it_agrees_with_torch(ours, theirs, arguments, shape, training):
    ours = randomize_(ours(*arguments)).train(training)
    theirs = theirs(*arguments).train(training)
    theirs.load_state_dict(ours.state_dict())
    assert_same_step(ours, theirs, torch.randn(16, *shape[1:]), rtol=1e-5, atol=1e-5)


@EACH
def test_in_float32_an_offset_of_ten_thousand_does_no_harm(ours, theirs, arguments, shape):
    layer, x = ours(*arguments), torch.randn(16, *shape[1:]) + 1e4
    y, exact = layer(x), copy.deepcopy(layer).double()(x.double())
    # The mean is rounded to float32, spaced 1e-3 there: 1e-2 is ten times that, as a share of std.
    assert_close(y.double(), exact, rtol=0, atol=1e-2)
    if hasattr(layer, "running_var"):
        layer, exact = BatchNorm(4, momentum=1.0), x.double().transpose(0, 1).flatten(1).var(1)
        layer(x)
        assert_close(layer.running_var.double(), exact, rtol=1e-4, atol=0)


@EACH
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("parameters", ["half", "float32"])
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
def test_in_half_precision_only_the_output_is_rounded(
    ours, theirs, arguments, shape, half, parameters, training
):
    layer = randomize_(ours(*arguments, **FULL.get(ours, {})))
    if hasattr(layer, "running_var"):
        layer.running_mean.fill_(30.0)
        layer.running_var.fill_(2.0)
    layer = (layer.to(half) if parameters == "half" else layer).train(training)
    x = (torch.randn(8, *shape[1:]) + 30).to(half)
    exact = copy.deepcopy(layer).double()(x.double())
    y = layer(x)
    assert y.dtype == half
    eps = torch.finfo(half).eps
    assert_close(y.double(), exact, rtol=eps, atol=2e-5)  # atol: float32, cancelling at 30


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
def test_gradients_in_half_precision_are_close_and_of_its_dtype(half):
    x, upstream = torch.randn(64, 32).to(half), torch.randn(64, 32).to(half)
    for layer in BatchNorm(32), LayerNorm(32), GroupNorm(4, 32), RMSNorm(32):
        grads = []
        for dtype in half, torch.float64:
            leaf = x.to(dtype).requires_grad_()
            model = copy.deepcopy(layer).to(dtype)
            grads += torch.autograd.grad(model(leaf), [leaf], upstream.to(dtype))
        assert grads[0].dtype == half
        error = (grads[0].double() - grads[1]).norm() / grads[1].norm()
        assert error < torch.finfo(half).eps, layer


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_not_hidden(value):
    x = torch.randn(6, 4)
    x[2, 1] = value
    for layer in BatchNorm(4), LayerNorm(4), GroupNorm(2, 4), RMSNorm(4):
        assert layer(x)[2, 1].isnan()


def test_a_constant_feature_becomes_0():
    assert BatchNorm(4)(torch.full((6, 4), 3.0)).abs().max() == 0


# --- what is done to modules ----------------------------------------------------------------------


@EACH
@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, copy.copy, lambda layer: pickle.loads(pickle.dumps(layer))],
    ids=["deepcopy", "copy", "pickle"],
)
def test_a_copy_made_in_the_midst_of_training_is_the_same(
    ours, theirs, arguments, shape, duplicate
):
    layer = randomize_(ours(*arguments, **FULL.get(ours, {})))
    layer(torch.randn(shape, requires_grad=True))
    other = duplicate(layer).eval()
    x = torch.randn(shape)
    assert repr(other) == repr(layer)
    assert_close(other(x), layer.eval()(x), rtol=0, atol=0)


def test_a_deep_copy_shares_no_statistics():
    layer = BatchNorm(4)
    copy.deepcopy(layer)(torch.randn(6, 4))
    assert layer.num_batches_tracked.item() == 0 and (layer.running_mean == 0).all()


@EACH
def test_device_and_dtype_reach_every_tensor(ours, theirs, arguments, shape):
    options = {"device": "meta", "dtype": torch.bfloat16, **FULL.get(ours, {})}
    for name, tensor in ours(*arguments, **options).state_dict().items():
        assert tensor.device.type == "meta", name
        assert tensor.dtype == (torch.long if name == "num_batches_tracked" else torch.bfloat16)


@EACH
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_on_meta_the_shape_comes_out(ours, theirs, arguments, shape, training):
    layer = ours(*arguments, device="meta", **FULL.get(ours, {})).train(training)
    y = layer(torch.empty(shape, device="meta"))
    assert (y.shape, y.device.type) == (shape, "meta")


@EACH
def test_a_layer_from_meta_can_be_given_memory_and_reset(ours, theirs, arguments, shape):
    layer = ours(*arguments, device="meta", **FULL.get(ours, {})).to_empty(device="cpu")
    layer.reset_parameters()
    fresh = ours(*arguments, **FULL.get(ours, {}))
    assert_close(dict(layer.state_dict()), dict(fresh.state_dict()))


@EACH
def test_moving_to_another_dtype_takes_everything_along(ours, theirs, arguments, shape):
    layer = ours(*arguments, **FULL.get(ours, {})).double()
    assert layer(rand(*shape)).dtype == torch.float64
    assert {t.dtype for t in layer.state_dict().values()} <= {torch.float64, torch.long}


LAYOUTS = {
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 3).contiguous().transpose(0, 3),
    "every second": lambda x: x.repeat_interleave(2, dim=1)[:, ::2],
    "expanded": lambda x: x[:1].expand(3, -1, -1, -1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "layer", [BatchNorm(4), InstanceNorm(4), GroupNorm(2, 4), LayerNorm(5), RMSNorm(5)], ids=repr
)
def test_the_layout_in_memory_does_not_matter(layer, layout):
    x = LAYOUTS[layout](torch.randn(3, 4, 2, 5))
    assert_close(layer(x), layer(x.contiguous()))


def test_the_input_is_not_changed():
    x = torch.randn(6, 4)
    before = x.clone()
    for layer in BatchNorm(4), LayerNorm(4), GroupNorm(2, 4), RMSNorm(4):
        layer(x)
    assert_close(x, before, rtol=0, atol=0)


@EACH
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_under_autocast_the_output_is_as_with_torch(ours, theirs, arguments, shape, training):
    options = FULL.get(ours, {})
    ours = nn.Sequential(nn.Conv1d(4, 4, 1), ours(*arguments, **options)).train(training)
    theirs = nn.Sequential(nn.Conv1d(4, 4, 1), theirs(*arguments, **options)).train(training)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(16, 4, 4)
    if isinstance(theirs[1], nn.InstanceNorm3d | nn.BatchNorm3d):
        vars(theirs[1])["_check_input_dim"] = lambda x: None  # that takes 5 dims only
    if isinstance(theirs[1], nn.RMSNorm):  # torch warns of the mixed dtypes
        theirs[1] = copy.deepcopy(ours[1])
    with torch.autocast("cpu", torch.bfloat16):
        y, reference = ours(x), theirs(x)
    assert y.dtype == reference.dtype == torch.bfloat16
    assert_close(y, reference)
    assert_close(dict(ours.named_buffers()), dict(theirs.named_buffers()), rtol=1e-4, atol=1e-4)
    assert_close(y.float(), ours(x), rtol=0.05, atol=0.05)


# --- errors ---------------------------------------------------------------------------------------

ERRORS = [
    (
        BatchNorm(4),
        (6, 5),
        r"BatchNorm\(4\) expects input \(N, 4, \.\.\.\), features in dim 1; got",
    ),
    (BatchNorm(4), (4,), r"features in dim 1; got input of shape \(4,\)"),
    (
        BatchNorm(4),
        (1, 4),
        r"more than one value per channel; got .*\(1, 4\).*larger batch, or .*\.eval\(\)",
    ),
    (
        BatchNorm(4, track_running_stats=False).eval(),  # there is nothing else to use
        (1, 4),
        r"more than one value per channel; got input of shape \(1, 4\)\. Use a larger batch\.$",
    ),
    (InstanceNorm(4), (6, 5, 3), r"InstanceNorm\(4.* expects input \(N, 4, positions\.\.\.\)"),
    (InstanceNorm(4), (6, 4), r"positions\.\.\.\), features in dim 1; got input of shape \(6, 4\)"),
    (InstanceNorm(4), (6, 4, 1), r"expects more than one position per channel; got .*\(6, 4, 1\)"),
    (
        GroupNorm(2, 4),
        (6, 5),
        r"GroupNorm\(2, 4\) expects input \(N, 4, \.\.\.\), features in dim 1",
    ),
    (GroupNorm(2, 4), (4,), r"features in dim 1; got input of shape \(4,\)"),
    (GroupNorm(4, 4), (1, 4), r"expects more than one value per group; got .*\(1, 4\)"),
    (LayerNorm(4), (6, 5), r"LayerNorm\(\(4,\).* expects input \(\.\.\., 4\); got .*\(6, 5\)"),
    (LayerNorm((3, 4)), (4,), r"expects input \(\.\.\., 3, 4\); got input of shape \(4,\)"),
    (RMSNorm(4), (6, 5), r"RMSNorm\(\(4,\).* expects input \(\.\.\., 4\); got .*\(6, 5\)"),
    (RMSNorm((3, 4)), (4,), r"expects input \(\.\.\., 3, 4\); got input of shape \(4,\)"),
]


@pytest.mark.parametrize("layer, shape, match", ERRORS, ids=lambda v: None)
def test_a_shape_that_does_not_fit_is_a_sentence(layer, shape, match):
    with pytest.raises(ValueError, match=match):
        layer(torch.zeros(shape))


@EACH
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool], ids=str)
def test_integers_are_refused_with_a_hint(ours, theirs, arguments, shape, dtype):
    match = rf"{ours.__name__}.* expects floating-point input; got {dtype}\. .*\.float\(\)"
    with pytest.raises(ValueError, match=match):
        ours(*arguments)(torch.ones(shape, dtype=dtype))


@EACH
@pytest.mark.parametrize("eps", [-1e-5, float("nan")])
def test_a_negative_eps_is_refused(ours, theirs, arguments, shape, eps):
    with pytest.raises(ValueError, match=rf"{ours.__name__} expects eps >= 0; got eps={eps}"):
        ours(*arguments, eps=eps)


@pytest.mark.parametrize(
    "make", [lambda: BatchNorm(0), lambda: LayerNorm(()), lambda: RMSNorm((3, 0))]
)
def test_a_size_below_1_is_refused(make):
    with pytest.raises(ValueError, match="Norm expects positive sizes; got"):
        make()


@pytest.mark.parametrize("groups", [0, -2, 4, 12])
def test_groups_that_do_not_divide_are_refused_with_those_that_do(groups):
    match = rf"num_groups to divide num_channels=6; got {groups}\. These do: 1, 2, 3, 6\."
    with pytest.raises(ValueError, match=match):
        GroupNorm(groups, 6)


@pytest.mark.parametrize(
    "layer",
    [BatchNorm(4).eval(), InstanceNorm(4), GroupNorm(2, 4), LayerNorm(5), RMSNorm(5)],
    ids=lambda layer: type(layer).__name__,
)
def test_an_empty_batch_that_needs_no_statistics_of_itself_comes_out_empty(layer):
    assert layer(torch.zeros(0, 4, 5)).shape == (0, 4, 5)


def test_a_batch_of_one_with_positions_is_enough_for_batch_norm():
    assert BatchNorm(4)(torch.randn(1, 4, 5)).isfinite().all()


@pytest.mark.parametrize("layer", [LayerNorm, RMSNorm])
def test_a_size_may_be_any_integer(layer):
    numpy = pytest.importorskip("numpy")
    assert layer(numpy.int64(4)).normalized_shape == (4,)


@pytest.mark.parametrize(
    "ours, theirs", [(BatchNorm, nn.BatchNorm2d), (InstanceNorm, nn.InstanceNorm2d)]
)
def test_state_dicts_have_the_version_of_torch(ours, theirs):
    state = ours(3, track_running_stats=True).state_dict()
    assert state._metadata == theirs(3, track_running_stats=True).state_dict()._metadata
    assert state["num_batches_tracked"].dtype == torch.long


@pytest.mark.parametrize("tracked", [True, False])
def test_instance_norm_in_eval_uses_what_it_tracked_while_it_is_told_to(tracked):
    ours, theirs = (
        f(3, eps=0.5, track_running_stats=True) for f in (InstanceNorm, nn.InstanceNorm2d)
    )
    for layer in ours, theirs:
        layer.running_mean.fill_(2)
        layer.running_var.fill_(4)
        layer.track_running_stats = tracked
        layer.eval()
    x = torch.randn(2, 3, 4, 4)
    assert_close(ours(x), theirs(x))


def test_an_empty_batch_has_no_positions_to_count_and_a_single_one_has():
    assert InstanceNorm(4)(torch.empty(0, 4, 1)).shape == (0, 4, 1)
    with pytest.raises(ValueError, match="more than one position"):
        InstanceNorm(4)(torch.ones(1, 4, 1))
