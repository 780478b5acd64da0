"""What the processes of test_distributed.py do, and what each of them has seen.

A function that returns a dictionary names, for each quantity, the largest difference from a single
process that has the whole batch.
"""

import atexit
import io
import os
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from unittest import mock

import torch
import torch.distributed as dist
from torch import fx, nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

from normtutorial import BatchNorm, ImageData, SyncBatchNorm, commands, convert_sync_batchnorm, fit
from normtutorial import functional as NF
from normtutorial.cli import main
from normtutorial.distributed import Share
from normtutorial.processes import SplitBatches

C = 6
SHARES = {
    "equal": [4, 4, 4, 4],
    "unequal": [5, 1, 7, 2],
    "none in the first": [0, 5, 3, 4],
    "none in the last": [2, 5, 3, 0],
    "one each": [1, 1, 1, 1],
    "one in all": [0, 2, 0, 0],
}


def generator():
    return torch.Generator().manual_seed(0)


def randn(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=torch.float64, generator=generator()).to(dtype)


def own(sizes, process_group=None):
    """The rows that are this process's share."""
    rank = dist.get_rank(process_group)
    before = sum(sizes[:rank])
    return slice(before, before + sizes[rank])


def total(x, process_group=None):
    x = x.detach().clone()
    dist.all_reduce(x, group=process_group)
    return x


def off(ours, right):
    """The largest difference, relative to the largest value if that is above 1."""
    if not right.numel():
        return 0.0
    return ((ours - right).abs().max() / right.abs().max().clamp(min=1)).item()


def layers(dtype=torch.float64, process_group=None, **options):
    """A batch norm and one that is synchronized, with the same random parameters."""
    big = BatchNorm(C, dtype=dtype, **options)
    ours = SyncBatchNorm(C, dtype=dtype, process_group=process_group, **options)
    with torch.no_grad():
        for number, parameter in enumerate(big.parameters()):
            parameter.copy_(randn(C) + number)
    ours.load_state_dict(big.state_dict())
    return big, ours


def step(layer, x, upstream, along, forward=None):
    """Output, gradients and second derivatives, and then the running statistics."""
    x = x.clone().requires_grad_()
    y = (forward or layer)(x)
    of = dict(layer.named_parameters())
    first = torch.autograd.grad(y, (x, *of.values()), upstream, create_graph=True)
    second = torch.autograd.grad((first[0] * along).sum(), (x, *of.values()), allow_unused=True)
    seen = {"y": y, "x": first[0], "second x": second[0]}
    for name, g, gg in zip(of, first[1:], second[1:], strict=True):
        seen[f"sum {name}"] = g
        seen[f"sum second {name}"] = torch.zeros_like(g) if gg is None else gg
    return seen | {f"buffer {name}": b.clone() for name, b in layer.named_buffers()}


def against_one(sizes, x, right=None, process_group=None, forward=None, **options):
    """Each process with its share, against one process with ``x``; or with ``right``, which is
    normalized to the same."""
    big, ours = layers(x.dtype, process_group, **options)
    upstream, along, rows = (
        randn(*x.shape).to(x),
        randn(*x.shape).cos().to(x),
        own(sizes, process_group),
    )
    expected = step(big, x if right is None else right, upstream, along)
    found = step(ours, x[rows], upstream[rows], along[rows], forward and forward(ours))
    if right is not None:  # what is remembered is that of x itself
        expected |= {"buffer running_mean": 0.1 * x.mean((0, *range(2, x.ndim)))}
    worst = {}
    for name, value in expected.items():
        if name.startswith("sum "):
            worst[name] = off(total(found[name], process_group), value)
        elif name.startswith("buffer "):
            worst[name] = off(found[name].double(), value.double())
        else:
            worst[name] = off(found[name], value[rows])
    return worst


def input_of(sizes, *positions, dtype=torch.float64):
    return 2 * randn(sum(sizes), C, *positions, dtype=dtype) + 3


def grid():
    """Differences from one process, for shares and layers of all kinds."""
    world, found = dist.get_world_size(), {}
    for name, sizes in SHARES.items():
        sizes = sizes[:world]
        found[name] = against_one(sizes, input_of(sizes))
        found[f"{name}, images"] = against_one(sizes, input_of(sizes, 3, 5))
    sizes = SHARES["unequal"][:world]
    x = input_of(sizes)
    for options in (
        {"affine": False}, {"bias": False}, {"momentum": None}, {"track_running_stats": False},
        {"momentum": 0.5, "eps": 0.1},
    ):  # fmt: skip
        found[str(options)] = against_one(sizes, x, **options)
    far = x + 1e4
    found["offset"] = against_one(sizes, far, right=far - 1e4)  # a difference without an error
    apart = x.clone()
    apart[own(sizes)] += 0  # the same everywhere: one share far from the others
    apart[: sizes[0]] += 100
    found["means apart"] = against_one(sizes, apart)
    found["definition"] = against_one(sizes, x, forward=by_definition)
    if world == 4:
        pairs = [dist.new_group([0, 1]), dist.new_group([2, 3])]
        pair = dist.get_rank() // 2
        sizes = [3, 2]
        group_x = input_of(sizes) * (pair + 1)
        found["in two groups"] = against_one(sizes, group_x, process_group=pairs[pair])
    return found


def by_definition(layer):
    """Batch norm in plain operations, through which autograd finds its way."""

    def forward(x):
        share = Share("definition", None, x, C)
        if layer.training:
            layer.num_batches_tracked.add_(1)
        return NF.batch_norm(
            x, layer.running_mean, layer.running_var, layer.weight, layer.bias, True, group=share
        )

    return forward


def constants():
    """The largest output for what is constant, and for float32 far from 0 its error."""
    sizes = SHARES["unequal"][: dist.get_world_size()]
    x = torch.full((sum(sizes), C), 1000.1)
    layer = SyncBatchNorm(C)
    found = {"constant": layer(x[own(sizes)]).abs().max().item()}
    x = input_of(sizes, 9, dtype=torch.float32) + 1e4
    right = BatchNorm(C).double()(x.double())
    found["float32"] = off(SyncBatchNorm(C)(x[own(sizes)]).double(), right[own(sizes)])
    for dtype in torch.bfloat16, torch.float16:
        x = (input_of(sizes, 9) + 100).to(dtype)
        right = BatchNorm(C).double()(x.double())[own(sizes)]
        y = SyncBatchNorm(C)(x[own(sizes)])
        bound = right.abs() * torch.finfo(dtype).eps / 2 + torch.finfo(dtype).tiny
        found[str(dtype)] = ((y.double() - right).abs() / bound).max().item(), y.dtype
    return found


def many():
    """Counts beyond float32: a channel of 2**24 + 1 values in all processes, and what is remembered
    of 1 for one of them and 0 for all others."""
    half, rank = 2**23 // (dist.get_world_size() // 2), dist.get_rank()
    layer = SyncBatchNorm(1, momentum=1.0)
    share = Share("many", None, torch.zeros(half + (rank == 0), 1), 1)
    return int(share.counts.sum()), layer(torch.zeros(2, 1)).sum().item()


def messages():
    """How many messages gloo has sent for forward and backward."""
    layer, x = SyncBatchNorm(C), randn(4, C, dtype=torch.float32).requires_grad_()
    counts = []
    for mode in True, False:
        layer.train(mode)
        with profile(activities=[ProfilerActivity.CPU]) as prof:
            layer(x).sum().backward()
        counts.append(sum(event.name.startswith("gloo:") for event in prof.events()))
    return counts


def network():
    torch.manual_seed(0)
    norms = (lambda: BatchNorm(8)), (lambda: nn.BatchNorm1d(8))
    hidden = (layer for norm in norms for layer in (nn.Linear(8, 8), norm(), nn.ReLU()))
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(8, 3)).double()


def sgd(model):
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)


def parameters_and_buffers(model):
    return torch.cat([t.detach().double().flatten() for t in model.state_dict().values()])


def under_ddp():
    """Weights and buffers after twenty steps of torch's DistributedDataParallel."""
    world, rank = dist.get_world_size(), dist.get_rank()
    x, target = randn(20, 4 * world, 8), randn(20, 4 * world, 3)
    big = network()
    ours = DistributedDataParallel(convert_sync_batchnorm(network()))
    rows = slice(4 * rank, 4 * rank + 4)
    for model, at in (big, slice(None)), (ours, rows):
        optimizer = sgd(model)
        for inputs, targets in zip(x, target, strict=True):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(inputs[at]), targets[at]).backward()
            optimizer.step()
    return off(parameters_and_buffers(ours.module), parameters_and_buffers(big))


def under_fit():
    """Losses, and weights and buffers, of batches that do not divide; the last has two images."""
    images, labels = randn(23, 1, 8), torch.arange(23) % 3
    data = ImageData(images, labels, images[:9], labels[:9], source="noise")
    single, split = network(), SplitBatches(convert_sync_batchnorm(network()))
    runs = [
        fit(m, data, epochs=3, batch_size=7, progress=False, optimizer=sgd(m))
        for m in (single, split)
    ]
    losses = [torch.tensor(run.train_loss + run.test_loss, dtype=torch.float64) for run in runs]
    models = [parameters_and_buffers(m) for m in (single, split.share.module)]
    return off(*losses[::-1]), off(*models[::-1])


def in_graphs():
    """What torch.fx and torch.compile make of it, and what torch.export says."""
    x = randn(3, C, dtype=torch.float32) * (dist.get_rank() + 1)
    torch.manual_seed(0)
    model = convert_sync_batchnorm(nn.Sequential(nn.Linear(C, C), BatchNorm(C)))
    right = model(x)
    traced = fx.symbolic_trace(model)
    compiled = torch.compile(model, backend="eager")
    found = [off(other(x), right) for other in (traced, compiled)]
    try:
        torch.export.export(model, (x,))
    except ValueError as error:
        found.append(str(error))
    exported = torch.export.export(model.eval(), (x,)).module()
    return [*found, off(exported(x), model(x))]


def everything():
    torch.set_num_threads(1)
    cases = [grid, constants, many, messages, under_ddp, under_fit]
    if dist.get_world_size() == 2:
        cases.append(in_graphs)
    return {case.__name__: case() for case in cases}


# Faults, of process 1 of two


@contextmanager
def told(words):
    """Add to ``words`` the error that was raised, and after how many seconds."""
    start = time.monotonic()
    try:
        yield
    except (ValueError, RuntimeError) as error:  # also NotImplementedError
        words.append((f"{type(error).__name__}: {error}", time.monotonic() - start))
    else:
        words.append(("", time.monotonic() - start))


def disagreements():
    """What both say when process 1 has something else."""
    rank, words = dist.get_rank(), []
    first = dist.get_rank() == 0
    x = torch.randn(3, 4)
    for layer, given in (
        (SyncBatchNorm(4 if first else 5), x if first else torch.randn(3, 5)),
        (SyncBatchNorm(4), x if first else torch.randn(3, 5)),
        (SyncBatchNorm(4), x if first else torch.randn(3)),
        (SyncBatchNorm(4), x if first else x.double()),
        (SyncBatchNorm(4), x if first else x.int()),
        (SyncBatchNorm(4), x if first else None),
        (SyncBatchNorm(4), x if first else x.to_sparse()),
        (SyncBatchNorm(4), x if first else x.to("meta")),
        (named("norm1" if first else "norm2"), x),
        (SyncBatchNorm(4), torch.randn(1 - rank, 4)),
    ):
        with told(words):
            layer(given)
    return words


def named(name):
    layers = nn.ModuleDict({name: BatchNorm(4)})
    convert_sync_batchnorm(layers)
    return layers[name]


def nan_in_one():
    x = torch.randn(3, 4, requires_grad=True)
    layer = SyncBatchNorm(4)
    y = layer(x * float("nan") if dist.get_rank() else x)
    (grad,) = torch.autograd.grad(y.sum(), x)
    return [t.isnan().all().item() for t in (y, grad, layer.running_mean, layer.running_var)]


def other_ndim():
    x = randn(5, 4)
    y = SyncBatchNorm(4, dtype=torch.float64)(
        x[:3] if dist.get_rank() == 0 else x[3:].T.reshape(1, 4, 2)
    )
    right = BatchNorm(4, dtype=torch.float64)(x)
    return off(y, right[:3] if dist.get_rank() == 0 else right[3:].T.reshape(1, 4, 2))


def silence():
    """What process 0 says when process 1 does not take part, each in a group that waits for 3 s."""
    words = []
    for fault in "hangs", "eval", "no backward", "no gradient":
        group = dist.new_group(timeout=timedelta(seconds=3))
        layer = named("norm")
        layer.process_group = group
        faulty = fault if dist.get_rank() == 1 else ""
        layer.train(faulty != "eval")
        with told(words):
            if faulty == "hangs":
                time.sleep(4)
            else:
                y = layer(torch.randn(3, 4, requires_grad=faulty != "no gradient"))
                if faulty != "no backward":
                    y.sum().backward()
        dist.barrier()
    return words


def eval_under_ddp(layers=None, gradients=None):
    """What both say when process 1 is in eval mode, if Python has a word in it."""
    words = []
    model = convert_sync_batchnorm(network(), layers)
    ddp = DistributedDataParallel(model, process_group=gradients)
    ddp.train(dist.get_rank() == 0)
    with told(words):
        ddp(randn(3, 8)).sum().backward()
    return words


def eval_with_a_group_of_its_own():
    """The gradients' group has more time, since the two start DistributedDataParallel in it."""
    groups = [dist.new_group(timeout=timedelta(seconds=seconds)) for seconds in (3, 10)]
    dist.barrier()
    words = eval_under_ddp(*groups)
    dist.barrier()
    return words


def transforms():
    """What torch.vmap and forward mode say."""
    x, words = torch.randn(2, 3, 4), []
    layer = SyncBatchNorm(4, track_running_stats=False)
    with told(words):
        torch.vmap(layer)(x)
    with told(words):
        torch.func.jvp(layer, (x[0],), (x[1],))
    return words


def noise(seed=0, rows=40, source="noise"):
    images = torch.rand(rows, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(rows) % 10
    return ImageData(images[:-10], labels[:-10], images[-10:], labels[-10:], source)


def absent():
    raise commands.DataError("no images here")


def command_lines(folder):
    """What ``train --sync`` ends with in each process, says, and how many files it writes."""
    rank, found = dist.get_rank(), {}
    for name, digits, *argv in (
        ("same", noise, "--json", f"{folder}/run.json"),
        ("pixels", lambda: noise(seed=rank)),
        ("number", lambda: noise(rows=40 + rank)),
        ("source", lambda: noise(source=("noise", "hum")[rank])),
        ("absent", absent),
        ("absent in one", absent if rank else noise),
        ("original", noise, "--norm", "original"),
        ("no such folder", noise, "--json", f"{folder}/absent/run.json"),
        ("diverged", noise, "--lr", "1e30"),
    ):  # fmt: skip
        out, err, written = io.StringIO(), io.StringIO(), []
        with (
            as_by_torchrun(),
            mock.patch.object(commands, "digits", lambda *_, get=digits: get()),
            mock.patch.object(commands, "atomic_write", lambda *of, to=written: to.append(of)),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            try:
                code: int | str | None = main(
                    ["train", "--sync", "--norm", "batch", "--epochs", "2", *argv]
                )
            except SystemExit as ended:
                code = ended.code
        found[name] = code, out.getvalue(), err.getvalue(), len(written)
    return found


@contextmanager
def as_by_torchrun():
    """With a store and an environment such as torchrun makes, in the process group there is."""
    port = [0]
    if dist.get_rank() == 0:
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        port = [store.port]
    dist.broadcast_object_list(port)
    made = {
        "RANK": dist.get_rank(),
        "WORLD_SIZE": dist.get_world_size(),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port[0],
        "TORCHELASTIC_USE_AGENT_STORE": True,
    }
    with (
        mock.patch.dict(os.environ, {name: str(value) for name, value in made.items()}),
        mock.patch.object(dist, "init_process_group"),
        mock.patch.object(dist, "destroy_process_group"),
    ):
        yield
    dist.barrier()  # until then the store is there


def faults(folder):
    """Then process 1 has come to its end, and process 0 goes on."""
    torch.set_num_threads(1)
    cases = (
        disagreements, nan_in_one, other_ndim, silence, eval_with_a_group_of_its_own, transforms,
    )  # fmt: skip
    found = {case.__name__: case() for case in cases}
    found["command_lines"] = command_lines(folder)
    if dist.get_rank() == 0:
        words = []
        with told(words):
            SyncBatchNorm(4)(torch.randn(3, 4))
        found["ended"] = words
    return found


# Of run_processes itself


def echo(*args):
    print("not shown")
    return dist.get_rank(), dist.get_world_size(), args


def raises_in(rank):
    if dist.get_rank() == rank:
        raise KeyError("no such image")
    dist.barrier()


def exits(code):
    """Process 0 ends, while the other would go on for longer than the timeout."""
    if dist.get_rank() == 0:
        os._exit(code)
    time.sleep(600)


def returns(code):
    """It has a result, and then something ends the process."""
    atexit.register(os._exit, code)
