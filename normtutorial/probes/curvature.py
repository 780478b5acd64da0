"""How curved a loss is: the largest eigenvalue of its Hessian, without ever writing the Hessian."""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import whole

__all__ = ["Sharpness", "sharpness"]

ZERO = 1e-6  # of the Hessian's size: what is left of a vector then is rounding


class Sharpness(NamedTuple):
    """The ends of a Hessian's spectrum, as far as Lanczos has come.

    Attributes:
        largest: its largest eigenvalue, from below: the *sharpness*. Plain gradient descent with a
            rate above ``2 / largest`` overshoots along this direction.
        smallest: its smallest one, from above. It is negative where the loss curves down.
        error: an eigenvalue lies at most this far from ``largest``.
    """

    largest: float
    smallest: float
    error: float


def sharpness(
    loss: Tensor, parameters: Iterable[Tensor], *, iterations: int = 20, seed: int = 0
) -> Sharpness:
    r"""The sharpness of a loss: the largest eigenvalue of its Hessian in the parameters.

    The product of the Hessian :math:`H` with a vector :math:`v` is the derivative of
    :math:`\nabla L \cdot v`, so it costs about as much as two gradients. Lanczos' method builds an
    orthonormal basis of :math:`v, Hv, H^2 v, \ldots`, in which :math:`H` is tridiagonal, and whose
    outermost eigenvalues are soon those of :math:`H`.

    Args:
        loss: a single number that was computed from the parameters, shape () or (1,). Its graph is
            kept.
        parameters: of any shape, in which the Hessian is taken. Others are held fixed.
        iterations: products with the Hessian.
        seed: of the first vector. The global random state is left as it was.

    Returns:
        The :class:`Sharpness`; NaN where the loss or its derivatives are not finite.

    Raises:
        ValueError: a loss that is no single number or has no graph, no parameters, or a number out
            of bounds.

    Example:
        >>> x = torch.tensor([1.0, 1.0], requires_grad=True)
        >>> found = sharpness(2 * x[0] ** 2 - x[1] ** 2, [x])
        >>> round(found.largest, 4), round(found.smallest, 4)
        (4.0, -2.0)

    References:
        Pearlmutter, *Fast exact multiplication by the Hessian*, 1994; Golub and Van Loan, *Matrix
        Computations*, chapter 10 (Lanczos, with the basis made orthogonal twice).
    """
    parameters = list(parameters)
    iterations = whole("sharpness", "iterations", iterations)
    seed = whole("sharpness", "seed", seed, least=0)
    if not parameters:
        raise ValueError("sharpness expects parameters; got none.")
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        raise ValueError(
            "sharpness expects a loss that is a single number, computed from the parameters with "
            f"gradients on; got {loss!r}."
        )
    product = hessian_product(loss, parameters)
    size = sum(p.numel() for p in parameters)
    dtype = torch.promote_types(parameters[0].dtype, torch.float32)
    start = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return _lanczos(product, start.to(parameters[0].device), min(iterations, size))


def hessian_product(loss: Tensor, parameters: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """The product of a loss's Hessian with a vector, of as many numbers as all parameters have.

    Example:
        >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> hessian_product(x[0] * x[1], [x])(torch.tensor([1.0, 0.0]))
        tensor([0., 1.])
    """
    gradients = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
    curved = [(i, g) for i, g in enumerate(gradients) if g.requires_grad]
    sizes = [p.numel() for p in parameters]

    def product(v: Tensor) -> Tensor:
        if not curved:  # the loss is linear in all of them
            return torch.zeros_like(v)
        parts = [part.view_as(p).to(p) for part, p in zip(v.split(sizes), parameters, strict=True)]
        rows = torch.autograd.grad(
            [g for _, g in curved],
            parameters,
            [parts[i] for i, _ in curved],
            retain_graph=True,
            materialize_grads=True,
        )
        return torch.cat([row.detach().flatten() for row in rows]).to(v)

    return product


def _lanczos(product: Callable[[Tensor], Tensor], start: Tensor, iterations: int) -> Sharpness:
    basis = (start / start.norm())[None]
    diagonal: list[float] = []
    beside: list[float] = []  # the diagonal; the last one leads out of the basis
    for _ in range(iterations):
        w = product(basis[-1])
        diagonal.append((w @ basis[-1]).item())
        for _ in range(2):
            w = w - basis.T @ (basis @ w)
        beside.append(w.norm().item())
        if not math.isfinite(diagonal[-1] + beside[-1]):
            return Sharpness(math.nan, math.nan, math.nan)
        if beside[-1] <= ZERO * max(map(abs, diagonal + beside)):
            break  # nothing leads out: the eigenvalues found are the Hessian's own
        basis = torch.cat([basis, (w / beside[-1])[None]])
    inner = torch.tensor(beside[: len(diagonal) - 1], dtype=torch.float64)
    tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    tridiagonal += torch.diag(inner, 1) + torch.diag(inner, -1)
    values, vectors = torch.linalg.eigh(tridiagonal)
    error = beside[-1] * abs(vectors[-1, -1].item())
    return Sharpness(values[-1].item(), values[0].item(), error)
