"""Normalizations of activations as modules: parameters, buffers and mode, no arithmetic.

Each is a drop-in for its namesake in :mod:`torch.nn`: same arguments, defaults, attributes,
parameter and buffer names, so a ``state_dict`` travels both ways. The formulas are in
:mod:`normtutorial.functional`.
"""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from . import functional as NF

__all__ = ["BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm"]


class _Norm(nn.Module):
    """What all of them have: ``eps``, and ``weight`` and ``bias`` of one shape, or None."""

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(
        self,
        shape: Sequence[int],
        eps: float | None,
        weight: bool,
        bias: bool,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if eps is not None and not eps >= 0:
            raise ValueError(f"{type(self).__name__} expects eps >= 0; got eps={eps}.")
        if not shape or any(int(size) < 1 for size in shape):
            raise ValueError(f"{type(self).__name__} expects positive sizes; got {tuple(shape)}.")
        self.eps = eps
        for name, wanted in (("weight", weight), ("bias", bias)):
            value = torch.empty(tuple(shape), device=device, dtype=dtype) if wanted else None
            self.register_parameter(name, None if value is None else nn.Parameter(value))

    def reset_parameters(self) -> None:
        """Set ``weight`` to 1 and ``bias`` to 0, which leaves standardized values as they are."""
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _require(self, fits: bool, wanted: str, x: Tensor) -> None:
        if not x.is_floating_point():
            raise ValueError(
                f"{self} expects floating-point input; got {x.dtype}. Convert it with .float()."
            )
        if not fits:
            raise ValueError(f"{self} expects {wanted}; got input of shape {tuple(x.shape)}.")


class _ChannelNorm(_Norm):
    """What batch and instance norm share: channels in dim 1, and running statistics."""

    # State dicts of version 1 have no num_batches_tracked (torch kept count from 0.4.1 on).
    _version = 2

    eps: float
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        device: Any,
        dtype: torch.dtype | None,
        bias: bool,
    ) -> None:
        super().__init__((num_features,), eps, affine, affine and bias, device, dtype)
        self.num_features = num_features
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        for name in ("running_mean", "running_var"):
            value = torch.empty(num_features, device=device, dtype=dtype)
            self.register_buffer(name, value if track_running_stats else None)
        count = torch.tensor(0, device=device)
        self.register_buffer("num_batches_tracked", count if track_running_stats else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget every batch: mean 0, variance 1, count 0."""
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Reset the running statistics, ``weight`` and ``bias``."""
        self.reset_running_stats()
        super().reset_parameters()

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, local_metadata: dict, *args: Any
    ) -> None:
        key = prefix + "num_batches_tracked"
        if local_metadata.get("version", 1) < 2 and self.num_batches_tracked is not None:
            state_dict.setdefault(key, torch.tensor(0))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


class BatchNorm(_ChannelNorm):
    r"""Standardize each feature over the batch, then give it a learned scale and shift.

    .. math:: y = \gamma \frac{x - \mu_c}{\sqrt{\sigma_c^2 + \varepsilon}} + \beta

    In training, the mean and the variance of feature :math:`c` are those of the batch (and of all
    positions), and running averages of both are kept. In eval the running averages take their
    place, and the layer is a fixed affine map. The running variance is the unbiased one
    (:math:`n - 1`); the variance that normalizes is the biased one (:math:`n`).

    One class serves where torch has ``BatchNorm1d``, ``2d`` and ``3d``. Do not use it with batches
    of a few samples: :class:`GroupNorm` and :class:`LayerNorm` do not look at the batch.

    Args:
        num_features: :math:`C`.
        eps: added to the variance, inside the root.
        momentum: share of the *new* value in a running average. None averages all batches alike.
        affine: learn ``weight`` (:math:`\gamma`) and ``bias`` (:math:`\beta`).
        track_running_stats: keep running averages. False uses the batch's statistics in eval too.
        device, dtype: of the parameters and buffers.
        bias: False learns no ``bias``.

    Shape:
        - Input and output: :math:`(N, C)` or :math:`(N, C, *)`.
        - ``weight``, ``bias``, ``running_mean``, ``running_var``: :math:`(C)`.

    Raises:
        ValueError: wrong number of features, integer input, or one value per channel in training.

    Example:
        >>> norm = BatchNorm(1, eps=0.0)
        >>> norm(torch.tensor([[1.0], [3.0]])).tolist()
        [[-1.0], [1.0]]
        >>> norm.running_mean.item(), round(norm.running_var.item(), 4)  # 0.1 * 2; 0.9 + 0.1 * 2
        (0.20000000298023224, 1.1)

    References:
        Ioffe and Szegedy, "Batch normalization", 2015, algorithms 1 and 2. Chapter "Batch norm".
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias
        )

    def forward(self, x: Tensor) -> Tensor:
        fits = x.ndim >= 2 and x.shape[1] == self.num_features
        self._require(fits, f"input (N, {self.num_features}, ...), features in dim 1", x)
        momentum = self.momentum
        tracking = self.training and self.track_running_stats
        if tracking and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if momentum is None:  # every batch so far gets the same share
                momentum = 1.0 / float(self.num_batches_tracked)
        remembers = tracking or not self.training
        return NF.batch_norm(
            x,
            self.running_mean if remembers else None,
            self.running_var if remembers else None,
            self.weight,
            self.bias,
            training=self.training or self.running_mean is None,
            momentum=0.0 if momentum is None else momentum,
            eps=self.eps,
        )


class InstanceNorm(_ChannelNorm):
    r"""Standardize each feature of each sample over its positions.

    The same in training and in eval, unless ``track_running_stats`` is set. Serves where torch has
    ``InstanceNorm1d``, ``2d`` and ``3d``, on batched input. Not for features without positions:
    the mean of one number is the number.

    Args:
        num_features: :math:`C`.
        eps: added to the variance, inside the root.
        momentum: share of the *new* value in a running average. None leaves them as they are.
        affine: learn ``weight`` and ``bias``. Off by default, as in torch.
        track_running_stats: keep running averages, and use them in eval. Off by default.
        device, dtype: of the parameters and buffers.
        bias: False learns no ``bias``.

    Shape:
        - Input and output: :math:`(N, C, *)`.
        - ``weight``, ``bias``, ``running_mean``, ``running_var``: :math:`(C)`.

    Raises:
        ValueError: wrong number of features, no positions, integer input, or one position.

    Example:
        >>> InstanceNorm(2, eps=0.0)(torch.tensor([[[1.0, 3.0], [10.0, 50.0]]])).tolist()
        [[[-1.0, 1.0], [-1.0, 1.0]]]

    References:
        Ulyanov, Vedaldi and Lempitsky, "Instance normalization", 2016.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias
        )

    def forward(self, x: Tensor) -> Tensor:
        fits = x.ndim >= 3 and x.shape[1] == self.num_features
        self._require(fits, f"input (N, {self.num_features}, positions...), features in dim 1", x)
        tracked = self.track_running_stats and self.running_mean is not None
        if tracked and not self.training:
            return NF.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        fits = x.shape[0] == 0 or math.prod(x.shape[2:]) > 1
        self._require(fits, "more than one position per channel", x)
        if tracked:
            self._track(x)
        return NF.instance_norm(x, self.weight, self.bias, self.eps)

    @torch.no_grad()
    def _track(self, x: Tensor) -> None:
        mean, var = NF.moments(x, tuple(range(2, x.ndim)), correction=1)  # (N, C, 1, ...)
        for running, new in ((self.running_mean, mean), (self.running_var, var)):
            assert running is not None
            batch_average = new.flatten(1).mean(0).to(running.dtype)
            running.lerp_(batch_average, 0.0 if self.momentum is None else self.momentum)


class GroupNorm(_Norm):
    r"""Standardize groups of features of each sample, over the group and all positions.

    The same in training and in eval; the batch is never looked at. One group is layer norm over
    :math:`(C, *)`, as many groups as features is instance norm.

    Args:
        num_groups: :math:`G`, a divisor of ``num_channels``.
        num_channels: :math:`C`.
        eps: added to the variance, inside the root.
        affine: learn ``weight`` and ``bias``, one number per channel.
        device, dtype: of the parameters.
        bias: False learns no ``bias``.

    Shape:
        - Input and output: :math:`(N, C, *)`.
        - ``weight``, ``bias``: :math:`(C)`.

    Raises:
        ValueError: groups that do not divide, wrong number of channels, integer input, or a single
            value to normalize.

    Example:
        >>> GroupNorm(2, 4, eps=0.0)(torch.tensor([[1.0, 3.0, 10.0, 50.0]])).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]

    References:
        Wu and He, "Group normalization", 2018.
    """

    eps: float

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__((num_channels,), eps, affine, affine and bias, device, dtype)
        if num_groups < 1 or num_channels % num_groups:
            divisors = [g for g in range(1, num_channels + 1) if num_channels % g == 0]
            raise ValueError(
                f"GroupNorm expects num_groups to divide num_channels={num_channels}; got "
                f"{num_groups}. These do: {', '.join(map(str, divisors))}."
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.affine = affine
        self.reset_parameters()

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )

    def forward(self, x: Tensor) -> Tensor:
        fits = x.ndim >= 2 and x.shape[1] == self.num_channels
        self._require(fits, f"input (N, {self.num_channels}, ...), channels in dim 1", x)
        self._require(x.numel() != self.num_groups, "more than one value per group", x)
        return NF.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class _TrailingNorm(_Norm):
    """What layer and RMS norm share: the trailing dims are one sample's features."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None,
        elementwise_affine: bool,
        bias: bool,
        device: Any,
        dtype: torch.dtype | None,
    ) -> None:
        sizes: Any = normalized_shape
        shape = (sizes,) if isinstance(sizes, Integral) else tuple(sizes)
        super().__init__(shape, eps, elementwise_affine, bias, device, dtype)
        self.normalized_shape: tuple[int, ...] = shape
        self.elementwise_affine = elementwise_affine
        self.reset_parameters()

    def _require_trailing(self, x: Tensor) -> None:
        fits = tuple(x.shape[-len(self.normalized_shape) :]) == self.normalized_shape
        self._require(fits, f"input (..., {', '.join(map(str, self.normalized_shape))})", x)


class LayerNorm(_TrailingNorm):
    r"""Standardize each sample over its own features, then scale and shift each feature.

    .. math:: y = \gamma \odot \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta

    :math:`\mu` and :math:`\sigma^2` are taken over the trailing ``normalized_shape`` of one sample:
    the layer is the same in training and in eval, and no sample sees another.

    Args:
        normalized_shape: the trailing shape that shares a mean; an int is one dimension.
        eps: added to the variance, inside the root.
        elementwise_affine: learn ``weight`` (:math:`\gamma`) and ``bias`` (:math:`\beta`).
        bias: False learns no ``bias``.
        device, dtype: of the parameters.

    Shape:
        - Input and output: :math:`(*, \text{normalized\_shape})`.
        - ``weight``, ``bias``: ``normalized_shape``.

    Raises:
        ValueError: other trailing shape, or integer input.

    Example:
        >>> LayerNorm(2, eps=0.0)(torch.tensor([[1.0, 3.0], [10.0, 50.0]])).tolist()
        [[-1.0, 1.0], [-1.0, 1.0]]

    References:
        Ba, Kiros and Hinton, "Layer normalization", 2016. Chapter "Layer norm".
    """

    eps: float

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        learns_bias = elementwise_affine and bias
        super().__init__(normalized_shape, eps, elementwise_affine, learns_bias, device, dtype)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )

    def forward(self, x: Tensor) -> Tensor:
        self._require_trailing(x)
        return NF.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(_TrailingNorm):
    r"""Divide each sample by its root mean square, then scale each feature.

    .. math:: y = \gamma \odot \frac{x}{\sqrt{\frac1D \sum_i x_i^2 + \varepsilon}}

    Layer norm without the subtraction: on an input whose mean is 0 the two agree.

    Args:
        normalized_shape: the trailing shape that shares a root mean square.
        eps: added inside the root; None is the machine epsilon of the dtype that is computed in.
        elementwise_affine: learn ``weight`` (:math:`\gamma`).
        device, dtype: of the parameter.

    Shape:
        - Input and output: :math:`(*, \text{normalized\_shape})`.
        - ``weight``: ``normalized_shape``. There is no bias.

    Raises:
        ValueError: other trailing shape, or integer input.

    Example:
        >>> RMSNorm(2, eps=0.0)(torch.tensor([[2.0, -2.0], [0.0, 0.5]])).tolist()
        [[1.0, -1.0], [0.0, 1.4142135381698608]]

    References:
        Zhang and Sennrich, "Root mean square layer normalization", 2019.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(normalized_shape, eps, elementwise_affine, False, device, dtype)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )

    def forward(self, x: Tensor) -> Tensor:
        self._require_trailing(x)
        return NF.rms_norm(x, self.normalized_shape, self.weight, self.eps)
