"""Mistakes in layers, networks and training. What is imported here by name stays right."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from ..data import ImageData
from ..layers import BatchNorm, LayerNorm
from ..models import MLP, init_normal_
from ..parametrizations import WeightNormLinear, data_dependent_init_, weight_norm
from ..probes import ActivationProbe, activations
from ..training import History, evaluate, fit
from .collection import mistake


@mistake(weight_norm)
def length_1_at_the_start(
    module: nn.Module, name: str = "weight", dim: int | None = 0
) -> nn.Module:
    """A trained layer that is wrapped forgets how long its weights were. So in Flax by default."""
    weight_norm(module, name, dim)
    nn.init.ones_(module.parametrizations[name].original0)  # type: ignore[index, union-attr]
    return module


@mistake(weight_norm)
def dim_forgotten(module: nn.Module, name: str = "weight", dim: int | None = 0) -> nn.Module:
    """Always the output units: wrong for transposed convolutions, whose units are in dim 1."""
    return weight_norm(module, name)


@mistake(data_dependent_init_)
@torch.no_grad()
def all_layers_at_once(model: nn.Module, x: Tensor) -> nn.Module:
    """Each layer is measured before those below it change, so that only the first comes out right;
    a hundredfold error at the start looks like any other bad initialization."""
    layers = {name: m for name, m in model.named_modules() if isinstance(m, WeightNormLinear)}
    outputs = activations(model, x, list(layers))
    for name, layer in layers.items():
        std, mean = torch.std_mean(outputs[name], 0, correction=0)
        layer.weight_g.div_(std[:, None])
        layer.bias.sub_(mean).div_(std)  # type: ignore[union-attr]
    return model


# --- layers and networks --------------------------------------------------------------------------


@mistake(BatchNorm)
class ModeFromGradMode(BatchNorm):
    """Under ``torch.no_grad()`` as in eval, else as in training: evaluation with gradients, as for
    a saliency map, uses the batch and changes the running statistics. So in D2L."""

    def forward(self, x: Tensor) -> Tensor:
        mode, self.training = self.training, torch.is_grad_enabled()
        y = super().forward(x)
        self.training = mode
        return y


@mistake(BatchNorm)
class RunningStatisticsNotSaved(BatchNorm):
    """Attributes in place of buffers: the state dict loads without complaint, and the network that
    was good before it was saved is bad. So in D2L."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, getattr(self, name), persistent=False)


@mistake(BatchNorm)
class ForwardTwice(BatchNorm):
    """Two forward passes in one step, as under activation checkpointing: the running statistics
    move twice and batches count double, which is seen only where it is counted."""

    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        return super().forward(x)


@mistake(BatchNorm)
class MovesInEval(BatchNorm):
    """The running statistics follow the test set: every evaluation changes the next."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if not self.training and x.numel() > x.shape[1]:
            self.train()
            super().forward(x)
            self.eval()
        return y


@mistake(BatchNorm)
class RunningStatisticsReplaced(BatchNorm):
    """A new tensor in each step: whoever holds the old one, such as an average of models, sees the
    statistics of the start for ever. So in labml and D2L."""

    def forward(self, x: Tensor) -> Tensor:
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean = self.running_mean.clone()
            self.running_var = self.running_var.clone()
        return super().forward(x)


@mistake(LayerNorm)
class DrawnAtRandom(LayerNorm):
    """Weight and bias from U(0, 1), where 1 and 0 leave what was standardized as it is. So in the
    notebook that this book began with."""

    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            nn.init.uniform_(parameter)


@mistake(MLP)
class NormForgotten(MLP):
    """An argument that is not passed on: the study compares a network with itself. So, once, in
    fastai's course."""

    def __init__(self, widths: Any, norm: Any = None, **options: Any) -> None:
        super().__init__(widths, **options)


@mistake(MLP)
class LogitsNormalizedToo(MLP):
    """A normalization after the last layer: the network can hardly be sure of anything."""

    def __init__(self, widths: Any, norm: Any = None, **options: Any) -> None:
        super().__init__(widths, norm, **options)
        if norm is not None:
            self.append(norm(widths[-1]))


@mistake(init_normal_)
@torch.no_grad()
def fan_out_for_fan_in(
    model: nn.Module, std: float | str = "kaiming", *, generator: torch.Generator | None = None
) -> nn.Module:
    """Rows taken for columns, unseen while layers are square: signals grow where a network becomes
    wider and shrink where it narrows."""
    init_normal_(model, std, generator=generator)
    for layer in model.modules():
        if std == "kaiming" and isinstance(layer, nn.Linear):
            layer.weight.mul_((layer.in_features / layer.out_features) ** 0.5)
    return model


@mistake(init_normal_)
def variance_for_std(
    model: nn.Module, std: float | str = "kaiming", *, generator: torch.Generator | None = None
) -> nn.Module:
    """N(0, σ²) read as N(0, σ): a std of 0.01 becomes 0.1."""
    std = std**0.5 if isinstance(std, float) and std > 0 else std
    return init_normal_(model, std, generator=generator)


# --- training and measuring -----------------------------------------------------------------------


@mistake(evaluate)
def in_training_mode(model: nn.Module, *args: Any, **options: Any) -> tuple[float, float]:
    """Without ``model.eval()``: the score depends on the batch size, and the running statistics
    have seen the test set."""
    with patch.object(model, "eval", model.train):
        return evaluate(model, *args, **options)


@mistake(evaluate)
def left_in_eval_mode(model: nn.Module, *args: Any, **options: Any) -> tuple[float, float]:
    """Without ``model.train()`` afterwards: from the first evaluation on dropout is off and the
    running statistics stand still."""
    scores = evaluate(model, *args, **options)
    model.eval()
    return scores


@mistake(evaluate)
def mean_of_the_means(
    model: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int = 1000, **options: Any
) -> tuple[float, float]:
    """Every batch counts alike, the small one at the end too: each of its images counts more."""
    batches = zip(images.split(batch_size), labels.split(batch_size), strict=True)
    scores = [evaluate(model, *batch, **options) for batch in batches]
    loss, metric = torch.tensor(scores, dtype=torch.float64).mean(0).tolist()
    return loss, metric


@mistake(fit)
def gradients_add_up(
    model: nn.Module, *args: Any, optimizer: Any = None, lr: float = 1e-3, **options: Any
) -> History:
    """Without ``optimizer.zero_grad()``: every step follows the sum of all gradients so far."""
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr, fused=True)
    with patch.object(optimizer, "zero_grad"):
        return fit(model, *args, optimizer=optimizer, **options)


@mistake(fit)
def trained_in_eval_mode(model: nn.Module, *args: Any, **options: Any) -> History:
    """Dropout is off, and batch norm divides by what it remembers, which is the start."""
    switch = model.train
    with patch.object(model, "train", lambda mode=True: switch(False)):
        return fit(model, *args, **options)


@mistake(fit)
def softmax_twice(
    model: nn.Module, data: ImageData, *, loss: Any = F.cross_entropy, **options: Any
) -> History:
    """Cross entropy takes logits and is given probabilities: it learns, slowly, and for ten classes
    the loss never falls below 1.46."""
    return fit(model, data, loss=lambda z, labels: loss(z.softmax(1), labels), **options)


@mistake(fit)
def trained_on_the_test_set(model: nn.Module, data: ImageData, **options: Any) -> History:
    """The best accuracy of all, and it means nothing."""
    test = replace(data, train_images=data.test_images, train_labels=data.test_labels)
    return fit(model, test, **options)


@mistake(fit)
def seed_not_passed_on(
    model: nn.Module, data: ImageData, *, seed: int = 0, **options: Any
) -> History:
    """Five seeds see one and the same order of the batches: the spread is too small."""
    return fit(model, data, **options)


@mistake(ActivationProbe)
class HooksStay(ActivationProbe):
    """The handles are thrown away, so that nothing is removed at the end: each probe makes every
    later run slower."""

    def _hooks(self) -> Iterator[RemovableHandle]:
        list(super()._hooks())
        yield from ()
