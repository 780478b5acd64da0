"""What the benchmarks share takes turns and writes down what it should; no time is tested."""

import json

import pytest
import torch

import timing


def test_ways_take_turns_forward_and_backward_after_a_run_that_does_not_count():
    order = []
    seconds = timing.alternate({name: lambda n=name: order.append(n) for name in "ab"}, rounds=3)
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"
    assert {name: len(s) for name, s in seconds.items()} == {"a": 3, "b": 3}


def test_a_short_run_is_repeated_until_its_time_can_be_told():
    calls = []
    timing.alternate({"a": lambda: calls.append(0)}, rounds=1, least=1e-3)
    assert len(calls) > 10


@pytest.mark.parametrize("target, met", [(None, None), (2.0, True), (1.9, False)])
def test_a_ratio_is_the_median_of_the_rounds_and_its_target_a_bound(target, met):
    row = timing.ratio("r", [2.0, 6.0, 4.0], [2.0, 2.0, 2.0], target)
    assert row == {"name": "r", "median": 2, "min": 1, "max": 3, "target": target, "met": met}


@pytest.mark.parametrize(
    "device, name",
    [("cpu", "layers-some-cpu-2-threads.json"), ("Some GPU 80GB", "gpu-layers-some-gpu-80gb.json")],
)
def test_a_record_is_named_after_the_device_it_was_taken_on(tmp_path, monkeypatch, device, name):
    here = {"processor": "Some (CPU)", "device": device, "threads": 2}
    monkeypatch.setattr(timing, "machine", lambda: here)
    monkeypatch.setattr(timing, "RESULTS", tmp_path / "results")
    timing.write("layers", {"rows": []})
    (path,) = (tmp_path / "results").iterdir()
    assert path.name == name
    assert json.loads(path.read_text()) == {"machine": here, "rows": []}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_cuda_graph_does_the_same_work():
    x = torch.zeros(4, device="cuda")
    replay = timing.graphed(lambda: x.add_(1))
    x.zero_()
    replay()
    assert x.tolist() == [1] * 4
    assert timing.elapsed(replay, 10) > 0
