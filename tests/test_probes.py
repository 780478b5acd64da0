"""The probes see what is there, disturb nothing and leave nothing behind."""

import math
from contextlib import ExitStack

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from normtutorial.probes import PERCENTILES, ActivationProbe, GradientProbe, activations


def network(activation=nn.ReLU, width=12):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(9, width), nn.BatchNorm1d(width), activation(), nn.Linear(width, 4)
    )


def images(n=32, seed=1):
    return torch.randn(n, 1, 3, 3, generator=torch.Generator().manual_seed(seed))


def train(model, steps, probes=(), lr=1e-2):
    """A loop by hand, with a pass in eval mode after every step."""
    optimizer = torch.optim.Adam(model.parameters(), lr)
    with ExitStack() as stack:
        for probe in probes:
            stack.enter_context(probe)
        for step in range(steps):
            model.train()
            loss = F.cross_entropy(model(images(seed=step)), torch.arange(32) % 4)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                model.eval()(images(seed=99))
    return model


def hooks(model):
    """Everything that is hooked anywhere: modules and parameters."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    on_modules = [dict(getattr(m, kind)) for m in model.modules() for kind in kinds]
    on_parameters = [
        dict(getattr(p, "_post_accumulate_grad_hooks", None) or {}) for p in model.parameters()
    ]
    return on_modules + on_parameters


def record_of(output, *, module=None, **options):
    """The record of one pass through a layer that puts out ``output``."""

    class Fixed(module or nn.Module):
        def forward(self, x):
            return output

    model = nn.Sequential(Fixed())
    with ActivationProbe(model, ["0"], **options) as probe:
        model(None)
    return probe.records["0"]


# What is counted


def test_every_third_pass_is_recorded_from_the_first_on():
    model = network()
    with ActivationProbe(model, every=3) as probe:
        for _ in range(8):
            model(images())
    assert probe.passes == [0, 3, 6]
    assert probe.records["1"].passes.tolist() == [0, 3, 6]


def test_passes_in_eval_mode_are_neither_counted_nor_recorded():
    train(model := network(), 4, [probe := ActivationProbe(model, every=2)])
    assert probe.passes == [0, 2]


def test_passes_without_gradients_are_recorded_too():
    model = network()
    with ActivationProbe(model) as one, GradientProbe(model) as two:
        with torch.no_grad():
            model(images())
        with torch.inference_mode():
            model(images())
    assert one.passes == two.passes == [0]
    assert two.records["1.weight"].grad_norm.isnan().all()
    assert two.records["1.weight"].update_norm.tolist() == [0]


def test_a_probe_that_is_entered_again_counts_on():
    model = network()
    probe = ActivationProbe(model, every=2)
    for _ in range(2):
        with probe:
            for _ in range(3):
                model(images())
    assert probe.passes == [0, 2, 4]


@pytest.mark.parametrize("kind", [ActivationProbe, GradientProbe])
def test_a_probe_at_work_cannot_be_entered(kind):
    with kind(network()) as probe, pytest.raises(RuntimeError, match=f"{kind.__name__} is at work"):
        probe.__enter__()


def test_a_module_called_outside_of_a_pass_is_not_recorded():
    model = network()
    with ActivationProbe(model, every=1) as probe:
        model(images())
        model[1](torch.randn(5, 9))
    assert len(probe.records["1"].passes) == 1


def test_a_pass_that_fails_is_not_recorded():
    model = network()
    with ActivationProbe(model, every=1) as probe:
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            model(torch.randn(5, 7))
        model(images())
    assert probe.passes == [1]
    assert all(record.passes.tolist() == [1] for record in probe.records.values())


# Which layers


def test_without_names_every_module_without_children_is_recorded():
    model = nn.Sequential(nn.Sequential(nn.Linear(9, 3), nn.ReLU()), nn.Tanh())
    with ActivationProbe(model) as probe:
        model(torch.randn(4, 9))
    assert list(probe.records) == ["0.0", "0.1", "1"]


def test_a_named_container_is_recorded_with_its_output():
    model = nn.Sequential(nn.Sequential(nn.Linear(9, 3), nn.ReLU()), nn.Tanh())
    with ActivationProbe(model, ["0"]) as probe:
        model(torch.randn(4, 9))
    assert list(probe.records) == ["0"]
    assert probe.records["0"].mean.min() >= 0


def test_a_model_that_is_a_single_layer_can_be_probed():
    model = nn.Linear(3, 2)
    with ActivationProbe(model) as probe:
        model(torch.randn(4, 3))
    assert probe.records[""].mean.shape == (1, 2)


def test_a_parametrized_layer_is_recorded_and_its_parametrization_is_not():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(9, 3)), nn.ReLU())
    with ActivationProbe(model) as probe:
        model(torch.randn(4, 9))
    assert list(probe.records) == ["0", "1"]


class Shared(nn.Sequential):
    """One ReLU behind both linear layers, called as often as the second is."""

    def __init__(self):
        super().__init__(nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, 5))
        self.again = self[1]
        self.depth = 2

    def forward(self, x):
        x = self[1](self[0](x))
        for _ in range(self.depth):
            x = self[1](self[2](x))
        return x


def test_every_call_of_a_shared_module_is_recorded():
    model, x = Shared(), torch.randn(6, 9)
    with ActivationProbe(model, every=1) as probe:
        last = model(x).detach()
        model.depth = 1
        model(x)
    first = F.relu(model[0](x)).detach()
    calls = activations(model, x)
    assert list(probe.records) == ["0", "1", "2", "1#2", "2#2", "1#3"]
    assert list(calls) == ["0", "1", "2", "1#2"]
    assert_close(calls["1"], first)
    assert_close(probe.records["1"].mean[0], first.mean(0))
    assert_close(probe.records["1#3"].mean[0], last.mean(0))
    assert_close(probe.records["1#2"].mean[1], calls["1#2"].mean(0))
    assert probe.records["1#2"].passes.tolist() == [0, 1]
    assert probe.records["1#3"].passes.tolist() == [0]


def test_calls_of_a_module_may_differ_in_their_units():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(9, 5), relu, nn.Linear(5, 3), relu)
    with ActivationProbe(model, every=1) as probe:
        for _ in range(2):
            model(torch.randn(6, 9))
    assert probe.records["1"].mean.shape == (2, 5) and probe.records["1#2"].mean.shape == (2, 3)


def test_calls_are_counted_from_one_in_each_pass_also_after_a_pass_that_failed():
    model = Shared()
    with ActivationProbe(model, every=1) as probe:
        model.depth = None
        with pytest.raises(TypeError):
            model(torch.randn(6, 9))
        model.depth = 1
        model(torch.randn(6, 9))
    assert list(probe.records) == ["0", "1", "2", "1#2"]


def test_a_shared_module_can_be_named_by_either_of_its_names():
    with ActivationProbe(model := Shared(), ["again"]) as probe:
        model(torch.randn(6, 9))
    assert list(probe.records) == ["again", "again#2", "again#3"]


class Puts(nn.Module):
    """Puts out what it is told to, made of its input."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def forward(self, x):
        return self.what(x)


def seen(model, x, layers=None):
    """The names under which a probe and ``activations`` have something, which are the same."""
    with ActivationProbe(model, layers) as probe:
        model(x)
    names = list(probe.records)
    assert names == list(activations(model, x, layers))
    return names


@pytest.mark.parametrize(
    "what, names",
    [
        (lambda x: (x, x.sum()), [""]),  # as recurrent layers and attention do
        (lambda x: [x], [""]),
        (lambda x: {"out": x, "aux": 2 * x, "count": 3}, ["[out]", "[aux]"]),
    ],
    ids=["tuple", "list", "dict"],
)
def test_of_a_tuple_the_first_tensor_is_recorded_and_of_a_dict_each_one(what, names):
    model, x = nn.ModuleDict({"part": Puts(what)}), torch.randn(4, 2)
    model.forward = lambda x: model["part"](x)
    assert seen(model, x) == seen(model, x, ["part"]) == ["part" + name for name in names]
    assert_close(activations(model, x)["part" + names[0]], x)


def test_a_recurrent_layer_is_recorded_with_its_features():
    model = nn.LSTM(3, 5, batch_first=True)
    with ActivationProbe(model) as probe:
        y, _ = model(torch.randn(4, 7, 3))
    assert_close(probe.records[""].mean[0], y.detach().mean((0, 1)))


@pytest.mark.parametrize(
    "what, got",
    [
        (lambda x: None, "NoneType"),
        (lambda x: (3, x), "tuple of int, Tensor"),
        (lambda x: (), "tuple of nothing"),
        (lambda x: {"a": 3}, "dict"),
    ],
    ids=["None", "tuple", "empty", "dict"],
)
@pytest.mark.parametrize("look", ["probe", "activations"])
def test_a_named_output_without_a_tensor_is_refused_at_once(look, what, got):
    model = nn.Sequential(Puts(what), Puts(lambda x: torch.ones(4, 2)))
    assert seen(model, torch.ones(4, 2)) == ["1"]
    message = rf"expects a tensor of real numbers.*'0' put out {got}"
    with ActivationProbe(model, ["0"]), pytest.raises(ValueError, match=message):
        model(torch.ones(4, 2)) if look == "probe" else activations(model, torch.ones(4, 2), ["0"])


@pytest.mark.parametrize(
    "output",
    [torch.zeros(4, 3, dtype=torch.complex64), torch.eye(3).to_sparse()],
    ids=["complex", "sparse"],
)
def test_a_named_output_that_has_no_order_is_refused_at_once(output):
    with pytest.raises(ValueError, match=r"real numbers.*put out one of torch"):
        record_of(output)


class Partial(nn.Module):
    """Calls one of its layers, and takes the weight of another."""

    def __init__(self):
        super().__init__()
        self.used, self.taken = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return F.linear(self.used(x), self.taken.weight)


def test_a_named_module_that_is_not_called_is_named_in_the_first_pass():
    model, x = Partial(), torch.randn(4, 3)
    assert seen(model, x) == ["used"]
    message = "expects modules that this pass calls; it did not call 'taken'"
    with ActivationProbe(model, ["used", "taken"]), pytest.raises(ValueError, match=message):
        model(x)
    with pytest.raises(ValueError, match=message):
        activations(model, x, ["used", "taken"])


def test_of_what_is_not_named_something_has_to_be_called():
    class Taken(Partial):
        def forward(self, x):
            return F.linear(x, self.taken.weight)

    model, x = Taken(), torch.randn(4, 3)
    message = "did not call 'used', 'taken'"
    with ActivationProbe(model), pytest.raises(ValueError, match=message):
        model(x)
    with pytest.raises(ValueError, match=message):
        activations(model, x)


def test_a_module_may_be_left_out_of_a_later_pass():
    model = Shared()
    with ActivationProbe(model, ["1", "2"], every=1) as probe:
        for model.depth in (1, 0, 1):
            model(torch.randn(6, 9))
    assert probe.records["2"].passes.tolist() == [0, 2]


def test_attention_is_recorded_with_what_it_puts_out():
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    names = seen(block, torch.randn(6, 5, 8))
    assert "self_attn" in names and "self_attn.out_proj" not in names
    with ActivationProbe(block, ["self_attn.out_proj"]), pytest.raises(ValueError, match="around"):
        block(torch.randn(6, 5, 8))


@pytest.mark.parametrize("look", [ActivationProbe, lambda m, n: activations(m, images(), n)])
def test_an_unknown_name_is_answered_with_the_near_ones(look):
    model = nn.Sequential()
    model.add_module("linear1", nn.Linear(9, 3))
    model.add_module("act1", nn.ReLU())
    with pytest.raises(ValueError, match="no module named 'linear_1'; near names are 'linear1'"):
        look(model, ["linear_1"])
    with pytest.raises(ValueError, match="no module named 'zzz'; the names are 'linear1', 'act1'"):
        look(model, ["act1", "zzz"])


def test_of_many_names_some_are_shown():
    model = nn.Sequential(*(nn.ReLU() for _ in range(20)))
    with pytest.raises(ValueError, match=r"; some names are '0', '1', .*, '11'\.$"):
        ActivationProbe(model, ["zzz"])


def test_a_name_that_was_not_recorded_is_answered_with_what_was():
    model = network()
    with ActivationProbe(model, ["1", "3"]) as probe, GradientProbe(model) as gradients:
        model(images())
    with pytest.raises(KeyError, match="nothing was recorded under '2'; the names are '1', '3'"):
        probe.records["2"]
    with pytest.raises(KeyError, match=r"under '1\.wieght'; near names are '1\.weight'"):
        gradients.records["1.wieght"]


@pytest.mark.parametrize("kind", [ActivationProbe, GradientProbe])
def test_records_of_a_probe_that_saw_nothing_say_what_to_do(kind):
    model = network()
    with kind(model) as probe:
        model.eval()(images())
    with pytest.raises(RuntimeError, match=f"{kind.__name__} has recorded nothing yet: .*training"):
        _ = probe.records


@pytest.mark.parametrize(
    "options, message",
    [
        ({"every": 0}, "every of at least 1; got 0"),
        ({"bins": 0}, "bins of at least 1; got 0"),
        ({"range": (1, 1)}, r"finite range \(low, high\); got \(1, 1\)"),
        ({"range": (0, math.inf)}, "finite range"),
        ({"range": (False, True)}, "finite range"),
        ({"range": (1, 2, 3)}, r"finite range \(low, high\); got \(1, 2, 3\)"),
        ({"range": 4}, r"finite range \(low, high\); got 4"),
        ({"every": 1.5}, "whole number for every; got 1.5"),
        ({"every": True}, "whole number for every; got True"),
        ({"bins": 2.0}, "whole number for bins; got 2.0"),
        ({"unit_dim": 0.5}, "whole number for unit_dim; got 0.5"),
    ],
)
def test_options_out_of_bounds_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ActivationProbe(network(), **options)


# What is recorded


@pytest.mark.parametrize("n", [2, 128, 1000])
def test_statistics_are_those_of_torch(n):
    x = 2 * torch.randn(n, 7) + 1
    record = record_of(x)
    q = torch.tensor(PERCENTILES) / 100
    assert_close(record.mean[0], x.mean(0))
    assert_close(record.std[0], x.std(0, correction=0))
    assert_close(record.percentiles[0], x.quantile(q, dim=0))
    assert_close(record.pooled_mean[0], x.mean())
    assert_close(record.pooled_std[0], x.std(correction=0))
    assert_close(record.pooled_percentiles[0], x.flatten().quantile(q))


def test_a_record_has_the_shapes_it_promises():
    model = network(width=12)
    with ActivationProbe(model, every=1, bins=20) as probe:
        for _ in range(3):
            model(images())
    shapes = {name: tuple(tensor.shape) for name, tensor in vars(probe.records["3"]).items()}
    assert shapes == {
        "passes": (3,),
        "mean": (3, 12),
        "std": (3, 12),
        "percentiles": (3, 5, 12),
        "pooled_mean": (3,),
        "pooled_std": (3,),
        "pooled_percentiles": (3, 5),
        "histogram": (3, 20),
        "edges": (21,),
        "dead": (3,),
        "saturated": (3,),
    }
    assert "percentiles (3, 5, 12)" in repr(probe.records["3"])


def test_units_are_dim_1_and_positions_are_samples():
    x = torch.randn(6, 5, 4, 3)
    record = record_of(x)
    assert_close(record.mean[0], x.mean((0, 2, 3)))
    assert_close(record.std[0], x.std((0, 2, 3), correction=0))


@pytest.mark.parametrize("unit_dim", [-1, 2])
def test_units_of_a_sequence_are_its_features(unit_dim):
    block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0, batch_first=True)  # (N, T, D)
    x = torch.randn(6, 5, 8)
    with ActivationProbe(block, ["linear1", "norm2"], unit_dim=unit_dim) as probe:
        y = block(x).detach()
    assert probe.records["linear1"].mean.shape == (1, 16)
    record = probe.records["norm2"]
    assert_close(record.mean[0], y.mean((0, 1)))
    assert_close(record.std[0], y.std((0, 1), correction=0))
    assert_close(
        record.percentiles[0], y.flatten(0, 1).quantile(torch.tensor(PERCENTILES) / 100, dim=0)
    )


def widths(model, *inputs, **options):
    """The number of units of each record."""
    with ActivationProbe(model, every=1, **options) as probe:
        for x in inputs:
            model(x)
    return {name: record.mean.shape[1] for name, record in probe.records.items()}


def test_units_of_a_transformer_are_features_at_any_length():
    model = nn.Sequential(
        nn.Embedding(11, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 6)
    )
    tokens = [torch.randint(11, (4, length)) for length in (5, 8, 16, 2)]
    found = widths(model, *tokens)
    assert found.pop("1.linear1") == found.pop("1.dropout") == 16 and found.pop("2") == 6
    assert len(found) == 7 and set(found.values()) == {8}
    assert widths(model, *tokens, layers=["1"]) == {"1": 8}


def test_units_of_a_convolutional_network_are_channels_at_any_length():
    model = nn.Sequential(
        nn.Conv1d(3, 6, 1), nn.BatchNorm1d(6), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(6, 4, 1),
        nn.GroupNorm(2, 4), nn.LayerNorm((4, 4)), nn.Tanh(),
    )  # fmt: skip
    assert list(widths(model, torch.randn(5, 3, 8)).values()) == [6, 6, 6, 6, 4, 4, 4, 4]
    assert list(widths(model[:6], *(torch.randn(5, 3, n) for n in (8, 12))).values())[2] == 6


def test_units_follow_their_layers_through_a_network_of_both_kinds():
    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu1 = nn.Conv2d(1, 6, 2, 2), nn.ReLU()
            self.swap = Puts(lambda x: x.flatten(2).mT)
            self.linear, self.relu2 = nn.Linear(6, 5), nn.ReLU()
            self.scores = Puts(lambda x: (x[:, None] @ x[:, None].mT).expand(-1, 3, -1, -1))

        def forward(self, x):
            return self.scores(self.relu2(self.linear(self.swap(self.relu1(self.conv(x))))))

    expected = {"conv": 6, "relu1": 6, "swap": 6, "linear": 5, "relu2": 5, "scores": 3}
    assert widths(Patches(), torch.randn(2, 1, 6, 8)) == expected  # 12 patches
    assert widths(Patches(), torch.randn(2, 1, 6, 8), layers=["relu2"]) == {"relu2": 5}


def test_units_are_where_as_many_are_as_the_layer_says():
    class LayerNorm2d(nn.LayerNorm):  # as in ConvNeXt
        def forward(self, x):
            return super().forward(x.movedim(1, -1)).movedim(-1, 1)

    model = nn.Sequential(nn.Conv2d(1, 6, 1), LayerNorm2d(6), nn.ReLU(), nn.PixelUnshuffle(2))
    assert widths(model, torch.randn(2, 1, 4, 8)) == {"0": 6, "1": 6, "2": 6, "3": 24}
    both_ways = nn.LSTM(3, 5, bidirectional=True, batch_first=True)
    assert widths(both_ways, torch.randn(2, 5, 3), torch.randn(2, 10, 3)) == {"": 10}


def test_without_a_layer_before_it_units_are_in_dim_1():
    x = torch.randn(4, 3, 5)
    model = nn.Sequential(nn.Identity(), nn.Linear(5, 7))
    with ActivationProbe(model, every=1) as probe:
        for mode in (True, False, True):
            model.train(mode)(x)
    assert probe.records["0"].mean.shape == (2, 3)


def test_the_dim_that_is_given_counts_before_what_the_layers_say():
    assert widths(nn.Sequential(nn.Linear(5, 7), nn.ReLU()), torch.randn(4, 3, 5), unit_dim=1) == {
        "0": 3,
        "1": 3,
    }


@pytest.mark.parametrize("shape", [(), (6,)], ids=str)
@pytest.mark.parametrize("unit_dim", [None, 1, -1, 2])
def test_an_output_with_fewer_than_two_dims_is_one_unit(shape, unit_dim):
    record = record_of(x := torch.randn(shape), unit_dim=unit_dim)
    assert_close(record.mean[0], x.mean()[None])


@pytest.mark.parametrize("unit_dim", [2, -3])
def test_an_output_without_the_dim_of_the_units_is_named(unit_dim):
    model = nn.Sequential(nn.Linear(9, 3))
    message = rf"units in dim {unit_dim}; '0' put out \(4, 3\)\. Choose another unit_dim"
    with ActivationProbe(model, unit_dim=unit_dim), pytest.raises(ValueError, match=message):
        model(torch.randn(4, 9))


@pytest.mark.parametrize("shape", [(5000, 3), (300, 64), (64, 784), (16, 8, 30, 30)], ids=str)
def test_percentiles_of_many_values_are_close_to_those_of_all(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    x = x + torch.linspace(-1, 1, shape[1]).view(1, -1, *[1] * (len(shape) - 2))  # units differ
    record = record_of(x)
    q = torch.tensor(PERCENTILES) / 100
    units = x.transpose(0, 1).flatten(1)
    # 1024 of them: the standard error of a 5th percentile of a normal variable is 0.07
    assert_close(record.percentiles[0], units.quantile(q, dim=1), atol=0.3, rtol=0)
    assert_close(record.pooled_percentiles[0], x.flatten().quantile(q), atol=0.05, rtol=0)


def test_every_value_is_counted_and_the_far_ones_in_the_end_bins():
    x = torch.tensor([[-9.0, -1.0, -0.5, 0.0, 0.5, 1.0, 9.0, math.inf, -math.inf]])
    record = record_of(x, bins=4, range=(-1, 1))
    assert record.edges.tolist() == [-1, -0.5, 0, 0.5, 1]
    assert record.histogram.tolist() == [[3, 1, 1, 4]]


def test_the_histogram_agrees_with_that_of_torch():
    x = torch.rand(200, 30) * 8 - 4
    expected = x.histogram(bins=64, range=(-4, 4)).hist.long()
    assert (record_of(x).histogram[0] - expected).abs().sum() <= 4  # values on an edge, to rounding


def test_a_unit_without_spread_is_dead():
    x = torch.randn(16, 4)
    x[:, 1] = 0
    x[:, 2] = 3.5
    assert record_of(x).dead.tolist() == [0.5]


def test_units_that_relu_never_lets_through_are_dead():
    model = nn.Sequential(nn.Linear(9, 8), nn.ReLU())
    nn.init.zeros_(model[0].bias)
    model[0].bias.data[:2] = -100
    with ActivationProbe(model) as probe:
        model(torch.randn(512, 9, generator=torch.Generator().manual_seed(0)))
    assert probe.records["0"].dead.tolist() == [0]
    assert probe.records["1"].dead.tolist() == [0.25]


def test_a_single_sample_tells_nothing_about_dead_units():
    record = record_of(torch.randn(1, 4))
    assert record.dead.isnan().all()
    assert record.std.tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize(
    "module, formula", [(nn.Sigmoid, torch.sigmoid), (nn.Tanh, torch.tanh)], ids=["sigmoid", "tanh"]
)
def test_saturated_is_where_the_derivative_is_below_a_tenth_of_its_maximum(module, formula):
    model = nn.Sequential(module())
    x = torch.linspace(-6, 6, 1001)[:, None].requires_grad_()
    with ActivationProbe(model) as probe:
        model(x)
    (derivative,) = torch.autograd.grad(formula(x).sum(), x)
    expected = (derivative < 0.1 * derivative.max()).float().mean()
    assert_close(probe.records["0"].saturated[0], expected)
    assert 0.3 < expected < 0.8


def test_saturation_is_not_known_for_other_modules():
    assert record_of(torch.zeros(4, 2), module=nn.ReLU).saturated.isnan().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64])
def test_other_number_types_are_recorded_in_float32(dtype):
    x = (8 * torch.randn(32, 4)).to(dtype)
    record = record_of(x)
    assert record.mean.dtype == torch.float32
    assert_close(record.mean[0], x.float().mean(0))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_spoil_their_unit_only(value):
    x = torch.randn(32, 3)
    x[4, 1] = value
    record = record_of(x)
    assert_close(record.mean[0, ::2], x[:, ::2].mean(0))
    assert_close(
        record.percentiles[0, :, ::2], x[:, ::2].quantile(torch.tensor(PERCENTILES) / 100, 0)
    )
    assert not record.mean[0, 1].isfinite()
    assert record.histogram.sum() == 96 - math.isnan(value)


def test_an_output_that_is_all_nan_is_recorded():
    record = record_of(torch.full((8, 3), math.nan))
    assert record.percentiles.isnan().all() and record.pooled_percentiles.isnan().all()
    assert record.histogram.sum() == 0
    assert record.dead.tolist() == [0]


def test_an_empty_output_is_left_out():
    with pytest.raises(RuntimeError, match="recorded nothing"):
        record_of(torch.zeros(0, 3))


def test_an_output_that_is_changed_in_place_is_recorded_as_it_was():
    model = nn.Sequential(nn.Linear(9, 5), nn.ReLU(inplace=True))
    x = torch.randn(8, 9)
    with ActivationProbe(model) as probe:
        model(x)
    expected = model[0](x).detach()
    assert_close(probe.records["0"].mean[0], expected.mean(0))
    assert_close(activations(model, x)["0"], expected)


@pytest.mark.parametrize(
    "unit_dim, shape", [(1, (4, 5)), (-1, (4, 3, 5)), (1, (4,))], ids=["width", "features", "none"]
)
def test_a_layer_whose_units_change_in_number_is_named(unit_dim, shape):
    model = nn.Sequential(nn.ReLU())
    message = rf"expects 3 units as before; '0' put out \({', '.join(map(str, shape))}"
    with ActivationProbe(model, every=1, unit_dim=unit_dim) as probe:
        model(torch.randn(4, 3))
        with pytest.raises(ValueError, match=message):
            model(torch.randn(shape))
    assert probe.records["0"].passes.tolist() == [0]


def test_records_can_be_read_during_the_run():
    model = network()
    with ActivationProbe(model, every=1) as probe:
        for step in range(3):
            model(images())
            assert len(probe.records["1"].passes) == step + 1


# Gradients and updates


def test_gradient_norms_are_those_of_the_loop():
    model, rate = network(), 0.1
    optimizer = torch.optim.SGD(model.parameters(), rate)
    grads, sizes = [], []
    with GradientProbe(model, every=2) as probe:
        for step in range(5):
            sizes.append(model[1].weight.norm().item())
            F.cross_entropy(model(images(seed=step)), torch.arange(32) % 4).backward()
            grads.append(model[1].weight.grad.norm().item())
            optimizer.step()
            optimizer.zero_grad()
    record = probe.records["1.weight"]
    assert list(probe.records) == [name for name, _ in model.named_parameters()]
    assert probe.passes == record.passes.tolist() == [0, 2, 4]
    assert_close(record.grad_norm, torch.tensor(grads[::2]))
    assert_close(record.param_norm, torch.tensor(sizes[::2]))
    assert_close(record.update_norm, rate * record.grad_norm, rtol=1e-4, atol=1e-7)  # a difference
    assert_close(record.grad_ratio, record.grad_norm / record.param_norm)
    assert_close(record.update_ratio, record.update_norm / record.param_norm)


def test_the_update_of_the_last_step_is_read_on_leaving():
    train(model := network(), 1, [probe := GradientProbe(model)])
    assert probe.records["1.weight"].update_norm.item() > 0


def test_a_step_that_an_error_cuts_short_is_dropped():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    probe = GradientProbe(model, every=1)

    def run():
        with probe:
            model(images()).square().sum().backward()
            optimizer.step()
            model(images())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert probe.passes == [0]


def test_frozen_parameters_are_left_out():
    model = network()
    model[1].weight.requires_grad_(False)
    train(model, 1, [probe := GradientProbe(model)])
    assert "1.weight" not in probe.records and "1.bias" in probe.records


def test_a_parameter_that_gets_no_gradient_has_nan():
    model = nn.ModuleDict({"used": nn.Linear(3, 1), "unused": nn.Linear(3, 1)})
    model.forward = lambda x: model["used"](x)
    with GradientProbe(model) as probe:
        model(torch.ones(2, 3)).sum().backward()
    assert probe.records["used.weight"].grad_norm.isfinite().all()
    assert probe.records["unused.weight"].grad_norm.isnan().all()


@pytest.mark.parametrize(
    "layer, x, norm",
    [
        (nn.Embedding(5, 2, sparse=True), torch.tensor([1, 1, 3]), 10**0.5),  # rows of 2 and of 1
        (
            nn.Linear(300, 1, bias=False).to(torch.bfloat16),
            torch.ones(1, 300, dtype=torch.bfloat16),
            300**0.5,
        ),
    ],
    ids=["sparse", "bfloat16"],
)
def test_sparse_and_half_gradients_are_measured(layer, x, norm):
    with GradientProbe(layer) as probe:
        layer(x).sum().backward()
    assert_close(probe.records["weight"].grad_norm[0].item(), norm)


def test_without_parameters_to_train_there_are_no_gradients_to_see():
    model = network().requires_grad_(False)
    before = hooks(model)
    probe = GradientProbe(model)
    message = "GradientProbe expects a model with parameters that require a gradient; Sequential"
    with pytest.raises(ValueError, match=message):
        probe.__enter__()
    assert hooks(model) == before
    model[1].requires_grad_(True)
    train(model, 1, [probe])
    assert list(probe.records) == ["1.weight", "1.bias"]


def test_a_shared_parameter_has_the_gradient_of_all_its_uses():
    model, x = Shared(), torch.randn(6, 9)
    with GradientProbe(model) as probe:
        model(x).sum().backward()
    assert_close(probe.records["2.weight"].grad_norm[0], model[2].weight.grad.norm())


def test_every_pass_of_an_optimizer_with_a_closure_is_recorded():
    model, losses = network(), []
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)

    def closure():
        optimizer.zero_grad()
        losses.append(F.cross_entropy(model(images()), torch.arange(32) % 4))
        losses[-1].backward()
        return losses[-1]

    with GradientProbe(model, every=1) as probe:
        optimizer.step(closure)
    assert len(probe.passes) == len(losses) > 1
    assert (probe.records["1.weight"].update_norm[:-1] > 0).all()  # the last one it only asks for


class Again(nn.Module):
    """Computes its part again in backward, in place of keeping what it put out."""

    def __init__(self, part, reentrant):
        super().__init__()
        self.part, self.reentrant = part, reentrant

    def forward(self, x):
        return checkpoint(self.part, x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("probed", ["the model", "a part"])
def test_what_backward_computes_again_is_no_second_pass_and_no_second_call(reentrant, probed):
    part = nn.Sequential(nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, 2))
    model = Again(part, reentrant)
    target = part if probed == "a part" else model
    with ActivationProbe(target, every=1) as probe, GradientProbe(target, every=1) as gradients:
        for _ in range(3):
            model(torch.randn(4, 9, requires_grad=True)).sum().backward()
    assert probe.passes == gradients.passes == [0, 1, 2]
    prefix = "" if target is part else "part."
    assert list(probe.records) == [prefix + name for name in "012"]
    assert gradients.records[prefix + "0.weight"].grad_norm.isfinite().all()


def test_what_is_called_again_while_a_pass_is_under_way_is_no_second_call():
    class Penalty(Again):
        def forward(self, x):
            y = super().forward(x)
            (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
            return y + slope.square().sum()

    model = Penalty(nn.Linear(9, 5), reentrant=False)
    with ActivationProbe(model) as probe:
        model(torch.randn(4, 9, requires_grad=True))
    assert list(probe.records) == ["part"]


# Nothing is disturbed, nothing is left


def test_a_run_with_probes_ends_with_the_same_bits():
    plain, probed = network(), network()
    train(plain, 6)
    train(probed, 6, [ActivationProbe(probed, every=2), GradientProbe(probed, every=2)])
    for (name, a), b in zip(plain.state_dict().items(), probed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_random_numbers_are_not_touched():
    model = network()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with ActivationProbe(model), GradientProbe(model):
        model(images())
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("kind", [ActivationProbe, GradientProbe])
@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_all_hooks_are_gone_after_leaving(kind, error):
    model = network()
    model[1].register_forward_hook(lambda *args: None)  # one of the user's own stays
    before = hooks(model)
    try:
        with kind(model):
            assert hooks(model) != before
            model(images()).sum().backward()
            if error:
                raise error
    except (RuntimeError, KeyboardInterrupt):
        pass
    assert hooks(model) == before


def test_activations_leave_no_hook_even_when_the_pass_fails():
    model = network()
    before = hooks(model)
    activations(model, images())
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        activations(model, torch.randn(5, 7))
    assert hooks(model) == before


def test_activations_are_the_outputs_in_the_mode_the_model_is_in():
    model = network().eval()
    seen = activations(model, images(), ["1", "2"])
    assert list(seen) == ["1", "2"]
    assert_close(seen["2"], model[2](model[1](model[0](images()))).detach())
    assert not model.training and not seen["2"].requires_grad


def test_two_probes_on_one_model_do_not_meet():
    model = network()
    with ActivationProbe(model, every=1) as one, ActivationProbe(model, ["1"], every=2) as two:
        for _ in range(4):
            model(images())
    assert one.passes == [0, 1, 2, 3] and two.passes == [0, 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_records_are_the_same_and_on_the_cpu():
    model, x = network(), images()
    with ActivationProbe(model) as probe:
        model(x)
    expected = probe.records["3"]
    model.cuda()
    with ActivationProbe(model) as probe, GradientProbe(model) as gradients:
        model(x.cuda()).sum().backward()
    assert_close(probe.records["3"].percentiles, expected.percentiles)
    assert probe.records["3"].histogram.device.type == "cpu"
    assert gradients.records["1.weight"].grad_norm.isfinite().all()
