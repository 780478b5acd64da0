"""Networks that are the same but for the order of their units are found to be the same."""

import pytest
import torch
from torch import nn

from normtutorial import MLP, GroupNorm
from normtutorial.models import interpolate, match_units, reorder_units

NORMS = [None, "batch", "layer", "rms", "weight"]
WIDTHS = (6, 8, 8, 5, 3)


def network(norm=None, seed=0):
    torch.manual_seed(seed)
    model = MLP(WIDTHS, norm)
    for parameter in model.parameters():  # gains and shifts too, so that their order counts
        parameter.data.uniform_(0.1, 1)
    for name, tensor in model.named_parameters():
        if name.endswith(("weight", "weight_v")) and tensor.ndim == 2:
            tensor.data.normal_()
    model(images(seed=5))  # running statistics of their own
    return model.eval()


def images(seed=1):
    return torch.randn(64, 6, generator=torch.Generator().manual_seed(seed))


def orders(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(width, generator=generator) for width in WIDTHS[1:-1]]


@pytest.mark.parametrize("norm", NORMS)
def test_the_order_of_units_does_not_matter(norm):
    model = network(norm).double()
    other = reorder_units(model, orders())
    x = images().double()
    torch.testing.assert_close(other(x), model(x))
    assert not torch.equal(other.linear1.bias, model.linear1.bias)
    back = reorder_units(other, [order.argsort() for order in orders()])
    for name, tensor in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name


@pytest.mark.parametrize("norm", NORMS)
def test_a_hand_made_permutation_is_found(norm):
    model = network(norm)
    shuffled = reorder_units(model, orders())
    found = match_units(model, shuffled, images())
    assert all(torch.equal(a, b.argsort()) for a, b in zip(found, orders(), strict=True))
    restored = reorder_units(shuffled, found)
    for name, tensor in model.state_dict().items():
        assert torch.equal(restored.state_dict()[name], tensor), name


def test_units_are_matched_by_correlation_whatever_their_scale():
    model = network()
    other = reorder_units(model, orders())
    scale = torch.linspace(0.1, 10, 8)[:, None]
    other.linear1.weight.data.mul_(scale)
    other.linear1.bias.data.mul_(scale[:, 0])
    other.linear2.weight.data.div_(scale.T)
    found = match_units(model, other, images())
    assert torch.equal(found[0], orders()[0].argsort())


def test_units_are_matched_by_correlation_whatever_their_mean():
    model = network()
    weight, bias = model.linear1.weight.data, model.linear1.bias.data
    weight.copy_(0.3 * weight[:1] + 0.1 * weight)  # units that are much alike
    bias.copy_(torch.linspace(5, 30, 8))
    other = reorder_units(model, orders())
    other.linear1.bias.data.copy_(torch.linspace(25, 5, 8)[orders(seed=1)[0]])
    assert torch.equal(match_units(model, other, images())[0], orders()[0].argsort())


def test_units_that_are_much_alike_are_matched_whatever_their_scale():
    model = network(seed=1)
    weight, scale = model.linear1.weight.data, torch.logspace(-2, 2, 8)[:, None]
    weight.copy_((weight[:1] + 0.2 * weight) * scale)
    model.linear1.bias.data.zero_()
    other = reorder_units(model, orders())
    other.linear1.weight.data.mul_(scale[orders(seed=1)[0]])
    assert torch.equal(match_units(model, other, images())[0], orders()[0].argsort())


def test_dead_units_are_assigned_and_disturb_nobody():
    model = network()
    model.linear1.bias.data[2] = -100
    found = match_units(model, reorder_units(model, orders()), images())
    assert torch.equal(found[0], orders()[0].argsort())


def test_the_line_between_two_networks():
    a, b = network("batch"), network("batch", seed=1)
    for weight, end in ((0, a), (1, b)):
        for name, tensor in interpolate(a, b, weight).state_dict().items():
            if tensor.is_floating_point():
                torch.testing.assert_close(tensor, end.state_dict()[name])
    middle = interpolate(a, b)
    torch.testing.assert_close(middle.linear2.weight, (a.linear2.weight + b.linear2.weight) / 2)
    mean = (a.norm1.running_mean + b.norm1.running_mean) / 2
    torch.testing.assert_close(middle.norm1.running_mean, mean)
    assert middle.norm1.num_batches_tracked == a.norm1.num_batches_tracked


def test_the_ends_are_left_alone():
    a, b = network("batch"), network("batch", seed=1)
    before = [v.clone() for m in (a, b) for v in m.state_dict().values()]
    interpolate(a, b, 0.3).linear1.weight.data.zero_()
    reorder_units(b, match_units(a, b, images()))
    after = [v for m in (a, b) for v in m.state_dict().values()]
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))
    match_units(a.train(), b, images())
    assert a.training and not b.training
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


def test_what_does_not_fit_is_refused():
    model = network()
    with pytest.raises(ValueError, match="two modules of one make"):
        interpolate(model, nn.Linear(2, 2))
    with pytest.raises(ValueError, match="the same widths"):
        match_units(model, MLP((6, 8, 3)), images())
    with pytest.raises(ValueError, match="each of 3 hidden layers; got 1"):
        reorder_units(model, orders()[:1])
    with pytest.raises(ValueError, match="a permutation of 0 to 7 for layer 1"):
        reorder_units(model, [torch.zeros(8, dtype=torch.long), *orders()[1:]])
    grouped = MLP((6, 8, 3), lambda width: GroupNorm(2, width))
    with pytest.raises(ValueError, match="between the groups"):
        reorder_units(grouped, orders()[:1])
