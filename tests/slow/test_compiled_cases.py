"""What people compile beside a plain forward pass: transforms, sizes that change, exact values."""

import copy
import shutil

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from helpers import randomize_
from normtutorial import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm

pytestmark = [
    pytest.mark.filterwarnings("default"),  # the compiler's own
    pytest.mark.skipif(
        not any(map(shutil.which, ("c++", "g++", "clang++"))),
        reason="torch.compile: no C++ compiler",
    ),
]


@pytest.fixture(autouse=True)
def one_process():
    from torch._inductor import config  # seconds to import

    torch.compiler.reset()
    with config.patch(compile_threads=1):
        yield


@pytest.mark.parametrize(
    "layer",
    [LayerNorm(4), RMSNorm(4), nn.Sequential(nn.Linear(4, 4), LayerNorm(4, 1e-5, False))],
    ids=["layer", "rms", "bare layer"],
)
def test_compiled_gradients_per_sample_are_those_of_eager_mode(layer):
    x, parameters = torch.randn(6, 4), dict(randomize_(layer).named_parameters())

    def loss(parameters, x):
        return torch.func.functional_call(layer, parameters, (x,)).pow(3).sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))
    compiled = torch.compile(each, fullgraph=True)(parameters, x)
    assert_close(compiled, each(parameters, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "layer, shape",
    [
        (BatchNorm(4), (4, 3)),
        (BatchNorm(4, momentum=None), (4,)),
        (InstanceNorm(4, affine=True, track_running_stats=True), (4, 3)),
        (GroupNorm(2, 4), (4, 3)),
        (LayerNorm(4), (4,)),
        (LayerNorm(4, elementwise_affine=False), (4,)),
        (RMSNorm(4), (4,)),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
def test_one_graph_serves_every_size_of_batch(layer, shape):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    eager, layer = copy.deepcopy(layer), copy.deepcopy(layer)
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend=backend)
    for n in 16, 24, 5, 7, 32:
        grads = []
        x, upstream = torch.randn(n, *shape), torch.randn(n, *shape)
        for run in compiled, eager:
            leaf = x.clone().requires_grad_()
            y = run(leaf)
            grads.append((y, *torch.autograd.grad(y, leaf, upstream)))
        assert_close(*grads)
    assert len(graphs) == 1
    assert_close(dict(layer.named_buffers()), dict(eager.named_buffers()))


def test_compiled_too_a_constant_becomes_0_and_an_offset_costs_no_digits():
    layer, wide = LayerNorm(784), LayerNorm(784).double()
    compiled = torch.compile(layer)
    assert (compiled(torch.full((8, 784), 100.1)) == 0).all()
    x = torch.randn(8, 784) + 1e6
    assert (compiled(x) - wide(x.double())).abs().max() < 1e-5


def test_compiled_too_what_stands_behind_may_work_in_place():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), InstanceNorm(4), nn.ReLU(inplace=True))
    x = torch.randn(2, 3, 5, 5)
    grads = []
    for run in model, torch.compile(model, fullgraph=True):
        y = run(x)
        grads.append(torch.autograd.grad(y, model[0].weight, torch.ones_like(y))[0])
    assert_close(*grads, rtol=1e-4, atol=1e-5)
