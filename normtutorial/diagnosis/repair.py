"""Proof by repair: statistics computed anew from one half of the samples, tried on the other."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .batches import Batch, LossFunction, call, compared, guess, join, losses, pick, size
from .chance import LEVEL, falls
from .kinds import is_instance_norm, memory, tells_moments
from .measures import moments
from .watching import passing, tensor_in, watched

__all__ = ["Judged", "Proof", "Recalibration"]


WORTH, LITTLE = 0.1, 0.02  # of the loss of a constant guess, or of the variance of the outputs
TRIED = 4  # maps of the input, at most, which share a level
LEAST = 8  # samples in a batch whose statistics are used, where samples can be mixed


class Proof(NamedTuple):
    """What a change of the model, or of its input, does to the loss on samples it has not seen.

    Attributes:
        before, after: the mean loss; without targets the mean squared distance of the outputs from
            those with new statistics of all layers, in units of how much samples differ.
        holds: whether it falls by more than chance, and by a tenth of what a constant guess loses
            or, without targets, of how much samples differ.
        shows: whether it falls by more than chance, and by a fiftieth: enough where other evidence
            says the same.
        loss: whether it is a loss.
    """

    before: float
    after: float
    holds: bool
    shows: bool
    loss: bool

    def told(self, what: str) -> dict[str, Any]:
        """For the finding."""
        measure = (
            "loss on the rest" if self.loss else "distance of the outputs from those of the rest"
        )
        return {"what": f"{what}, {measure}", "before": self.before, "after": self.after}


class Judged(NamedTuple):
    """What a model did with the samples of a half: outputs (n, K) and losses (n,)."""

    rows: Tensor
    losses: Tensor | None

    def some(self, order: Tensor) -> "Judged":
        """Of some of its samples."""
        return Judged(self.rows[order], None if self.losses is None else self.losses[order])


Parts = list[tuple[int, Tensor, Tensor]]  # how many values, their means and variances


class _Pooled:
    """Mean and unbiased variance of all that was added, per channel."""

    def __init__(self) -> None:
        self.parts: Parts = []

    def add(self, n: int, mean: Tensor, var: Tensor) -> None:
        self.parts.append((n, mean, var))

    def values(self) -> tuple[Tensor, Tensor]:
        counts = torch.tensor([n for n, _, _ in self.parts], dtype=torch.float64)
        means = torch.stack([mean for _, mean, _ in self.parts])
        variances = torch.stack([var for _, _, var in self.parts])
        share = (counts / counts.sum()).to(means.device)[:, None]
        mean = (share * means).sum(0)
        var = (share * (variances + (means - mean).square())).sum(0)
        return mean, var * float(counts.sum() / (counts.sum() - 1).clamp_min(1))


class Recalibration:
    """The statistics of each half of the samples, and what the model does with them.

    The samples are mixed first, if they are of one shape, so that sorted batches do no harm; the
    statistics are those of a pass with the norms that remember in training mode and the rest,
    dropout above all, in evaluation mode. Nothing remains in the model.

    Args:
        model, batches, loss: as given.
        known: what the model does with the samples as it is, in their order, if that is known.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: list[Batch],
        loss: LossFunction | None,
        known: Judged | None = None,
    ) -> None:
        self.model, self.loss = model, loss
        self.layers = {
            name: module for name, module in model.named_modules() if memory(module) is not None
        }
        self.halves, orders = _halves(batches)
        self.guess = guess(batches)
        self._known: dict[Any, list[Judged]] = {}
        if known is not None:  # it has been seen as it is
            self._known[frozenset[str](), False, None] = [known.some(order) for order in orders]
        self.found = self._look(dropout=False)

    def _look(self, dropout: bool) -> list[dict[str, _Pooled]]:
        """The moments of what comes into each layer, half by half; with all of the model in
        training mode if ``dropout``."""
        found: list[dict[str, _Pooled]] = []
        with passing("With the statistics of each batch", self.model) as within, torch.no_grad():
            self.model.train(dropout)
            for module in self.layers.values():
                module.training = True
                if tells_moments(module):
                    module.momentum = 1.0
            names = {id(module): name for name, module in self.layers.items()}
            for half in self.halves:
                pooled: dict[str, _Pooled] = defaultdict(_Pooled)

                def see(
                    _: str,
                    module: nn.Module,
                    args: Any,
                    __: Any,
                    pooled: dict[str, _Pooled] = pooled,
                ) -> None:
                    x = tensor_in(args)
                    if id(module) in names and x is not None:
                        pooled[names[id(module)]].add(*_remembered(module, x))

                for batch in half:
                    with watched(self.model, within, after=see):
                        call(self.model, batch.x)
                found.append(pooled)
        return found

    def with_dropout(self) -> list[dict[str, _Pooled]]:
        """The moments in training mode throughout."""
        return self._look(dropout=True)

    def moments(self, name: str) -> tuple[Tensor, Tensor] | None:
        """Of all samples, as they come into a layer."""
        both = [half[name] for half in self.found if name in half]
        if not both:
            return None
        pooled = _Pooled()
        pooled.parts = [part for half in both for part in half.parts]
        return pooled.values()

    def proof(self, names: Iterable[str]) -> Proof:
        """With the statistics of these layers computed anew."""
        chosen = frozenset(names)
        before = self._judged()
        if _have_losses(before):
            return _by_loss(before, self._judged(chosen), self.guess)
        proof = self._by_distance(before, self._judged(chosen, own=True))
        if proof.shows and not self._are_off(chosen):
            return proof._replace(holds=False, shows=False)
        return proof

    def _are_off(self, names: frozenset[str]) -> bool:
        """Whether the batches of one half are off from what is remembered, in the direction in
        which the other half is.

        Without a loss it is batches that are counted and not samples, because the outputs of all
        samples move together when statistics do.
        """
        halves = list(zip(self.found, self.halves, strict=True))
        even = [  # those that each batch calls equally often
            name
            for name in self.layers
            if name in names
            and all(name in half and len(half[name].parts) % len(n) == 0 for half, n in halves)
        ]
        if not even:
            return False
        off = [
            torch.cat([_off(self.layers[name], half[name].parts, len(n)) for name in even], 1)
            for half, n in halves
        ]
        along = off[0] @ off[-1].mean(0)
        return falls(along, torch.zeros_like(along), 0.0, LEVEL)

    def proof_of_input(self, change: Callable[[Any], Any], first: str) -> tuple[Proof, bool]:
        """With a function of the input in its place; and whether that alone helps, as new
        statistics of all layers do not do as well.

        If they do, it holds only if those of the first layer do, too, since no other layer would
        notice. It never holds if they do better.
        """
        before, after = self._judged(), self._judged(change=change)
        if not _have_losses(before):
            return self._by_distance(before, after, LEVEL / TRIED), False
        proof = _by_loss(before, after, self.guess, LEVEL / TRIED)
        if not proof.holds:
            return proof, False
        anew, there = self._judged(frozenset(self.layers)), self._judged(frozenset([first]))

        def better(one: list[Judged], other: list[Judged]) -> bool:
            return _by_loss(other, one, self.guess).shows

        alone = better(after, anew)
        worse = better(anew, after) or (not alone and better(anew, there))
        return proof._replace(holds=not worse), alone

    def _judged(
        self,
        names: frozenset[str] = frozenset(),
        own: bool = False,
        change: Callable[[Any], Any] | None = None,
    ) -> list[Judged]:
        """Of both halves, once."""
        key = names, own, change
        if key not in self._known:
            halves = range(len(self.halves))
            self._known[key] = [self._judge(half, names, own, change) for half in halves]
        return self._known[key]

    def _judge(
        self, half: int, names: frozenset[str], own: bool, change: Callable[[Any], Any] | None
    ) -> Judged:
        """Of each sample of a half the output and the loss, if the layers of these names have the
        statistics of the other half, or its own."""
        source = self.found[half if own else -1 - half]
        rows, lost = [], []
        with passing("With other statistics", self.model), torch.no_grad():
            for name in names:
                if name in source:
                    _write(self.layers[name], *source[name].values())
            self.model.eval()
            for batch in self.halves[half]:
                output = call(self.model, change(batch.x) if change else batch.x)
                rows.append(compared(output, size(batch)))
                lost.append(losses(self.loss, output, batch.target, size(batch)))
        known = [one for one in lost if one is not None]
        return Judged(torch.cat(rows), torch.cat(known) if len(known) == len(lost) else None)

    def _by_distance(
        self, before: list[Judged], after: list[Judged], level: float = LEVEL
    ) -> Proof:
        """How far the outputs are from those with the statistics of the other half. Two halves
        differ by chance, and so does what remains."""
        goal = self._judged(frozenset(self.layers))
        spread = torch.cat([(one.rows - one.rows.mean(0)).square().sum(1) for one in goal])
        unit = spread.mean().clamp_min(1e-30)
        first, second = (
            torch.cat([(a.rows - b.rows).square().sum(1) for a, b in zip(one, goal, strict=True)])
            for one in (before, after)
        )
        return _proof(first / unit, second / unit, unit=1.0, loss=False, level=level)


def _have_losses(judged: list[Judged]) -> bool:
    return all(one.losses is not None for one in judged)


def _by_loss(
    before: list[Judged], after: list[Judged], guess: float, level: float = LEVEL
) -> Proof:
    first, second = (
        torch.cat([half.losses for half in one if half.losses is not None])
        for one in (before, after)
    )
    return _proof(first, second, unit=guess, loss=True, level=level)


def _proof(first: Tensor, second: Tensor, unit: float, loss: bool, level: float = LEVEL) -> Proof:
    before, after = float(first.mean()), float(second.mean())
    shows = falls(first, second, LITTLE * unit, level)
    little = before - after <= WORTH * unit  # never, where the loss was not finite
    return Proof(before, after, shows and not little, shows, loss)


def _halves(batches: list[Batch]) -> tuple[list[list[Batch]], list[Tensor]]:
    """Two lists of batches, of the same size as before where that is possible; and which of the
    samples they have."""
    whole, n = join(batches), sum(map(size, batches))
    if whole is None or n < 4:
        numbers = torch.arange(n).split([size(batch) for batch in batches])
        parts = [slice(0, None, 2), slice(1, None, 2)] if len(batches) > 1 else [slice(None)]
        return [batches[part] for part in parts], [torch.cat(numbers[part]) for part in parts]
    orders = list(torch.randperm(n, generator=torch.Generator().manual_seed(0)).tensor_split(2))
    halves = []
    for order in orders:
        count = max(1, len(order) // max(LEAST, size(batches[0])))
        halves.append([Batch(*pick(tuple(whole), chunk, n)) for chunk in order.chunk(count)])
    return halves, orders


def _remembered(module: nn.Module, x: Tensor) -> tuple[int, Tensor, Tensor]:
    """What a layer would remember of an input: how many values, their mean and variance."""
    told = memory(module) if tells_moments(module) else None
    if told is not None:  # with a momentum of 1 it has just computed them
        mean, var = (one.detach().double() for one in told)
        n = x.numel() // x.shape[1]
        return n, mean, var * ((n - 1) / n)
    mean, var = moments(x, 1)
    if is_instance_norm(module):
        inside = x.detach().float().flatten(2).var(2).double()
        return len(x), mean, inside.mean(0)
    return x.numel() // x.shape[1], mean, var


def _off(module: nn.Module, parts: Parts, batches: int) -> Tensor:
    """For each batch how far its means are from what a layer remembers, in standard deviations,
    and its variances, as the logarithm of their ratio: (batches, 2 C)."""
    mean, var = (one.detach().double().flatten() for one in memory(module) or ())
    eps = getattr(module, "eps", 1e-5)
    means, variances = (torch.stack(column) for column in list(zip(*parts, strict=True))[1:])
    off = (means - mean) / (var + eps).sqrt(), ((variances + eps) / (var + eps)).log()
    return torch.cat(off, 1).reshape(batches, -1, 2 * len(mean)).mean(1)


def _write(module: nn.Module, mean: Tensor, var: Tensor) -> None:
    remembered = memory(module)
    if remembered is not None and remembered[0].numel() == mean.numel():
        for buffer, value in zip(remembered, (mean, var), strict=True):
            buffer.data.copy_(value.reshape(buffer.shape))
