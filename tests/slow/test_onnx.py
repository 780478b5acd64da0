"""Exported to ONNX and run by onnxruntime: the same function, by its fused operators."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from helpers import randomize_
from normtutorial import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter's own

FUSED = {
    "layer": (LayerNorm(8), (16, 8), ["LayerNormalization"]),
    "layer of two dims": (LayerNorm((4, 8)), (16, 4, 8), None),
    "layer, no bias": (LayerNorm(8, bias=False), (16, 8), None),
    "layer, bare": (LayerNorm(8, elementwise_affine=False), (16, 8), None),
    "rms": (RMSNorm(8), (16, 8), ["SimplifiedLayerNormalization"]),
    "rms, eps": (RMSNorm(8, eps=1e-3), (16, 8), ["SimplifiedLayerNormalization"]),
    "group": (GroupNorm(2, 8), (16, 8, 5), None),
    "instance": (InstanceNorm(8, affine=True), (16, 8, 5), None),
    "batch": (BatchNorm(8).eval(), (16, 8, 5), None),
    "batch without statistics": (BatchNorm(8, track_running_stats=False), (16, 8), None),
}


def exported(model: nn.Module, x: torch.Tensor, path):
    """What onnxruntime computes, and the operators that it does so by."""
    torch.onnx.export(copy.deepcopy(model), (x,), path / "model.onnx", dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path / "optimized.onnx")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        path / "model.onnx", options, providers=["CPUExecutionProvider"]
    )
    (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    graph = onnx.load(path / "optimized.onnx").graph
    return torch.from_numpy(y), [node.op_type for node in graph.node]


@pytest.mark.parametrize("layer, shape, operators", FUSED.values(), ids=FUSED)
def test_onnxruntime_computes_the_same(layer, shape, operators, tmp_path):
    layer, x = randomize_(layer), torch.randn(shape)
    y, ran = exported(layer, x, tmp_path)
    assert_close(y, layer(x), rtol=1e-6, atol=1e-6)
    assert operators is None or ran == operators


def test_batch_norm_in_training_refuses_since_its_updates_would_be_lost(tmp_path):
    with pytest.raises(Exception, match=r"running statistics.*in eval mode"):
        exported(BatchNorm(8), torch.randn(16, 8), tmp_path)
