"""Weight norm and weight standardization: what acts on weights, not on activations."""

from collections import Counter
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from . import functional as NF
from .runtime import uncompiled

__all__ = ["WeightNormLinear", "data_dependent_init_", "weight_norm", "weight_standardization"]


class _WeightNorm(nn.Module):
    """``forward`` is the parametrization, ``right_inverse`` finds ``g, v`` for a given weight."""

    def __init__(self, dim: int | None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        return NF.weight_norm(v, g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        g = NF.lengths(weight, self.dim)
        if self.dim is None:
            g = g.reshape(())  # as in torch, so that state dicts travel
        return g, weight

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


def _by_hooks(name: str) -> dict[str, str]:
    """The names of ``g`` and ``v`` since weight norm is a parametrization, by those before."""
    new = f"parametrizations.{name}.original"
    return {f"{name}_g": f"{new}0", f"{name}_v": f"{new}1"}


def _rename(
    names: dict[str, str], module: nn.Module, state_dict: dict, prefix: str, *_: Any
) -> None:
    """Before ``state_dict`` is loaded: give what has one of ``names`` its new one."""
    for old, new in names.items():
        if prefix + old in state_dict:
            state_dict[prefix + new] = state_dict.pop(prefix + old)


def weight_norm(module: nn.Module, name: str = "weight", dim: int | None = 0) -> nn.Module:
    r"""Let ``module`` learn the length and the direction of a weight apart.

    .. math:: w = g \frac{v}{\lVert v \rVert}

    The module computes the same function as before: ``v`` starts as the weight, ``g`` as its
    lengths. As in :func:`torch.nn.utils.parametrizations.weight_norm` they are the parameters
    ``parametrizations.<name>.original0`` (``g``) and ``original1`` (``v``), and
    :func:`torch.nn.utils.parametrize.remove_parametrizations` undoes it. State dicts of the older
    :func:`torch.nn.utils.weight_norm` (``<name>_g``, ``<name>_v``) load as well.

    Args:
        module: any module with a parameter ``name``. It is changed in place.
        name: the parameter.
        dim: the dimension to *keep*: 0 gives each output unit of a linear or convolution layer its
            own length; None takes the whole tensor as one vector.

    Returns:
        ``module``.

    Raises:
        ValueError: no such parameter, one that is parametrized already, no such ``dim``, or a slice
            of length zero.

    Example:
        >>> layer = weight_norm(nn.Linear(3, 2))
        >>> {name: tuple(p.shape) for name, p in layer.named_parameters()}["bias"]
        (2,)
        >>> layer.parametrizations.weight.original0.shape
        torch.Size([2, 1])

    References:
        Salimans and Kingma, "Weight normalization", 2016. Chapter "Weight norm".
    """
    _expect_free("weight_norm", module, name)
    parametrize.register_parametrization(module, name, _WeightNorm(dim))
    module.register_load_state_dict_pre_hook(partial(_rename, _by_hooks(name)))
    return module


def _expect_free(who: str, module: nn.Module, name: str) -> None:
    """Let the name of a parameter pass that has no parametrization."""
    if name not in module._parameters and not parametrize.is_parametrized(module, name):
        names = ", ".join(n for n, _ in module.named_parameters(recurse=False)) or "none"
        raise ValueError(
            f"{who} expects the name of a parameter of {type(module).__name__}; "
            f"got {name!r}. It has: {names}."
        )
    if parametrize.is_parametrized(module, name):  # only the first may have two tensors
        (*_, there) = module.parametrizations[name]  # type: ignore[index]
        raise ValueError(
            f"{who} expects to be the first parametrization of {name!r}; that of "
            f"{type(module).__name__} has one, {type(there).__name__}. To undo it: "
            f"torch.nn.utils.parametrize.remove_parametrizations(module, {name!r})."
        )


class _WeightStandardization(nn.Module):
    """As :class:`_WeightNorm`: what is normalized is ``v`` less the mean of each filter."""

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        return NF.weight_norm(_centered(v), g)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        centered = _centered(weight)
        length = torch.linalg.vector_norm(centered.flatten(1), dim=1)
        if not weight.is_meta and not length.all():
            raise ValueError(
                "weight_standardization expects filters of numbers that differ; got a weight of "
                f"shape {tuple(weight.shape)} that is constant in filter "
                f"{(length == 0).nonzero().flatten().tolist()}."
            )
        return length.view(-1, *[1] * (weight.ndim - 1)), weight


def _centered(v: Tensor) -> Tensor:
    deviation, _, _ = NF.statistics(NF.widen(v), tuple(range(1, v.ndim)))
    return deviation.to(v.dtype)


def weight_standardization(
    module: nn.Module, name: str = "weight", *, gain: bool = True
) -> nn.Module:
    r"""Scaled weight standardization: filters of mean 0 whose lengths are learned apart.

    .. math:: w_i = g_i \frac{v_i - \mu_i}{\sqrt{n}\, \sigma_i}

    where :math:`\mu_i` and :math:`\sigma_i` are the mean and the standard deviation of the
    :math:`n` numbers of filter :math:`i`. As :math:`\sqrt{n}\, \sigma_i` is the length of
    :math:`v_i - \mu_i`, this is weight norm of centered filters. With :math:`g_i = 1`, inputs that
    are independent of each other and of variance 1 give an output of variance 1, and of mean 0 if
    they have one mean, whatever that is.

    The module starts with its weight as ``v`` and with ``g = 1``, so it computes something else
    than before. A weight that is assigned, as by :func:`~normtutorial.init_normal_`, comes back
    less the mean of each filter, at its own length. The parameters are
    ``parametrizations.<name>.original0`` (``g``) and ``original1`` (``v``), and
    :func:`torch.nn.utils.parametrize.remove_parametrizations` undoes it.

    Args:
        module: a linear or convolution layer, or any module with a parameter ``name`` whose first
            dim counts the filters. It is changed in place.
        name: the parameter.
        gain: learn ``g``. False keeps it at 1, since a normalization that follows undoes it.

    Returns:
        ``module``.

    Raises:
        ValueError: no such parameter, one that is parametrized already, or a filter whose numbers
            are all the same.

    Example:
        >>> layer = weight_standardization(nn.Conv2d(3, 2, 5))
        >>> mean, length = layer.weight.mean((1, 2, 3)), layer.weight.flatten(1).norm(dim=1)
        >>> torch.allclose(mean, torch.zeros(2), atol=1e-6), torch.allclose(length, torch.ones(2))
        (True, True)

    References:
        Qiao et al., "Micro-batch training with batch-channel normalization and weight
        standardization", 2019 (without the root of n); Brock, De and Smith, "Characterizing signal
        propagation to close the performance gap in unnormalized ResNets", 2021.
    """
    _expect_free("weight_standardization", module, name)
    shape = tuple(getattr(module, name).shape)
    if len(shape) < 2:
        raise ValueError(
            f"weight_standardization expects filters, a parameter of two dims or more; {name!r} of "
            f"{type(module).__name__} has shape {shape}."
        )
    parametrize.register_parametrization(module, name, _WeightStandardization())
    (g, _) = module.parametrizations[name].parameters()  # type: ignore[index, union-attr]
    nn.init.ones_(g).requires_grad_(gain)
    return module


class WeightNormLinear(nn.Module):
    r"""A linear layer whose weight is stored as direction and length.

    .. math:: y = x\, W^\top + b, \qquad W_{i:} = g_i \frac{v_{i:}}{\lVert v_{i:} \rVert}

    It starts as ``nn.Linear`` does: the same random weight and bias, :math:`g_i = \lVert v_{i:}
    \rVert`. Its ``state_dict`` loads into ``torch.nn.utils.parametrizations.weight_norm(
    nn.Linear(...))``, and the other way.

    Args:
        in_features: :math:`D_\text{in}`.
        out_features: :math:`D_\text{out}`.
        bias: False learns no ``bias``.
        device, dtype: of the parameters.

    Shape:
        - Input :math:`(*, D_\text{in})`, output :math:`(*, D_\text{out})`.
        - ``weight_v``: :math:`(D_\text{out}, D_\text{in})`;
          ``weight_g``: :math:`(D_\text{out}, 1)`; ``bias``: :math:`(D_\text{out})`.

    Example:
        >>> layer = WeightNormLinear(3, 2)
        >>> torch.allclose(layer.weight.norm(dim=1, keepdim=True), layer.weight_g)
        True

    References:
        Salimans and Kingma, "Weight normalization", 2016, equation 2.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        linear = nn.Linear(in_features, out_features, bias, device, dtype)
        self.weight_g = nn.Parameter(NF.lengths(linear.weight.detach(), 0))
        self.weight_v = linear.weight
        self.bias = linear.bias
        names = {new: old for old, new in _by_hooks("weight").items()}
        self.register_load_state_dict_pre_hook(partial(_rename, names))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw direction and bias as :class:`torch.nn.Linear` does; lengths are the direction's."""
        v, bias = self.weight_v, self.bias is not None
        fresh = nn.Linear(self.in_features, self.out_features, bias, v.device, v.dtype)
        self.weight_v.copy_(fresh.weight)
        self.weight_g.copy_(NF.lengths(fresh.weight, 0))
        if self.bias is not None:
            self.bias.copy_(fresh.bias)

    @property
    def weight(self) -> Tensor:
        """The weight that is multiplied with, shape :math:`(D_\\text{out}, D_\\text{in})`."""
        return NF.weight_norm(self.weight_v, self.weight_g)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


@torch.no_grad()
def data_dependent_init_(model: nn.Module, x: Tensor) -> nn.Module:
    r"""Set lengths and biases so that every pre-activation has mean 0 and variance 1 on ``x``.

    .. math:: g_i \leftarrow g_i / \sigma_i, \qquad b_i \leftarrow (b_i - \mu_i) / \sigma_i

    where :math:`\mu_i, \sigma_i` are those of unit :math:`i`'s pre-activation over the batch. The
    layers are visited in the order of the forward pass, each on what its predecessors now give.
    What batch norm does in every step, this does once.

    Args:
        model: its :class:`WeightNormLinear` layers are changed in place; all need a bias, and each
            is called once. After an error the model is as it was.
        x: one batch of inputs, shape :math:`(N, *)`.

    Returns:
        ``model``.

    Raises:
        ValueError: no such layer, no bias, a unit that gives one value for all of ``x``, or a layer
            that is called never, several times, or with the parameters of another one.

    Example:
        >>> x = torch.randn(50, 3)
        >>> std, mean = torch.std_mean(data_dependent_init_(WeightNormLinear(3, 2), x)(x), 0)
        >>> bool((mean.abs() < 1e-5).all()), round(std[0].item(), 2)  # n - 1 below, so not 1
        (True, 1.01)

    References:
        Salimans and Kingma 2016, section 3, equations 5 and 6.
    """
    layers = {name: m for name, m in model.named_modules() if isinstance(m, WeightNormLinear)}
    if not layers or any(layer.bias is None for layer in layers.values()):
        raise ValueError("data_dependent_init_ expects WeightNormLinear layers, each with a bias.")
    calls = Counter[int]()  # of each parameter

    def rescale(layer: Any, inputs: Any, output: Tensor) -> Tensor:
        calls.update(map(id, layer.parameters()))
        _expect_one_call(layers, calls, at_least=0)
        var, mean = torch.var_mean(output.flatten(0, -2), dim=0, correction=0)
        if not (var > 0).all():
            raise ValueError(
                f"data_dependent_init_ expects every unit to vary over the batch; {layer} has "
                f"{int((var <= 0).sum())} that do not. Use a larger batch."
            )
        std = var.sqrt()
        layer.weight_g.div_(std[:, None])
        layer.bias.sub_(mean).div_(std)
        return (output - mean) / std

    before = [(tensor, tensor.clone()) for tensor in [*model.parameters(), *model.buffers()]]
    try:
        with uncompiled(), ExitStack() as hooks:
            for layer in layers.values():
                hooks.enter_context(layer.register_forward_hook(rescale))
            model(x)
        _expect_one_call(layers, calls, at_least=1)
    except BaseException:
        for tensor, value in before:
            tensor.copy_(value)
        raise
    return model


def _expect_one_call(layers: dict[str, Any], calls: Counter[int], at_least: int) -> None:
    for name, layer in layers.items():
        counts = [calls[id(parameter)] for parameter in layer.parameters()]
        if not at_least <= min(counts) <= max(counts) <= 1:
            often = "more than once: no scale and shift fit both" if max(counts) > 1 else "never"
            raise ValueError(
                "data_dependent_init_ expects every WeightNormLinear to be called once; "
                f"{name!r}, or a layer with its parameters, is called {often}. The model is as it "
                "was."
            )
