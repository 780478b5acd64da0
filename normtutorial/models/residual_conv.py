"""The residual network of convolutions, with and without normalization."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..checks import positive, whole
from ..norms import NORMS, layer_maker

__all__ = ["ResidualConvNet"]


class ResidualConvNet(nn.Module):
    r"""Stages of pre-activation residual blocks, then an average over positions, then linear.

    A block adds to what it is given what its branch makes of it,

    .. math:: x + \alpha\, f(x / \beta),

    where the branch :math:`f` is twice normalization, activation and convolution. Where the first
    block of a stage changes the number of channels or positions, a 1 by 1 convolution of the first
    activation, the shortcut, takes the place of :math:`x`.

    If the stem, each shortcut and each branch put out variance 1, the variance of the stream can be
    foretold: it starts at 1 with the stem and with each shortcut, and a branch adds
    :math:`\alpha^2`. That is ``predicted``, and :math:`\beta` is the root of it, so that each
    branch is given variance 1. With ReLUs it then puts out variance 1 if its convolutions have
    scaled weight standardization (:func:`~normtutorial.weight_standardization`) and ``gain`` is
    :math:`\sqrt{2 / (1 - 1/\pi)}`, so that no normalization is needed. This holds inside of
    images: the zeros at their edges take some of it.

    The children are named ``stem, block1, block2, ..., norm, act, linear``; a block has ``norm1,
    act1, conv1, norm2, act2, conv2`` and, where there is one, ``shortcut``.

    Args:
        norm: makes the normalization of a layer from its number of channels, or the name of one of
            :data:`~normtutorial.norms.NORMS` that has one for images. None for none.
        channels: of each stage.
        blocks: in each stage.
        strides: of the stem and of the first block of each stage.
        conv: makes the convolutions, from what :class:`torch.nn.Conv2d` takes. None is what the
            named normalization has, and else ``nn.Conv2d``.
        alpha: what a branch is multiplied by. None is a usual residual network, in which alpha is 1
            and so is every :math:`\beta`.
        gain: what each activation of a branch is multiplied by.
        skip_init: multiply each branch by a number that is learned, too, and starts at 0.
        classes: how many the linear layer tells apart.

    Attributes:
        predicted: the variance of the stream, by the name of the child that puts it out: the stem
            and each block.

    Shape:
        - Input :math:`(N, 1, H, W)`, output :math:`(N, \text{classes})`.

    Raises:
        ValueError: no channels, a number that is not positive, another number of strides, or an
            unknown name.

    Example:
        >>> ResidualConvNet(channels=(8, 16), blocks=2, strides=(1, 1, 2), alpha=0.5).predicted
        {'stem': 1.0, 'block1': 1.25, 'block2': 1.5, 'block3': 1.25, 'block4': 1.5}

    References:
        He et al., "Identity mappings in deep residual networks", 2016; Brock, De and Smith,
        "Characterizing signal propagation to close the performance gap in unnormalized ResNets",
        2021; De and Smith, "Batch normalization biases residual blocks towards the
        identity function in deep networks", 2020 (``skip_init``).
    """

    def __init__(
        self,
        norm: str | Callable[[int], nn.Module] | None = None,
        channels: Sequence[int] = (16, 16),
        *,
        blocks: int = 8,
        strides: Sequence[int] = (2, 1, 2),
        conv: Callable[..., nn.Module] | None = None,
        alpha: float | None = None,
        gain: float = 1.0,
        skip_init: bool = False,
        classes: int = 10,
    ) -> None:
        super().__init__()
        if not channels or len(strides) != len(channels) + 1:
            raise ValueError(
                "ResidualConvNet expects the channels of one stage or more, and strides of the "
                f"stem and of each stage; got {tuple(channels)} and {tuple(strides)}."
            )
        whole("ResidualConvNet", "blocks", blocks)
        whole("ResidualConvNet", "classes", classes)
        for after in channels:
            whole("ResidualConvNet", "each number of channels", after)
        for stride in strides:
            whole("ResidualConvNet", "each stride", stride)
        scaled, alpha = alpha is not None, 1.0 if alpha is None else alpha
        for name, number in ("alpha", alpha), ("gain", gain):
            positive("ResidualConvNet", name, number)
        make_norm = layer_maker("ResidualConvNet", norm, "images") or _no_norm
        conv = conv or (NORMS[norm].conv if isinstance(norm, str) else nn.Conv2d)
        self.stem = conv(1, channels[0], 3, stride=strides[0], padding=1)
        self.predicted = {"stem": 1.0}
        before, variance = channels[0], 1.0
        for stage, (after, first_stride) in enumerate(zip(channels, strides[1:], strict=True)):
            for i in range(blocks):
                stride = first_stride if i == 0 else 1
                name, beta = f"block{stage * blocks + i + 1}", variance**0.5 if scaled else 1.0
                block = _Block(before, after, stride, make_norm, conv, alpha, beta, gain, skip_init)
                self.add_module(name, block)
                variance = (variance if block.shortcut is None else 1.0) + alpha**2
                self.predicted[name], before = variance, after
        self.beta = variance**0.5 if scaled else 1.0
        self.norm = make_norm(before)
        self.act = nn.ReLU()
        self.linear = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        for name in self.predicted:
            x = self.get_submodule(name)(x)
        x = self.act(self.norm(x / self.beta))
        return self.linear(x.mean((2, 3)))


def _no_norm(channels: int) -> nn.Module:
    return nn.Identity()


class _Block(nn.Module):
    def __init__(
        self,
        before: int,
        after: int,
        stride: int,
        make_norm: Callable[[int], nn.Module],
        conv: Callable[..., nn.Module],
        alpha: float,
        beta: float,
        gain: float,
        skip_init: bool,
    ) -> None:
        super().__init__()
        self.alpha, self.beta, self.gain = alpha, beta, gain
        self.norm1 = make_norm(before)
        self.act1 = nn.ReLU()
        self.conv1 = conv(before, after, 3, stride=stride, padding=1)
        self.norm2 = make_norm(after)
        self.act2 = nn.ReLU()
        self.conv2 = conv(after, after, 3, padding=1)
        keeps = stride == 1 and before == after
        self.shortcut = None if keeps else conv(before, after, 1, stride=stride)
        self.strength = nn.Parameter(torch.zeros(())) if skip_init else None

    def forward(self, x: Tensor) -> Tensor:
        start = self.gain * self.act1(self.norm1(x / self.beta))
        branch = self.conv2(self.gain * self.act2(self.norm2(self.conv1(start))))
        if self.strength is not None:
            branch = self.strength * branch
        return (x if self.shortcut is None else self.shortcut(start)) + self.alpha * branch

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}, beta={self.beta:g}, gain={self.gain:g}"
