"""Two networks, averaged: between their parameters, after the units of one were matched."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from ..probes import activations
from .mlp import MLP

__all__ = ["interpolate", "match_units", "reorder_units"]


@torch.no_grad()
def interpolate(a: nn.Module, b: nn.Module, weight: float = 0.5) -> nn.Module:
    """A network on the line from ``a`` to ``b``, parameters and buffers alike.

    Running statistics on the line are *not* those of the network there: it has to be run in
    training mode to get its own, as :func:`torch.optim.swa_utils.update_bn` does.

    Args:
        a, b: two modules of one make. Neither is changed.
        weight: of ``b``; 0 gives ``a``, 1 gives ``b``, and 0.5 their average.

    Returns:
        A new module. Whole numbers, such as counts of batches, are those of ``a``.

    Raises:
        ValueError: if their parameters and buffers differ in name or shape.

    Example:
        >>> a, b = nn.Linear(1, 1), nn.Linear(1, 1)
        >>> _ = a.weight.data.fill_(1), b.weight.data.fill_(5)
        >>> interpolate(a, b, 0.25).weight.item()
        2.0
    """
    ours, theirs = a.state_dict(), b.state_dict()
    if {k: v.shape for k, v in ours.items()} != {k: v.shape for k, v in theirs.items()}:
        raise ValueError(
            "interpolate expects two modules of one make; their parameters and buffers differ in "
            "name or shape."
        )
    between = deepcopy(a)
    between.load_state_dict(
        {
            name: torch.lerp(value, theirs[name].to(value), weight)
            if value.is_floating_point()
            else value
            for name, value in ours.items()
        }
    )
    return between


def match_units(a: MLP, b: MLP, images: Tensor) -> list[Tensor]:
    """Which unit of ``b`` does most likely what a unit of ``a`` does, layer by layer.

    In each hidden layer the units are assigned to each other, one to one, so that the correlations
    of their activations over the images have the largest possible sum. A unit that says the same
    of all images is correlated with none.

    Args:
        a, b: two networks with the same widths.
        images: shape (N, ...), to compare them on; they are run in eval mode.

    Returns:
        An order for each hidden layer, shape (D,). Unit i of ``a`` is like unit ``order[i]`` of
        ``b``.

    Raises:
        ValueError: if the networks have different widths.

    Example:
        >>> a = MLP((4, 3, 2))
        >>> b = reorder_units(a, [torch.tensor([2, 0, 1])])
        >>> match_units(a, b, torch.randn(50, 4))
        [tensor([1, 2, 0])]

    References:
        Li et al., *Convergent learning*, 2016; Ainsworth et al., *Git Re-Basin*, 2023, section 3.1.
    """
    from scipy.optimize import linear_sum_assignment

    widths, others = (
        [(layer.in_features, layer.out_features) for layer in m if hasattr(layer, "in_features")]
        for m in (a, b)
    )
    if widths != others:
        raise ValueError(
            f"match_units expects two networks of the same widths; got layers of {widths} and "
            f"{others} inputs and outputs."
        )
    names = [name for name, _ in a.named_children() if name.startswith("act")]
    of_a, of_b = (activations(deepcopy(m).eval(), images, names) for m in (a, b))
    orders = []
    for name in names:
        x, y = (_standardized(found[name].double()) for found in (of_a, of_b))
        _, order = linear_sum_assignment((x.T @ y).cpu().numpy(), maximize=True)
        orders.append(torch.as_tensor(order))
    return orders


@torch.no_grad()
def reorder_units(model: MLP, orders: list[Tensor]) -> MLP:
    """A copy of a network with the units of its hidden layers in another order.

    It computes the same function: the units of a layer have no order of their own.

    Args:
        model: not changed. Its normalizations treat all units alike, so none has groups.
        orders: for each hidden layer a permutation of its units, shape (D,), as from
            :func:`match_units`.

    Returns:
        A new network. Unit i of a layer is unit ``order[i]`` of that of ``model``.

    Raises:
        ValueError: if there is not one permutation of the right length for each hidden layer, or
            if a normalization has groups of units.

    Example:
        >>> model, x = MLP((4, 3, 2)), torch.randn(5, 4)
        >>> torch.allclose(reorder_units(model, [torch.tensor([2, 0, 1])])(x), model(x), atol=1e-6)
        True
    """
    copy: Any = deepcopy(model)
    layers = [name for name, _ in copy.named_children() if name.startswith("act")]
    if len(orders) != len(layers):
        raise ValueError(
            f"reorder_units expects an order for each of {len(layers)} hidden layers; got "
            f"{len(orders)}."
        )
    for i, order in enumerate(orders, start=1):
        here, following = getattr(copy, f"linear{i}"), getattr(copy, f"linear{i + 1}")
        width = here.out_features
        if not torch.equal(order.sort().values.cpu(), torch.arange(width)):
            raise ValueError(
                f"reorder_units expects a permutation of 0 to {width - 1} for layer {i}; got "
                f"{order}."
            )
        norm = getattr(copy, f"norm{i}", None)
        if getattr(norm, "num_groups", 1) != 1:
            raise ValueError(f"reorder_units cannot move units between the groups of {norm}.")
        for module in filter(None, (here, norm)):
            for tensor in (*module.parameters(), *module.buffers()):
                if tensor.ndim and len(tensor) == width:
                    tensor.copy_(tensor[order])
        for tensor in following.parameters():  # a bias and lengths have no inputs to reorder
            if tensor.ndim == 2 and tensor.shape[1] == width:
                tensor.copy_(tensor[:, order])
    return copy


def _standardized(x: Tensor) -> Tensor:
    """Each column with mean 0 and length 1; a constant one is 0."""
    x = x - x.mean(0)
    return x / x.norm(dim=0).clamp_min(torch.finfo(x.dtype).tiny)
