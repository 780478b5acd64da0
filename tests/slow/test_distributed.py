"""SyncBatchNorm in two and four processes, their faults, and training on several processes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import shares

from normtutorial import run_processes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=[2, 4], ids="{} processes".format)
def seen(request):
    """What each process has seen in each case."""
    return run_processes(shares.everything, request.param, timeout=240)


def test_shares_of_any_size_are_one_batch(seen):
    for of_process in seen:
        for case, differences in of_process["grid"].items():
            assert {"y", "x", "second x"} <= differences.keys(), case
            assert max(differences.values()) < 1e-12, (case, differences)


def test_shares_kinds_and_groups_of_processes_are_all_in_the_grid(seen):
    cases = seen[0]["grid"].keys()
    assert shares.SHARES.keys() | {"offset", "means apart", "definition"} <= cases
    assert ("in two groups" in cases) == (len(seen) == 4)
    tracked, affine = (seen[0]["grid"][name] for name in ("equal", "{'affine': False}"))
    assert {"buffer running_mean", "buffer running_var", "sum weight", "sum second bias"} <= set(
        tracked
    )
    assert not any("weight" in name for name in affine)


def test_what_is_constant_is_0_exactly_in_every_process(seen):
    assert [of_process["constants"]["constant"] for of_process in seen] == [0.0] * len(seen)


def test_float32_far_from_0_loses_no_digit(seen):
    assert max(of_process["constants"]["float32"] for of_process in seen) < 1e-6  # of its own 1e-7


@pytest.mark.parametrize("dtype", ["torch.bfloat16", "torch.float16"])
def test_half_precision_is_rounded_once(seen, dtype):
    for of_process in seen:
        in_half_units, found = of_process["constants"][dtype]
        assert in_half_units < 1.01 and str(found) == dtype


def test_counts_are_whole_numbers_beyond_those_of_float32(seen):
    assert {of_process["many"] for of_process in seen} == {(2**24 + 1, 0.0)}


def test_a_step_takes_three_messages_and_eval_none(seen):
    assert [of_process["messages"] for of_process in seen] == [[3, 0]] * len(seen)


def test_twenty_steps_under_distributed_data_parallel_end_at_the_same_weights(seen):
    assert max(of_process["under_ddp"] for of_process in seen) < 1e-12


def test_fit_on_shares_of_batches_is_fit_on_batches(seen):
    for of_process in seen:
        losses, weights = of_process["under_fit"]
        assert losses < 1e-12 and weights < 1e-12


def test_graphs_are_right_or_refused_in_a_sentence(seen):
    refusal = "SyncBatchNorm(6) '1' cannot be exported while it is trained. Export it in eval."
    for of_process in seen if len(seen) == 2 else ():
        traced, compiled, said, exported = of_process["in_graphs"]
        assert traced == compiled == 0.0 and said == refusal and exported < 1e-6


# Faults


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    return run_processes(shares.faults, 2, str(tmp_path_factory.mktemp("faults")), timeout=120)


def test_what_differs_is_said_in_every_process_and_at_once(faults):
    wanted = (
        ("SyncBatchNorm(5) expects the same", "4 channels of torch.float32 in process 0"),
        ("expects input (N, 4, ...)", "5 channels of torch.float32 in process 1"),
        ("expects input (N, 4, ...)", "what is no input in process 1"),
        ("4 channels of torch.float64 in process 1", "4 channels of torch.float64 in process 1"),
        ("expects floating-point input; got torch.int32", "what is no input in process 1"),
        ("dense tensor with values; got NoneType", "what is no input in process 1"),
        ("values; got one of torch.sparse_coo on cpu", "what is no input in process 1"),
        ("values; got one of torch.strided on meta", "what is no input in process 1"),
        ("SyncBatchNorm(4) 'norm2' expects", "another layer in process 1"),
        ("shape (0, 4) and no other value", "shape (1, 4) and no other value"),
    )
    first, second = (of_process["disagreements"] for of_process in faults)
    for (there, here), (said_here, after), (said_there, _) in zip(
        wanted, first, second, strict=True
    ):
        assert said_here.startswith("ValueError: ") and here in said_here
        assert said_there.startswith("ValueError: ") and there in said_there
        assert after < 10  # and not the timeout, 120


def test_nan_in_one_share_is_nan_in_all_as_in_one_batch(faults):
    assert [of_process["nan_in_one"] for of_process in faults] == [[True] * 4] * 2


def test_positions_may_be_another_number_of_dims(faults):
    assert max(of_process["other_ndim"] for of_process in faults) < 1e-12


def test_who_waits_in_vain_names_the_layer_after_the_timeout(faults):
    for said, after in faults[0]["silence"]:
        assert said.startswith("RuntimeError: SyncBatchNorm(4) 'norm' in process 0 got no answer")
        assert 2.9 < after < 30
    assert [said for said, _ in faults[1]["silence"]] == [""] * 4


def test_eval_in_one_under_ddp_ends_a_process_but_with_a_group_of_its_own(faults):
    ((said, after),) = faults[0]["eval_with_a_group_of_its_own"]
    assert said.startswith("RuntimeError: SyncBatchNorm(")
    assert "process 0 got no answer" in said and 2.9 < after < 30
    with pytest.raises(RuntimeError, match=f"it ended with exit code {-signal.SIGABRT}"):
        run_processes(shares.eval_under_ddp, 2)


def test_torch_vmap_and_forward_mode_are_refused(faults):
    for of_process in faults:
        vmap, forward_mode = (said for said, _ in of_process["transforms"])
        assert vmap.startswith("RuntimeError: You tried to vmap over")
        assert forward_mode.startswith("NotImplementedError: ")


def test_who_waits_for_one_that_has_ended_says_so_at_once(faults):
    ((said, after),) = faults[0]["ended"]
    assert said.startswith("RuntimeError: SyncBatchNorm(4) in process 0 got no answer")
    assert after < 60  # and not the timeout, 120


# The command line, in those two processes


def test_the_first_speaks_and_writes_for_all(faults):
    first, second = (of_process["command_lines"]["same"] for of_process in faults)
    assert first[0] == second[0] == 0 and first[2] == second[2] == ""
    assert first[1].startswith("epoch : 1, test acc : ") and second[1] == ""
    assert (first[3], second[3]) == (1, 0)  # files


@pytest.mark.parametrize(
    "case, words",
    [
        (
            "pixels",
            "--sync expects the same images in all processes; got ImageData(noise: 30 training and "
            "10 test images of shape (1, 28, 28) on cpu), checksum ",
        ),
        ("number", "(noise: 31 training and 10 test images of shape (1, 28, 28) on cpu)"),
        ("source", "(hum: 30 training and 10 test images of shape (1, 28, 28) on cpu)"),
        ("absent", "normtutorial: no images here"),
        ("absent in one", "normtutorial: process 1: no images here"),
        ("original", "--sync cannot share the batches of the original network"),
        ("no such folder", "absent/run.json cannot be written (No such file or directory)"),
        ("diverged", "it diverged: the loss of step "),
    ],
)
def test_an_error_ends_all_in_one_sentence_that_is_said_once(faults, case, words):
    ends = [of_process["command_lines"][case] for of_process in faults]
    assert [code for code, *_ in ends] == [1, 1]
    assert sorted(err.count("\n") for _, _, err, _ in ends) == [0, 1]
    assert words in "".join(err for _, _, err, _ in ends)
    if case != "diverged":
        assert [out for _, out, *_ in ends] == ["", ""]  # before an epoch


# run_processes itself


def test_results_come_in_order_and_nothing_is_printed(capfd):
    assert run_processes(shares.echo, 2, "a", 1.5) == [(r, 2, ("a", 1.5)) for r in range(2)]
    assert capfd.readouterr() == ("", "")


def test_an_error_of_one_is_raised_with_its_traceback(capfd):
    with pytest.raises(
        RuntimeError, match=r"(?s)^Process 1 of the 2 .* KeyError: .*no such image"
    ) as e:
        run_processes(shares.raises_in, 2, 1)
    assert "in raises_in" in str(e.value) and "Traceback" in str(e.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("function, ranks, code", [(shares.exits, 2, 0), (shares.returns, 1, 3)])
def test_one_that_ends_before_it_returned_or_with_an_exit_code_is_named(function, ranks, code):
    with pytest.raises(RuntimeError, match=f"^Process 0 of .*: it ended with exit code {code}$"):
        run_processes(function, ranks, code)


def test_no_network_of_this_machine_is_said_in_a_sentence(monkeypatch):
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo0")])  # which Linux does not have
    with pytest.raises(
        RuntimeError,
        match=r"^Process . of the 2 .* RuntimeError: run_processes expects this machine",
    ):
        run_processes(shares.echo, 2)


@pytest.fixture
def started(monkeypatch):
    """The processes that were started; no third one can be."""
    found = []

    class Noted(subprocess.Popen):
        def __init__(self, *args, **options):
            if len(found) == 2:
                raise OSError("no more processes")
            super().__init__(*args, **options)
            found.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    return found


def test_all_are_ended_after_the_timeout(started):
    with pytest.raises(TimeoutError, match=r"waited 1 s for process 0, 1 of 2\. It hangs"):
        run_processes(time.sleep, 2, 600, timeout=1)
    assert [process.returncode for process in started] == [-signal.SIGKILL] * 2


def test_all_are_ended_if_one_cannot_be_started(started):
    with pytest.raises(OSError, match="no more processes"):
        run_processes(time.sleep, 3, 600)
    assert [process.returncode for process in started] == [-signal.SIGKILL] * 2


# torchrun

(TORCHRUN,) = re.findall(r"`(torchrun [^`]+)`", (ROOT / "README.md").read_text("utf-8"))
FEW = """
import torch
torch.set_default_dtype(torch.float64)
from normtutorial import ImageData, commands

images = torch.rand(90, 1, 28, 28, generator=torch.Generator().manual_seed(0))
labels = torch.arange(90) % 10
data = ImageData(images[:73], labels[:73], images[73:], labels[73:], "noise")
commands.digits = lambda source, root: data
"""


def train(folder, line, *argv):
    """Run a line of the command line, on few images and for a few steps."""
    (folder / "sitecustomize.py").write_text(FEW)  # Python runs it first, in each process
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    modules = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [*line.split(), "--norm", "batch", "--epochs", "4", "--batch-size", "17", *argv],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PATH": programs, "PYTHONPATH": modules, "OMP_NUM_THREADS": "1"},
        timeout=240,
    )


def test_torchrun_trains_as_one_process_does_and_the_first_speaks_for_all(tmp_path):
    several, one = tmp_path / "several.json", tmp_path / "one.json"
    ended = train(tmp_path, TORCHRUN, "--json", str(several))  # README's line
    assert ended.returncode == 0 and ended.stderr == "", ended.stderr
    lines = ended.stdout.splitlines()
    assert [line.split(",")[0] for line in lines[:-1]] == [f"epoch : {n}" for n in range(1, 5)]
    assert lines[-1].startswith("seconds per epoch : ")
    assert train(tmp_path, "python -m normtutorial train", "--json", str(one)).returncode == 0
    found, right = (json.loads(path.read_text())["history"] for path in (several, one))
    assert len(right["train_loss"]) == 4 * 5  # of 17, but for the last, of 5
    assert right["train_loss"][-1] < right["train_loss"][0] / 2
    # A bias before batch norm has no gradient, and Adam divides what rounding leaves by 1e-8.
    for name in "train_loss", "test_loss":
        assert found[name] == pytest.approx(right[name], rel=1e-15 / 1e-8), name
    assert found["test_metric"] == right["test_metric"]
