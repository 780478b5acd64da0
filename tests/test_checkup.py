"""The checkup finds what it is for, says nothing of networks that are well, and how it says it."""

import re

import pytest
import torch
from torch import nn

from checkup_cases import (
    FAULTS,
    HEALTHY,
    batches,
    mlp,
    points,
    trained,
)
from normtutorial import BatchNorm, checkup
from normtutorial.diagnosis.batches import Batch
from normtutorial.diagnosis.examination import CHECKS
from normtutorial.diagnosis.findings import CHAPTERS, COLUMNS
from normtutorial.diagnosis.measures import padding
from normtutorial.diagnosis.repair import Recalibration


def names(report) -> list[str]:
    return [fault.name for fault in report.faults]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_nothing_else_is(name):
    finds, make = FAULTS[name]
    report = checkup(**make(True))
    assert names(report) == [finds]
    text = str(report)
    assert max(map(len, text.splitlines())) <= COLUMNS
    assert not re.search(r"\b1 (layers|norms|batches|samples|values|standard deviations)", text)


@pytest.mark.parametrize("name", FAULTS)
def test_its_repaired_twin_is_well(name):
    report = checkup(**FAULTS[name].make(False))
    assert not names(report), str(report)
    assert not report.errors


@pytest.mark.parametrize("name", HEALTHY)
def test_a_network_that_is_well_has_no_fault(name):
    report = checkup(**HEALTHY[name]())
    assert not names(report), str(report)
    assert not report.errors


def test_every_name_of_the_list_has_a_case():
    notes = {
        "never-called", "eps-rules", "dead-gain", "bias-before-norm", "decay-on-gain",
        "old-weight-norm",
    }  # fmt: skip
    assert {fault.finds for fault in FAULTS.values()} | notes == set(CHAPTERS)
    assert len(FAULTS) >= 30 and len(HEALTHY) >= 25


def note(name: str, model: nn.Module, data=None, **options):
    report = checkup(model, data or batches(count=2), **options)
    assert not report.faults, str(report)
    (found,) = report[name]
    assert found.kind == "note"
    return found


class Idle(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.LayerNorm(12), nn.LayerNorm(12)

    def forward(self, x):
        return self.used(x)


def test_a_norm_that_no_batch_reaches_is_noted():
    assert note("never-called", Idle()).layer == "idle"


def test_a_variance_below_eps_is_noted():
    model = nn.Sequential(nn.LayerNorm(12, eps=100.0), nn.Linear(12, 4))
    assert note("eps-rules", model).evidence["share"] == 1.0


def test_gains_that_have_died_are_noted():
    model = mlp(nn.LayerNorm)
    model[5].weight.data[:8] = 1e-6
    found = note("dead-gain", model)
    assert found.layer == "5" and found.evidence["share"] == 0.25


def test_a_bias_that_the_next_mean_removes_is_noted():
    model = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    assert "'0'" in note("bias-before-norm", model).says
    model = nn.Sequential(nn.Linear(12, 8), nn.RMSNorm(8), nn.Linear(8, 4))
    assert not checkup(model, batches(count=2)).notes


def test_decay_of_gains_is_noted_with_its_size():
    model = mlp(nn.LayerNorm)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.3)
    assert note("decay-on-gain", model, optimizer=optimizer).evidence["weight_decay"] == 0.3


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_the_weight_norm_of_hooks_is_noted():
    model = nn.Sequential(torch.nn.utils.weight_norm(nn.Linear(12, 4)))
    before = model[0].weight
    assert note("old-weight-norm", model).layer == "0"
    assert model[0].weight is before


def test_two_optimizers_may_share_the_parameters():
    model = trained()
    halves = [torch.optim.SGD(list(model.parameters())[i::2], 0.1) for i in (0, 1)]
    assert not checkup(model, batches(), optimizer=halves).faults
    assert names(checkup(model, batches(), optimizer=halves[0])) == ["not-optimized"]


def test_a_repair_says_what_it_changed():
    report = checkup(**FAULTS["only_the_parameters_were_saved"].make(True))
    (fault,) = report.faults
    assert fault.repair["before"] > 2 * fault.repair["after"]
    assert f"{fault.repair['before']:.3g} became {fault.repair['after']:.3g}" in " ".join(
        str(report).split()
    )


def test_statistics_are_tried_on_samples_that_they_do_not_come_from():
    x = torch.randn(16, 50, generator=torch.Generator().manual_seed(0))
    anew = Recalibration(nn.BatchNorm1d(50), [Batch(x, torch.zeros_like(x))], loss=None)
    proof = anew.proof([""])  # with its own mean and variance the square would be 7/8
    assert proof.after == pytest.approx(9 / 8 * 7 / 5, abs=0.3)


def test_the_map_of_the_input_has_its_name():
    bytes_ = FAULTS["pictures_of_bytes_for_a_network_that_knows_0_to_1"].make(True)
    assert checkup(**bytes_).faults[0].evidence["map"] == "x / 255"


def test_a_loss_of_the_users_own_is_used_sample_by_sample():
    sizes = []

    def loss(output, target):
        sizes.append(len(output))
        return nn.functional.cross_entropy(output, target, label_smoothing=0.1)

    case = FAULTS["only_the_parameters_were_saved"]
    assert names(checkup(**case.make(True), loss=loss)) == ["statistics-untouched"]
    assert not checkup(**case.make(False), loss=loss).faults
    assert 1 in sizes


def test_a_layer_of_ours_is_known():
    model = trained(norm=BatchNorm)
    assert not checkup(model, batches()).faults
    for i in 1, 5:
        model[i].reset_running_stats()
    assert names(checkup(model, batches())) == ["statistics-untouched"]


class HandBatchNorm(nn.Module):
    """As many write it, with plain tensors of shape (1, C) that are no buffers."""

    def __init__(self, width):
        super().__init__()
        self.gamma, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.moving_mean, self.moving_var = torch.zeros(1, width), torch.ones(1, width)

    def forward(self, x):
        if self.training:
            mean, var = x.mean(0, keepdim=True), x.var(0, keepdim=True)
            self.moving_mean = 0.9 * self.moving_mean + 0.1 * mean.detach()
            self.moving_var = 0.9 * self.moving_var + 0.1 * var.detach()
        else:
            mean, var = self.moving_mean, self.moving_var
        return self.gamma * (x - mean) / (var + 1e-5).sqrt() + self.bias


def test_a_batch_norm_by_hand_is_known_by_what_it_remembers():
    model = trained(norm=HandBatchNorm)
    model[1].moving_mean, model[5].moving_mean = (model[i].moving_mean.clone() for i in (1, 5))
    kept = model[1].moving_mean
    assert not checkup(model, batches()).faults
    assert model[1].moving_mean is kept
    for i in 1, 5:
        model[i].moving_mean, model[i].moving_var = torch.zeros(1, 32), torch.ones(1, 32)
    assert names(checkup(model, batches())) == ["statistics-untouched"]


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(12), nn.Linear(12, 4)

    def forward(self, a, b):
        return {"logits": self.head(self.norm(a + b))}


@pytest.mark.parametrize("form", ["tuple", "dict", "pair", "three"])
def test_inputs_may_be_tuples_or_dicts_with_or_without_targets(form):
    x, y = points()
    batch = {
        "tuple": ((x, x), y),
        "dict": ({"a": x, "b": x}, y),
        "pair": (x, x),
        "three": (x, x, y),
    }[form]
    report = checkup(Two(), [batch, batch])
    assert not report.faults and not report.errors
    assert report.about["samples"] == 64


def test_a_margin_on_all_sides_is_no_padding():
    x = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
    x[0, 3:] = x[:, 4] = 0.0
    assert padding(x).lengths.tolist() == [3, 4, 4]
    x[2, 0] = 0.0  # as in the margin at the other side
    assert padding(x) is None
    x[1, 4] = 1.0  # one fills all positions
    assert padding(x).lengths.tolist() == [3, 5, 4]
    assert padding(x.mT).lengths.tolist() == [3, 5, 4]


def test_a_loader_is_read_up_to_the_limit():
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*points(64)), 8)
    assert checkup(mlp(), loader, limit=3).about["batches"] == 3


def test_what_is_no_batches_is_refused():
    with pytest.raises(ValueError, match=r"in a list or a loader; got one Tensor\. .*give \[x\]"):
        checkup(mlp(), points()[0])
    with pytest.raises(ValueError, match="at least one batch, each with at least one sample"):
        checkup(mlp(), [])
    with pytest.raises(ValueError, match="at least one sample; got 1 batch\\."):
        checkup(mlp(), ["a word"])
    with pytest.raises(ValueError, match=r"got lazy ones\. Call it with one batch first"):
        checkup(nn.Sequential(nn.LazyLinear(3)), batches())


def test_what_is_of_another_kind_is_refused_with_its_name():
    with pytest.raises(ValueError, match=r"expects a module; got list.*the model and the batches"):
        checkup(batches(), mlp())
    with pytest.raises(ValueError, match="expects an optimizer, or several; got str"):
        checkup(mlp(), batches(), optimizer="Adam")
    with pytest.raises(ValueError, match="functions for step, evaluate and loss; got int"):
        checkup(mlp(), batches(), step=1)
    report = checkup(mlp(), batches(), loss=lambda output, target: None)
    assert any("loss is to return a tensor; it returned NoneType" in one for one in report.errors)
    assert str(report).endswith("No fault was found where it could look.")


class Raises(nn.Module):
    def forward(self, x):
        raise RuntimeError("no such kernel\nand a long story")


def test_an_error_is_said_with_its_layer_and_the_rest_is_looked_at():
    model = nn.Sequential(nn.BatchNorm1d(12), nn.Sequential(Raises()))
    model[0].running_var[0] = torch.inf
    report = checkup(model, batches(count=1))
    assert names(report) == ["statistics-nonfinite"]
    assert any("layer '1.0' raised RuntimeError: no such kernel" in one for one in report.errors)
    assert "Could not look: In evaluation mode" in str(report)


def test_an_error_of_a_check_is_said_with_its_name_and_ends_that_check_alone(monkeypatch):
    def fails(*_):
        raise IndexError("out of range\nand a long story")

    monkeypatch.setattr("normtutorial.diagnosis.samples.differ", fails)
    model = mlp()
    model[1].running_var[0] = torch.inf
    report = checkup(model, batches())
    assert names(report) == ["statistics-nonfinite"]
    assert report.errors == ["The check batch_composition raised IndexError: out of range"]


class InHalves(nn.Module):
    """Two inputs go through one network apart, and their outputs are put one below the other."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, a, b):
        return torch.cat([self.model(a), self.model(b)])


@pytest.mark.parametrize("form", ["two", "sequences", "nan", "some", "mixed", "names", "scalar"])
def test_labels_may_be_more_or_fewer_than_samples(form):
    data = batches(count=3)
    make = {
        "two": lambda x, y: ((x, x), torch.cat([y, y])),
        "sequences": lambda x, y: (x, torch.stack([y, y], 1)),
        "nan": lambda x, y: (x, torch.full((32,), torch.nan)),
        "some": lambda x, y: (x, y[:20]),
        "mixed": lambda x, y: (x, y if x is data[0][0] else y.float()),
        "names": lambda x, y: (x, [f"{one}" for one in y.tolist()]),
        "scalar": lambda x, y: (x, y[0]),
    }[form]
    report = checkup(InHalves(mlp()) if form == "two" else mlp(), [make(x, y) for x, y in data])
    assert not report.faults and not report.errors, str(report)


def test_every_check_is_one_function_with_a_sentence():
    assert len(set(CHECKS)) == len(CHECKS)
    assert all(check.__doc__ for check in CHECKS)
