"""Chance finds a fault in fewer than one of a thousand healthy models: how often it may try."""

import copy
from functools import partial

import pytest
import torch
from scipy import stats
from torch import nn

from checkup_cases import FAULTS, HEALTHY, batches, convnet, images, mlp, train, trained
from normtutorial import checkup
from normtutorial.diagnosis import chance, findings, repair, samples

PROMISED = 1e-3


def test_what_chance_has_a_say_in_are_findings():
    assert set(chance.TESTS) <= set(findings.CHAPTERS)


def test_a_fall_is_told_from_chance_by_students_t():
    assert stats.t.isf(0.01, 3) == pytest.approx(4.54, abs=0.01)  # four samples
    d = torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64)
    for t, found in ((4.5, False), (4.6, True)):
        assert chance.falls(t / 3**0.5 + d, torch.zeros(4), 0.0, level=0.01) is found


def test_a_fall_that_does_not_scatter_is_shown_by_two_samples_and_must_be_worth_it():
    for worth, found in ((0.9, True), (1.1, False)):
        assert chance.falls(torch.ones(2), torch.zeros(2), worth) is found


def test_what_becomes_finite_has_fallen_and_what_does_not_has_not():
    infinite = torch.tensor([torch.inf, 1.0, 2.0])
    assert chance.falls(infinite, torch.ones(3), 0.1) is True
    assert not chance.falls(infinite, infinite, 0.1)


def test_the_share_between_groups_is_all_or_nothing_or_the_mean_over_columns():
    rows = torch.tensor([[0.0], [0.0], [3.0], [3.0]])
    groups, crossed = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    assert chance.share_between(rows, groups) == pytest.approx(1)
    assert chance.share_between(rows, crossed) == pytest.approx(0)
    alone = torch.tensor([0, 0, 1, 2])  # groups of two, of one and of one
    assert chance.share_between(rows, alone) == pytest.approx(1)
    both = torch.cat([rows, 5 * rows[[0, 2, 1, 3]]], 1)
    assert chance.share_between(both, groups) == pytest.approx(0.5)
    wide = both.repeat(1, 4)  # more columns than samples
    assert chance.share_between(wide, groups) == pytest.approx(0.5)


@pytest.fixture
def made(monkeypatch):
    """All tests that a checkup makes as long as none finds anything: which, and at what level."""
    made = []

    def note(test):
        def finds_nothing(*arguments):
            made.append((test, arguments[-1]))
            return False

        return finds_nothing

    monkeypatch.setattr(repair, "falls", note(chance.falls))
    monkeypatch.setattr(samples, "differ", note(chance.differ))
    return made


def spent(made) -> float:
    return sum(level for _, level in made) / PROMISED


class Suspicious(nn.Module):
    """A network in which chance is asked everything that it can be asked."""

    def __init__(self):
        super().__init__()
        self.early = nn.ModuleList(nn.BatchNorm1d(12) for _ in range(4))
        self.body = mlp()

    def forward(self, x):
        for norm in self.early:
            x = norm(x)
        return self.body(x) + self.body(3 * x + 4)  # one norm for two domains


def suspicious():
    torch.manual_seed(0)
    model = train(Suspicious(), steps=30)
    _, momentum, untouched, young = model.early
    momentum.momentum = 0.99
    untouched.reset_running_stats()
    young.num_batches_tracked.fill_(3)
    data = [(x + 50, y) for x, y in batches()]  # the network has learned from x
    return {"model": model, "averaged": copy.deepcopy(model), "batches": data}


def test_all_tests_that_a_checkup_can_make_share_what_is_promised(made):
    arguments = suspicious()
    for targets in True, False:
        made.clear()
        if not targets:
            arguments["batches"] = [x for x, _ in arguments["batches"]]
        checkup(**arguments)
        maps = [level for _, level in made if level == chance.LEVEL / repair.TRIED]
        assert 0 < len(maps) <= repair.TRIED
        asked = [test for test, _ in made]
        assert asked.count(chance.falls) == 5 + len(maps)  # four causes, averaged weights
        assert asked.count(chance.differ) == 2 + targets  # labels, activations, two domains
        left = (repair.TRIED - len(maps)) / repair.TRIED + (not targets) / 2
        assert spent(made) + left / len(chance.TESTS) == pytest.approx(1)


def test_no_case_is_asked_more_than_is_promised(made):
    one_of_each_name = {finds: make for finds, make in FAULTS.values()}
    cases = list(HEALTHY.values())[::4] + [
        partial(make, True) for make in one_of_each_name.values()
    ]
    for make in cases:
        made.clear()
        checkup(**make())
        assert spent(made) <= 1


def test_a_checkup_of_nothing_but_noise_finds_as_little_as_is_promised(made):
    """All its tests, of numbers that do not differ; a hundred times as often as they may err."""
    checkup(**suspicious())
    generator = torch.Generator().manual_seed(0)

    def errs(test, level):
        a, b = torch.randn(2, 64, 5, generator=generator)
        if test is chance.falls:
            return chance.falls(a[:, 0], b[:, 0], 0.0, level)
        return chance.differ(a, torch.arange(64) // 16, level)

    runs = 400
    found = sum(any([errs(test, 100 * level) for test, level in made]) for _ in range(runs))
    assert stats.binom.cdf(found, runs, 100 * PROMISED) < 0.99
    assert found > 0.05 * runs


def test_without_targets_batches_are_counted():
    """All samples have the statistics of a batch in common; so those of two are no proof."""
    model = trained(convnet, images).eval()
    for norm in (model[1], model[4]):
        norm.reset_running_stats()
    data = [x for x, _ in batches(images)]
    for count, kind in ((2, "note"), (8, "fault")):
        (found,) = checkup(model, data[:count])["statistics-untouched"]
        assert found.kind == kind and found.repair["before"] > 10 * found.repair["after"]


@pytest.mark.parametrize("level", [1e-3, 1e-5])
def test_groups_that_are_apart_are_found_at_any_level(level):
    rows, groups = torch.arange(40.0)[:, None], torch.arange(40) // 10
    assert chance.differ(rows, groups, level)


def test_groups_that_chance_makes_as_often_as_allowed_are_not_found():
    """One deal of 6435 parts sixteen numbers so well."""
    rows, groups = torch.arange(16.0)[:, None], torch.arange(16) // 8
    assert not chance.differ(rows, groups, 1e-5)


def test_what_is_not_finite_is_not_apart():
    rows = torch.arange(40.0)[:, None]
    rows[0] = torch.nan
    assert not chance.differ(rows, torch.arange(40) // 10)


class Twice(nn.Module):
    """Deep, and called for two domains."""

    def __init__(self, depth):
        super().__init__()
        torch.manual_seed(0)
        layers = [nn.Sequential(nn.Linear(12, 12), nn.BatchNorm1d(12)) for _ in range(depth)]
        self.body = nn.Sequential(*layers)

    def forward(self, x):
        return self.body(x) + self.body(3 * x + 4)


@pytest.mark.parametrize("depth", [1, 4])
def test_two_domains_are_found_in_a_deep_network_too(depth):
    (fault,) = checkup(Twice(depth), batches(count=2)).faults
    assert fault.name == "one-norm-two-domains" and fault.evidence["layers"] == depth
