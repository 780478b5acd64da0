"""SyncBatchNorm in one process, and its formula with threads in place of processes."""

import copy
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.utils import parametrize
from torch.testing import assert_close

from helpers import assert_same_step, rand, randomize_
from normtutorial import (
    BatchNorm,
    InstanceNorm,
    SyncBatchNorm,
    convert_sync_batchnorm,
    functional,
    kernels,
    run_processes,
)
from normtutorial import functional as NF


class Threads:
    """A group whose processes are threads: what they lay on the table, all see."""

    def __init__(self, rank, counts, table, barrier):
        self.rank, self.counts = rank, torch.tensor(counts)
        self.table, self.barrier, self.messages = table, barrier, 0

    def gather(self, *tensors):
        self.messages += 1
        self.table[self.rank] = [t.detach() for t in tensors]
        self.barrier.wait(timeout=60)
        found = [torch.stack(column) for column in zip(*self.table, strict=True)]
        self.barrier.wait(timeout=60)  # before anyone writes again
        return found

    def sum(self, *tensors):
        return [t.sum(0) for t in self.gather(*tensors)]


def in_threads(counts, work):
    """``work(group)`` for each share, all at once."""
    table, barrier = [None] * len(counts), threading.Barrier(len(counts))
    groups = [Threads(rank, counts, table, barrier) for rank in range(len(counts))]
    with ThreadPoolExecutor(len(counts)) as pool:
        return list(pool.map(work, groups)), groups


@pytest.mark.parametrize("shares", [[4, 4], [5, 1, 2], [0, 3, 2], [3, 0], [1, 1]], ids=str)
@pytest.mark.parametrize("affine", [(True, True), (True, False), (False, True), (False, False)])
def test_shares_with_a_group_are_one_batch(shares, affine):
    x, upstream, weight, bias = (
        rand(sum(shares), 3, 2, shift=4),
        rand(sum(shares), 3, 2),
        *rand(2, 3),
    )
    weight, bias = (p if on else None for p, on in zip((weight, bias), affine, strict=True))

    def step(x, upstream, **options):
        leaves = [t.clone().requires_grad_() for t in (x, weight, bias) if t is not None]
        given = iter(leaves[1:])
        parameters = [p if p is None else next(given) for p in (weight, bias)]
        running = torch.zeros(3).double(), torch.ones(3).double()
        y = NF.batch_norm(leaves[0], *running, *parameters, training=True, **options)
        return y, running, torch.autograd.grad(y, leaves, upstream)

    def work(group):
        rows = slice(sum(shares[: group.rank]), sum(shares[: group.rank + 1]))
        return step(x[rows], upstream[rows], group=group, normalize=kernels.normalize)

    y, running, gradients = step(x, upstream)
    found, groups = in_threads([2 * share for share in shares], work)
    assert_close(torch.cat([y for y, *_ in found]), y)
    assert_close(torch.cat([g[0] for *_, g in found]), gradients[0])
    for number, expected in enumerate(gradients[1:], start=1):
        assert_close(sum(g[number] for *_, g in found), expected)
    for _, of_share, _ in found:
        assert_close(of_share, running)
    assert [group.messages for group in groups] == [2] * len(shares)  # forward, backward


def test_the_definition_in_plain_operations_gives_the_same_with_a_group():
    x = rand(7, 3, shift=4)
    parts = x.split([5, 2])
    norm = partial(NF.batch_norm, running_mean=None, running_var=None, training=True)
    found, _ = in_threads([5, 2], lambda group: norm(parts[group.rank], group=group))
    assert_close(torch.cat(found), norm(x))


@pytest.mark.parametrize("dtype, offset", [(torch.float32, 1e4), (torch.float64, 1e12)], ids=str)
def test_an_offset_costs_shares_no_digit(dtype, offset):
    x = torch.randint(-9, 9, (40, 3)).to(dtype)
    far = [part + offset for part in x.split([0, 7, 33])]
    work = lambda group: NF.statistics(far[group.rank], (0,), group=group)  # noqa: E731
    found, _ = in_threads([0, 7, 33], work)
    deviation, _, var = NF.statistics(x.double(), (0,))
    tiny = 4 * torch.finfo(dtype).eps
    together = torch.cat([d for d, _, _ in found]).double()
    assert_close(together, deviation, rtol=tiny, atol=9 * tiny)
    assert_close(found[0][2].double(), var, rtol=tiny, atol=0)
    for _, mean, of_share in found:
        assert torch.equal(mean, found[0][1]) and torch.equal(of_share, found[0][2])


def test_a_constant_in_all_shares_deviates_by_0_exactly():
    parts = torch.full((9, 2), 1000.1).split([4, 0, 5])
    work = lambda group: NF.statistics(parts[group.rank], (0,), group=group)  # noqa: E731
    for deviation, mean, var in in_threads([4, 0, 5], work)[0]:
        assert not deviation.any() and not var.any() and (mean == parts[0][0]).all()


def test_one_value_in_all_shares_is_too_few_and_none_is_not():
    norm = partial(NF.batch_norm, running_mean=None, running_var=None, training=True)
    alone = Threads(0, [0, 1], None, None)
    with pytest.raises(ValueError, match=r"got input of shape \(0, 3\) and no other value in all"):
        norm(torch.empty(0, 3), group=alone)
    running = torch.full((3,), 5.0)
    work = lambda group: norm(torch.empty(0, 3), group=group, running_mean=running)  # noqa: E731
    assert [tuple(y.shape) for y in in_threads([0, 0], work)[0]] == [(0, 3)] * 2
    assert (running == 5).all()


def test_combine_gives_the_moments_of_all_sets():
    sets = rand(3, 4), rand(1, 4, shift=9), rand(6, 4, scale=3)
    each = [NF.moments(s, (0,)) for s in sets]
    mean, var = (torch.stack(of_sets).squeeze(1) for of_sets in zip(*each, strict=True))
    together = torch.cat(sets)
    n = torch.tensor([3, 1, 6])
    assert_close(NF.combine(n, mean, var), (together.mean(0), together.var(0, correction=0)))
    none = torch.cat([n, torch.tensor([0])]), *(torch.cat([t, 0 * t[:1]]) for t in (mean, var))
    assert_close(NF.combine(*none), NF.combine(n, mean, var))
    assert not torch.stack(NF.combine(0 * n, 0 * mean, 0 * var)).any()
    large = torch.tensor([2**24 + 1, 2**24])  # not to be told apart in float32
    mean, _ = NF.combine(large, torch.tensor([1.0, 0.0]).double(), torch.zeros(2).double())
    assert mean.item() == (2**24 + 1) / (2**25 + 1)


# One process


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"bias": False}, {"momentum": None}])
@pytest.mark.parametrize("track_running_stats", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_alone_it_is_batch_norm(options, track_running_stats, training):
    options = {"track_running_stats": track_running_stats, "dtype": torch.float64, **options}
    ours, theirs = SyncBatchNorm(4, **options), BatchNorm(4, **options)
    theirs.load_state_dict(randomize_(ours).state_dict())
    for layer in ours, theirs:
        layer.train(training)
    for _ in range(2):
        assert_same_step(ours, theirs, rand(6, 4, 3), rtol=0, atol=0)


@pytest.fixture
def group_of_one():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_in_a_group_of_one_it_is_batch_norm(group_of_one):
    assert_same_step(SyncBatchNorm(4).double(), BatchNorm(4).double(), rand(6, 4))


def test_its_arguments_are_those_of_torch_s():
    ours, theirs = (inspect.signature(c).parameters for c in (SyncBatchNorm, nn.SyncBatchNorm))
    assert [(p.name, p.default) for p in ours.values()][: len(theirs)] == [
        (p.name, p.default) for p in theirs.values()
    ]
    layer = SyncBatchNorm(4, 0.1, 0.2, False, False, "group", "meta", torch.float64)
    assert (layer.eps, layer.momentum, layer.process_group) == (0.1, 0.2, "group")
    assert not list(layer.parameters()) and not list(layer.buffers())
    (weight,) = SyncBatchNorm(4, device="meta", dtype=torch.float16, bias=False).parameters()
    assert weight.is_meta and weight.dtype == torch.float16


def test_what_is_wrong_is_said_in_its_name():
    with pytest.raises(ValueError, match=r"SyncBatchNorm\(4\) expects input \(N, 4, \.\.\.\)"):
        SyncBatchNorm(4)(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="SyncBatchNorm expects eps >= 0"):
        SyncBatchNorm(4, eps=-1.0)
    layer = SyncBatchNorm(4)
    convert_sync_batchnorm(nn.ModuleDict({"n": layer}))
    with pytest.raises(ValueError, match=r"SyncBatchNorm\(4\) 'n' expects floating-point input"):
        layer(torch.zeros(3, 4).int())


# Conversion


@pytest.mark.parametrize(
    "make", [BatchNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm]
)
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"track_running_stats": False}])
def test_a_batch_norm_becomes_ours_and_keeps_what_it_has(make, options):
    norm = make(4, eps=0.1, momentum=None, dtype=torch.float64, **options).eval()
    norms = nn.ModuleList([norm, norm])
    model = nn.Sequential(nn.Linear(4, 4), norms, InstanceNorm(4))
    parameters, buffers = list(model.parameters()), list(model.buffers())
    calls = []
    norm.register_forward_hook(lambda *_: calls.append(1))
    assert convert_sync_batchnorm(model, "some") is model
    converted = norms[0]
    assert type(converted) is SyncBatchNorm and norms[1] is converted
    assert (converted.process_group, converted.name) == ("some", "1.0")
    assert (converted.eps, converted.momentum, converted.training) == (0.1, None, False)
    assert list(map(id, model.parameters())) == list(map(id, parameters))
    assert list(map(id, model.buffers())) == list(map(id, buffers))
    assert type(model[2]) is InstanceNorm and model[2].training
    x = rand(5, 4)
    right = BatchNorm(4, eps=0.1, dtype=torch.float64, **options).eval()
    assert torch.equal(converted(x), right(x)) and calls == [1]


def test_a_batch_norm_by_itself_is_converted_without_a_name():
    norm: nn.Module = nn.BatchNorm1d(4)
    assert convert_sync_batchnorm(norm) is norm
    assert type(norm) is SyncBatchNorm and norm.name == "" and norm.process_group is None
    assert type(copy.deepcopy(norm)) is SyncBatchNorm


class WithActivation(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).relu()


class OtherDefaults(nn.BatchNorm2d):
    def __init__(self, features):
        super().__init__(features, eps=1e-3)


def test_a_subclass_that_computes_the_same_is_converted():
    assert convert_sync_batchnorm(OtherDefaults(4)).eps == 1e-3


@pytest.mark.parametrize(
    "norm, complaint",
    [
        (WithActivation(4), "is nothing else; WithActivation 'last' has a forward"),
        (nn.LazyBatchNorm1d(), "knows its features; LazyBatchNorm1d 'last' does not yet"),
        (
            parametrize.register_parametrization(nn.BatchNorm1d(4), "weight", nn.Identity()),
            "is nothing else; ParametrizedBatchNorm1d 'last' has a forward or parametrization",
        ),
    ],
)
def test_what_would_be_lost_is_said_before_anything_is_converted(norm, complaint):
    model = nn.Sequential()
    model.add_module("first", BatchNorm(4))
    model.add_module("last", norm)
    with pytest.raises(ValueError, match=complaint):
        convert_sync_batchnorm(model)
    assert type(model.first) is BatchNorm


@pytest.mark.parametrize("make", [BatchNorm, SyncBatchNorm])
def test_torch_s_conversion_knows_ours(make):
    norm = randomize_(make(4))
    theirs = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(norm))[0]
    assert type(theirs) is nn.SyncBatchNorm and theirs.weight is norm.weight
    x = torch.randn(5, 4)
    assert_close(theirs(x), norm(x))


# run_processes, without one


def test_what_other_processes_cannot_import_is_refused():
    def inner():
        pass

    for function in inner, lambda: None, partial(print), functional:
        with pytest.raises(ValueError, match="expects a function that other processes can import"):
            run_processes(function, 2)
    inner.__module__, inner.__qualname__ = "__main__", "cell"
    with pytest.raises(ValueError, match=r"got cell of __main__\. Write it into a file"):
        run_processes(inner, 2)


@pytest.mark.parametrize("ranks, timeout", [(0, 60), (1.5, 60), (2, 0), (2, float("inf"))])
def test_numbers_out_of_bounds_are_refused(ranks, timeout):
    with pytest.raises(ValueError, match="run_processes expects"):
        run_processes(print, ranks, timeout=timeout)
