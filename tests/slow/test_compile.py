"""Layers that are compiled or exported compute what they compute as they are."""

import copy
import shutil

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from helpers import randomize_
from normtutorial import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm, WeightNormLinear

COMPILES = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="torch.compile: no C++ compiler"
)


def everything() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(3, 4, 1),
        BatchNorm(4),
        InstanceNorm(4, affine=True),
        GroupNorm(2, 4),
        nn.Flatten(),
        WeightNormLinear(20, 6),
        LayerNorm(6),
        RMSNorm(6),
        BatchNorm(6, track_running_stats=False),
    )


@COMPILES
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_compiled_it_is_the_same_without_a_graph_break(training):
    eager = randomize_(everything()).train(training)
    model = copy.deepcopy(eager)
    x, upstream = torch.randn(8, 3, 5), torch.randn(8, 6)
    from torch._inductor import config  # seconds to import

    with config.patch(compile_threads=1), torch.set_grad_enabled(training):
        compiled = torch.compile(model, fullgraph=True)
        for _ in range(2):
            a, b = eager(x), compiled(x)
            assert_close(a, b, rtol=1e-4, atol=1e-4)
            assert_close(dict(eager.named_buffers()), dict(model.named_buffers()))
            if training:
                grads = [
                    torch.autograd.grad(y, tuple(m.parameters()), upstream)
                    for y, m in ((a, eager), (b, model))
                ]
                assert_close(*grads, rtol=1e-3, atol=1e-3)


@COMPILES
@pytest.mark.parametrize("rows", [4, 3])  # times 4; the first is summed eight rows at a time
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_compiled_the_gradients_of_weight_and_bias_are_sums_over_all_rows(rows):
    layers = [LayerNorm(5), RMSNorm((5, 2)), BatchNorm(rows), GroupNorm(1, rows)]
    from torch._inductor import config

    with config.patch(compile_threads=1):
        for layer in layers:
            x, upstream = torch.randn(2, rows, 2, 5), torch.randn(2, rows, 2, 5)
            if isinstance(layer, RMSNorm):
                x, upstream = x.mT, upstream.mT
            randomize_(layer)
            torch.compiler.reset()
            grads = [
                torch.autograd.grad(run(x), tuple(layer.parameters()), upstream)
                for run in (layer, torch.compile(layer, fullgraph=True))
            ]
            assert_close(*grads, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(
    torch.__version__ < torch.torch_version.TorchVersion("2.10"),
    reason="before 2.10 torch cannot export an autograd function of any size",
)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.filterwarnings("default")  # the exporter's own
def test_exported_with_any_batch_size_it_is_the_same(training):
    eager = randomize_(everything()).train(training)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(
        copy.deepcopy(eager), (torch.randn(8, 3, 5),), dynamic_shapes=({0: batch},)
    )
    x = torch.randn(16, 3, 5)
    module = program.module()
    assert_close(module(x), eager(x))
    assert_close(dict(module.named_buffers()), dict(eager.named_buffers()))
