"""A checkup leaves nothing behind, to the bit: whatever it looks at, and whatever goes wrong."""

import random
from typing import Any

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from checkup_cases import FAULTS, HEALTHY, batches, convnet, images, mlp, plain_step, points
from checkup_random import random_network
from normtutorial import checkup
from normtutorial.diagnosis.guard import reached, untouched


def bits(value):
    """What can be compared, down to the last bit and the object itself."""
    if isinstance(value, torch.Tensor):
        grad = None if value.grad_fn else bits(value.grad) if value.grad is not None else None
        data = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return id(value), value.dtype, value.shape, data, value.requires_grad, grad
    if isinstance(value, dict):
        return [(bits(key) if not isinstance(key, str) else key, bits(value[key])) for key in value]
    if isinstance(value, (list, tuple)):
        return [bits(one) for one in value]
    return value if isinstance(value, (int, float, str, type(None))) else id(value)


def state(model: nn.Module, *others):
    modules = [(name, bits(vars(module))) for name, module in model.named_modules()]
    parts = [modules, random.getstate(), torch.get_rng_state().tolist()]
    dice: Any = numpy.random.get_state()
    parts += [dice[1].tolist(), dice[2:]]
    for one in others:
        parts.append(state(one)[0] if isinstance(one, nn.Module) else bits(vars(one)))
    return parts


def with_gradients(model: nn.Module) -> None:
    for i, parameter in enumerate(model.parameters()):
        if i % 2:
            parameter.grad = torch.randn_like(parameter)


@pytest.mark.parametrize("seed", range(12))
def test_nothing_remains_of_a_checkup_of_a_random_network(seed):
    arguments = random_network(seed)
    model = arguments["model"]
    with_gradients(model)
    before = state(model)
    checkup(**arguments)
    assert state(model) == before


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_remains_where_a_fault_is_found(name):
    arguments = FAULTS[name].make(True)
    others = [one for key in ("averaged", "optimizer") if (one := arguments.get(key)) is not None]
    before = state(arguments["model"], *others)
    checkup(**arguments)
    assert state(arguments["model"], *others) == before


class RaisesAt(nn.Module):
    """At its n-th call."""

    def __init__(self, n: int):
        super().__init__()
        self.n, self.seen = n, []

    def forward(self, x):
        COUNT[0] += 1
        self.seen.append(len(x))
        self.last = x
        if self.n <= COUNT[0] < self.n + 3:
            raise RuntimeError("out of memory")
        return x


COUNT = [0]


@pytest.mark.parametrize("n", [1, 3, 5, 7, 9, 11])
def test_nothing_remains_when_the_model_raises(n):
    model = nn.Sequential(*mlp(), RaisesAt(n))
    model[1].bias.data.normal_()
    with_gradients(model)
    optimizer = torch.optim.Adam(model.parameters())
    step = plain_step(model, optimizer)
    before, COUNT[0] = state(model, optimizer), 0
    report = checkup(model, batches(count=2), step=step)
    assert any("out of memory" in error for error in report.errors)
    assert state(model, optimizer) == before


def test_nothing_remains_when_the_user_gives_up():
    class GivesUp(nn.Module):
        def forward(self, x):
            raise KeyboardInterrupt

    model = nn.Sequential(mlp(), GivesUp())
    before = state(model)
    with pytest.raises(KeyboardInterrupt):
        checkup(model, batches())
    assert state(model) == before


@pytest.mark.parametrize("given", [True, False])
def test_the_optimizer_and_its_schedule_are_as_before_given_or_not(given):
    model = convnet()
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    plain = plain_step(model, optimizer)
    plain(images())
    kept: list = []

    def step(batch):
        plain(batch)
        schedule.step()
        kept.append(torch.rand(1))
        random.random()  # noqa: S311
        numpy.random.rand()

    before, rates = state(model, optimizer), schedule.state_dict()
    checkup(model, batches(images, 2), step=step, optimizer=optimizer if given else None)
    assert len(kept) == 1
    assert state(model, optimizer) == before and schedule.state_dict() == rates


def test_an_optimizer_without_a_state_has_none_afterwards():
    model = mlp()

    class Trainer:
        def __init__(self):
            self.optimizer = torch.optim.Adam(model.parameters())

        def step(self, batch):
            plain_step(model, self.optimizer)(batch)

    trainer = Trainer()
    before = state(model, trainer.optimizer)
    checkup(model, batches(count=2), step=trainer.step)
    assert state(model, trainer.optimizer) == before and not trainer.optimizer.state


def test_a_second_network_that_the_step_trains_is_as_before():
    first, second = mlp(), nn.Linear(4, 1)
    optimizer = torch.optim.SGD([*first.parameters(), *second.parameters()], 0.1)

    def step(batch):
        optimizer.zero_grad()
        second(first(batch[0])).mean().backward()
        optimizer.step()

    before = state(first, second)
    checkup(first, batches(count=2), step=step)
    assert state(first, second) == before


def test_a_loaders_own_generator_is_where_it_was():
    data = torch.utils.data.TensorDataset(*points(64))
    generator = torch.Generator().manual_seed(3)
    loader = torch.utils.data.DataLoader(data, 16, shuffle=True, generator=generator)
    before = generator.get_state()
    checkup(mlp(), loader)
    assert torch.equal(generator.get_state(), before)


def test_hooks_that_were_there_stay_and_no_others():
    model, calls = mlp(), []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    before = [len(module._forward_hooks) for module in model.modules()]
    checkup(model, batches(count=2))
    assert [len(module._forward_hooks) for module in model.modules()] == before
    assert calls


def test_a_pass_of_the_users_can_still_be_differentiated():
    model = mlp()
    loss = model(points()[0]).square().sum()
    checkup(model, batches(count=2))
    loss.backward()
    assert model[0].weight.grad is not None


def test_what_a_module_keeps_for_itself_is_put_back():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls, self.log, self.table = 0, [], {"n": torch.zeros(2)}
            self.dice = numpy.random.default_rng(0)

        def forward(self, x):
            self.calls += 1
            self.log.append(x)
            self.table["n"] += 1
            self.dice.random()
            self.made = x.sum()
            return x

    model: Any = nn.Sequential(Keeps(), mlp())
    dice = model[0].dice.bit_generator.state
    checkup(model, batches(count=2))
    assert (model[0].calls, model[0].log, model[0].table["n"].tolist()) == (0, [], [0, 0])
    assert model[0].dice.bit_generator.state == dice and not hasattr(model[0], "made")


def test_the_healthy_cases_leave_nothing_either():
    for name in "a_transformer_with_a_dict_in_and_an_object_out", "half_precision", "instance_norm":
        arguments = HEALTHY[name]()
        before = state(arguments["model"])
        checkup(**arguments)
        assert state(arguments["model"]) == before, name


def test_what_a_function_reaches_is_found_through_its_forms():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    parts = [model, optimizer]

    class Loop:
        def __init__(self):
            self.parts = parts

        def step(self, batch):
            return batch

        def __call__(self, batch):
            return batch

    assert reached(None) == []
    assert reached(lambda: (model, optimizer)) == [model, optimizer]
    assert reached(Loop().step) == reached(Loop()) == [model, optimizer]
    assert model in reached(plain_step(model, optimizer))


def test_the_guard_puts_back_a_parameter_that_got_another_dtype():
    layer = nn.Linear(2, 2)
    weight, values = layer.weight, layer.weight.detach().clone()
    with untouched(layer):
        layer.half()
        layer.weight.data.zero_()
        layer.weight.requires_grad_(False)
        layer.register_buffer("new", torch.zeros(1))
        F.mse_loss(layer.weight.float(), values)
    assert layer.weight is weight and weight.dtype == torch.float32 and weight.requires_grad
    assert torch.equal(weight, values) and not list(layer.buffers())
