"""The original notebook's layers and network, computing exactly what they computed there.

Kept for the audit in chapter "The original notebook". For use, take the layers of
:mod:`normtutorial.layers` and :mod:`normtutorial.parametrizations`: what is here departs from the
papers in the ways that the docstrings name.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["OriginalBatchNorm", "OriginalLayerNorm", "OriginalNet", "OriginalWeightNormLinear"]

EPS = 1e-6


class OriginalWeightNormLinear(nn.Module):
    r"""Every weight is :math:`w_{ij} = g_{ij} v_{ij} / \lVert v_{:j} \rVert`.

    The length is that of a *column* of ``v`` (all weights that leave one input), where the paper
    takes a row (all weights that enter one unit); and ``g`` is a full matrix, where the paper has
    one number for each row. The direction ``v`` is called ``weight``.

    Args:
        in_features: :math:`D_\text{in}`.
        out_features: :math:`D_\text{out}`.

    Shape:
        - Input :math:`(*, D_\text{in})`, output :math:`(*, D_\text{out})`.
        - ``g``, ``weight``: :math:`(D_\text{out}, D_\text{in})`; ``bias``:
          :math:`(D_\text{out})`.

    Example:
        >>> sum(p.numel() for p in OriginalWeightNormLinear(784, 512).parameters()) // (784 * 512)
        2
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.empty(out_features, in_features))
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features))
        bound = 1 / math.sqrt(in_features)  # what kaiming_uniform_ with a = sqrt(5) comes to
        for parameter in (self.g, self.weight, self.bias):
            nn.init.uniform_(parameter, -bound, bound)

    def effective_weight(self) -> Tensor:
        """The matrix that is multiplied with, shape (out_features, in_features)."""
        return self.g * self.weight / self.weight.norm(dim=0)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.effective_weight(), self.bias)


class _ScalarAffineNorm(nn.Module):
    """A scale and a shift of one number each, drawn from U(0, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.rand(1))
        self.gamma = nn.Parameter(torch.rand(1))


class OriginalBatchNorm(_ScalarAffineNorm):
    """One mean and one variance for the whole tensor: all samples and all features together.

    The same in training and in eval; there are no running statistics.

    Shape:
        - Input and output: any, of at least two elements.

    Example:
        >>> norm = OriginalBatchNorm()
        >>> _ = norm.gamma.data.fill_(1), norm.beta.data.fill_(0)
        >>> norm(torch.tensor([[0.0, 100.0], [0.0, 100.0]]))  # of papers, 0: no column varies
        tensor([[-1.,  1.],
                [-1.,  1.]], grad_fn=<AddBackward0>)
    """

    def forward(self, x: Tensor) -> Tensor:
        centered = x - x.mean()
        variance = centered.square().mean()
        return self.gamma * (centered / torch.sqrt(variance + EPS)) + self.beta


class OriginalLayerNorm(_ScalarAffineNorm):
    """One mean and one variance for each row, and one scale and one shift for all features.

    Shape:
        - Input and output: :math:`(N, D)`.

    Example:
        >>> [p.shape for p in OriginalLayerNorm().parameters()]  # of papers, a number per feature
        [torch.Size([1]), torch.Size([1])]
    """

    def forward(self, x: Tensor) -> Tensor:
        centered = x - x.mean(dim=1, keepdim=True)
        variance = centered.square().mean(dim=1, keepdim=True)
        return self.gamma * (centered / torch.sqrt(variance + EPS)) + self.beta


class OriginalNet(nn.Module):
    """The original notebook's ``Net``: 784-512-512-256-10, the normalizations mixed.

    Weight norm on every layer; after the ReLUs layer norm, batch norm, layer norm. After five
    epochs of Adam at 1e-3 with batches of 128 it scores .976 to .981 on MNIST (five seeds).

    Shape:
        - Input: :math:`(N, 784)` or anything that flattens to it; output :math:`(N, 10)`.

    Example:
        >>> sum(p.numel() for p in OriginalNet().parameters())
        1595664
    """

    def __init__(self) -> None:
        super().__init__()
        self.p1 = OriginalWeightNormLinear(784, 512)
        self.ln1 = OriginalLayerNorm()
        self.p2 = OriginalWeightNormLinear(512, 512)
        self.bn2 = OriginalBatchNorm()
        self.p3 = OriginalWeightNormLinear(512, 256)
        self.ln3 = OriginalLayerNorm()
        self.p4 = OriginalWeightNormLinear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        x = self.ln1(F.relu(self.p1(x)))
        x = self.bn2(F.relu(self.p2(x)))
        x = self.ln3(F.relu(self.p3(x)))
        return self.p4(x)
