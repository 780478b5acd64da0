"""The original notebook's network, repaired in parts: which fault keeps it from learning?"""

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import nn

from ..data import ImageData
from ..layers import BatchNorm, LayerNorm
from ..parametrizations import WeightNormLinear
from ..training import fit
from .runs import WIDTHS, Run, build

__all__ = ["AUDIT", "Audit", "audit", "repaired"]

_REPAIRS = {
    "original": (),
    "gains": ("gains",),
    "weight norm": ("weight norm",),
    "both": ("weight norm", "gains"),
    "all": ("weight norm", "gains", "norms"),
}


class Audit(NamedTuple):
    """What is changed of the original's network, and whether SGD trains it or Adam.

    Attributes:
        repairs: as for :func:`repaired`.
        lr: of plain SGD; None is Adam at 0.001, as in the notebook.
    """

    repairs: tuple[str, ...]
    lr: float | None


AUDIT = {
    f"{name}, {optimizer}": Audit(repairs, lr)
    for optimizer, lr in (("Adam", None), ("SGD", 0.1))
    for name, repairs in _REPAIRS.items()
} | {
    f"{name} without biases, SGD": Audit((*_REPAIRS[name], "biases"), 0.1)
    for name in ("original", "gains")
}
"""What :func:`~normtutorial.studies.audit` knows: ``"gains, SGD"`` and 11 others."""


def repaired(*repairs: str, seed: int = 0, device: torch.device | str | None = None) -> nn.Module:
    """The original notebook's network with some of its departures from the papers taken back.

    Whatever is repaired, the seed draws the same directions ``v`` and biases.

    Args:
        repairs: ``"weight norm"`` gives each row of ``v`` one length, and takes one ``g`` for it,
            which starts as that length; ``"gains"`` starts scales at 1 and shifts at 0; ``"norms"``
            puts layer, batch and layer norm of the papers before the ReLUs; ``"biases"``, which is
            no repair, has the linear layers do without one.
        seed: of the initial weights.
        device: where the network goes.

    Raises:
        ValueError: an unknown repair.

    Example:
        >>> sum(p.numel() for p in repaired("weight norm", "gains").parameters())
        799770
    """
    if unknown := set(repairs) - {"weight norm", "gains", "norms", "biases"}:
        raise ValueError(
            f"repaired knows 'weight norm', 'gains', 'norms' and 'biases'; got {unknown.pop()!r}."
        )
    model: Any = build("original", seed=seed)
    if "weight norm" in repairs:
        for i, shape in enumerate(pairwise(WIDTHS), start=1):
            old, new = getattr(model, f"p{i}"), WeightNormLinear(*shape)
            v, g = old.weight, old.weight.norm(dim=1, keepdim=True)
            new.load_state_dict({"weight_v": v, "weight_g": g, "bias": old.bias})
            setattr(model, f"p{i}", new)
    if "gains" in repairs:
        for norm in (model.ln1, model.bn2, model.ln3):
            nn.init.ones_(norm.gamma)
            nn.init.zeros_(norm.beta)
    if "biases" in repairs:
        for linear in (model.p1, model.p2, model.p3, model.p4):
            nn.init.zeros_(linear.bias).requires_grad_(False)
    if "norms" in repairs:
        layers: list[nn.Module] = [nn.Flatten()]
        for linear, norm in ((model.p1, LayerNorm), (model.p2, BatchNorm), (model.p3, LayerNorm)):
            layers += [linear, norm(len(linear.bias)), nn.ReLU()]
        model = nn.Sequential(*layers, model.p4)
    return model.to(device)


def audit(setting: str, data: ImageData, *, seed: int, steps: int = 100) -> Run:
    """Train the original's network, repaired in parts, and look at the test set every 25 steps.

    Args:
        setting: one of :data:`~normtutorial.studies.repairs.AUDIT`.
        data: what to train on.
        seed: of the weights and the batches.
        steps: batches of 128.

    Returns:
        The :class:`Run`.

    Raises:
        ValueError: an unknown setting, or a number out of bounds.

    Example:
        >>> images, labels = torch.rand(40, 1, 28, 28), torch.arange(40) % 10
        >>> data = ImageData(images, labels, images, labels, "noise")
        >>> run = audit("gains, SGD", data, seed=0, steps=1)
        >>> run.norm, run.lr
        ('original', 0.1)
    """
    if setting not in AUDIT:
        raise ValueError(f"Unknown setting {setting!r}. Known ones: {'; '.join(AUDIT)}.")
    repairs, lr = AUDIT[setting]
    model = repaired(*repairs, seed=seed, device=data.device)
    sgd = torch.optim.SGD(model.parameters(), lr) if lr else None
    how: dict[str, Any] = {"steps": steps, "evaluate_every": 25, "progress": False}
    history = fit(model, data, seed=seed, optimizer=sgd, **how)
    return Run("original", lr or 1e-3, seed, history)
