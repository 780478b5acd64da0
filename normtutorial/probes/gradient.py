"""How large gradients and updates are while a model trains."""

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .hooks import Probe, Row, plain
from .records import GradientRecord


class GradientProbe(Probe):
    """Records how large gradients and updates are, for any optimizer.

    At a recorded pass the parameters are copied when it begins, and their gradients measured as
    backward leaves them, before any clipping or unscaling. What the optimizer has added is read
    when the next forward pass in training mode begins, or on leaving; a step that an error cuts
    short is dropped. So one step is one forward pass; with several passes for one step, the
    updates of the recorded ones are partly zero. Passes are counted as by
    :class:`ActivationProbe`, and compiled code runs uncompiled meanwhile, too.

    Args:
        model: any module. Its parameters that require a gradient on entering are recorded.
        every: passes from one record to the next.

    Attributes:
        passes: the recorded ones, counted from 0.

    Raises:
        ValueError: ``every`` out of bounds; on entering, if no parameter requires a gradient.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> model.weight.data.fill_(2.0)
        tensor([[2.]])
        >>> with GradientProbe(model) as probe:
        ...     model(torch.tensor([[3.0]])).backward()
        ...     model.weight.data -= 0.1 * model.weight.grad
        >>> record = probe.records["weight"]
        >>> record.grad_norm.item(), record.param_norm.item(), round(record.update_ratio.item(), 4)
        (3.0, 2.0, 0.15)
    """

    def __init__(self, model: nn.Module, *, every: int = 50) -> None:
        super().__init__(model, every)
        self._before: dict[str, tuple[Tensor, Tensor]] = {}  # parameter, and its copy
        self._grads: dict[str, Tensor] = {}  # norms

    @property
    def records(self) -> dict[str, GradientRecord]:
        """The record of each parameter, so far. Can be read during the run and after it.

        Raises:
            RuntimeError: if nothing was recorded yet.
        """
        return self._all(GradientRecord)

    def _parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        parameters = self.model.named_parameters()
        return ((plain(name), p) for name, p in parameters if p.requires_grad)

    def _hooks(self) -> Iterator[RemovableHandle]:
        parameters = dict(self._parameters())
        if not parameters:
            raise ValueError(
                "GradientProbe expects a model with parameters that require a gradient; "
                f"{type(self.model).__name__} has none. Enter it after they are unfrozen."
            )
        for name, parameter in parameters.items():
            yield parameter.register_post_accumulate_grad_hook(partial(self._see, name))

    def _begin(self) -> None:
        self._before = {name: (p, p.detach().clone()) for name, p in self._parameters()}

    def _see(self, name: str, parameter: Tensor) -> None:
        if self._current is not None and parameter.grad is not None:
            self._grads[name] = _norm(parameter.grad)

    def _end(self, complete: bool) -> None:
        if complete and self._current is not None:
            self._keep(self._current, {name: self._row(name) for name in self._before})
        self._current, self._before, self._grads = None, {}, {}

    def _row(self, name: str) -> Row:
        parameter, before = self._before[name]
        norms = {
            "grad_norm": self._grads.get(name, torch.tensor(math.nan)),
            "param_norm": _norm(before),
            "update_norm": _norm(parameter.detach() - before.to(parameter)),
        }
        return {field: norm.cpu() for field, norm in norms.items()}


def _norm(x: Tensor) -> Tensor:
    x = x.detach().coalesce().values() if x.is_sparse else x.detach()
    return torch.linalg.vector_norm(x, dtype=torch.promote_types(x.dtype, torch.float32)).float()
