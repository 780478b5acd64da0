"""What happened to people: cases for the checkup that were written before any of its thresholds.

From public issue threads, and from them alone: whoever wrote the checks had not seen these, and
they were run once when the checks were done (tests/slow/test_checkup_threads.py prints the figures
apart). A case is not changed afterwards to please a check.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torch.utils.checkpoint import checkpoint

Batches = list[tuple[Tensor, Tensor]]
Arguments = dict[str, Any]  # of checkup


@dataclass(frozen=True)
class Case:
    """A fault that somebody had.

    Args:
        finding: what the checkup has to call it.
        make: the arguments of checkup, from whether it has been repaired.
    """

    finding: str
    make: Callable[[bool], Arguments]


FAULTS: dict[str, Case] = {}
HEALTHY: dict[str, Callable[[], Arguments]] = {}


def fault(finding: str) -> Callable[[Callable[[bool], Arguments]], Callable[[bool], Arguments]]:
    def enter(make: Callable[[bool], Arguments]) -> Callable[[bool], Arguments]:
        FAULTS[make.__name__] = Case(finding, make)
        return make

    return enter


def healthy(make: Callable[[], Arguments]) -> Callable[[], Arguments]:
    HEALTHY[make.__name__] = make
    return make


# Data and networks


def rows(count: int = 8, size: int = 32, *, seed: int = 0, scale: float = 1.0) -> Batches:
    """Five classes of points in 16 dimensions, far from zero, in shuffled batches."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(5, 16, generator=torch.Generator().manual_seed(99))
    batches = []
    for _ in range(count):
        target = torch.randint(5, (size,), generator=generator)
        x = centers[target] + 0.8 * torch.randn(size, 16, generator=generator)
        batches.append((scale * (3 * x + 2), target))
    return batches


def images(count: int = 8, size: int = 32, *, seed: int = 0) -> Batches:
    """Five classes of images of 3 x 8 x 8, of which each is a pattern in noise."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(98))
    batches = []
    for _ in range(count):
        target = torch.randint(5, (size,), generator=generator)
        batches.append((patterns[target] + torch.randn(size, 3, 8, 8, generator=generator), target))
    return batches


def plain(norm: Callable[[int], nn.Module] = nn.BatchNorm1d, width: int = 24) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(16, width), norm(width), nn.ReLU(),
        nn.Linear(width, width), norm(width), nn.ReLU(), nn.Linear(width, 5),
    )  # fmt: skip


def convolutional(norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), norm(12), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1), norm(24), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5),
    )  # fmt: skip


def learn(model: nn.Module, batches: Batches, epochs: int = 10, rate: float = 3e-3) -> Any:
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    model.train()
    for x, target in epochs * batches:
        optimizer.zero_grad()
        F.cross_entropy(model(x), target).backward()
        optimizer.step()
    return model


def trained(norm: Callable[[int], nn.Module] = nn.BatchNorm1d) -> Any:
    return learn(plain(norm), rows(24, seed=5)).eval()


def norms(model: nn.Module) -> Iterator[nn.modules.batchnorm._BatchNorm]:
    return (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))


def step_of(model: nn.Module, rate: float = 1e-3) -> Callable[[Any], None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)

    def step(batch: tuple[Tensor, Tensor]) -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()

    return step


# Faults


@fault("statistics-untouched")
def published_without_its_statistics(repaired: bool) -> Arguments:
    """The checkpoint had every running mean at 0 and every variance at 1."""
    model = trained()
    if not repaired:
        for norm in norms(model):
            norm.reset_running_stats()
    return {"model": model, "batches": rows()}


@fault("statistics-untouched")
def only_the_parameters_were_saved(repaired: bool) -> Arguments:
    model = learn(convolutional(), images(24, seed=5))
    saved = model.state_dict() if repaired else dict(model.named_parameters())
    fresh = convolutional()
    fresh.load_state_dict(saved, strict=repaired)
    return {"model": fresh.eval(), "batches": images()}


@fault("statistics-young")
def momentum_of_a_thousandth_and_few_steps(repaired: bool) -> Arguments:
    momentum = 0.1 if repaired else 0.001
    model = plain(lambda width: nn.BatchNorm1d(width, momentum=momentum))
    return {"model": learn(model, rows(24, seed=5), epochs=8).eval(), "batches": rows()}


@fault("statistics-stale")
def recalibrated_over_channels_too(repaired: bool) -> Arguments:
    """The script took its means over all of a tensor, so that all channels had the same."""
    model = trained()
    if not repaired:
        for norm in norms(model):
            assert norm.running_mean is not None and norm.running_var is not None
            norm.running_mean.fill_(float(norm.running_mean.mean()))
            norm.running_var.fill_(float(norm.running_var.mean()))
    return {"model": model, "batches": rows()}


@fault("statistics-nonfinite")
def one_infinite_sample(repaired: bool) -> Arguments:
    model = trained()
    if not repaired:
        x, _ = rows(1, seed=7)[0]
        x[3, 2] = math.inf
        model.train()
        model(x)
        model.eval()
    return {"model": model, "batches": rows()}


@fault("statistics-nonfinite")
def variance_beyond_half_precision(repaired: bool) -> Arguments:
    """65504 is the largest number of float16; the outputs were zero, silently."""
    scale = 1.0 if repaired else 200.0
    model = learn(plain(), rows(24, seed=5, scale=scale)).eval().half()
    batches = [(x.half(), target) for x, target in rows(scale=scale)]
    return {"model": model, "batches": batches}


@fault("input-scale")
def pixels_of_another_range(repaired: bool) -> Arguments:
    """Trained on images with mean 0 and deviation 1, then given 0 to 255."""
    model = learn(convolutional(), images(24, seed=5)).eval()
    batches = images()
    if not repaired:
        batches = [(x * 50 + 120, target) for x, target in batches]
    return {"model": model, "batches": batches}


class Checkpointed(nn.Module):
    """A network whose middle is computed again in the backward pass, to save memory."""

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.first = nn.Linear(16, 24)
        self.middle = nn.Sequential(nn.Linear(24, 24), norm(24), nn.ReLU())
        self.last = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(checkpoint(self.middle, self.first(x), use_reentrant=False))


@fault("updated-twice")
def checkpoint_over_a_batch_norm(repaired: bool) -> Arguments:
    torch.manual_seed(3)
    model = Checkpointed(nn.LayerNorm if repaired else nn.BatchNorm1d)
    return {"model": model.train(), "batches": rows()}


@fault("updated-twice")
def sharpness_aware_step(repaired: bool) -> Arguments:
    """The second pass, at perturbed weights, must not be seen by the statistics."""
    model = plain().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def gradient(batch: tuple[Tensor, Tensor]) -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(batch[0]), batch[1]).backward()

    def step(batch: tuple[Tensor, Tensor]) -> None:
        gradient(batch)
        moves = [0.05 * torch.sign(p.grad) for p in model.parameters() if p.grad is not None]
        with torch.no_grad():
            for p, move in zip(model.parameters(), moves, strict=True):
                p.add_(move)
        kept = copy.deepcopy(list(model.buffers()))
        gradient(batch)
        with torch.no_grad():
            if repaired:
                for buffer, before in zip(model.buffers(), kept, strict=True):
                    buffer.copy_(before)
            for p, move in zip(model.parameters(), moves, strict=True):
                p.sub_(move)
        optimizer.step()

    return {"model": model, "batches": rows(), "step": step}


@fault("frozen-drifts")
def frozen_by_requires_grad_alone(repaired: bool) -> Arguments:
    model = learn(convolutional(), images(24, seed=5))
    for parameter in model[:7].parameters():
        parameter.requires_grad_(False)
    model.train()
    if repaired:
        model[:7].eval()
    return {"model": model, "batches": images()}


@fault("left-in-eval")
def the_first_validation_ended_the_training_of_the_norms(repaired: bool) -> Arguments:
    model = trained()
    step = step_of(model)

    def turned_on(batch: tuple[Tensor, Tensor]) -> None:
        model.train(repaired)
        step(batch)

    return {"model": model, "batches": rows(), "step": turned_on}


@fault("trained-in-evaluation")
def train_is_called_in_validation(repaired: bool) -> Arguments:
    model = trained()
    batches = rows()

    def evaluate() -> float:
        model.train(not repaired)
        with torch.no_grad():
            hits = [(model(x).argmax(1) == target).float().mean() for x, target in batches]
        return float(torch.stack(hits).mean())

    return {"model": model, "batches": batches, "evaluate": evaluate}


@fault("batch-leak")
def a_norm_that_does_not_track(repaired: bool) -> Arguments:
    """Alone, an image got another answer than in its batch."""
    model = convolutional(lambda width: nn.BatchNorm2d(width, track_running_stats=repaired))
    return {"model": learn(model, images(24, seed=5)).eval(), "batches": images()}


class Whitened(nn.Module):
    """Features that are centered over whatever is in the batch, train or eval."""

    def __init__(self, repaired: bool) -> None:
        super().__init__()
        self.features = nn.Linear(16, 24)
        self.head = nn.Linear(24, 5)
        self.repaired = repaired

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.features(x))
        return self.head(h if self.repaired else h - h.mean(0))


@fault("batch-leak")
def features_centered_over_the_batch(repaired: bool) -> Arguments:
    torch.manual_seed(4)
    return {"model": learn(Whitened(repaired), rows(24, seed=5)).eval(), "batches": rows()}


@fault("batch-composition")
def a_folder_read_class_by_class(repaired: bool) -> Arguments:
    batches = rows(8, 40)
    if not repaired:
        x, target = (torch.cat(part) for part in zip(*batches, strict=True))
        order = target.argsort(stable=True)
        batches = list(zip(x[order].split(40), target[order].split(40), strict=True))
    return {"model": trained().train(), "batches": batches}


class TwoDomains(nn.Module):
    """Source and target go through one network, one after the other."""

    def __init__(self, repaired: bool) -> None:
        super().__init__()
        self.features = nn.Linear(16, 24)
        self.norms = nn.ModuleList(nn.BatchNorm1d(24) for _ in range(2 if repaired else 1))
        self.head = nn.Linear(24, 5)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        half = [
            self.head(torch.relu(self.norms[i % len(self.norms)](self.features(x))))
            for i, x in enumerate((source, target))
        ]
        return torch.cat(half)


@fault("one-norm-two-domains")
def source_and_target_called_apart(repaired: bool) -> Arguments:
    torch.manual_seed(6)
    batches = [((x, 2 * x - 9), torch.cat((target, target))) for x, target in rows()]
    return {"model": TwoDomains(repaired).train(), "batches": batches}


@fault("degenerate-set")
def a_group_for_each_channel_behind_the_pooling(repaired: bool) -> Arguments:
    torch.manual_seed(7)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 32, 1),
        nn.GroupNorm(2 if repaired else 32, 32), nn.Flatten(), nn.Linear(32, 5),
    )  # fmt: skip
    return {"model": model, "batches": images()}


@fault("degenerate-set")
def two_rows_for_each_device(repaired: bool) -> Arguments:
    return {"model": plain().train(), "batches": rows(8, 32 if repaired else 2)}


class Fields(nn.Module):
    """Embedded fields, (batch, fields, features): the features are to be normalized."""

    def __init__(self, repaired: bool) -> None:
        super().__init__()
        self.repaired = repaired
        self.embed = nn.Linear(4, 16)
        self.norm = nn.BatchNorm1d(16 if repaired else 10)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        h = self.norm(h.transpose(1, 2)).transpose(1, 2) if self.repaired else self.norm(h)
        return self.head(torch.relu(h).mean(1))


@fault("wrong-axis")
def a_batch_norm_of_the_fields_of_a_table(repaired: bool) -> Arguments:
    torch.manual_seed(8)
    return {
        "model": Fields(repaired).train(),
        "batches": [torch.randn(32, 10, 4) for _ in range(6)],
    }


class Speech(nn.Module):
    """A convolution over time and a batch norm, of sequences that zeros make equally long."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(12, 24, 1)
        self.norm = nn.BatchNorm1d(24)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.convolution(x))).mean(2))


@fault("padding-counted")
def padded_to_the_longest_sequence(repaired: bool) -> Arguments:
    torch.manual_seed(9)
    batches = []
    for _ in range(6):
        x = 2 + torch.randn(16, 12, 40)
        if not repaired:
            for row, length in zip(x, torch.randint(8, 40, (16,)).tolist(), strict=True):
                row[:, length:] = 0
        batches.append(x)
    return {"model": Speech().train(), "batches": batches}


@fault("dropout-before-batch-norm")
def dropout_in_front_of_each_norm(repaired: bool) -> Arguments:
    torch.manual_seed(10)
    drop = nn.Identity() if repaired else nn.Dropout(0.7)
    model = nn.Sequential(
        nn.Linear(16, 64), nn.ReLU(), drop, nn.BatchNorm1d(64), nn.Linear(64, 64), nn.ReLU(), drop,
        nn.BatchNorm1d(64), nn.Linear(64, 64), nn.ReLU(), drop, nn.BatchNorm1d(64),
        nn.Linear(64, 5),
    )  # fmt: skip
    return {"model": learn(model, rows(24, seed=5)).eval(), "batches": rows()}


@fault("momentum-convention")
def momentum_from_another_library(repaired: bool) -> Arguments:
    """0.99 there is 0.01 here."""
    momentum = 0.01 if repaired else 0.99
    model = plain(lambda width: nn.BatchNorm1d(width, momentum=momentum))
    learn(model, rows(40, 6, seed=5), epochs=12)
    return {"model": model.eval(), "batches": rows()}


@fault("ignored-flag")
def tracking_turned_off_afterwards(repaired: bool) -> Arguments:
    model = trained()
    if not repaired:
        for norm in norms(model):
            norm.track_running_stats = False
    return {"model": model, "batches": rows()}


class HandWrittenRMSNorm(nn.Module):
    def __init__(self, width: int, repaired: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.repaired = repaired

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float() if self.repaired else x
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)
        return self.weight * wide.to(x.dtype)


@fault("low-precision")
def squares_that_overflow_in_half_precision(repaired: bool) -> Arguments:
    torch.manual_seed(11)
    model = nn.Sequential(nn.Linear(16, 64), HandWrittenRMSNorm(64, repaired), nn.Linear(64, 5))
    batches = [(x.half(), target) for x, target in rows(scale=80.0)]
    return {"model": model.half().eval(), "batches": batches}


@fault("averaged-statistics")
def average_of_weights_with_the_first_statistics(repaired: bool) -> Arguments:
    model = plain()
    average = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for x, target in 10 * rows(24, seed=5):
        optimizer.zero_grad()
        F.cross_entropy(model(x), target).backward()
        optimizer.step()
        with torch.no_grad():
            for mean, p in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(p, 0.02)
    if repaired:
        update_bn(rows(24, seed=5), average)
    return {"model": model.eval(), "batches": rows(), "averaged": average.eval()}


@fault("not-optimized")
def the_optimizer_got_the_matrices(repaired: bool) -> Arguments:
    model = plain()
    parameters = [p for p in model.parameters() if repaired or p.ndim > 1]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    return {"model": model.train(), "batches": rows(), "optimizer": optimizer}


class Logarithm(nn.Module):
    def __init__(self, repaired: bool) -> None:
        super().__init__()
        self.repaired = repaired

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(torch.relu(x) + (1e-3 if self.repaired else 0.0))


@fault("nonfinite-activation")
def logarithm_of_zero(repaired: bool) -> Arguments:
    torch.manual_seed(12)
    model = nn.Sequential(
        nn.Linear(16, 24), Logarithm(repaired), nn.LayerNorm(24), nn.Linear(24, 5)
    )
    return {"model": model.eval(), "batches": rows()}


# Odd, but right


class Style(nn.Module):
    """Adaptive instance norm as it is often written: by batch_norm, with buffers thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3)
        self.register_buffer("running_mean", torch.zeros(8))
        self.register_buffer("running_var", torch.ones(8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.convolution(x)
        count, channels = h.shape[:2]
        mean, var = self.running_mean.repeat(count), self.running_var.repeat(count)
        flat = h.reshape(1, count * channels, *h.shape[2:])
        flat = F.batch_norm(flat, mean, var, None, None, True, 0.1, 1e-5)
        return self.head(torch.relu(flat.reshape_as(h)).mean((2, 3)))


@healthy
def adaptive_instance_norm() -> Arguments:
    torch.manual_seed(20)
    return {"model": Style().eval(), "batches": images()}


@healthy
def last_batch_norm_alone_in_training_mode() -> Arguments:
    model = trained()
    model[4].train()
    for parameter in model[:4].parameters():
        parameter.requires_grad_(False)
    return {"model": model, "batches": rows()}


@healthy
def accumulation_under_layer_norm() -> Arguments:
    model = plain(nn.LayerNorm).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def step(batch: tuple[Tensor, Tensor]) -> None:
        optimizer.zero_grad()
        for x, target in zip(batch[0].split(4), batch[1].split(4), strict=True):
            (F.cross_entropy(model(x), target) / 8).backward()
        optimizer.step()

    return {"model": model, "batches": rows(), "step": step, "optimizer": optimizer}


class Tokens(nn.Module):
    """Layer norm over the features of (length, batch, features): taken for a wrong axis once."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        padding = tokens == 0
        h = self.encoder(self.embed(tokens).transpose(0, 1), src_key_padding_mask=padding)
        return self.head(h[0])


@healthy
def tokens_with_padding_and_a_mask() -> Arguments:
    torch.manual_seed(21)
    batches = []
    for _ in range(6):
        tokens = torch.randint(1, 50, (16, 20))
        for row, length in zip(tokens, torch.randint(5, 20, (16,)).tolist(), strict=True):
            row[length:] = 0
        batches.append((tokens, torch.randint(5, (16,))))
    return {"model": Tokens().eval(), "batches": batches}


@healthy
def frozen_as_it_should_be() -> Arguments:
    model = learn(convolutional(), images(24, seed=5)).train()
    for norm in norms(model):
        norm.eval()
        for parameter in norm.parameters():
            parameter.requires_grad_(False)
    return {"model": model, "batches": images(), "step": step_of(model)}


@healthy
def recalibrated_by_update_bn() -> Arguments:
    model = plain(lambda width: nn.BatchNorm1d(width, momentum=None))
    learn(model, rows(24, seed=5))
    update_bn(rows(24, seed=5), model)
    return {"model": model.eval(), "batches": rows()}


@healthy
def one_image_at_a_time_with_group_norm() -> Arguments:
    model = convolutional(lambda width: nn.GroupNorm(4, width))
    return {"model": learn(model, images(12, seed=5), 3).train(), "batches": images(8, 1)}


@healthy
def generator_that_was_never_trained() -> Arguments:
    torch.manual_seed(22)
    model = nn.Sequential(
        nn.ConvTranspose2d(16, 24, 4), nn.BatchNorm2d(24), nn.ReLU(),
        nn.ConvTranspose2d(24, 12, 4, 2, 1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.ConvTranspose2d(12, 3, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    return {"model": model, "batches": [torch.randn(32, 16, 1, 1) for _ in range(6)]}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(12, 24, batch_first=True)
        self.norm = nn.LayerNorm(24)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.cell(x)[0])[:, -1])


@healthy
def recurrent_with_layer_norm() -> Arguments:
    torch.manual_seed(23)
    return {"model": Recurrent().train(), "batches": [torch.randn(16, 15, 12) for _ in range(4)]}


@healthy
def last_batch_is_smaller() -> Arguments:
    return {"model": trained(), "batches": [*rows(7), *rows(1, 9, seed=11)]}


@healthy
def instance_norm_in_training() -> Arguments:
    model = convolutional(lambda width: nn.InstanceNorm2d(width, affine=True))
    return {"model": learn(model, images(12, seed=5), 3).train(), "batches": images()}


@healthy
def layer_norm_of_a_convolution() -> Arguments:
    torch.manual_seed(24)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.LayerNorm((12, 8, 8)), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5),
    )  # fmt: skip
    return {"model": learn(model, images(12, seed=5), 3), "batches": images()}


@healthy
def mobile_network_as_it_comes() -> Arguments:
    from torchvision.models import mobilenet_v3_small

    torch.manual_seed(25)
    batches = [(torch.randn(16, 3, 64, 64), torch.randint(10, (16,))) for _ in range(4)]
    return {"model": mobilenet_v3_small(num_classes=10).train(), "batches": batches}
