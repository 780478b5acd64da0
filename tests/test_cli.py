"""The command line, on images so few that a run takes no time."""

import json
import os
import re
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

from normtutorial import (
    ConvNet,
    DataError,
    History,
    ImageData,
    __version__,
    cli,
    commands,
    data,
    studies,
    training,
)
from normtutorial.cli import main
from normtutorial.data.files import atomic_write, checksum
from normtutorial.studies import NAMES

EPOCH = re.compile(r"epoch : (\d+), test acc : [01]\.\d{4}")


@pytest.fixture(autouse=True)
def images(monkeypatch) -> ImageData:
    """What the commands get instead of MNIST, whatever they ask for."""
    images = torch.rand(300, 1, 28, 28)
    labels = torch.arange(300) % 10
    few = ImageData(images[:256], labels[:256], images[256:], labels[256:], "synthetic")
    monkeypatch.setattr(commands, "digits", lambda source, root: few)
    return few


@pytest.fixture
def no_training(monkeypatch):
    """Fail if a command trains."""
    monkeypatch.setattr(commands, "fit", lambda *_, **__: pytest.fail("it trained"))
    monkeypatch.setattr(commands, "compare", lambda *_, **__: pytest.fail("it trained"))


@pytest.fixture
def explodes(monkeypatch):
    """Networks that put out NaN from the second step on."""

    class Explodes(nn.Linear):
        calls = 0

        def forward(self, x):
            self.calls += self.training
            return super().forward(x.flatten(1)) / (self.calls < 2)

    replace_networks(monkeypatch, lambda: Explodes(784, 10))


@pytest.fixture
def interrupted(monkeypatch):
    """Networks during whose second step, before any evaluation, someone gives up."""

    class Interrupted(nn.Linear):
        calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().forward(x.flatten(1))

    replace_networks(monkeypatch, lambda: Interrupted(784, 10))


@pytest.fixture
def no_memory(monkeypatch):
    """Networks that ask for more memory than there is in the third step, after the first epoch."""

    class Greedy(nn.Linear):
        calls = 0

        def forward(self, x):
            self.calls += self.training
            if self.calls == 3:
                raise torch.cuda.OutOfMemoryError("Tried to allocate 1 PiB.\nHints.")
            return super().forward(x.flatten(1))

    replace_networks(monkeypatch, lambda: Greedy(784, 10))


def replace_networks(monkeypatch, make) -> None:
    for module in "commands", "studies.runs":
        monkeypatch.setattr(f"normtutorial.{module}.build", lambda *_, **__: make())


def strict(path: Path) -> dict:
    """The content of a file of strict JSON, in which NaN has no place."""
    return json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))


def usage_error(capsys, *argv: str) -> str:
    with pytest.raises(SystemExit) as exit:
        main(argv)
    assert exit.value.code == 2
    return capsys.readouterr().err


# What the command line knows without the modules that know it


def test_the_names_are_those_of_the_modules():
    assert cli.NAMES == studies.NAMES and cli.SOURCES == data.SOURCES
    assert tuple(commands.MODELS) == cli.MODELS


def test_the_figures_are_those_that_can_be_drawn(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    assert re.findall(r"(?<= )\.[a-z]+", capsys.readouterr().out) == list(commands.FIGURES)


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"normtutorial {__version__}\n"


# settings


@pytest.fixture
def seen(monkeypatch) -> dict:
    """The arguments of fit, which trains as ever, and what else a run has at that time."""
    seen, fit = {}, commands.fit

    def spy(model, images, **settings):
        seen.update(settings, model=model, threads=torch.get_num_threads())
        return fit(model, images, **settings)

    monkeypatch.setattr(commands, "fit", spy)
    monkeypatch.setattr("normtutorial.studies.runs.fit", spy)
    monkeypatch.setattr(nn.Module, "compile", lambda model: seen.update(compiled=model))
    return seen


@pytest.mark.parametrize("command", ["train", "compare"])
def test_what_is_set_is_what_is_run_and_what_the_json_says(command, seen, tmp_path):
    path, before = tmp_path / "run.json", torch.get_num_threads()
    settings = ["--lr", "0.02", "--batch-size", "64", "--threads", str(before + 1), "--compile"]
    few = ["--norms", "none", "--runs", "1"] if command == "compare" else []
    assert main([command, *settings, *few, "--epochs", "1", "--json", str(path)]) == 0
    assert (seen["lr"], seen["batch_size"], seen["threads"]) == (0.02, 64, before + 1)
    assert seen["compiled"] is seen["model"]
    record = strict(path)
    assert (record["lr"], record["batch_size"], record["compile"]) == (0.02, 64, True)
    assert record["machine"]["threads"] == before + 1 and torch.get_num_threads() == before


@pytest.mark.parametrize("command", ["train", "compare"])
def test_what_is_not_set_is_as_fit_and_torch_have_it(command, seen):
    assert main([command, "--epochs", "1"]) == 0
    assert (seen["lr"], seen["batch_size"]) == (1e-3, 128) and "compiled" not in seen
    assert seen["threads"] == torch.get_num_threads()


# train


def test_train_prints_a_line_per_epoch_as_the_original_did_and_then_the_seconds(capsys):
    assert main(["train", "--norm", "batch", "--epochs", "3"]) == 0
    *epochs, last = capsys.readouterr().out.splitlines()
    assert [EPOCH.fullmatch(line)[1] for line in epochs] == ["1", "2", "3"]
    assert re.fullmatch(r"seconds per epoch : \d+\.\d", last)


def test_train_prints_each_line_when_its_epoch_ends(capsys, monkeypatch):
    seen = []

    def fit(*_, on_evaluation, **__):
        history = History()
        for accuracy in 0.5, 0.9733:
            history.test_metric.append(accuracy)
            on_evaluation(history)
            seen.append(capsys.readouterr().out)
        return history

    monkeypatch.setattr(commands, "fit", fit)
    assert main(["train"]) == 0
    assert seen == ["epoch : 1, test acc : 0.5000\n", "epoch : 2, test acc : 0.9733\n"]


@pytest.mark.parametrize("norm", NAMES)
def test_train_knows_every_normalization(norm, capsys):
    assert main(["train", "--norm", norm, "--epochs", "1"]) == 0
    assert EPOCH.match(capsys.readouterr().out)


def test_train_takes_the_model_that_was_asked_for(seen):
    assert main(["train", "--model", "conv", "--norm", "batch", "--epochs", "1"]) == 0
    assert type(seen["model"]) is ConvNet and seen["model"].norm4.num_features == 64


def test_the_seed_decides_the_run(tmp_path):
    losses = []
    for seed in "0", "0", "1":
        path = tmp_path / "run.json"
        assert main(["train", "--epochs", "1", "--seed", seed, "--json", str(path)]) == 0
        losses.append(strict(path)["history"]["train_loss"])
    assert losses[0] == losses[1] != losses[2]


def test_the_json_says_what_was_run_and_on_what(tmp_path):
    path = tmp_path / "run.json"
    argv = ["train", "--norm", "layer", "--epochs", "2", "--json", str(path)]
    assert main(argv) == 0
    record = strict(path)
    assert record["command"].startswith("normtutorial train --norm layer --epochs 2")
    assert (record["source"], record["seed"], record["epochs"]) == ("synthetic", 0, 2)
    assert record["machine"]["torch"] == torch.__version__ and record["version"] == __version__
    assert (record["lr"], record["batch_size"], record["compile"]) == (0.001, 128, False)
    assert len(record["history"]["train_loss"]) == 4 and record["history"]["eval_steps"] == [2, 4]


def test_several_processes_are_those_of_torchrun(no_training, monkeypatch, capsys):
    monkeypatch.delenv("RANK", raising=False)
    assert main(["train", "--norm", "batch", "--sync"]) == 1
    said = "normtutorial: --sync expects several processes. Start them with torchrun: torchrun "
    assert capsys.readouterr().err.startswith(said)


def test_the_original_network_cannot_share_its_batches(no_training, monkeypatch, capsys):
    monkeypatch.setattr(commands, "in_touch", lambda args: nullcontext())
    monkeypatch.setattr(commands, "alike", lambda get: get())
    assert main(["train", "--norm", "original", "--sync"]) == 1
    assert "--sync cannot share the batches of the original" in capsys.readouterr().err


def test_a_run_that_diverges_ends_with_a_sentence_and_null_in_its_json(explodes, tmp_path, capsys):
    path = tmp_path / "run.json"
    assert main(["train", "--epochs", "5", "--json", str(path)]) == 1
    out, err = capsys.readouterr()
    assert err == "normtutorial: it diverged: the loss of step 2 is not finite.\n"
    assert len(out.splitlines()) == 2  # the last evaluation, and the seconds
    history = strict(path)["history"]
    assert history["diverged"] and history["train_loss"][1] is None


def test_an_interrupted_run_is_saved_and_gives_130(interrupted, tmp_path, capsys):
    path = tmp_path / "run.json"
    assert main(["train", "--json", str(path)]) == 130
    assert capsys.readouterr().err == "normtutorial: interrupted.\n"
    assert strict(path)["history"]["interrupted"]


def test_an_interrupt_before_the_first_step_is_saved_too(monkeypatch, tmp_path, capsys):
    def make():
        raise KeyboardInterrupt

    replace_networks(monkeypatch, make)
    path = tmp_path / "run.json"
    assert main(["train", "--json", str(path)]) == 130
    assert capsys.readouterr() == ("", "normtutorial: interrupted.\n")
    assert strict(path)["history"]["interrupted"]


def test_a_run_without_memory_is_saved_and_ends_with_a_sentence(no_memory, tmp_path, capsys):
    path = tmp_path / "run.json"
    assert main(["train", "--json", str(path)]) == 1
    out, err = capsys.readouterr()
    assert err == "normtutorial: it ended after 2 steps: Tried to allocate 1 PiB.\n"
    assert out.startswith("epoch : 1, test acc : 0.")
    history = strict(path)["history"]
    assert (
        len(history["train_loss"]) == 2 and history["eval_steps"] == [2] and history["interrupted"]
    )


@pytest.mark.parametrize("command", ["train", "compare"])
def test_without_memory_for_the_network_itself_there_is_a_sentence_too(
    command, monkeypatch, tmp_path, capsys
):
    def make():
        raise RuntimeError("not enough memory: you tried to allocate 1 PiB")

    replace_networks(monkeypatch, make)
    assert main([command, "--json", str(tmp_path / "run.json")]) == 1
    assert "not enough memory" in capsys.readouterr().err
    record = strict(tmp_path / "run.json")
    if command == "train":
        assert record["history"]["eval_steps"] == []
    else:
        assert record["runs"] == {}


def test_a_record_for_which_the_disk_is_full_is_printed(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    path = tmp_path / "run.json"
    assert main(["train", "--epochs", "1", "--json", str(path)]) == 1
    out, err = capsys.readouterr()
    assert err == (
        f"normtutorial: {path} could not be written (No space left on device). What it would hold "
        "is printed above.\n"
    )
    assert len(json.loads(out.splitlines()[-1])["history"]["train_loss"]) == 2
    assert os.listdir(tmp_path) == []


# compare


def test_a_comparison_without_memory_saves_what_there_is(no_memory, tmp_path, capsys):
    path, figure = tmp_path / "runs.json", tmp_path / "runs.png"
    arguments = ["--norms", "batch", "none", "--json", str(path), "--figure", str(figure)]
    assert main(["compare", *arguments]) == 1
    err = capsys.readouterr().err
    assert err == "normtutorial: batch ended before its time: Tried to allocate 1 PiB.\n"
    (run,) = strict(path)["runs"]["batch"]
    assert run["eval_steps"] == [2] and run["interrupted"] and not figure.exists()


def test_compare_prints_a_row_for_each_normalization(capsys):
    assert main(["compare", "--norms", "none", "batch", "--runs", "3", "--epochs", "1"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    columns = ["norm", "runs", "accuracy", "lowest", "highest", "s/epoch", "parameters"]
    assert head.split() == columns
    assert [row.split()[:2] for row in rows] == [["none", "3"], ["batch", "3"]]
    for row in rows:
        median, low, high = map(float, row.split()[2:5])
        assert low <= median <= high
    # 784 x 512 + 512 x 512 + 512 x 256 + 256 x 10 and a bias each; scale and shift on 1280 units
    assert [row.split()[-1] for row in rows] == ["798,474", "801,034"]


@pytest.mark.parametrize(
    "model, norms, rows",
    [
        ("mlp", [], {"none": 798_474, "batch": 801_034, "layer": 801_034}),
        # 9 x 16 + 9 x 16 x 32 + 9 x 32 x 32 + 9 x 32 x 64 + 64 x 10, and a bias each; scale and
        # shift, or a length, of 144 channels
        ("conv", ["none", "group", "weight"], {"none": 33_194, "group": 33_482, "weight": 33_338}),
        # 50 x 32 of the patches, 16 x 32 of their places, 33 x 10 and four blocks of 12 x 32 x 32
        # and biases of 9 x 32; scales of nine norms
        ("transformer", [], {"none": 52_746, "layer": 53_322, "rms": 53_034}),
    ],
)
def test_compare_trains_the_model_that_was_asked_for(model, norms, rows, tmp_path, capsys):
    path = tmp_path / "runs.json"
    argv = ["compare", "--model", model, "--runs", "1", "--epochs", "1", "--json", str(path)]
    assert main([*argv, *(["--norms", *norms] if norms else [])]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    found = {line.split()[0]: line.split()[-1] for line in lines}
    assert found == {norm: f"{count:,}" for norm, count in rows.items()}
    assert strict(path)["model"] == model


@pytest.mark.parametrize("command, option", [("train", "--norm"), ("compare", "--norms")])
@pytest.mark.parametrize(
    "model, norm, said",
    [
        ("conv", "rms", "ConvNet knows no norm 'rms'. Known ones: none, weight, batch, layer, ins"),
        ("conv", "original", "ConvNet knows no norm 'original'. Known ones: none, weight, batch"),
        ("conv", "instance", "InstanceNorm(64) expects more than one position per channel; got"),
        ("transformer", "batch", "Transformer knows no norm 'batch'. Known ones: none, layer, rms"),
    ],
)
def test_a_norm_that_a_model_cannot_have_is_a_sentence(command, option, model, norm, said, capsys):
    assert main([command, "--model", model, option, norm]) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"normtutorial: {said}") and err.count("\n") == 1 and out == ""


def test_compare_writes_a_run_for_each_seed(tmp_path):
    path = tmp_path / "compare.json"
    argv = ["compare", "--norms", "none", "rms", "--runs", "2", "--seed", "5", "--epochs", "2"]
    assert main([*argv, "--evaluate-every", "1", "--json", str(path)]) == 0
    record = strict(path)
    assert record["seeds"] == [5, 6] and list(record["runs"]) == ["none", "rms"]
    for runs in record["runs"].values():
        assert [run["seed"] for run in runs] == [5, 6]
        for run in runs:
            assert run["eval_steps"] == [1, 2, 3, 4]
            assert len(run["train_loss_mean"]) == len(run["test_accuracy"]) == 4


@pytest.mark.parametrize("suffix, magic", [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_compare_draws_the_curves(tmp_path, suffix, magic):
    path = tmp_path / f"curves{suffix}"
    argv = ["compare", "--norms", "none", "--runs", "2", "--epochs", "1"]
    assert main([*argv, "--figure", str(path)]) == 0
    assert path.read_bytes().startswith(magic)
    assert os.listdir(tmp_path) == [path.name]


def test_compare_says_which_normalization_diverged(explodes, tmp_path, capsys):
    path, figure = tmp_path / "compare.json", tmp_path / "curves.png"
    argv = ["compare", "--norms", "none", "layer", "--runs", "1", "--json", str(path)]
    assert main([*argv, "--figure", str(figure)]) == 1
    err = capsys.readouterr().err
    assert err == ("normtutorial: it diverged: the loss was not finite in a run of none, layer.\n")
    assert strict(path)["runs"]["none"][0]["diverged"]
    assert not figure.exists()  # there is nothing to draw


def test_a_normalization_that_is_named_twice_runs_once(tmp_path, capsys):
    path = tmp_path / "compare.json"
    argv = ["compare", "--norms", "rms", "none", "rms", "--runs", "1", "--epochs", "1"]
    assert main([*argv, "--json", str(path)]) == 0
    _, *rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == list(strict(path)["runs"]) == ["rms", "none"]
    assert len(strict(path)["runs"]["rms"]) == 1


def test_the_bar_says_which_run_it_is_of(monkeypatch):
    labels, bar = [], training._progress_bar

    def spy(total, label):
        labels.append(label)
        return bar(total, label)

    monkeypatch.setattr(training, "_progress_bar", spy)
    argv = ["compare", "--norms", "none", "batch", "--runs", "2", "--seed", "7", "--epochs", "1"]
    assert main(argv) == 0
    assert labels == [
        "none, seed 7, run 1 of 4",
        "none, seed 8, run 2 of 4",
        "batch, seed 7, run 3 of 4",
        "batch, seed 8, run 4 of 4",
    ]


@pytest.mark.parametrize("place", ["in a step", "before the first step"])
def test_a_run_that_has_ended_is_in_the_table_after_an_interrupt(
    place, monkeypatch, tmp_path, capsys
):
    path, made = tmp_path / "compare.json", []

    class GivesUp(nn.Linear):
        def forward(self, x):
            raise KeyboardInterrupt

    def make():
        made.append(True)
        if len(made) == 6:  # the second run of batch; a row makes one, too
            if place == "before the first step":
                raise KeyboardInterrupt
            return GivesUp(784, 10)
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

    replace_networks(monkeypatch, make)
    argv = ["compare", "--norms", "none", "batch", "rms", "--runs", "3", "--epochs", "1"]
    assert main([*argv, "--json", str(path)]) == 130
    out, err = capsys.readouterr()
    rows = [row.split()[:2] for row in out.splitlines()[1:]]
    assert rows == [["none", "3"], ["batch", "1"]] and err == "normtutorial: interrupted.\n"
    ended = [not run["interrupted"] for run in strict(path)["runs"]["batch"]]
    assert ended == ([True, False] if place == "in a step" else [True])


def test_an_interrupted_comparison_saves_what_there_is(interrupted, tmp_path, capsys):
    path = tmp_path / "compare.json"
    assert main(["compare", "--norms", "none", "batch", "--json", str(path)]) == 130
    (run,) = strict(path)["runs"]["none"]
    assert run["interrupted"] and run["eval_steps"] == run["train_loss_mean"] == []
    assert "batch" not in strict(path)["runs"]


# data


def test_data_says_where_the_files_are(monkeypatch, images, capsys, tmp_path):
    found = ImageData(*list(vars(images).values())[:4], source="mnist")
    monkeypatch.setattr(commands, "digits", lambda source, root: found)
    monkeypatch.setattr(commands, "locate", lambda root: tmp_path)
    assert main(["data"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(found), f"read from {tmp_path}"]


def test_data_says_where_the_synthetic_digits_are(monkeypatch, images, capsys, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "normtutorial"
    content = b"digits"
    atomic_write(cache / "synthetic-digits-1", bytes.fromhex(checksum(content)) + content)
    assert main(["data", "--source", "synthetic"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(images), f"cached in {cache}"]


@pytest.mark.parametrize("content", [None, b"", b"damaged, and the disk is full"])
def test_data_says_where_the_synthetic_digits_are_not(
    monkeypatch, images, content, capsys, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "normtutorial"
    if content is not None:
        atomic_write(cache / "synthetic-digits-1", content)
    assert main(["data", "--source", "synthetic"]) == 0
    said = f"not cached: {cache} cannot be written"
    assert capsys.readouterr().out.splitlines() == [str(images), said]


@pytest.mark.parametrize("command", ["train", "compare", "data"])
def test_source_and_root_are_passed_on_and_an_error_is_a_sentence(command, monkeypatch, capsys):
    def digits(source, root):
        raise DataError(f"no {source} in {root}")

    monkeypatch.setattr(commands, "digits", digits)
    assert main([command, "--source", "mnist", "--root", "here"]) == 1
    assert capsys.readouterr() == ("", "normtutorial: no mnist in here\n")


# files


@pytest.mark.parametrize("command", ["train", "compare"])
def test_a_path_that_cannot_be_written_is_found_out_before_training(
    command, no_training, tmp_path, capsys
):
    for path in tmp_path / "absent" / "run.json", tmp_path:
        assert main([command, "--json", str(path)]) == 1
        out, err = capsys.readouterr()
        assert out == "" and err.startswith(f"normtutorial: {path} cannot be written")
        assert err.count("\n") == 1


def test_a_figure_of_an_unknown_kind_is_found_out_before_training(no_training, tmp_path, capsys):
    assert main(["compare", "--figure", str(tmp_path / "curves.bmpx")]) == 1
    assert "its name must end in .png, .svg, .pdf." in capsys.readouterr().err


def test_a_file_is_replaced_whole_or_stays_as_it_was(tmp_path, monkeypatch, capsys):
    path = tmp_path / "run.json"
    path.write_text("before")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert main(["train", "--epochs", "1", "--json", str(path)]) == 1
    assert "No space left" in capsys.readouterr().err
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["run.json"]
    assert main(["train", "--epochs", "1", "--json", str(path)]) == 0
    assert strict(path)["history"] and os.listdir(tmp_path) == ["run.json"]
    assert path.stat().st_mode & 0o777 == 0o644 or os.name == "nt"


# usage


@pytest.mark.parametrize("command", [(), ("train",), ("compare",), ("data",)])
def test_there_is_help_everywhere(command, capsys):
    with pytest.raises(SystemExit) as exit:
        main([*command, "--help"])
    out = capsys.readouterr().out
    assert exit.value.code == 0
    if command in {("train",), ("compare",)}:
        options = "--epochs", "--seed", "--json", "--source", "--lr", "--batch-size", "--threads"
        assert all(name in out for name in [*NAMES, *cli.MODELS, *options, "--compile"])
    if not command:
        assert all(name in out for name in ("train", "compare", "data", "Exit codes"))


@pytest.mark.parametrize(
    "argv, complaint",
    [
        ([], "COMMAND"),
        (["sing"], "invalid choice: 'sing'"),
        (["train", "--norm", "bach"], "invalid choice: 'bach'"),
        (["train", "--model", "rnn"], "invalid choice: 'rnn'"),
        (["train", "--epochs", "0"], "expected a whole number from 1; got '0'"),
        (["train", "--epochs", "two"], "expected a whole number from 1; got 'two'"),
        (["train", "--seed", "-1"], "expected"),
        *[
            (["train", "--lr", rate], f"expected a number above 0; got '{rate}'")
            for rate in ("0", "nan", "inf", "fast")
        ],
        (["train", "--batch-size", "0"], "expected a whole number from 1; got '0'"),
        (["compare", "--threads", "0"], "expected a whole number from 1; got '0'"),
        (["compare", "--norms"], "expected at least one argument"),
        (["compare", "--runs", "0"], "expected a whole number from 1; got '0'"),
        (["data", "--source", "web"], "invalid choice: 'web'"),
    ],
    ids=" ".join,
)
def test_what_is_not_understood_is_a_usage_error(argv, complaint, capsys, no_training):
    assert complaint in usage_error(capsys, *argv)
