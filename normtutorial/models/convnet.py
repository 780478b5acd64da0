"""A small convolutional network."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import nn

from ..checks import whole
from ..norms import NORMS, layer_maker

__all__ = ["ConvNet"]


class ConvNet(nn.Sequential):
    r"""Convolution, normalization and activation in turn, on images of half the size.

    Images of 28 by 28 are averaged to 14 by 14; at the strides that are the default the maps of
    the convolutions are 7, 4, 2 and 1 wide. The children are named ``halve, conv1, norm1, act1,
    conv2, ..., flatten, linear``, so that probes can name what they look at. A slice would have to
    be such a network itself, so a part of it is ``nn.Sequential(*list(net)[:-1])``.

    Args:
        norm: makes the normalization of a layer from its number of channels, such as
            :class:`~normtutorial.BatchNorm` or ``partial(GroupNorm, 8)``; or the name of one of
            :data:`~normtutorial.norms.NORMS` that has one for images. None for none.
        channels: of each convolution, 3 by 3 with padding.
        strides: of each convolution. None is 2 each.
        global_pool: average each channel over its positions before the linear layer, which else
            takes all of them.
        conv: makes the convolutions, from what :class:`torch.nn.Conv2d` takes. None is what the
            named normalization has, and else ``nn.Conv2d``.
        classes: how many the linear layer tells apart.

    Shape:
        - Input :math:`(N, 1, 28, 28)`, output :math:`(N, \text{classes})`.

    Raises:
        ValueError: no channels, a number that is not positive, another number of strides, or an
            unknown name.

    Example:
        >>> print(*ConvNet("batch", (16, 32))._modules)
        halve conv1 norm1 act1 conv2 norm2 act2 flatten linear
        >>> ConvNet(channels=(16, 32), strides=(2, 1), global_pool=True).linear
        Linear(in_features=32, out_features=10, bias=True)
    """

    def __init__(
        self,
        norm: str | Callable[[int], nn.Module] | None = None,
        channels: Sequence[int] = (16, 32, 32, 64),
        *,
        strides: Sequence[int] | None = None,
        global_pool: bool = False,
        conv: Callable[..., nn.Module] | None = None,
        classes: int = 10,
    ) -> None:
        strides = [2] * len(channels) if strides is None else strides
        if not channels or len(strides) != len(channels):
            raise ValueError(
                "ConvNet expects the channels of one convolution or more, and as many strides; got "
                f"{tuple(channels)} and {tuple(strides)}."
            )
        whole("ConvNet", "classes", classes)
        make_norm = layer_maker("ConvNet", norm, "images")
        conv = conv or (NORMS[norm].conv if isinstance(norm, str) else nn.Conv2d)
        layers: OrderedDict[str, nn.Module] = OrderedDict(halve=nn.AvgPool2d(2))
        before, side = 1, 14
        for i, (after, stride) in enumerate(zip(channels, strides, strict=True), start=1):
            whole("ConvNet", "each number of channels", after)
            whole("ConvNet", "each stride", stride)
            layers[f"conv{i}"] = conv(before, after, 3, stride=stride, padding=1)
            if make_norm is not None:
                layers[f"norm{i}"] = make_norm(after)
            layers[f"act{i}"] = nn.ReLU()
            before, side = after, -(-side // stride)  # rounded up
        if global_pool:
            layers["pool"], side = nn.AdaptiveAvgPool2d(1), 1
        layers["flatten"] = nn.Flatten()
        layers["linear"] = nn.Linear(before * side**2, classes)
        super().__init__(layers)
