"""Traced by torch.fx: a graph is the module that it was traced from, what it remembers included."""

import copy

import pytest
import torch
from torch import fx, nn
from torch.testing import assert_close

from helpers import randomize_
from normtutorial import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from normtutorial.layers import Tracer

LAYERS = {
    "batch": lambda: BatchNorm(4),
    "batch, momentum None": lambda: BatchNorm(4, momentum=None),
    "batch, no statistics": lambda: BatchNorm(4, track_running_stats=False),
    "batch, bare": lambda: BatchNorm(4, affine=False),
    "instance": lambda: InstanceNorm(4),
    "instance, all": lambda: InstanceNorm(4, affine=True, track_running_stats=True),
    "group": lambda: GroupNorm(2, 4),
    "layer": lambda: LayerNorm(5),
    "layer, bare": lambda: LayerNorm((4, 5), elementwise_affine=False),
    "rms": lambda: RMSNorm(5),
}


def graph_of(model: nn.Module) -> fx.GraphModule:
    return fx.symbolic_trace(copy.deepcopy(model))


def leaf_graph_of(model: nn.Module) -> fx.GraphModule:
    model = copy.deepcopy(model)
    return fx.GraphModule(model, Tracer().trace(model))


def pickled_graph_of(model: nn.Module) -> fx.GraphModule:
    return copy.deepcopy(graph_of(model))


@pytest.mark.parametrize("trace", [graph_of, leaf_graph_of, pickled_graph_of])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_graph_walks_in_step_with_its_module(name, training, trace):
    model = nn.Sequential(nn.Conv1d(3, 4, 1), randomize_(LAYERS[name]()), nn.ReLU())
    model(torch.randn(7, 3, 5))
    model.train(training)
    graph = trace(model)
    for batch in 6, 3, 8:  # the size is not frozen
        x = torch.randn(batch, 3, 5)
        grads = []
        for m in model, graph:
            y = m(x)
            grads.append((y, *torch.autograd.grad(y, tuple(m.parameters()), torch.ones_like(y))))
        assert_close(*grads, rtol=0, atol=0)
        state = model.state_dict()  # what nothing uses, a graph does not have
        for key, value in graph.state_dict().items():
            assert torch.equal(value, state[key]), key


@pytest.mark.parametrize("name", LAYERS)
def test_tracing_leaves_the_module_as_it_is(name):
    layer = LAYERS[name]()
    before = copy.deepcopy(layer.state_dict())
    fx.symbolic_trace(layer)
    assert_close(dict(layer.state_dict()), dict(before), rtol=0, atol=0)


def test_a_graph_still_says_what_does_not_fit():
    for layer, shape in (BatchNorm(4), (6, 5)), (LayerNorm(4), (6, 5)), (GroupNorm(4, 4), (1, 4)):
        with pytest.raises(ValueError, match=rf"{type(layer).__name__}\(.*got input of shape"):
            fx.symbolic_trace(layer)(torch.zeros(shape))


def test_a_graph_is_a_single_call_for_each_layer():
    model = nn.Sequential(*(make() for name, make in LAYERS.items() if "layer" not in name))
    nodes = fx.symbolic_trace(model).graph.nodes
    calls = [node for node in nodes if node.op == "call_function"]
    assert len(calls) == len(model)


def test_to_our_tracer_a_layer_is_a_module_that_follows_its_mode():
    model = nn.Sequential(nn.Linear(3, 4), BatchNorm(4))
    graph = fx.GraphModule(model, Tracer().trace(model))
    assert [n.op for n in graph.graph.nodes] == [
        "placeholder",
        "call_module",
        "call_module",
        "output",
    ]
    x = torch.randn(6, 3)
    in_training, in_eval = graph(x), graph.eval()(x)
    assert (in_training - in_eval).abs().max() > 0.01
    assert model[1].num_batches_tracked.item() == 1


def test_dead_code_that_moves_statistics_is_not_in_the_way():
    model = nn.Sequential(BatchNorm(4), nn.ReLU())
    graph = fx.symbolic_trace(model)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    graph(torch.randn(6, 4))
    assert model[0].num_batches_tracked.item() == 1


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.filterwarnings(
    "ignore:.*torch.jit.trace.*deprecated", "ignore::torch.jit.TracerWarning"
)
@pytest.mark.parametrize("name", LAYERS)
def test_jit_trace_is_the_same_function(name, training):
    model = randomize_(LAYERS[name]()).train(training)
    x = torch.randn(6, 4, 5)
    traced = torch.jit.trace(copy.deepcopy(model), x, check_trace=False)
    assert_close(traced(x), model(x))
    assert_close(traced(x + 1), model(x + 1))
