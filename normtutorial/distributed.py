"""Batch norm for a batch that several processes share: torch's ``SyncBatchNorm``, on a CPU too.

The formulas are those of batch norm in :mod:`normtutorial.functional`, with a ``group``: what is
averaged over a batch is averaged over the shares of all processes.
"""

from typing import Any
from zlib import crc32

import torch
import torch.distributed as dist
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from .layers import BatchNorm, batch_norm, check_channels
from .processes import all_sum

__all__ = ["SyncBatchNorm", "convert_sync_batchnorm"]

DTYPES = torch.float16, torch.bfloat16, torch.float32, torch.float64


class SyncBatchNorm(BatchNorm):
    r"""Batch norm over the batches of several processes, as if they were one.

    Each process gives it a share of the batch, of any size, also none. Outputs, gradients of the
    input, running statistics and second derivatives are those of :class:`~normtutorial.BatchNorm`
    on the whole batch. The gradients of ``weight`` and ``bias`` are those of the share, for
    whoever adds up or averages the gradients of all parameters, as
    ``torch.nn.parallel.DistributedDataParallel`` does.

    A step takes three messages: one of a few whole numbers (counts, channels, dtype), one of the
    statistics, and in backward one of two sums per channel. In eval, without an initialized
    process group, or in a group of one process it is batch norm and sends none. On a GPU each step
    in training waits for the counts.

    It is no subclass of ``torch.nn.SyncBatchNorm``, since DistributedDataParallel refuses those on
    a CPU, but of :class:`~normtutorial.BatchNorm`.

    Args:
        num_features: :math:`C`.
        eps: added to the variance, inside the root.
        momentum: share of the *new* value in a running average. None averages all batches alike.
        affine: learn ``weight`` and ``bias``.
        track_running_stats: keep running averages. False uses the share's statistics in eval.
        process_group: the processes that share a batch. None is all.
        device, dtype: of the parameters and buffers.
        bias: False learns no ``bias``.

    Attributes:
        name: of the layer in its model, for errors; :func:`convert_sync_batchnorm` sets it.

    Shape:
        - Input and output: :math:`(N, C)` or :math:`(N, C, *)`; :math:`N` and :math:`*` may differ
          from process to process.
        - ``weight``, ``bias``, ``running_mean``, ``running_var``: :math:`(C)`.

    Raises:
        ValueError: as batch norm, of the whole batch. In all processes at once, and before a
            statistic is sent: channels or dtypes that differ, layers with a name that differ, or
            what is no dense tensor in one of them. When it is exported in training mode within a
            process group.
        RuntimeError: the others do not answer: at once, if one of them has ended; after the
            timeout of the process group (by default half an hour) if one hangs, is in eval mode,
            or does not go back to the input. So with gloo, as long as they send nothing else
            meanwhile; with NCCL torch may end the process instead. Also in ``torch.vmap``.
        NotImplementedError: in forward mode.

    A process that is in eval mode under DistributedDataParallel does send something else, its
    gradients. Where these meet a message of a layer, and are longer or shorter, gloo ends a
    process, and Python has no word in it. With a ``process_group`` of their own, made by
    ``torch.distributed.new_group``, the layers' messages meet no others, and the RuntimeError
    comes.

    NaN in one share is no error: it is NaN in all, as in the whole batch. A :math:`*` of another
    number of dimensions is none either.

    Example:
        >>> SyncBatchNorm(1, eps=0.0)(torch.tensor([[1.0], [3.0]])).tolist()  # a single process
        [[-1.0], [1.0]]

    References:
        Peng et al., "MegDet: a large mini-batch object detector", 2018, section 3.3. Chan, Golub
        and LeVeque, "Algorithms for computing the sample variance", 1983.
    """

    name: str = ""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )
        self.process_group = process_group

    def forward(self, x: Tensor) -> Tensor:
        return sync_batch_norm(
            x, self.num_features, self.running_mean, self.running_var, self.num_batches_tracked,
            self.weight, self.bias, self.training, self.track_running_stats, self.momentum,
            self.eps, self.process_group, self.name,
        )  # fmt: skip

    def _check_input_dim(self, input: Tensor) -> None:
        check_channels(input, f"SyncBatchNorm({self.num_features})", self.num_features)


def convert_sync_batchnorm(module: nn.Module, process_group: Any = None) -> nn.Module:
    """Make every batch norm in ``module`` a :class:`SyncBatchNorm`: ours, and torch's.

    Each stays the object that it is and changes its class, so that parameters, buffers, hooks,
    mode, device and dtype are kept, and a layer that is used twice stays one.

    Args:
        module: a network, or a batch norm itself.
        process_group: the processes that share a batch. None is all.

    Returns:
        ``module``.

    Raises:
        ValueError: a batch norm whose ``forward`` would be lost, or one that is not ready. Nothing
            is converted then.

    Example:
        >>> convert_sync_batchnorm(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))[1].name
        '1'
    """
    found = {name: m for name, m in module.named_modules() if isinstance(m, _BatchNorm)}
    known = BatchNorm.forward, SyncBatchNorm.forward, nn.SyncBatchNorm.forward, _BatchNorm.forward
    for name, norm in found.items():
        kind = f"{type(norm).__name__} {name!r}"
        if any(map(is_lazy, norm.parameters())):
            raise ValueError(
                f"convert_sync_batchnorm expects a batch norm that knows its features; {kind} "
                f"does not yet. Run a batch through the network first."
            )
        if type(norm).forward not in known or is_parametrized(norm):
            raise ValueError(
                f"convert_sync_batchnorm expects a batch norm that is nothing else; {kind} has a "
                f"forward or parametrization of its own. Replace it by BatchNorm and the rest."
            )
    for name, norm in found.items():
        norm.__class__ = SyncBatchNorm
        norm.process_group, norm.name = process_group, name
    return module


@fx.wrap
def sync_batch_norm(
    x: Tensor, num_features: int, running_mean: Tensor | None, running_var: Tensor | None,
    num_batches_tracked: Tensor | None, weight: Tensor | None, bias: Tensor | None, training: bool,
    track_running_stats: bool, momentum: float | None, eps: float, process_group: Any, name: str,
) -> Tensor:  # fmt: skip
    """The forward pass of :class:`SyncBatchNorm`."""
    layer = f"SyncBatchNorm({num_features})" + (f" {name!r}" if name else "")
    arguments = (
        x, num_features, running_mean, running_var, num_batches_tracked, weight, bias, training,
        track_running_stats, momentum, eps,
    )  # fmt: skip
    if training and has_others(process_group):
        if torch.compiler.is_exporting():
            raise ValueError(f"{layer} cannot be exported while it is trained. Export it in eval.")
        compiled = torch.compiler.is_compiling()
        return (uncompiled if compiled else with_others)(layer, process_group, *arguments)
    check_channels(x, layer, num_features)
    return batch_norm(*arguments)


def has_others(process_group: Any) -> bool:
    """Whether there are processes to share a batch with."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size(process_group) > 1


def with_others(layer: str, process_group: Any, *arguments: Any) -> Tensor:
    x, num_features, *_ = arguments
    arguments = *arguments, Share(layer, process_group, x, num_features)
    return batch_norm(*arguments)


uncompiled = torch._disable_dynamo(with_others)  # what is sent is no part of a graph


class Share:
    """One process's share of a batch, as a :class:`normtutorial.functional.Group`."""

    def __init__(self, layer: str, process_group: Any, x: Tensor, num_features: int) -> None:
        self.layer, self.process_group = layer, process_group
        self.rank, self.world = dist.get_rank(process_group), dist.get_world_size(process_group)
        dense = isinstance(x, Tensor) and x.layout is torch.strided and not x.is_meta
        channels = x.shape[1] if dense and not x.is_nested and x.ndim > 1 else -1
        count = x.numel() // channels if channels > 0 else 0
        dtype = DTYPES.index(x.dtype) if dense and x.dtype in DTYPES else -1
        about = channels, dtype, num_features, crc32(layer.encode()), count
        (table,) = self.gather(torch.tensor(about, device=x.device if dense else "cpu"))
        if not dense:  # not said before: the others would wait
            kind = f"one of {x.layout} on {x.device}" if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"{layer} expects a dense tensor with values; got {kind}.")
        check_channels(x, layer, num_features)
        self.counts = table[:, -1].cpu()
        self._check_that_all_agree(table[:, :-1].tolist())

    def _check_that_all_agree(self, table: list[list[int]]) -> None:
        for rank, about in enumerate(table):
            if about != table[self.rank]:
                here, there = (
                    f"{channels} channels of {DTYPES[dtype]}" if min(channels, dtype) >= 0
                    else "what is no input" for channels, dtype, *_ in (table[self.rank], about)
                )  # fmt: skip
                if here == there:
                    there = "another layer"
                raise ValueError(
                    f"{self.layer} expects the same layer, channels and dtype in all processes; "
                    f"got {here} in process {self.rank}, {there} in process {rank}."
                )

    def sum(self, *tensors: Tensor) -> list[Tensor]:
        """The sums over all processes, in one message."""
        message = torch.cat([t.flatten() for t in tensors])
        sums = all_sum(message, self.process_group, self.layer)
        parts = sums.split([t.numel() for t in tensors])
        return [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]

    def gather(self, *tensors: Tensor) -> list[Tensor]:
        """The tensors of all processes, in one message: the sum of tables of which each fills one
        row."""
        row = torch.cat([t.flatten() for t in tensors])[None]
        above, below = self.rank, self.world - self.rank - 1
        zeros = (row.new_zeros(rows, row.numel()) for rows in (above, below))
        table = torch.cat([next(zeros), row, next(zeros)])
        parts = all_sum(table, self.process_group, self.layer).split(
            [t.numel() for t in tensors], 1
        )
        return [part.reshape(-1, *t.shape) for part, t in zip(parts, tensors, strict=True)]
