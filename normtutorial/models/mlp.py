"""The multilayer perceptron, and how the weights of a network are drawn."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..checks import is_finite, whole
from ..norms import NORMS, layer_maker
from ..parametrizations import WeightNormLinear

__all__ = ["MLP", "init_normal_"]


class MLP(nn.Sequential):
    r"""Flatten, then linear, normalization and activation in turn; the last linear alone.

    The children are named ``flatten, linear1, norm1, act1, linear2, ...``, so that probes can name
    what they look at. The normalization comes before the activation, as in the papers. A slice
    would have to be such a network itself, so a part of it is ``nn.Sequential(*list(mlp)[:-1])``.

    Args:
        widths: features from input to output, at least two.
        norm: makes the normalization of a layer from its number of features, such as
            :class:`~normtutorial.BatchNorm` or ``partial(GroupNorm, 8)``; or the name of one of
            :data:`~normtutorial.norms.NORMS`, such as ``"batch"``. None for none.
        linear: makes the linear layers. None is what the named normalization has, which is
            :class:`~normtutorial.WeightNormLinear` for ``"weight"``, and else ``nn.Linear``.
        activation: makes the activations.

    Shape:
        - Input :math:`(N, *)`, ``widths[0]`` numbers each; output :math:`(N, K)`, ``widths[-1]``
          of them.

    Raises:
        ValueError: fewer than two widths, or one that is not positive; an unknown name.

    Example:
        >>> print(*MLP((784, 32, 10), norm=nn.LayerNorm)._modules)
        flatten linear1 norm1 act1 linear2
        >>> MLP((784, 32, 10), "batch").norm1.num_features
        32
    """

    def __init__(
        self,
        widths: Sequence[int],
        norm: str | Callable[[int], nn.Module] | None = None,
        *,
        linear: Callable[[int, int], nn.Module] | None = None,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        for width in widths:
            whole("MLP", "each width", width, least=None)
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(
                f"MLP expects the widths from input to output, at least two and all positive; got "
                f"{tuple(widths)}."
            )
        make_norm = layer_maker("MLP", norm, "factory")
        linear = linear or (NORMS[norm].linear if isinstance(norm, str) else nn.Linear)
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        for i, (before, after) in enumerate(pairwise(widths), start=1):
            layers[f"linear{i}"] = linear(before, after)
            if i < len(widths) - 1:
                if make_norm is not None:
                    layers[f"norm{i}"] = make_norm(after)
                layers[f"act{i}"] = activation()
        super().__init__(layers)


@torch.no_grad()
def init_normal_(
    model: nn.Module, std: float | str = "kaiming", *, generator: torch.Generator | None = None
) -> nn.Module:
    r"""Draw every weight from :math:`N(0, \text{std}^2)` and set every bias to 0, in place.

    Args:
        model: its linear and convolution layers are set, and those with weight norm of any kind:
            lengths and directions are then those of the weight that was drawn.
        std: a number; ``"kaiming"`` is :math:`\sqrt{2 / \text{fan\_in}}`, ``"xavier"`` is
            :math:`\sqrt{2 / (\text{fan\_in} + \text{fan\_out})}`.
        generator: None draws from torch's global one.

    Returns:
        ``model``.

    Raises:
        ValueError: an unknown name, or a std that is not positive and finite.

    Example:
        >>> layer = init_normal_(nn.Linear(10_000, 10), "kaiming")
        >>> 0.0135 < layer.weight.std().item() < 0.0148  # sqrt(2 / 10 000) = 0.0141
        True

    References:
        Glorot and Bengio 2010, equation 12 (its variance); He et al. 2015, equation 10.
    """
    if std not in ("kaiming", "xavier") and not (is_finite(std) and float(std) > 0):
        raise ValueError(
            f'init_normal_ expects a positive std, "kaiming" or "xavier"; got {std!r}.'
        )
    for module in model.modules():
        if isinstance(module, WeightNormLinear) or hasattr(module, "weight_v"):
            v: Any = module.weight_v  # ours, or that of torch's older weight norm
            g: Any = module.weight_g
            v.normal_(0, _std(std, v), generator=generator)
            dims = [d for d in range(v.ndim) if g.ndim == 0 or g.shape[d] == 1]
            g.copy_(torch.linalg.vector_norm(v, dim=dims, keepdim=g.ndim > 0))
        elif isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)):
            weight = torch.empty_like(module.weight)
            weight.normal_(0, _std(std, weight), generator=generator)
            if parametrize.is_parametrized(module, "weight"):
                module.weight = weight  # finds g and v, or what another parametrization has
            else:
                module.weight.copy_(weight)
        else:
            continue
        if isinstance(module.bias, Tensor):
            module.bias.zero_()
    return model


def _std(std: float | str, weight: Tensor) -> float:
    fan_in, fan_out = weight[0].numel(), len(weight) * weight[0, 0].numel()
    if std == "kaiming":
        return (2 / fan_in) ** 0.5
    if std == "xavier":
        return (2 / (fan_in + fan_out)) ** 0.5
    return float(std)
