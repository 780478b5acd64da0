"""Normalizations of activations as modules: the classes of :mod:`torch.nn` with our ``forward``.

``DyT``, which takes the place of one and normalizes nothing, is the one that torch does not have.

Torch's classes keep the books (parameters, buffers, state dicts, resets), so that whatever asks for
an ``nn.LayerNorm`` gets one. The formulas are in :mod:`normtutorial.functional`; what computes them
fast is in ``normtutorial.kernels``.

The work of each ``forward`` is a function at the end of this file: it checks what comes in, and
hands the definition its kernel. To ``torch.fx`` these functions are leaves, so that checks, counts
and running statistics are not frozen into a graph: they happen whenever it runs.

``BatchNorm`` and ``InstanceNorm`` serve any number of positions, so that they are neither
``BatchNorm2d`` nor another of torch's leaves. What asks for exactly these does not see them:

- rules such as ``isinstance(m, nn.BatchNorm2d)``: ask for ``_BatchNorm`` of
  ``torch.nn.modules.batchnorm``, or set the layers by hand;
- fusion by ``torch.fx`` and quantization in eager mode: fold them first, by
  ``torch.nn.utils.fusion.fuse_conv_bn_eval``;
- ``torch.jit.script``: use ``torch.compile`` or ``torch.export``.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nested import nested_tensor_from_jagged
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from . import functional as NF
from . import kernels
from .checks import positive, whole

__all__ = ["BatchNorm", "DyT", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm", "Tracer"]


class _Checked(nn.Module):
    """Says what is wrong with a layer as soon as it is made: torch's constructors end with
    ``reset_parameters``, and do not look at sizes and ``eps``."""

    def reset_parameters(self) -> None:
        eps: Any = self.eps
        names = "num_features", "num_channels", "normalized_shape"
        (sizes,) = (vars(self)[name] for name in names if name in vars(self))
        sizes = sizes if isinstance(sizes, tuple) else (sizes,)
        name = type(self).__name__
        if eps is not None and not eps >= 0:
            raise ValueError(f"{name} expects eps >= 0; got eps={eps}.")
        if not sizes or any(int(size) < 1 for size in sizes):
            raise ValueError(f"{name} expects positive sizes; got {tuple(sizes)}.")
        super().reset_parameters()  # type: ignore[misc]


class BatchNorm(_Checked, _BatchNorm):
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

    def forward(self, x: Tensor) -> Tensor:
        return batch_norm(
            x, self.num_features, self.running_mean, self.running_var, self.num_batches_tracked,
            self.weight, self.bias, self.training, self.track_running_stats, self.momentum,
            self.eps,
        )  # fmt: skip

    def _check_input_dim(self, input: Tensor) -> None:
        check_channels(input, f"BatchNorm({self.num_features})", self.num_features)


class InstanceNorm(_Checked, _InstanceNorm):
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

    def forward(self, x: Tensor) -> Tensor:
        return instance_norm(
            x, self.num_features, self.running_mean, self.running_var, self.weight, self.bias,
            self.training, self.track_running_stats, self.momentum, self.eps,
        )  # fmt: skip

    def _check_input_dim(self, input: Tensor) -> None:
        layer = f"InstanceNorm({self.num_features})"
        check_channels(input, layer, self.num_features, "positions...")


class GroupNorm(_Checked, nn.GroupNorm):
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

    With as many groups as channels, and maps of a single position, each mean is that of one number:
    the output is ``bias``, whatever comes in. That raises an error for a batch of one alone, as
    torch's does; :func:`~normtutorial.checkup` finds it, as ``degenerate-set``.

    Example:
        >>> GroupNorm(2, 4, eps=0.0)(torch.tensor([[1.0, 3.0, 10.0, 50.0]])).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]

    References:
        Wu and He, "Group normalization", 2018.
    """

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
        if num_groups < 1 or num_channels % num_groups:
            divisors = [g for g in range(1, num_channels + 1) if num_channels % g == 0]
            raise ValueError(
                f"GroupNorm expects num_groups to divide num_channels={num_channels}; got "
                f"{num_groups}. These do: {', '.join(map(str, divisors))}."
            )
        super().__init__(num_groups, num_channels, eps, affine, device, dtype, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return group_norm(x, self.num_groups, self.num_channels, self.weight, self.bias, self.eps)


class LayerNorm(_Checked, nn.LayerNorm):
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

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(_Checked, nn.RMSNorm):
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

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.normalized_shape, self.weight, self.eps)


class DyT(nn.Module):
    r"""Squash each feature, then scale and shift it: dynamic tanh, which normalizes nothing.

    .. math:: y = \gamma \odot \tanh(\alpha x) + \beta

    It stands where a layer norm would, and looks at one number at a time: no mean and no variance
    is taken, so a change of scale comes out again, less what the tanh cuts off.

    Args:
        normalized_shape: the trailing shape, each place of which has its own scale and shift; an
            int is one dimension.
        alpha: where :math:`\alpha`, one number for all features, starts.
        device, dtype: of the parameters.

    Shape:
        - Input and output: :math:`(*, \text{normalized\_shape})`.
        - ``weight``, ``bias``: ``normalized_shape``; ``alpha``: :math:`(1)`.

    Raises:
        ValueError: sizes or an ``alpha`` that are not positive, other trailing shape, or integer
            input.

    Example:
        >>> DyT(2)(torch.tensor([[0.0, 2.0], [-100.0, 100.0]])).tolist()  # tanh(0.5 * 2) = 0.76
        [[0.0, 0.7615941762924194], [-1.0, 1.0]]

    References:
        Zhu et al., "Transformers without normalization", 2025, algorithm 1.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        alpha: float = 0.5,
        *,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        shape = [normalized_shape] if isinstance(normalized_shape, int) else normalized_shape
        self.normalized_shape = tuple(whole("DyT", "each size", size) for size in shape)
        self.initial_alpha = positive("DyT", "alpha", alpha)
        made = {"device": device, "dtype": dtype}
        self.alpha = nn.Parameter(torch.empty(1, **made))
        self.weight = nn.Parameter(torch.empty(self.normalized_shape, **made))
        self.bias = nn.Parameter(torch.empty(self.normalized_shape, **made))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set ``alpha`` to where it starts, scales to 1 and shifts to 0."""
        nn.init.constant_(self.alpha, self.initial_alpha)
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return dyt(x, self.normalized_shape, self.alpha, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, alpha={self.initial_alpha:g}"


class Tracer(fx.Tracer):
    """A tracer to which our layers are leaves as modules, like torch's own.

    :func:`torch.fx.symbolic_trace` keeps functions of this file in the graph, and the mode that a
    layer had when it was traced. A layer in the graph goes on to follow its mode.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2), LayerNorm(2))
        >>> [node.target for node in Tracer().trace(model).nodes]
        ['input', '0', '1', 'output']
    """

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (_Checked, DyT)) or super().is_leaf_module(m, module_qualified_name)


@fx.wrap
def batch_norm(
    x: Tensor, num_features: int, running_mean: Tensor | None, running_var: Tensor | None,
    num_batches_tracked: Tensor | None, weight: Tensor | None, bias: Tensor | None, training: bool,
    track_running_stats: bool, momentum: float | Tensor | None, eps: float,
    group: NF.Group | None = None,
) -> Tensor:  # fmt: skip
    """The forward pass of :class:`BatchNorm`."""
    check_channels(x, f"BatchNorm({num_features})", num_features)
    if training and not track_running_stats:
        running_mean = running_var = None
    elif training and num_batches_tracked is not None:
        num_batches_tracked.add_(1)
        if momentum is None:  # every batch so far gets the same share
            momentum = num_batches_tracked.to(NF.widen(x).dtype).reciprocal()
    training = training or running_mean is None
    momentum = 0.0 if momentum is None else momentum
    return NF.batch_norm(
        x, running_mean, running_var, weight, bias, training, momentum, eps, group=group,
        normalize=kernels.normalize,
    )  # fmt: skip


@fx.wrap
def instance_norm(
    x: Tensor, num_features: int, running_mean: Tensor | None, running_var: Tensor | None,
    weight: Tensor | None, bias: Tensor | None, training: bool, track_running_stats: bool,
    momentum: float | None, eps: float,
) -> Tensor:  # fmt: skip
    """The forward pass of :class:`InstanceNorm`."""
    layer = f"InstanceNorm({num_features})"
    check_channels(x, layer, num_features, "positions...")
    if not track_running_stats:
        running_mean = running_var = None
    use_input_stats = training or running_mean is None
    enough = not use_input_stats or x.shape[0] == 0 or math.prod(x.shape[2:]) > 1
    check(x, enough, layer, "more than one position per channel")
    momentum = 0.0 if momentum is None else momentum
    return NF.instance_norm(
        x, weight, bias, eps, running_mean=running_mean, running_var=running_var,
        use_input_stats=use_input_stats, momentum=momentum, normalize=kernels.normalize,
    )  # fmt: skip


@fx.wrap
def group_norm(
    x: Tensor,
    num_groups: int,
    num_channels: int,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    """The forward pass of :class:`GroupNorm`."""
    layer = f"GroupNorm({num_groups}, {num_channels})"
    check_channels(x, layer, num_channels)
    check(x, x.numel() != num_groups, layer, "more than one value per group")
    return NF.group_norm(x, num_groups, weight, bias, eps, normalize=kernels.normalize)


@fx.wrap
def layer_norm(
    x: Tensor,
    normalized_shape: tuple[int, ...],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    """The forward pass of :class:`LayerNorm`."""
    if x.layout == torch.jagged:
        return jagged(layer_norm(x.values(), normalized_shape, weight, bias, eps), x)
    check_trailing(x, f"LayerNorm({normalized_shape})", normalized_shape)
    return NF.layer_norm(x, normalized_shape, weight, bias, eps, normalize=kernels.normalize)


@fx.wrap
def rms_norm(
    x: Tensor, normalized_shape: tuple[int, ...], weight: Tensor | None, eps: float | None
) -> Tensor:
    """The forward pass of :class:`RMSNorm`."""
    if x.layout == torch.jagged:
        return jagged(rms_norm(x.values(), normalized_shape, weight, eps), x)
    check_trailing(x, f"RMSNorm({normalized_shape})", normalized_shape)
    return NF.rms_norm(x, normalized_shape, weight, eps, normalize=kernels.normalize)


@fx.wrap
def dyt(
    x: Tensor, normalized_shape: tuple[int, ...], alpha: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """The forward pass of :class:`DyT`."""
    check_trailing(x, f"DyT({normalized_shape})", normalized_shape)
    return torch.tanh(alpha * x) * weight + bias


def jagged(values: Tensor, x: Any) -> Tensor:
    """``values`` as sequences of the lengths that those of the nested ``x`` have."""
    return nested_tensor_from_jagged(values, x.offsets(), x.lengths())


def check_channels(x: Tensor, layer: str, channels: int, positions: str = "...") -> None:
    least = 2 if positions == "..." else 3
    fits = not x.is_nested and x.ndim >= least and x.shape[1] == channels
    check(x, fits, layer, f"input (N, {channels}, {positions}), features in dim 1")


def check_trailing(x: Tensor, layer: str, shape: tuple[int, ...]) -> None:
    fits = not x.is_nested and tuple(x.shape[-len(shape) :]) == shape
    check(x, fits, layer, f"input (..., {', '.join(map(str, shape))})")


def check(x: Tensor, fits: bool, layer: str, wanted: str) -> None:
    """Raise a sentence unless ``x`` fits and is floating point."""
    if x.is_nested:
        raise ValueError(
            f"{layer} got a nested tensor. Only LayerNorm and RMSNorm take one, of layout "
            f"torch.jagged; for others, pad the input, or normalize its .values()."
        )
    if not x.is_floating_point():
        raise ValueError(
            f"{layer} expects floating-point input; got {x.dtype}. Convert it with .float()."
        )
    if not fits:
        raise ValueError(f"{layer} expects {wanted}; got input of shape {tuple(x.shape)}.")
