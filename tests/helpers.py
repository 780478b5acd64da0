"""What several test files compare with."""

import inspect
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from normtutorial import ImageData
from normtutorial import functional as NF


def knows(make, option: str) -> bool:
    """Whether this torch has the argument: the tests also run with older ones."""
    return option in inspect.signature(make).parameters


def rand(*shape: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    """Random numbers in float64, where formulas are compared and not rounding."""
    return scale * torch.randn(*shape, dtype=torch.float64) + shift


def randomize_(model: nn.Module) -> nn.Module:
    """Parameters for which a scale that is not applied, or applied twice, shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) + 0.5)
    return model


def gradients(output: Tensor, inputs, upstream: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output, tuple(inputs), upstream)


def assert_same_step(ours: nn.Module, theirs: nn.Module, x: Tensor, **tolerance) -> None:
    """Same output, same gradients with respect to input and parameters, same buffers."""
    upstream = None
    results = []
    for model in ours, theirs:
        leaf = x.detach().clone().requires_grad_()
        torch.default_generator.manual_seed(1)  # for dropout
        y = model(leaf)
        if upstream is None:
            upstream = torch.randn_like(y)  # not y.sum(): that gradient is 0 here
        results.append((y, *gradients(y, [leaf, *model.parameters()], upstream)))
    names = ["output", "input", *(name for name, _ in ours.named_parameters())]
    for name, a, b in zip(names, *results, strict=True):
        assert_close(a, b, msg=lambda text, name=name: f"{name}: {text}", **tolerance)
    assert_close(dict(ours.named_buffers()), dict(theirs.named_buffers()), **tolerance)


def toy(train: int = 64, test: int = 32, side: int = 4) -> ImageData:
    """Images that point in one of ten directions most, and which."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(train + test, 1, side, side, generator=generator)
    labels = images.flatten(1)[:, :10].argmax(1)
    return ImageData(images[:train], labels[:train], images[train:], labels[train:], "synthetic")


def in_torch_and_here(x: Tensor, eps: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Every normalization of (N, C, D), ours beside torch's."""
    yield (
        NF.batch_norm(x, None, None, None, None, True, eps=eps),
        F.batch_norm(x, None, None, None, None, True, eps=eps),
    )
    yield NF.layer_norm(x, x.shape[2:], eps=eps), F.layer_norm(x, x.shape[2:], eps=eps)
    yield NF.instance_norm(x, eps=eps), F.instance_norm(x, eps=eps)
    yield NF.group_norm(x, 2, eps=eps), F.group_norm(x, 2, eps=eps)
    yield NF.rms_norm(x, x.shape[2:], eps=eps), F.rms_norm(x, x.shape[2:], eps=eps)


def article(site: Path, page: str) -> str:
    """What a page itself says, without the theme's frame, on one line."""
    text = (site / page).read_text("utf-8")
    return " ".join(text[text.index("<article") : text.index("</article>")].split())


def plain(markup: str) -> str:
    """The text of a piece of a page."""
    return " ".join(unescape(re.sub(r"<[^>]+>", "", markup)).split())
