"""Probes see what a compiled model does: also one that has run before they were entered."""

import threading
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from helpers import toy
from normtutorial import (
    MLP,
    ActivationProbe,
    GradientProbe,
    activations,
    data_dependent_init_,
    fit,
)
from normtutorial.runtime import uncompiled

pytestmark = pytest.mark.filterwarnings("default")  # of compilers, the older one is deprecated


class Compiled:
    """A network and what is called: how often its graph has run, and under which names it is."""

    def __init__(self, way: str, norm: str | None = "batch") -> None:
        torch.compiler.reset()
        torch.manual_seed(0)
        self.model: nn.Module = MLP((16, 32, 10), norm)
        self.graphs = 0
        if way == "in place":
            self.model.compile(backend=self.backend, fullgraph=True)
            self.called: Any = self.model
        elif way == "a part":
            for name in ("linear1", "act1"):
                part = getattr(self.model, name)
                setattr(self.model, name, torch.compile(part, backend=self.backend))
            self.called = self.model
        else:
            self.called = torch.compile(self.model, backend=self.backend, fullgraph=True)
        self.probed = self.model if way == "original" else self.called

    def backend(self, graph, inputs):
        def run(*args):
            self.graphs += 1
            return graph.forward(*args)

        return run

    def step(self) -> None:
        self.called(torch.randn(8, 1, 4, 4)).sum().backward()


WAYS = pytest.mark.parametrize("way", ["compiled", "original", "in place", "a part"])
LAYERS = ["flatten", "linear1", "norm1", "act1", "linear2"]


@WAYS
@pytest.mark.parametrize("before", [True, False], ids=["has run", "new"])
def test_probes_see_a_compiled_model(way, before):
    net = Compiled(way)
    if before:
        net.step()
    with (
        ActivationProbe(net.probed, every=2) as probe,
        ActivationProbe(net.probed, ["act1"], every=2) as named,
        GradientProbe(net.probed, every=2) as gradients,
    ):
        for _ in range(3):
            net.step()
    assert probe.passes == named.passes == gradients.passes == [0, 2]
    assert list(probe.records) == LAYERS and list(named.records) == ["act1"]
    assert "linear1.weight" in gradients.records
    ran = net.graphs
    net.step()
    assert net.graphs > ran  # it is compiled again, or for the first time


@WAYS
def test_activations_are_those_of_the_model_as_it_was_written(way):
    net, x = Compiled(way), torch.randn(8, 1, 4, 4)
    net.step()
    plain = activations(Compiled("original").model, x)
    assert list(plain) == LAYERS
    assert_close(activations(net.probed, x), plain)
    assert_close(activations(net.probed, x, ["act1"])["act1"], plain["act1"])


def test_a_module_can_be_named_as_the_compiled_model_names_it():
    net = Compiled("compiled")
    assert list(activations(net.called, torch.randn(8, 16), ["_orig_mod.act1"])) == ["act1"]


def test_a_traced_model_says_that_its_modules_cannot_be_seen():
    model = torch.jit.trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.ones(4, 3))
    with ActivationProbe(model, ["1"]), pytest.raises(ValueError, match="did not call '1'"):
        model(torch.ones(4, 3))


@pytest.mark.parametrize("way", ["compiled", "original"])
def test_fit_trains_a_compiled_model_the_same_with_and_without_probes(way):
    plain = fit(Compiled("original").model, toy(), epochs=2, batch_size=16)
    net = Compiled("compiled")
    alone = fit(net.called, toy(), epochs=2, batch_size=16)
    assert net.graphs >= 8
    net = Compiled(way)
    probe = ActivationProbe(net.probed, ["act1"], every=2)
    probed = fit(net.called, toy(), epochs=2, batch_size=16, probes=[probe])
    assert net.graphs == 0 and probe.passes == [0, 2, 4, 6]
    assert probed.train_loss == plain.train_loss and probed.test_loss == plain.test_loss
    assert_close(alone.train_loss, plain.train_loss, rtol=1e-4, atol=1e-5)


def test_what_was_frozen_before_it_was_compiled_stays_frozen():
    net = Compiled("compiled")
    net.model.norm1.eval()
    fit(net.called, toy(), steps=3)
    assert net.model.training and not net.model.norm1.training
    assert net.model.norm1.num_batches_tracked == 0


def test_data_dependent_initialization_sees_a_compiled_model():
    net, x = Compiled("compiled", "weight"), torch.randn(64, 16)
    net.step()
    data_dependent_init_(net.called, x)
    y = net.model(x).detach()
    assert_close((y.mean(0), y.var(0, correction=0)), (torch.zeros(10), torch.ones(10)))


def test_those_who_want_it_uncompiled_may_overlap():
    net, inside, leave = Compiled("compiled"), threading.Event(), threading.Event()

    def other():
        with uncompiled():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with uncompiled():
        thread.start()
        inside.wait()
        net.step()
    net.step()
    assert net.graphs == 0
    leave.set()
    thread.join()
    net.step()
    assert net.graphs == 1
