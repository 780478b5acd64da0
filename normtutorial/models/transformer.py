"""A small transformer: attention by hand, and the places where a normalization can stand."""

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..checks import whole
from ..norms import layer_maker
from .mlp import init_normal_

__all__ = ["Attention", "Residual", "Transformer"]

PLACEMENTS = "pre", "post", "peri", "deepnorm", "rezero", "none"
SIDE = 28  # of the images

Factory = Callable[[int], nn.Module]


class Attention(nn.Module):
    r"""Self-attention: each token takes up what it looks for among all tokens of its sequence.

    .. math:: \text{softmax}\left(\frac{q k^\top}{\sqrt{d}}\right) v

    in each head, with queries :math:`q`, keys :math:`k` and values :math:`v` of d features. The
    children ``query_norm``, ``key_norm``, ``logits`` and ``softmax`` put out what they are named
    after, shape :math:`(N, H, T, d)` or :math:`(N, H, T, T)`, so that probes can look at it; the
    logits are those before the mask. Nothing is dropped out.

    Args:
        width: D features of a token.
        heads: H, a divisor of the width. A head has d = D / H features.
        causal: a token sees itself and those before it alone.
        qk_norm: makes the normalizations of queries and of keys from d, the same for all heads.
            None for none.

    Shape:
        - Input and output: :math:`(N, T, D)`.

    Raises:
        ValueError: a width or a number of heads that is not a positive whole number; heads that do
            not divide the width.

    Example:
        >>> attention = Attention(8, heads=2, causal=True)
        >>> hook = attention.softmax.register_forward_hook(lambda _, args, y: print(y[0, 0, 0]))
        >>> attention(torch.zeros(1, 3, 8)).shape  # the first token can look at nothing but itself
        tensor([1., 0., 0.], grad_fn=<SelectBackward0>)
        torch.Size([1, 3, 8])

    References:
        Vaswani et al., *Attention is all you need*, 2017, section 3.2. QK norm: Henry et al.,
        *Query-key normalization for transformers*, 2020, there by the length and without the root;
        Dehghani et al., *Scaling vision transformers to 22 billion parameters*, 2023, by layer
        norm.
    """

    def __init__(
        self, width: int, heads: int, *, causal: bool = False, qk_norm: Factory | None = None
    ) -> None:
        super().__init__()
        self.heads, self.causal = whole("Attention", "heads", heads), causal
        if whole("Attention", "width", width) % heads:
            raise ValueError(
                f"Attention expects heads that divide the width of {width}; got {heads}."
            )
        self.qkv = nn.Linear(width, 3 * width)
        self.query_norm, self.key_norm = ((qk_norm or nn.Identity)(width // heads) for _ in "qk")
        self.logits = nn.Identity()
        self.softmax = nn.Softmax(dim=-1)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (  # (N, H, T, d) each
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        q, k = self.query_norm(q), self.key_norm(k)
        logits = self.logits(q @ k.mT / math.sqrt(q.shape[-1]))  # (N, H, T, T)
        if self.causal:
            future = torch.ones_like(logits, dtype=torch.bool).triu(1)
            logits = logits.masked_fill(future, -math.inf)
        return self.out((self.softmax(logits) @ v).transpose(1, 2).flatten(2))


class Residual(nn.Module):
    r"""A branch beside the stream, and the normalization where its placement says.

    ==============  ============================================================
    ``"pre"``       :math:`x + f(\text{norm}(x))`
    ``"post"``      :math:`\text{norm}(x + f(x))`
    ``"peri"``      :math:`x + \text{norm}_2(f(\text{norm}(x)))`
    ``"deepnorm"``  :math:`\text{norm}(\alpha x + f(x))`, with :math:`\alpha = (2 L)^{1/4}`
    ``"rezero"``    :math:`x + s f(x)`, with a learned number :math:`s` from 0 on
    ``"none"``      :math:`x + f(x)`
    ==============  ============================================================

    The children are ``branch`` and, where there are any, ``norm`` and ``branch_norm``. Each branch
    has its own ``scale`` :math:`s`; in the code of ReZero's authors the two of a block share one.

    Args:
        branch: :math:`f`, such as :class:`Attention`.
        placement: one of the above.
        norm: makes a normalization.
        depth: :math:`L`, the blocks of the network, each of two branches.

    Shape:
        - Input and output: that of ``branch``.

    Raises:
        ValueError: an unknown placement.

    Example:
        >>> Residual(nn.Linear(4, 4), "rezero", norm=partial(nn.LayerNorm, 4))(torch.ones(1, 4))
        tensor([[1., 1., 1., 1.]], grad_fn=<AddBackward0>)

    References:
        Xiong et al., *On layer normalization in the transformer architecture*, 2020: pre and post;
        Kim et al., *Peri-LN: Revisiting normalization layer in the transformer architecture*, 2025;
        Wang et al., *DeepNet: Scaling transformers to 1,000 layers*, 2022; Bachlechner et al.,
        *ReZero is all you need*, 2021.
    """

    def __init__(
        self, branch: nn.Module, placement: str, norm: Callable[[], nn.Module], depth: int = 1
    ) -> None:
        super().__init__()
        if placement not in PLACEMENTS:
            raise ValueError(
                f"Transformer knows no placement {placement!r}. Known ones: "
                f"{', '.join(PLACEMENTS)}."
            )
        self.placement, self.alpha = placement, (2 * depth) ** 0.25
        self.branch = branch
        if placement not in ("rezero", "none"):
            self.norm = norm()
        if placement == "peri":
            self.branch_norm = norm()
        if placement == "rezero":
            self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        match self.placement:
            case "pre":
                return x + self.branch(self.norm(x))
            case "post":
                return self.norm(x + self.branch(x))
            case "peri":
                return x + self.branch_norm(self.branch(self.norm(x)))
            case "deepnorm":
                return self.norm(self.alpha * x + self.branch(x))
            case "rezero":
                return x + self.scale * self.branch(x)
        return x + self.branch(x)

    def extra_repr(self) -> str:
        return f"placement={self.placement!r}"


class Transformer(nn.Module):
    r"""A transformer of images, which it cuts into patches, or of the tokens of a text.

    Of an image it gives the scores of its class, from the mean over all tokens. Of a text it gives
    at each token the scores of what belongs there, with the vocabulary as classes: its own place in
    the sorted sequence, or the next character if the net is ``causal``.

    The children are ``embedding``, ``positions``, ``blocks``, ``norm``, ``head``; the names of a
    block are ``attention`` and ``feedforward``, each a :class:`Residual`. So ``positions`` puts out
    the stream as it begins, ``blocks.0.attention`` and ``blocks.0`` as it goes on, and
    ``blocks.0.attention.branch.logits`` is in the first :class:`Attention`. Positions are learned,
    the feed-forward nets are as wide as four tokens, and their activation is GELU. Linear layers
    are drawn by :func:`init_normal_` with ``"xavier"``, queries, keys and values as one matrix.
    DeepNorm then multiplies the weights of values, outputs and feed-forward nets by
    :math:`(8 L)^{-1/4}`.

    Args:
        norm: makes a normalization of (N, T, D) from D, such as ``nn.LayerNorm``; or the name of
            one of :data:`~normtutorial.norms.NORMS` that has one for tokens: ``"layer"``,
            ``"rms"``. None and ``"none"`` for none.
        placement: where it stands, as for :class:`Residual`. ``"pre"`` and ``"peri"`` have one
            more, ``norm``, before the head.
        width: D features of a token.
        heads: of attention, a divisor of the width.
        depth: L blocks.
        classes: of the images.
        patch: side of a patch in pixels, a divisor of 28.
        vocabulary: makes it a net for texts of so many kinds of tokens, in place of images.
        length: tokens of a text, at most.
        causal: a token sees itself and those before it alone.
        qk_norm: of queries and keys in each head, given as ``norm`` is. None for none.

    Shape:
        - Images :math:`(N, 1, 28, 28)` to scores :math:`(N, K)`.
        - Tokens :math:`(N, T)`, int64, to scores :math:`(N, K, T)`, in the order of cross entropy.

    Raises:
        ValueError: an unknown norm or placement, a number that is not positive and whole, heads or
            patches that do not divide; an input of another shape, or more tokens than ``length``.

    Example:
        >>> Transformer()(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 10])
        >>> sort = Transformer("rms", depth=2, vocabulary=10, length=10)
        >>> sort(torch.tensor([[3, 1, 2, 3]])).shape
        torch.Size([1, 10, 4])

    References:
        Those of :class:`Attention` and :class:`Residual`; Dosovitskiy et al., *An image is worth
        16x16 words*, 2021: patches, there with a token of its own for the class.
    """

    def __init__(
        self,
        norm: str | Factory | None = "layer",
        placement: str = "pre",
        *,
        width: int = 32,
        heads: int = 4,
        depth: int = 4,
        classes: int = 10,
        patch: int = 7,
        vocabulary: int | None = None,
        length: int = 64,
        causal: bool = False,
        qk_norm: str | Factory | None = None,
    ) -> None:
        super().__init__()
        sizes = dict(width=width, depth=depth, classes=classes, patch=patch, length=length)
        if vocabulary is not None:
            sizes["vocabulary"] = classes = vocabulary
        for name, size in sizes.items():
            whole("Transformer", name, size)
        make = layer_maker("Transformer", norm, "tokens") or nn.Identity
        qk = layer_maker("Transformer", qk_norm, "tokens")
        self.per_token = vocabulary is not None
        self.embedding: nn.Module
        if vocabulary is None:
            self.embedding, length = _Patches(patch, width), (SIDE // patch) ** 2
        else:
            self.embedding = nn.Embedding(vocabulary, width)
        self.positions = _Positions(length, width)
        self.blocks = nn.Sequential()
        for _ in range(depth):
            attention = Attention(width, heads, causal=causal, qk_norm=qk)
            self.blocks.append(_block(width, attention, placement, partial(make, width), depth))
        self.norm = make(width) if placement in ("pre", "peri") else nn.Identity()
        self.head = nn.Linear(width, classes)
        init_normal_(self, "xavier")
        if placement == "deepnorm":
            _shrink_(self.blocks, (8 * depth) ** -0.25)

    def forward(self, x: Tensor) -> Tensor:
        x = self.positions(self.embedding(x))  # (N, T, D)
        x = self.norm(self.blocks(x))
        return self.head(x).mT if self.per_token else self.head(x.mean(1))


class _Patches(nn.Linear):
    """Cuts images into patches, and makes a token of each."""

    def __init__(self, side: int, width: int) -> None:
        if SIDE % side:
            raise ValueError(f"Transformer expects a patch that divides {SIDE}; got {side}.")
        super().__init__(side**2, width)
        self.side = side

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1:] != (1, SIDE, SIDE):
            got = tuple(images.shape)
            raise ValueError(
                f"Transformer expects images of shape (N, 1, {SIDE}, {SIDE}); got {got}."
            )
        return super().forward(F.unfold(images, self.side, stride=self.side).mT)


class _Positions(nn.Module):
    """Adds to each token what is learned for its place."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.randn(length, width))

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 3 or x.shape[1] > len(self.weight):
            raise ValueError(
                f"Transformer expects tokens of shape (N, T), at most {len(self.weight)} in a row; "
                f"got {tuple(x.shape[:-1])}."
            )
        return x + self.weight[: x.shape[1]]


def _block(
    width: int, attention: nn.Module, placement: str, norm: Callable[[], nn.Module], depth: int
) -> nn.Module:
    linear1, linear2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
    layers = OrderedDict(linear1=linear1, act=nn.GELU(), linear2=linear2)
    branches = dict(attention=attention, feedforward=nn.Sequential(layers))
    return nn.Sequential(
        OrderedDict((name, Residual(f, placement, norm, depth)) for name, f in branches.items())
    )


@torch.no_grad()
def _shrink_(blocks: nn.Module, factor: float) -> None:
    """DeepNorm's initialization: of all that a branch puts out, but not of where it looks."""
    for name, weight in blocks.named_parameters():
        if name.endswith("qkv.weight"):
            weight.chunk(3)[2].mul_(factor)
        elif name.endswith(("out.weight", "linear1.weight", "linear2.weight")):
            weight.mul_(factor)
