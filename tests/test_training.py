"""The training loop, on a task so small that it is learned in a second."""

import copy
import io
import json
import math
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from helpers import toy
from normtutorial import MLP, BatchNorm, History, ImageData, evaluate, fit
from normtutorial.training import accuracy


def model(seed: int = 0, norm=None) -> MLP:
    torch.manual_seed(seed)
    return MLP((16, 32, 10), norm=norm)


class Watch(nn.Module):
    """Keeps the batches of the training steps and the mode of each call."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.batches, self.modes = [], []

    def forward(self, x):
        self.modes.append(self.training)
        if self.training:
            self.batches.append(x)
        return self.inner(x)


def values(history: History) -> dict:
    return {k: v for k, v in history.to_dict().items() if k != "epoch_seconds"}


def test_the_loss_falls_and_the_test_set_is_learned():
    history = fit(model(), toy(512, 256), epochs=15, batch_size=32, lr=1e-2)
    assert history.train_loss[0] > 2 and sum(history.train_loss[-16:]) / 16 < 0.5
    assert history.final_accuracy > 0.75 and history.test_loss[-1] < history.test_loss[0]


@pytest.mark.parametrize("norm", [None, BatchNorm])
def test_the_same_seed_twice_is_bit_equal(norm):
    runs = []
    for _ in range(2):
        net = model(norm=norm)
        runs.append((values(fit(net, toy(), epochs=2, batch_size=16, seed=7)), net.state_dict()))
    assert runs[0][0] == runs[1][0]
    assert_close(dict(runs[0][1]), dict(runs[1][1]), rtol=0, atol=0)


def test_the_same_seed_gives_the_same_bits_beside_other_work():
    alone = fit(model(norm=BatchNorm), toy(), epochs=3, batch_size=16).to_dict()
    stop = threading.Event()

    def other_work():
        while not stop.is_set():
            torch.randn(50, 50) @ torch.randn(50, 50)
            fit(model(), toy(), epochs=1, batch_size=16, seed=7)

    noise = threading.Thread(target=other_work)
    nets = [
        model(norm=BatchNorm) for _ in range(3)
    ]  # drawn from the global state, before the noise
    noise.start()
    try:
        beside = [fit(net, toy(), epochs=3, batch_size=16).to_dict() for net in nets]
    finally:
        stop.set()
        noise.join()
    for run in beside:
        assert run["train_loss"] == alone["train_loss"] and run["test_loss"] == alone["test_loss"]


def test_another_seed_is_another_order_of_the_batches():
    a, b = (fit(model(), toy(), epochs=1, batch_size=16, seed=seed) for seed in (0, 1))
    assert a.train_loss != b.train_loss


def test_the_global_random_state_neither_matters_nor_changes():
    runs = []
    for state in 1, 2:
        net = model()
        torch.manual_seed(state)
        before = torch.get_rng_state()
        runs.append(values(fit(net, toy(), epochs=1, batch_size=16)))
        assert torch.equal(torch.get_rng_state(), before)
    assert runs[0] == runs[1]


def test_it_is_the_plain_loop():
    data, ours, theirs = toy(), model(), model()
    history = fit(ours, data, steps=4, batch_size=16, lr=1e-2, seed=3)
    adam = torch.optim.Adam(theirs.parameters(), lr=1e-2)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    for step, batch in enumerate(order.split(16)):
        loss = F.cross_entropy(theirs(data.train_images[batch]), data.train_labels[batch])
        assert_close(history.train_loss[step], loss.item())
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert_close(dict(ours.state_dict()), dict(theirs.state_dict()))


def test_an_optimizer_can_be_given():
    data, net = toy(), model()
    before = copy.deepcopy(net)
    fit(net, data, steps=1, batch_size=64, optimizer=torch.optim.SGD(net.parameters(), 0.5))
    F.cross_entropy(before(data.train_images), data.train_labels).backward()
    for ours, theirs in zip(net.parameters(), before.parameters(), strict=True):
        assert_close(ours, theirs - 0.5 * theirs.grad)


def test_what_the_optimizer_does_not_have_stays():
    net = model()
    before = net.linear1.weight.clone()
    fit(net, toy(), steps=3, optimizer=torch.optim.SGD(net.linear2.parameters(), 0.5))
    assert_close(net.linear1.weight, before, rtol=0, atol=0)


def test_gradients_of_before_do_not_count():
    a, b = model(), model()
    b(torch.ones(1, 16)).sum().backward()
    assert values(fit(a, toy(), steps=3)) == values(fit(b, toy(), steps=3))


@pytest.mark.parametrize("scheduled", [False, True])
def test_an_optimizer_that_asks_for_the_loss_itself_trains(scheduled):
    data, ours, theirs = toy(), model(), model()
    a, b = (torch.optim.LBFGS(m.parameters(), lr=0.5, max_iter=4) for m in (ours, theirs))
    if scheduled:
        torch.optim.lr_scheduler.ConstantLR(a, 1.0)  # wraps its step
    history = fit(ours, data, steps=2, batch_size=64, optimizer=a)

    def closure():
        b.zero_grad()
        loss = F.cross_entropy(theirs(data.train_images), data.train_labels)
        loss.backward()
        return loss

    losses = [b.step(closure).item() for _ in range(2)]
    assert_close(history.train_loss, losses, rtol=1e-5, atol=0)
    assert losses[1] < losses[0] - 0.1


def test_gradients_are_there_before_an_optimizer_steps():
    """Where they may be clipped, for one."""
    net, norms = model(), []
    sgd = torch.optim.SGD(net.parameters(), 0.1)
    sgd.register_step_pre_hook(
        lambda *_: norms.append(nn.utils.clip_grad_norm_(net.parameters(), 1e-3))
    )
    fit(net, toy(), steps=3, optimizer=sgd)
    assert len(norms) == 3 and min(norms) > 0


# --- epochs, steps, batches -----------------------------------------------------------------------


def test_history_has_one_loss_for_each_step_and_one_test_for_each_epoch():
    history = fit(model(), toy(), epochs=3, batch_size=16)
    assert len(history.train_loss) == 12
    assert history.eval_steps == [4, 8, 12]
    assert len(history.test_loss) == len(history.test_accuracy) == len(history.epoch_seconds) == 3
    assert not history.diverged and not history.interrupted
    assert all(seconds > 0 for seconds in history.epoch_seconds)


def test_steps_may_end_in_the_midst_of_an_epoch():
    history = fit(model(), toy(), steps=6, batch_size=16)
    assert len(history.train_loss) == 6
    assert history.eval_steps == [4, 6]
    assert len(history.epoch_seconds) == 2


@pytest.mark.parametrize(
    "every, expected", [(None, [4, 8]), (1, [*range(1, 9)]), (3, [3, 6, 8]), (100, [8])]
)
def test_the_test_set_is_evaluated_as_often_as_asked_and_at_the_end(every, expected):
    history = fit(model(), toy(), epochs=2, batch_size=16, evaluate_every=every)
    assert history.eval_steps == expected
    assert len(history.test_loss) == len(history.test_accuracy) == len(expected)


def test_evaluating_more_often_changes_nothing():
    often, once = model(norm=BatchNorm), model(norm=BatchNorm)
    a = fit(often, toy(), steps=8, batch_size=16, evaluate_every=1)
    b = fit(once, toy(), steps=8, batch_size=16, evaluate_every=8)
    assert a.train_loss == b.train_loss and a.final_accuracy == b.final_accuracy
    assert_close(dict(often.state_dict()), dict(once.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize(
    "images, batch_size, sizes",
    [
        (8, 4, [4, 4]),
        (9, 4, [4, 4]),  # the last batch, of one, is left out
        (10, 4, [4, 4, 2]),
        (3, 8, [3]),
        (3, 1, [1, 1, 1]),
        (1, 1, [1]),
        (2, 2, [2]),
    ],
)
def test_a_last_batch_of_one_is_left_out(images, batch_size, sizes):
    net = Watch(model())
    history = fit(net, toy(images), epochs=2, batch_size=batch_size)
    assert [len(batch) for batch in net.batches] == 2 * sizes
    assert history.eval_steps == [len(sizes), 2 * len(sizes)]


def test_an_epoch_shows_every_image_once_in_a_new_order():
    net, data = Watch(nn.Sequential(nn.Flatten(), nn.Linear(16, 10))), toy()
    fit(net, data, epochs=2, batch_size=16)
    epochs = torch.cat(net.batches[:4]), torch.cat(net.batches[4:])
    for images in epochs:
        assert_close(images.flatten().sort().values, data.train_images.flatten().sort().values)
    assert not torch.equal(*epochs)
    assert not torch.equal(epochs[0], data.train_images)


def test_labels_go_with_their_images():
    data = toy()
    indices = torch.arange(64) % 10
    images = F.one_hot(indices, 16).float().view(64, 1, 4, 4) * 100
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 10, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(torch.eye(10, 16))
    matched = ImageData(images, indices, data.test_images, data.test_labels, "synthetic")
    assert fit(net, matched, epochs=1, batch_size=16).train_loss == [0.0] * 4


def test_what_is_recorded_can_be_followed():
    seen = []
    fit(
        model(),
        toy(),
        epochs=2,
        batch_size=16,
        on_evaluation=lambda h: seen.append(h.eval_steps[-1]),
    )
    assert seen == [4, 8]


# --- modes and hooks ------------------------------------------------------------------------------


def test_it_trains_in_training_mode_and_tests_in_eval_mode():
    net = Watch(model())
    fit(net.eval(), toy(), epochs=2, batch_size=32)
    assert net.modes == [True, True, False, True, True, False]
    assert net.training and net.inner.training


def frozen_by(way: str, part: nn.Module) -> None:
    if way == "eval mode":
        part.eval()
    else:
        part.requires_grad_(False)


class Tuned(nn.Module):
    """A part that was trained before, with statistics and dropout, and a head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        norm = BatchNorm(12, affine=False)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), norm, nn.Dropout())
        self.head = nn.Linear(12, 10)

    def forward(self, x):
        return self.head(self.body(x))


@pytest.mark.parametrize("way", ["eval mode", "no gradients"])
def test_what_was_frozen_stays_as_it_was(way):
    net = Tuned()
    frozen_by(way, net.body)
    before = copy.deepcopy(net.state_dict())
    modes = []
    net.body[3].register_forward_pre_hook(lambda m, _: modes.append((m.training, net.training)))
    fit(net, toy(), steps=4, batch_size=32, evaluate_every=2)
    assert modes[:3] == [(False, True), (False, True), (False, False)]
    assert net.training and net.head.training
    assert not any(module.training for module in net.body)
    changed = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"head.weight", "head.bias"} | (
        {"body.1.weight", "body.1.bias"} if way == "eval mode" else set()
    )


def test_what_was_frozen_stays_in_eval_mode_where_a_callback_changes_the_modes():
    net = Tuned()
    net.body.eval()
    fit(net, toy(), steps=2, evaluate_every=1, on_evaluation=lambda _: net.train())
    assert net.body[2].num_batches_tracked == 0


def test_a_head_that_was_put_into_training_mode_is_the_only_one():
    net = Tuned().eval()
    net.head.train()
    fit(net, toy(), steps=2)
    assert net.training and net.head.training and not net.body[2].training
    assert net.body[2].num_batches_tracked == 0


def test_a_model_in_eval_mode_is_put_into_training_mode():
    net = Tuned().eval()
    fit(net, toy(), steps=2)
    assert all(module.training for module in net.modules())
    assert net.body[2].num_batches_tracked == 2


def test_a_layer_with_one_parameter_frozen_is_not():
    net = model(norm=BatchNorm)
    net.norm1.weight.requires_grad_(False)
    fit(net, toy(), steps=2)
    assert net.norm1.training and net.norm1.num_batches_tracked == 2


@pytest.mark.parametrize("given", [True, False])
def test_a_model_with_all_parameters_frozen_is_refused(given):
    net = model().requires_grad_(False)
    sgd = torch.optim.SGD(net.parameters(), 0.1) if given else None
    with pytest.raises(ValueError, match="parameters to train; those of MLP are frozen"):
        fit(net, toy(), steps=1, optimizer=sgd)
    with pytest.raises(ValueError, match="parameters to train; those of Identity are none"):
        fit(nn.Identity(), toy(), steps=1)


def test_a_loss_may_have_the_parameters():
    class Temperature(nn.Module):
        def __init__(self):
            super().__init__()
            self.log = nn.Parameter(torch.zeros(()))

        def forward(self, logits, labels):
            return F.cross_entropy(logits * self.log.exp(), labels)

    net, loss = model().requires_grad_(False), Temperature()
    fit(net, toy(), steps=2, loss=loss, optimizer=torch.optim.SGD(loss.parameters(), 0.1))
    assert loss.log != 0


def test_the_model_is_called_so_that_its_hooks_run():
    net, calls = model(), []
    net.register_forward_hook(lambda *_: calls.append("model"))
    net.linear1.register_forward_hook(lambda *_: calls.append("layer"))
    fit(net, toy(), steps=2)
    assert calls == ["layer", "model"] * 4  # two steps; two evaluations


def test_the_test_set_is_not_trained_on():
    data = toy()
    other = ImageData(
        data.train_images,
        data.train_labels,
        100 * torch.randn_like(data.test_images),
        (data.test_labels + 1) % 10,
        "synthetic",
    )
    a, b = model(norm=BatchNorm), model(norm=BatchNorm)
    first = fit(a, data, epochs=2, batch_size=16)
    second = fit(b, other, epochs=2, batch_size=16)
    assert first.train_loss == second.train_loss and first.test_loss != second.test_loss
    assert_close(dict(a.state_dict()), dict(b.state_dict()), rtol=0, atol=0)


def test_the_data_are_not_changed():
    data = toy()
    before = data.train_images.clone(), data.train_labels.clone()
    fit(model(), data, epochs=1, batch_size=16)
    assert_close((data.train_images, data.train_labels), before, rtol=0, atol=0)


# --- how a run ends -------------------------------------------------------------------------------


class Fails(nn.Module):
    """Does something to the output from the n-th training step on."""

    def __init__(self, inner, n, what):
        super().__init__()
        self.inner, self.n, self.what = inner, n, what

    def forward(self, x):
        self.n -= self.training
        return self.what(self.inner(x)) if self.n <= 0 else self.inner(x)


def interrupt(y):
    raise KeyboardInterrupt


def fault(y):
    raise ZeroDivisionError("in the model")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_run(value):
    history = fit(Fails(model(), 3, lambda y: y * value), toy(), epochs=5, batch_size=16)
    assert history.diverged and not history.interrupted
    assert len(history.train_loss) == 3 and not math.isfinite(history.train_loss[-1])
    assert history.eval_steps == [3]


def test_a_learning_rate_far_too_high_diverges():
    net = model()
    history = fit(net, toy(), epochs=50, optimizer=torch.optim.SGD(net.parameters(), 1e20))
    assert history.diverged and len(history.train_loss) < 50


def test_an_interrupt_returns_what_was_recorded():
    net = Fails(model(), 6, interrupt)
    history = fit(net, toy(), epochs=5, batch_size=16)
    assert history.interrupted and not history.diverged
    assert (
        len(history.train_loss) == 5 and history.eval_steps == [4] and len(history.test_loss) == 1
    )


def test_an_interrupt_before_the_first_test_has_no_final_accuracy():
    history = fit(Fails(model(), 2, interrupt), toy(), epochs=1, batch_size=16)
    assert history.interrupted and len(history.train_loss) == 1
    with pytest.raises(ValueError, match="stopped before the test set was evaluated"):
        _ = history.final_accuracy


def test_what_an_error_ends_is_with_the_caller():
    def no_memory(y):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    history = History()
    with pytest.raises(torch.cuda.OutOfMemoryError):
        fit(Fails(model(), 6, no_memory), toy(), epochs=5, batch_size=16, history=history)
    assert history.interrupted and len(history.train_loss) == 5 and history.eval_steps == [4]


def test_an_allocation_that_fails_is_such_an_error():
    class Greedy(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.calls = nn.Linear(16, 10), 0

        def forward(self, x):
            self.calls += 1
            y = self.linear(x.flatten(1))
            return y if self.calls < 3 else y.expand(2**50, *y.shape).contiguous()[0]

    history = History()
    with pytest.raises(RuntimeError):
        fit(Greedy(), toy(), epochs=1, batch_size=16, history=history)
    assert len(history.train_loss) == 2 and history.interrupted


def test_the_history_that_is_given_is_the_one_that_is_returned():
    history = History()
    assert fit(model(), toy(), steps=3, history=history) is history
    assert len(history.train_loss) == 3


def test_the_history_of_a_run_that_failed_at_once_is_not_empty():
    with pytest.raises(ValueError, match="fit expects an empty history"):
        fit(model(), toy(), steps=3, history=History(interrupted=True))


def test_a_history_is_used_once():
    history = fit(model(), toy(), steps=3)
    with pytest.raises(ValueError, match=r"fit expects an empty history; got one of 3 steps\."):
        fit(model(), toy(), steps=3, history=history)
    assert len(history.train_loss) == 3


def recorder(log, name):
    @contextmanager
    def probe():
        log.append(f"{name} on")
        try:
            yield
        finally:
            log.append(f"{name} off")

    return probe()


def test_probes_are_on_for_the_time_of_the_run():
    log, net = [], model()
    net.register_forward_hook(lambda *_: log.append("step"))
    fit(net, toy(), steps=1, probes=[recorder(log, "a"), recorder(log, "b")])
    assert log == ["a on", "b on", "step", "step", "b off", "a off"]


@pytest.mark.parametrize("what", [interrupt, fault])
def test_probes_are_taken_off_whatever_happens(what):
    log = []
    try:
        fit(Fails(model(), 2, what), toy(), epochs=1, batch_size=16, probes=[recorder(log, "a")])
    except ZeroDivisionError:
        log.append("raised")
    assert log == ["a on", "a off"] + ["raised"] * (what is fault)


def test_an_interrupt_in_a_hook_of_a_probe_is_one_too():
    @contextmanager
    def probe(net):
        handle = net.register_forward_hook(lambda *_: interrupt(None))
        try:
            yield
        finally:
            handle.remove()

    net = model()
    assert fit(net, toy(), epochs=1, probes=[probe(net)]).interrupted
    assert not net._forward_hooks


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({}, "either epochs or steps: give exactly one"),
        ({"epochs": 1, "steps": 1}, "either epochs or steps: give exactly one"),
        ({"epochs": 0}, "fit expects epochs of at least 1; got 0"),
        ({"steps": -1}, "fit expects steps of at least 1; got -1"),
        ({"epochs": 1, "batch_size": 0}, "fit expects batch_size of at least 1; got 0"),
        ({"epochs": 1, "evaluate_every": 0}, "fit expects evaluate_every of at least 1; got 0"),
        ({"epochs": 1.5}, "fit expects a whole number for epochs; got 1.5"),
        ({"epochs": True}, "fit expects a whole number for epochs; got True"),
        ({"steps": 2.0}, "fit expects a whole number for steps; got 2.0"),
        ({"steps": 1, "batch_size": "16"}, "fit expects a whole number for batch_size; got '16'"),
        ({"steps": 1, "evaluate_every": 1.5}, "whole number for evaluate_every; got 1.5"),
        ({"steps": 1, "seed": 0.5}, "fit expects a whole number for seed; got 0.5"),
        ({"steps": 1, "seed": -1}, "fit expects seed of at least 0; got -1"),
        ({"steps": 1, "lr": 0}, "fit expects a positive, finite number for lr; got 0"),
        ({"steps": 1, "lr": -0.1}, "positive, finite number for lr; got -0.1"),
        ({"steps": 1, "lr": math.nan}, "positive, finite number for lr; got nan"),
        ({"steps": 1, "lr": math.inf}, "positive, finite number for lr; got inf"),
        ({"steps": 1, "lr": True}, "positive, finite number for lr; got True"),
    ],
    ids=str,
)
def test_arguments_that_make_no_sense_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        fit(model(), toy(), **arguments)


def test_numbers_of_numpy_are_numbers():
    small, rate = np.int64(2), np.float32(0.001)
    assert len(fit(model(), toy(), steps=small, batch_size=small, lr=rate).train_loss) == 2


@pytest.mark.parametrize("images, batch_size", [(0, 1), (0, 16), (1, 16)])
def test_too_few_images_are_refused(images, batch_size):
    match = f"at least (one|two) training image.*; got {images}"
    with pytest.raises(ValueError, match=match):
        fit(model(), toy(images), epochs=1, batch_size=batch_size)


# --- History --------------------------------------------------------------------------------------


def test_history_is_ready_for_json():
    history = fit(model(), toy(), epochs=1)
    assert History(**json.loads(json.dumps(history.to_dict()))) == history


def test_to_dict_is_a_copy():
    history = History(train_loss=[1.0])
    history.to_dict()["train_loss"].append(2.0)
    assert history.train_loss == [1.0]


def test_final_accuracy_is_the_last():
    history = fit(model(), toy(), epochs=2, batch_size=16)
    assert history.final_accuracy == history.test_accuracy[-1]


# --- the bar --------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def unset(monkeypatch):
    """Outside a notebook, and as if tqdm had not yet read its environment, which it does once."""
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tqdm"]:
        monkeypatch.delitem(sys.modules, name)


def shown(monkeypatch, **options) -> str:
    """What a short run writes to a terminal."""
    stream = Terminal()
    with monkeypatch.context() as patch:  # in the test itself: pytest puts its own stderr there
        patch.setattr(sys, "stderr", stream)
        fit(model(), toy(), steps=3, **options)
    return stream.getvalue()


def test_in_a_terminal_there_is_a_bar(unset, monkeypatch):
    assert "/3 [" in shown(monkeypatch)


def test_without_progress_there_is_none(unset, monkeypatch):
    assert shown(monkeypatch, progress=False) == ""


def test_the_environment_silences_it(unset, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert shown(monkeypatch) == ""


def test_where_nobody_looks_nothing_is_printed(unset, capfd):
    fit(model(), toy(), steps=3)
    assert capfd.readouterr() == ("", "")


# --- evaluate -------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 32, 1000])
def test_evaluate_is_mean_cross_entropy_and_accuracy_at_any_batch_size(batch_size):
    data, net = toy(), model(norm=BatchNorm)
    loss, accuracy = evaluate(net, data.test_images, data.test_labels, batch_size=batch_size)
    logits = net.eval()(data.test_images)
    assert_close(loss, F.cross_entropy(logits, data.test_labels).item(), rtol=1e-5, atol=1e-6)
    assert accuracy == (logits.argmax(1) == data.test_labels).double().mean().item()


def test_evaluate_leaves_each_module_in_the_mode_it_was_in():
    data, net = toy(), model(norm=BatchNorm)
    net.norm1.eval()
    evaluate(net, data.test_images, data.test_labels)
    assert net.training and net.linear1.training and not net.norm1.training


def test_evaluate_restores_the_mode_after_an_error():
    data, net = toy(), model(norm=BatchNorm)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        evaluate(net, data.test_images[:, :, :2], data.test_labels)
    assert net.training and net.norm1.training


def test_evaluate_changes_no_statistics_and_makes_no_graph():
    data, net, outputs = toy(), model(norm=BatchNorm), []
    before = copy.deepcopy(net.state_dict())
    net.register_forward_hook(lambda m, i, y: outputs.append(y))
    evaluate(net, data.test_images, data.test_labels)
    assert_close(dict(net.state_dict()), dict(before), rtol=0, atol=0)
    assert not outputs[0].requires_grad


def test_evaluate_wants_images():
    data = toy()
    with pytest.raises(ValueError, match="evaluate expects at least one image; got none"):
        evaluate(model(), data.test_images[:0], data.test_labels[:0])


def test_evaluate_wants_a_label_for_each_image():
    with pytest.raises(ValueError, match="a label for each image; got 4 images and 2 labels"):
        evaluate(nn.Identity(), torch.eye(4), torch.arange(2), batch_size=2)


def test_a_history_begins_empty_and_unharmed():
    assert History().to_dict() == {
        "train_loss": [], "eval_steps": [], "test_loss": [], "test_metric": [],
        "metric": "accuracy", "epoch_seconds": [], "diverged": False, "interrupted": False,
    }  # fmt: skip


def test_the_defaults_are_those_that_are_documented():
    runs = [
        values(fit(model(), toy(300), epochs=2, **options))
        for options in ({}, {"batch_size": 128, "lr": 1e-3, "seed": 0})
    ]
    assert runs[0] == runs[1] and len(runs[0]["train_loss"]) == 6


def test_two_images_are_enough():
    assert len(fit(model(), toy(2), epochs=3, batch_size=16).train_loss) == 3


def test_the_seconds_of_the_epochs_are_within_those_of_the_run():
    started = time.perf_counter()
    history = fit(model(), toy(), epochs=3, batch_size=16)
    assert len(history.epoch_seconds) == 3 and min(history.epoch_seconds) > 0
    assert sum(history.epoch_seconds) < time.perf_counter() - started


# --- other losses and metrics ---------------------------------------------------------------------


def regression() -> ImageData:
    """A plane: targets are numbers, not classes."""
    data = toy()
    plane = torch.linspace(-1, 1, 16)
    targets = [images.flatten(1) @ plane for images in (data.train_images, data.test_images)]
    return ImageData(data.train_images, targets[0], data.test_images, targets[1], "plane")


def line(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 1), nn.Flatten(0))


def absolute_error(outputs, targets):
    return (outputs - targets).abs()


def test_a_regression_uses_the_same_loop():
    data, net = regression(), line()
    history = fit(
        net, data, epochs=200, batch_size=16, lr=1e-2, loss=F.mse_loss, metric=absolute_error
    )
    assert history.metric == "absolute_error"
    errors = absolute_error(net(data.test_images), data.test_labels)
    assert_close(history.test_metric[-1], errors.mean().item(), rtol=1e-5, atol=1e-6)
    assert history.test_loss[-1] < 1e-3 < history.test_loss[0]


def test_what_is_minimized_is_the_loss_that_is_given():
    data, ours, theirs = regression(), line(), line()
    sgd = torch.optim.SGD(ours.parameters(), 0.1)
    fit(ours, data, steps=1, batch_size=64, optimizer=sgd, loss=F.l1_loss, metric=None)
    F.l1_loss(theirs(data.train_images), data.train_labels).backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(a, b - 0.1 * b.grad)


def test_without_a_metric_there_is_none():
    history = fit(line(), regression(), steps=1, loss=nn.MSELoss(), metric=None)
    assert math.isnan(history.test_metric[-1]) and math.isfinite(history.test_loss[-1])
    with pytest.raises(ValueError, match=r"metric of this run is None, not accuracy"):
        _ = history.final_accuracy


@pytest.mark.parametrize("batch_size", [1, 5, 64])
@pytest.mark.parametrize("reduced", [True, False])
def test_a_metric_is_a_value_for_each_or_their_mean(batch_size, reduced):
    data, net = regression(), line()

    def metric(outputs, targets):
        return (
            absolute_error(outputs, targets).mean() if reduced else absolute_error(outputs, targets)
        )

    given = {"loss": F.mse_loss, "metric": metric, "batch_size": batch_size}
    found = evaluate(net, data.test_images, data.test_labels, **given)
    outputs = net(data.test_images)
    expected = (
        F.mse_loss(outputs, data.test_labels),
        absolute_error(outputs, data.test_labels).mean(),
    )
    assert_close(found, tuple(value.item() for value in expected), rtol=1e-5, atol=1e-6)


class Words(nn.Module):
    """Scores for the next token, (N, K, T) as cross entropy takes them."""

    def __init__(self):
        super().__init__()
        self.scores = nn.Embedding(7, 7)

    def forward(self, tokens):
        return self.scores(tokens).mT


def test_a_language_model_uses_the_same_loop():
    torch.manual_seed(0)
    tokens = (torch.arange(12) + torch.randint(7, (48, 1))) % 7  # one after another
    x, y = tokens[:, :-1], tokens[:, 1:]
    data = ImageData(x[:32], y[:32], x[32:], y[32:], "counting")
    history = fit(Words(), data, epochs=30, batch_size=8, lr=0.1)
    assert history.final_accuracy == 1.0 and history.test_loss[-1] < 0.1


# --- what is refused ------------------------------------------------------------------------------


def loader(data):
    return DataLoader(TensorDataset(data.train_images, data.train_labels))


@pytest.mark.parametrize(
    "data", [loader(toy()), toy().train_images, None], ids=["loader", "x", "0"]
)
def test_data_of_another_kind_are_refused_with_what_to_make_of_them(data):
    kind = type(data).__name__
    match = rf"fit expects ImageData, four tensors.*got {kind}\. Make it of what.*ImageData\(train_"
    with pytest.raises(ValueError, match=match):
        fit(model(), data, steps=1)


@pytest.mark.parametrize(
    "change, match",
    [
        ({"train_images": toy().train_images.numpy()}, "four tensors to draw from"),
        (
            {"train_labels": toy().train_labels[:5]},
            "each training image; got 64 images and 5 labels",
        ),
        ({"test_labels": toy().test_labels[:5]}, "each test image; got 32 images and 5 labels"),
        (
            {"test_images": toy().test_images[:0], "test_labels": toy().test_labels[:0]},
            "fit expects at least one test image; got none",
        ),
    ],
    ids=["numpy", "train", "test", "empty"],
)
def test_data_that_do_not_fit_together_are_refused(change, match):
    net = Watch(model())
    with pytest.raises(ValueError, match=match):
        fit(net, replace(toy(), **change), steps=1)
    assert net.modes == []


@pytest.mark.parametrize(
    "images", [loader(toy()), toy().test_images.numpy()], ids=["loader", "numpy"]
)
def test_evaluate_takes_tensors(images):
    match = rf"evaluate expects tensors of images and labels; got {type(images).__name__} and Tens"
    with pytest.raises(ValueError, match=match):
        evaluate(model(), images, toy().test_labels)


@pytest.mark.parametrize("batch_size, got", [(0, "at least 1; got 0"), (1.5, "got 1.5")])
def test_evaluate_takes_batches_of_whole_numbers(batch_size, got):
    with pytest.raises(ValueError, match=f"evaluate expects .*batch_size.*{got}"):
        evaluate(model(), toy().test_images, toy().test_labels, batch_size=batch_size)


BAD_LABELS = {
    "floats": (lambda y: y.float(), r"got torch.float32 of shape \(32,\)"),
    "bools": (lambda y: y > 3, r"got torch.bool of shape \(32,\)"),
    "columns": (lambda y: y[:, None], r"got torch.int64 of shape \(32, 1\)"),
    "one-hot": (lambda y: F.one_hot(y, 10), r"got torch.int64 of shape \(32, 10\)"),
    "from one on": (lambda y: y + 1, "got numbers from 1 to 10"),
    "negative": (lambda y: y - 1, "got numbers from -1 to 8"),
}


ASKING = {
    "default": ({}, "accuracy"),
    "accuracy": ({"loss": lambda y, t: y.square().mean()}, "accuracy"),
    "entropy": ({"metric": None}, "cross entropy"),
    "module": ({"metric": None, "loss": nn.CrossEntropyLoss()}, "cross entropy"),
}


@pytest.mark.parametrize(
    "bad, asking",
    [
        (bad, asking)
        for bad in BAD_LABELS
        for asking in ASKING
        if bad != "floats" or ASKING[asking][1] == "accuracy"  # else they are probabilities
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_that_are_no_classes_are_refused_before_the_first_update(bad, asking, split):
    (make, got), (options, asked) = BAD_LABELS[bad], ASKING[asking]
    data, net = toy(32, 32), model()
    labels = make(getattr(data, f"{split}_labels"))
    before = copy.deepcopy(net.state_dict())
    match = (
        rf"labels from 0 to 9 for {asked}.*10 scores, int64 of shape \(32,\); {got}\. For targets"
    )
    with pytest.raises(ValueError, match="fit expects " + match):
        fit(net, replace(data, **{f"{split}_labels": labels}), steps=1, **options)
    assert_close(dict(net.state_dict()), dict(before), rtol=0, atol=0)
    with pytest.raises(ValueError, match="evaluate expects " + match):
        evaluate(net, data.test_images, make(data.test_labels), **options)


@pytest.mark.parametrize(
    "what, got",
    [(lambda y: y[:, 0], r"shape \(64,\)"), (lambda y: {"logits": y}, "dict")],
    ids=["numbers", "dict"],
)
def test_scores_are_wanted_where_accuracy_is(what, got):
    net = Fails(model(), 0, what)
    with pytest.raises(ValueError, match=rf"scores \(N, K, ...\) for accuracy; .* put out .*{got}"):
        fit(net, toy(), steps=1)


def test_labels_that_cross_entropy_takes_are_taken():
    data, net = toy(), model()
    hot = [F.one_hot(y, 10).float() for y in (data.train_labels, data.test_labels)]
    soft = replace(data, train_labels=hot[0], test_labels=hot[1])
    wholes = replace(data, train_labels=data.train_labels.byte())
    plain = fit(model(), data, steps=2)
    assert_close(fit(net, soft, steps=2, metric=None).train_loss, plain.train_loss)
    assert fit(model(), wholes, steps=2).train_loss == plain.train_loss
    for loss, none in ((F.cross_entropy, -100), (nn.CrossEntropyLoss(ignore_index=77), 77)):
        some = replace(
            data, train_labels=data.train_labels.masked_fill(data.train_labels > 7, none)
        )
        assert math.isfinite(fit(model(), some, steps=1, loss=loss, metric=None).test_loss[-1])
        with pytest.raises(ValueError, match="for accuracy"):
            fit(model(), some, steps=1, loss=loss)


def test_accuracy_alone_takes_any_whole_numbers():
    def error(y, t):
        return (y - F.one_hot(t.long(), 10)).square().mean()

    data = replace(toy(), train_labels=toy().train_labels.int())
    assert len(fit(model(), data, steps=1, loss=error).train_loss) == 1


@pytest.mark.parametrize(
    "labels, got",
    [
        (torch.arange(3)[:, None], r"shape \(3, 1\)"),  # would be compared with all of them
        (torch.arange(3.0), "float32"),
        (torch.arange(3) + 1, "from 1 to 3"),
    ],
    ids=["column", "floats", "from one on"],
)
def test_accuracy_is_that_of_classes(labels, got):
    with pytest.raises(
        ValueError, match=rf"accuracy expects labels from 0 to 2, as .* got .*{got}"
    ):
        accuracy(torch.eye(3), labels)
