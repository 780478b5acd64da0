"""Mistakes in the formulas. What is imported here by name stays right, whatever replaces it."""

from math import prod
from typing import Any

import torch
from torch import Tensor

from ..functional import (
    batch_norm,
    combine,
    group_norm,
    instance_norm,
    layer_norm,
    lengths,
    moments,
    rms_norm,
    standardize,
    standardize_backward,
    weight_norm,
    weight_norm_backward,
)
from .collection import mistake
from .steps import Dims, affine

# --- mean and variance ----------------------------------------------------------------------------


@mistake(moments, batch_norm, layer_norm, step="moments")
def variance_in_one_pass(x: Tensor, dims: Dims, *, correction: int = 0) -> tuple[Tensor, Tensor]:
    """E[x²] - E[x]²: where the mean is some thousand times the spread, float32 leaves no digit of
    the variance; it may be negative, and the output NaN. So in the layers of labml."""
    n = prod(x.shape[d] for d in dims)
    mean = x.mean(dims, keepdim=True)
    return mean, (x.square().mean(dims, keepdim=True) - mean.square()) * n / (n - correction)


@mistake(moments, batch_norm, layer_norm, step="moments")
def divided_by_n_minus_1(x: Tensor, dims: Dims, *, correction: int = 1) -> tuple[Tensor, Tensor]:
    """The default of ``x.var()``: outputs are a little too small, visibly so for a few values, and
    NaN for one. So in fastai's course and in The Annotated Transformer."""
    return moments(x, dims, correction=1)


@mistake(moments)
def correction_forgotten(x: Tensor, dims: Dims, *, correction: int = 0) -> tuple[Tensor, Tensor]:
    """Always divided by n: the running variance is too small, most for small batches."""
    return moments(x, dims)


@mistake(moments, batch_norm, step="moments")
@torch.no_grad()
def statistics_without_gradient(
    x: Tensor, dims: Dims, *, correction: int = 0
) -> tuple[Tensor, Tensor]:
    """Backward takes mean and variance for constants: the net trains, but its gradients point along
    directions in which nothing changes. So in fastai's course."""
    return moments(x, dims, correction=correction)


@mistake(rms_norm, step="mean_square")
def squared_in_half_precision(x: Tensor, dims: Dims) -> tuple[Tensor, Tensor]:
    """300² is beyond float16: the mean square is infinite and the output 0, without a word."""
    return x.new_zeros(()), x.square().mean(dims, keepdim=True)


# --- standardize ----------------------------------------------------------------------------------


@mistake(standardize, batch_norm, layer_norm, rms_norm, step="standardize")
def eps_outside_the_root(x: Tensor, mean: Tensor, var: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Nothing is seen until a variance is as small as eps, and loading weights into another
    implementation gives other outputs. So in The Annotated Transformer."""
    rstd = 1 / (var.sqrt() + eps)
    return (x - mean) * rstd, rstd


@mistake(standardize, batch_norm, rms_norm, step="standardize")
def eps_forgotten(x: Tensor, mean: Tensor, var: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The first feature that is 0 for a whole batch, as after a dead ReLU, makes everything NaN."""
    return standardize(x, mean, var, 0.0)


@mistake(standardize, layer_norm, step="standardize")
def divided_by_the_variance(
    x: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """The root is forgotten: twice the input is half the output, where it should not matter."""
    return (x - mean) / (var + eps), 1 / (var + eps)


@mistake(standardize_backward)
def statistics_taken_for_constants(
    grad_x_hat: Tensor, x_hat: Tensor, rstd: Tensor, dims: Dims, *, centered: bool = True
) -> Tensor:
    """The chain rule stops at the first product: a shift of the input, which changes no output, has
    a gradient all the same."""
    return grad_x_hat * rstd


@mistake(standardize_backward)
def variance_taken_for_a_constant(
    grad_x_hat: Tensor, x_hat: Tensor, rstd: Tensor, dims: Dims, *, centered: bool = True
) -> Tensor:
    """The path through the mean is there, the one through the variance is not: the gradient has a
    part along the input itself."""
    shift = grad_x_hat.mean(dims, keepdim=True) if centered else 0
    return (grad_x_hat - shift) * rstd


@mistake(standardize_backward)
def sums_where_means_belong(
    grad_x_hat: Tensor, x_hat: Tensor, rstd: Tensor, dims: Dims, *, centered: bool = True
) -> Tensor:
    """The 1/n of mean and variance is lost: for a batch of one hundred the correction is one
    hundred times too large. So in a post of the ICLR blog."""
    shift = grad_x_hat.sum(dims, keepdim=True) if centered else 0
    return (grad_x_hat - shift - x_hat * (grad_x_hat * x_hat).sum(dims, keepdim=True)) * rstd


@mistake(standardize_backward)
def centered_always(
    grad_x_hat: Tensor, x_hat: Tensor, rstd: Tensor, dims: Dims, *, centered: bool = True
) -> Tensor:
    """RMS norm with the backward pass of layer norm: what shifts all features alike, and matters
    here, never learns."""
    return standardize_backward(grad_x_hat, x_hat, rstd, dims)


# --- batch norm -----------------------------------------------------------------------------------


@mistake(batch_norm, step="dims")
def over_the_features(x: Tensor) -> Dims:
    """The dims that stay in place of those that go: each image has mean 0, and no feature has."""
    return tuple(range(1, x.ndim))


@mistake(batch_norm, step="dims")
def positions_forgotten(x: Tensor) -> Dims:
    """Code for (N, C) on images: each pixel has statistics of its own, from as few values as there
    are images."""
    return (0,)


@mistake(batch_norm, step="view")
def along_the_last_dim(parameter: Tensor, x: Tensor) -> Tensor:
    """Broadcasting as it comes: an error for most images, and wrong in silence where the width is
    the number of channels. So in a post of the ICLR blog."""
    return parameter


@mistake(batch_norm, step="unbiased")
def running_variance_by_n(var: Tensor, count: int) -> Tensor:
    """The variance of the batch is remembered as it is: with batches of 4, eval divides by a
    variance that is a quarter too small. So in labml, D2L and ARENA."""
    return var


@mistake(batch_norm, step="move")
def momentum_reversed(running: Tensor, new: Tensor, momentum: float) -> None:
    """Momentum as the share of the old value, as Keras and Flax have it: with torch's 0.1 the
    running statistics are little more than those of the last batch. Once so in D2L."""
    running.lerp_(new.detach(), 1 - momentum)


@mistake(batch_norm, step="move")
def never_moved(running: Tensor, new: Tensor, momentum: float) -> None:
    """Training looks perfect, and eval, with mean 0 and variance 1 to this day, is a guess."""


@mistake(batch_norm, step="move")
def running_statistics_keep_the_graph(running: Tensor, new: Tensor, momentum: float) -> None:
    """Every batch stays in memory through the graph of the average, until memory is full or a
    backward pass fails that goes through it twice. So in labml, and once in D2L."""
    running.lerp_(new, momentum)


@mistake(batch_norm, step="choose")
def the_batch_in_eval(batch: Any, running: Any, training: bool) -> Any:
    """What is predicted for an image depends on the others that came with it."""
    return batch


@mistake(batch_norm, step="choose")
def running_statistics_in_training(batch: Any, running: Any, training: bool) -> Any:
    """Normalized by what was remembered: no gradient flows through it, and activations drift."""
    return running or batch


@mistake(batch_norm, step="enough")
def one_value_will_do(count: int) -> bool:
    """A batch of one, such as the last of an epoch, comes out as 0, and its variance as NaN, which
    the running variance never forgets."""
    return True


@mistake(combine)
def spread_of_the_means_forgotten(n: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """The variances of the processes are averaged: right where all means are alike, as after a
    shuffle; too small where each process has images of its own kind."""
    mean_of_all, _ = combine(n, mean, var)
    return mean_of_all, combine(n, var, var)[0]


@mistake(combine)
def every_set_counts_alike(n: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """The means of the processes are averaged, whatever they are of: right until the last batch of
    an epoch, whose shares differ."""
    return combine(torch.ones_like(n), mean, var)


# --- layer, RMS, instance and group norm ----------------------------------------------------------


@mistake(layer_norm, step="dims")
def over_the_batch(x: Tensor, normalized_shape: Dims) -> Dims:
    """Batch norm by another name: a batch of one comes out as 0."""
    return (0,)


@mistake(layer_norm, step="dims")
def last_dim_only(x: Tensor, normalized_shape: Dims) -> Dims:
    """Of (C, H, W) only W shares a mean: it fits a picture of the transformer, not the argument."""
    return (-1,)


@mistake(layer_norm, step="dims")
def tokens_together(x: Tensor, normalized_shape: Dims) -> Dims:
    """All of a sentence shares a mean: padding changes every word, and the next word the last."""
    return tuple(range(1, x.ndim)) or (-1,)


@mistake(layer_norm, step="affine")
def bias_scaled_too(x_hat: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Shifted before it is scaled: it learns as well, and weights from elsewhere do not fit."""
    y = x_hat if bias is None else x_hat + bias
    return y if weight is None else y * weight


@mistake(rms_norm, step="affine")
def one_plus_weight(x_hat: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Gemma's convention, where the weight is stored without its 1, for a model of the other
    convention: everything is about twice too large."""
    return x_hat if weight is None else x_hat * (1 + weight)


@mistake(rms_norm, step="mean_square")
def mean_subtracted(x: Tensor, dims: Dims) -> tuple[Tensor, Tensor]:
    """Layer norm under the name of RMS norm; where means are near 0 nobody sees a difference."""
    return moments(x, dims)


@mistake(rms_norm, step="mean_square")
def length_for_root_mean_square(x: Tensor, dims: Dims) -> tuple[Tensor, Tensor]:
    """A sum where a mean belongs, as by ``F.normalize``: outputs are smaller by the root of D."""
    return x.new_zeros(()), x.square().sum(dims, keepdim=True)


@mistake(instance_norm)
def images_together(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Batch norm by another name: the contrast of one image depends on the others."""
    return batch_norm(x, None, None, weight, bias, training=True, eps=eps)


@mistake(group_norm)
def number_for_size(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Groups of 32 channels where 32 groups were asked for: the same only for 1024 channels."""
    return group_norm(x, x.shape[1] // num_groups, weight, bias, eps)


@mistake(group_norm)
def groups_interleaved(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Every G-th channel makes a group in place of neighbors, as a reshape to (C/G, G) does: a new
    network learns as well, and one with weights from elsewhere is wrong."""
    order = torch.arange(x.shape[1]).view(-1, num_groups).T.flatten()
    y = group_norm(x[:, order], num_groups, eps=eps)[:, order.argsort()]
    view = (-1, *[1] * (x.ndim - 2))
    return affine(y, *(p if p is None else p.view(view) for p in (weight, bias)))


# --- weight norm ----------------------------------------------------------------------------------


@mistake(lengths)
def along_the_kept_dim(v: Tensor, dim: int | None) -> Tensor:
    """Columns where rows belong: one unit's length no longer belongs to it. So in the notebook that
    this book began with."""
    return torch.linalg.vector_norm(v, dim=dim, keepdim=True)


@mistake(lengths)
def zeros_pass(v: Tensor, dim: int | None) -> Tensor:
    """A row of zeros has no direction: its weight is NaN, and from the next step on all are."""
    return torch.linalg.vector_norm(v, dim=[d for d in range(v.ndim) if d != dim], keepdim=True)


@mistake(weight_norm)
def length_not_divided_out(v: Tensor, g: Tensor, dim: int | None = 0) -> Tensor:
    """The gain rescales the weight and is not its length: both can grow, one against the other."""
    return weight_norm(v, g * lengths(v, dim), dim)


@mistake(weight_norm)
def one_length_for_all(v: Tensor, g: Tensor, dim: int | None = 0) -> Tensor:
    """Divided by the length of the whole matrix: rows start shorter by the root of their number."""
    return g * v / lengths(v, None)


@mistake(weight_norm)
def length_taken_for_a_constant(v: Tensor, g: Tensor, dim: int | None = 0) -> Tensor:
    """Divided by a number without a gradient: steps along v are taken, in vain, and v grows."""
    return g * v / lengths(v, dim).detach()


@mistake(weight_norm_backward)
def part_along_v_kept(
    grad_weight: Tensor, v: Tensor, g: Tensor, dim: int | None = 0
) -> tuple[Tensor, Tensor]:
    """The same in a backward pass by hand: the gradient is not orthogonal to v, as it should be."""
    _, grad_g = weight_norm_backward(grad_weight, v, g, dim)
    return grad_weight * g / lengths(v, dim), grad_g
