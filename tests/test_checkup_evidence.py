"""What the checks take for evidence: where features are, what a map repairs, what a gain is."""

import weakref

import pytest
import torch
from torch import nn

from checkup_cases import batches, convnet, images, points, series, tokens, train, trained
from normtutorial import WeightNormLinear, checkup
from normtutorial.diagnosis.batches import Batch
from normtutorial.diagnosis.repair import TRIED
from normtutorial.diagnosis.scaling import maps


def test_a_memory_that_has_moved_is_told_from_an_input_that_has_only_where_it_can_be():
    model = trained().train()
    for seed in range(20):
        model(0.4 * points(32, seed)[0] - 1)
    (fault,) = checkup(model, batches()).faults
    assert fault.name == "input-scale" and "or the running statistics have moved" in fault.says
    assert fault.remedy.startswith("Give the model ") and "update_bn" in fault.remedy
    (fault,) = checkup(trained(), [(1 - x, y) for x, y in batches()]).faults
    assert fault.evidence["map"] == "1 - x"
    assert "moved" not in fault.says and "update_bn" not in fault.remedy


@pytest.mark.parametrize("lr", [0.001, 0.01])
def test_a_negative_is_found_however_gently_the_network_was_trained(lr):
    model = train(convnet(), images, steps=150, lr=lr)
    assert not checkup(model, batches(images)).faults
    (fault,) = checkup(model, [(1 - x, y) for x, y in batches(images)]).faults
    assert fault.name == "input-scale" and fault.evidence["map"] == "1 - x"


def test_no_more_maps_are_tried_than_share_a_level():
    model, data = trained(convnet, images), [Batch(1 - x, y) for x, y in batches(images)]
    tried = list(maps(model, data, model[1]))
    assert 0 < len(tried) <= TRIED


class Turned(nn.Module):
    """A norm behind a layer whose output is turned over, with an activation before or after."""

    def __init__(self, layer, norm, order):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.act, self.norm, self.order = layer, nn.ReLU(), norm, order

    def forward(self, x):
        x = self.layer(x)
        for step in self.order:
            x = x.mT if step == "turn" else self.act(x)
        return self.norm(x).flatten(1)


@pytest.mark.parametrize("order", [["turn"], ["act", "turn"], ["turn", "act"]])
@pytest.mark.parametrize("width", [16, 10])  # 10 is as many as there are positions
def test_features_are_followed_where_they_are_turned_over(order, width):
    data = [x for x, _ in batches(series, count=2)]
    report = checkup(Turned(nn.Linear(6, width), nn.LayerNorm(10), order), data)
    (found,) = report["wrong-axis"]
    assert found.kind == "note" and found.evidence == {"features": width, "dim": 1}
    assert not report.faults
    turned = [x.mT for x in data]
    model = Turned(nn.Conv1d(6, 10, 3, padding=1), nn.LayerNorm(10), order)
    assert "wrong-axis" not in checkup(model, turned)
    model = Turned(nn.Embedding(20, width), nn.LayerNorm(12), order)
    faults = checkup(model, [x for x, _ in batches(tokens, count=2)]).faults
    assert [fault.name for fault in faults] == ["wrong-axis"]


class Mixer(nn.Module):
    """Maps positions, and then features."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norms = nn.ModuleList([nn.LayerNorm(6), nn.LayerNorm(6)])
        self.positions, self.features = nn.Linear(10, 10), nn.Linear(6, 6)

    def forward(self, x):
        x = x + self.positions(self.norms[0](x).mT).mT
        return (x + self.features(self.norms[1](x))).mean(1)


def test_a_mixer_is_well():
    assert "wrong-axis" not in checkup(Mixer(), [x for x, _ in batches(series, count=2)])


def test_lengths_of_weight_norm_are_no_dead_gains_unless_they_are_0():
    torch.manual_seed(0)
    first = WeightNormLinear(12, 8)
    model, lengths = nn.Sequential(first, nn.ReLU(), WeightNormLinear(8, 4)), first.weight_g.data
    lengths[1] *= 1e-6
    first.weight_v.data[0, 0] = 0.0
    assert "dead-gain" not in checkup(model, batches(count=2))
    lengths[1] = 0.0
    (found,) = checkup(model, batches(count=2))["dead-gain"]
    assert found.kind == "note" and found.evidence["share"] == 0.125


def test_a_new_network_with_weight_norm_has_learned_nothing():
    torch.manual_seed(0)
    model = nn.Sequential(WeightNormLinear(12, 8), nn.BatchNorm1d(8), WeightNormLinear(8, 4))
    report = checkup(model, [(5 * x + 3, y) for x, y in batches()])
    assert not any(name.startswith("statistics-") for name in report)


class Logarithm(nn.Module):
    def forward(self, x):
        return x.relu().log()


class Masked(nn.Module):
    """Attention of a row to its first numbers, by minus infinity for the others."""

    def forward(self, x):
        return x.where(torch.arange(x.shape[1]) < 3, -torch.inf)


class Divided(nn.Module):
    def forward(self, x):
        return x / x.round().sum(1, keepdim=True).mul(0)


def test_minus_infinity_is_named_where_nan_comes_of_it():
    torch.manual_seed(0)
    inner = nn.Sequential(Logarithm(), nn.Linear(12, 4))
    (fault,) = checkup(nn.Sequential(nn.Linear(12, 12), inner), batches()).faults
    assert (fault.name, fault.layer) == ("nonfinite-activation", "1.0")
    masked = nn.Sequential(Masked(), nn.Softmax(1), nn.Linear(12, 4))
    assert not checkup(masked, batches()).faults
    (fault,) = checkup(nn.Sequential(masked, Divided()), batches()).faults
    assert (fault.name, fault.layer) == ("nonfinite-activation", "1")


def test_what_a_layer_puts_out_is_not_kept_from_batch_to_batch():
    made, alive = [], []

    class Counted(nn.Conv2d):
        def forward(self, x):
            y = super().forward(x)
            made.append(weakref.ref(y))
            alive.append(sum(one() is not None for one in made))
            return y

    model = train(convnet(), images)
    model[0].__class__ = Counted
    assert not checkup(model, batches(images)).faults
    assert len(alive) > 8 and max(alive) <= 2
