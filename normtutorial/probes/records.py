"""What the probes measured: plain tensors on the CPU, one row for each recorded pass."""

from dataclasses import dataclass

from torch import Tensor

PERCENTILES = (5, 15, 50, 85, 95)
"""The percentiles that a record holds. A normal variable has 70 % of its values from the second to
the fourth, about one standard deviation to each side."""


def _shapes(record: object) -> str:
    """The names of the fields with their shapes, without the numbers."""
    shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in vars(record).items())
    return f"{type(record).__name__}({shapes})"


@dataclass(kw_only=True, repr=False, eq=False)
class ActivationRecord:
    """What one layer put out over T recorded passes. Tensors on the CPU.

    A unit is an index of one dim of the output, ``unit_dim`` of the probe; samples are what all
    its other dims hold together. *Pooled* means over all units and samples at once.

    Attributes:
        passes: (T,) the recorded forward passes, counted from 0.
        mean: (T, U) of each unit over the samples.
        std: (T, U) its standard deviation, with the divisor n, as batch norm computes it.
        percentiles: (T, 5, U) at :data:`~normtutorial.probes.records.PERCENTILES`, linearly
            interpolated. Of a unit with more than 1024 samples, from an even subsample of about
            that many.
        pooled_mean: (T,)
        pooled_std: (T,)
        pooled_percentiles: (T, 5) from an even subsample of at most 16 384 values.
        histogram: (T, bins) counts of all values. A value out of range is counted in the end bin
            on its side; NaN in none.
        edges: (bins + 1,) of the bins.
        dead: (T,) fraction of units with the same value for every sample. Behind a ReLU these are
            the units that are active for none. NaN where there is one sample only.
        saturated: (T,) fraction of values at which the derivative is below a tenth of its maximum,
            for :class:`torch.nn.Sigmoid` and :class:`torch.nn.Tanh`; NaN for any other module.

    Example:
        >>> import torch
        >>> from normtutorial import ActivationProbe
        >>> with ActivationProbe(torch.nn.Sequential(torch.nn.ReLU()), every=1) as probe:
        ...     _ = probe.model(torch.tensor([[-1.0, 2.0], [-3.0, 4.0]]))
        >>> record = probe.records["0"]
        >>> record.mean, record.dead  # one pass, two units, the first of them dead
        (tensor([[0., 3.]]), tensor([0.5000]))
    """

    passes: Tensor
    mean: Tensor
    std: Tensor
    percentiles: Tensor
    pooled_mean: Tensor
    pooled_std: Tensor
    pooled_percentiles: Tensor
    histogram: Tensor
    edges: Tensor
    dead: Tensor
    saturated: Tensor

    __repr__ = _shapes


@dataclass(kw_only=True, repr=False, eq=False)
class GradientRecord:
    """Sizes (L2 norms) of one parameter, its gradient and its update over T recorded passes.

    Attributes:
        passes: (T,) the recorded forward passes, counted from 0.
        grad_norm: (T,) of the gradient as backward left it; NaN where none arrived.
        param_norm: (T,) of the parameter before the update.
        update_norm: (T,) of what the optimizer added.

    Example:
        >>> import torch
        >>> one, two = torch.ones(1), torch.full((1,), 2.0)
        >>> record = GradientRecord(passes=one, grad_norm=one, param_norm=two, update_norm=one)
        >>> record.grad_ratio, record.update_ratio
        (tensor([0.5000]), tensor([0.5000]))
    """

    passes: Tensor
    grad_norm: Tensor
    param_norm: Tensor
    update_norm: Tensor

    __repr__ = _shapes

    @property
    def grad_ratio(self) -> Tensor:
        """(T,) gradient over parameter; infinite or NaN where the parameter is zero."""
        return self.grad_norm / self.param_norm

    @property
    def update_ratio(self) -> Tensor:
        """(T,) update over parameter, the share by which a pass changes it."""
        return self.update_norm / self.param_norm


def evenly(n: int, most: int) -> list[int]:
    """At most ``most`` of ``n`` indices, evenly spread, the first and the last among them.

    Example:
        >>> evenly(9, 3), evenly(2, 5)
        ([0, 4, 8], [0, 1])
    """
    return sorted({round(i * (n - 1) / max(most - 1, 1)) for i in range(most)})
