"""The benchmarks take turns, compare and write down what they should; no time is tested."""

import json
import re

import pytest
import torch

import bench
import chapters
import gpu
import layers
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


def test_the_limit_is_the_sum_of_its_parts_round_by_round():
    seconds = {"products": [1.0, 4.0], "Adam's step": [2.0, 5.0], "reading": [3.0, 6.0]}
    assert bench.limit({**seconds, "original": [9.0, 9.0]}) == [6.0, 15.0]


@pytest.mark.parametrize("n, eager", [(1, 1.12), (2, 1.2), (16, 1.2)])
def test_training_is_compared_with_its_limit_and_with_torch_s_layers_not_compiled_and_compiled(
    n, eager
):
    times = {"ours, none": 2.3, "limit": 2.0, "original": 10.0, "ours, original": 5.0,
             "probed, batch": 3.3, "ours, batch": 3.0, "torch, batch": 2.5,
             "ours, layer": 3.6, "torch, layer": 3.0, "ours, weight": 3.9, "torch, weight": 3.0,
             "ours, batch, compiled": 2.02, "torch, batch, compiled": 2.0,
             "ours, layer, compiled": 2.2, "torch, layer, compiled": 2.0}  # fmt: skip
    label = "1 thread" if n == 1 else f"{n} threads"
    found = {
        row["name"].removesuffix(f" ({label})"): (round(row["median"], 4), row["target"])
        for row in bench.rows({name: [t] for name, t in times.items()}, n)
    }
    assert found == {
        "our loop / original loop, the original's network": (0.5, None),
        "our loop without norm / original loop": (0.23, None),
        "our loop without norm / its limit": (1.15, 1.15),
        "our batch norm / torch's": (1.2, eager),
        "our layer norm / torch's": (1.2, eager),
        "our weight norm / torch's": (1.3, eager),
        "our batch norm / torch's, both compiled": (1.01, 1.05),
        "our layer norm / torch's, both compiled": (1.1, 1.05),
        "with both probes / without": (1.1, 1.1),
    }


@pytest.mark.parametrize(
    "kind, where, target",
    [
        ("ours / torch's", "layer norm (4096, 1024), 1 thread", 3.6),
        ("ours / torch's", "layer norm (4096, 1024), 2 threads", None),
        ("ours compiled / torch's", "layer norm (4096, 1024), 1 thread", 1.45),
        ("ours compiled / torch's", "layer norm (4096, 1024), GPU", 1.1),
        ("ours / plain operations", "rms norm (4096, 1024), 2 threads", 1 / 1.3),
        ("ours / plain operations", "rms norm (4096, 1024), CUDA graph", None),
        ("ours / plain operations", "rms norm (128, 512), 2 threads", None),
    ],
)
def test_a_layer_has_a_target_where_one_was_set(kind, where, target):
    assert layers.target(kind, where) == target


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_cuda_graph_does_the_same_work():
    x = torch.zeros(4, device="cuda")
    replay = timing.graphed(lambda: x.add_(1))
    x.zero_()
    replay()
    assert x.tolist() == [1] * 4
    assert timing.elapsed(replay, 10) > 0


def test_the_table_of_the_book_has_every_row_that_has_a_target_as_it_was_measured():
    page = (chapters.ROOT / "book" / "reference" / "internals.md").read_text("utf-8")
    wanted = {}
    for path in timing.RESULTS.glob("*.json"):
        for row in json.loads(path.read_text("utf-8")).get("rows", []):
            found = re.fullmatch(r"(.+?),? \(?([12]) threads?\)?", row["name"])
            if found:
                target = "–" if row["target"] is None else f"{row['target']:.2f}"
                cells = wanted.setdefault(found[1], {})
                missed = row["target"] is not None and row["median"] > row["target"]
                median = f"{row['median']:.2f}"
                cells[found[2]] = f"**{median}** | {target}" if missed else f"{median} | {target}"
    aimed = {name: by for name, by in wanted.items() if not all("–" in one for one in by.values())}
    table = re.findall(r"^\| (.+ / .+?) \| (.+ \| .+) \| (.+ \| .+) \|$", page, re.MULTILINE)
    assert {name: {"1": one, "2": two} for name, one, two in table} == aimed


def test_the_table_of_the_gpu_is_what_was_measured():
    page = (chapters.ROOT / "book" / "reference" / "internals.md").read_text("utf-8")
    measured = json.loads((timing.RESULTS / "gpu.json").read_text("utf-8"))["measured"]
    steps = (
        ("forward", "card_share"),
        *(("forward and backward", s) for s in ("card_share", "share")),
    )
    rows = re.findall(
        r"^\| (layer|RMS|batch) norm, (\w+) \| (.+) \| (.+) \| (.+) \|$", page, re.MULTILINE
    )
    assert len(rows) == 6
    for norm, dtype, *cells in rows:
        for cell, (step, share) in zip(cells, steps, strict=True):
            of = {
                row["way"]: f"{row[share]:.2f}"
                for row in measured
                if (row["norm"], row["dtype"], row["step"]) == (norm.lower(), dtype, step)
                and (row["rows"], row["width"]) == (16384, 4096)
            }
            assert cell.split(", ") == [of[way] for way in ("torch", "triton", "compiled")]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:Warning")  # of older torch, when it compiles
def test_on_a_gpu_every_way_of_a_case_is_measured_or_said_to_fail(monkeypatch):
    def milliseconds(run, calls, ahead=0.0):
        if calls == 0:
            raise MemoryError("it is full")
        return 1.0 if ahead else 2.0  # it is slower if the card waits for the CPU

    randn = torch.randn
    monkeypatch.setattr(gpu, "milliseconds", milliseconds)
    monkeypatch.setattr(gpu, "host_milliseconds", lambda run, calls: 0.05)
    monkeypatch.setattr(torch, "randn", lambda *shape, device, dtype: randn(*shape, dtype=dtype))
    case, *_ = gpu.cases(1 << 15, [4096, 256])
    assert case == {"norm": "layer", "dtype": "bfloat16", "rows": 8, "width": 4096}
    rows = gpu.measure(case, ("torch", "eager"), limit=1e9, calls=2)
    forward = 2 * 8 * 4096 * 2 / 2e-3 / 1e9  # bytes of input and output, a second, of what can be
    assert [row["share"] for row in rows] == pytest.approx([forward, 2.5 * forward] * 2)
    assert [row["card_share"] for row in rows] == pytest.approx([2 * row["share"] for row in rows])
    cells = gpu.line(rows).split()[-12:]
    assert cells == ["0.07", "0.13", "50"] * 2 + ["0.16", "0.33", "50"] * 2
    rows = gpu.measure({**case, "norm": "rms"}, ("eager",), limit=1e9, calls=0)
    assert [row["error"] for row in rows] == ["MemoryError: it is full"] * 2
    assert gpu.line(rows).split()[-2:] == ["fails", "fails"]


@pytest.mark.parametrize("norm", gpu.TENSORS)
def test_on_a_gpu_torch_s_function_and_ours_are_compared_as_the_same(norm):
    theirs, ours = gpu.functions(norm, 5)
    inputs = torch.randn(3, 5), *torch.randn(1 if norm == "rms" else 2, 5)
    torch.testing.assert_close(theirs(*inputs), ours(*inputs))
