"""Pictures of the built book, to drag through: the activation explorer, curves of several runs, and
whatever else a chapter has recorded.

The numbers are those of the chapters, thinned out and rounded; the page's scripts draw them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .probes import ActivationRecord
from .probes.records import evenly
from .training import History

__all__ = ["Curves", "Explorer", "Recording"]

UNITS = 24  # shown of each layer, evenly spaced
BINS = 32  # of the pooled histogram
FRAMES = 14  # recorded passes that can be chosen


class Recording:
    """Numbers that a chapter has recorded, for a demonstration of its page.

    A notebook shows it as HTML. Without the script of the book, the page shows a sentence.

    Args:
        demo: the name of the demonstration, by which the book's scripts know it.
        data: what it draws, ready for JSON, without a number that is not finite.
        origin: one sentence that says where the numbers come from. It is shown below the picture.

    Example:
        >>> Recording("line", {"accuracy": [0.9, 0.5]}, origin="Two networks.").data
        {'origin': 'Two networks.', 'accuracy': [0.9, 0.5]}
    """

    def __init__(self, demo: str, data: Mapping[str, Any], *, origin: str) -> None:
        self.demo = demo
        self.data: dict[str, Any] = {"origin": origin, **data}

    def __repr__(self) -> str:
        return f"Recording({self.demo})"

    def _repr_html_(self) -> str:
        """What a script of the page finds and fills, and what stands there without one."""
        text = json.dumps(self.data, separators=(",", ":"), allow_nan=False)
        text = text.replace("<", "\\u003c")
        return (
            f'<div class="demo" data-demo="{self.demo}">'
            f'<script type="application/json">{text}</script>'
            "<p>In the built book this is a picture to drag through. "
            "It needs JavaScript; the figures of this chapter show the same numbers.</p></div>"
        )


class Explorer(Recording):
    """Distributions over training, per unit and pooled, for a page of the book.

    A notebook shows it as HTML. Without the script of the book, the page shows a sentence.

    Args:
        runs: for each normalization its history and its activation records, one per layer, all
            of the same passes. The layers may have names of their own, but each run has as many.
        origin: one sentence that says where the numbers come from. It is shown below the picture.

    Raises:
        ValueError: no runs, or runs that differ in their passes or in the number of their layers.

    Example:
        >>> from normtutorial import MLP, ActivationProbe
        >>> probe = ActivationProbe(MLP((4, 8, 3)), ["act1"], every=1)
        >>> with probe:
        ...     _ = probe.model(torch.randn(16, 4))
        >>> history = History(eval_steps=[1], test_metric=[0.5])
        >>> explorer = Explorer({"none": (history, probe.records)}, origin="Noise.")
        >>> explorer.data["frames"], list(explorer.data["runs"])
        ([0], ['none'])
    """

    def __init__(
        self,
        runs: Mapping[str, tuple[History, Mapping[str, ActivationRecord]]],
        *,
        origin: str,
    ) -> None:
        layers = [record for _, records in runs.values() for record in records.values()]
        seen = {tuple(record.passes.tolist()) for record in layers}
        depths = {len(records) for _, records in runs.values()}
        if len(seen) != 1 or len(depths) != 1:
            raise ValueError(
                "Explorer expects runs with the same recorded passes and the same number of "
                f"layers; got {len(seen)} kinds of passes and {len(depths)} numbers of layers."
            )
        (passes,) = seen
        chosen = evenly(len(passes), FRAMES)
        data = {
            "frames": [passes[i] for i in chosen],
            "runs": {norm: _run(*run, chosen) for norm, run in runs.items()},
        }
        super().__init__("explorer", data, origin=origin)

    def __repr__(self) -> str:
        return f"Explorer({', '.join(self.data['runs'])})"


class Curves(Recording):
    """Curves of several runs that differ in one setting: a slider for it, one for the time.

    Each quantity has a panel with a logarithmic axis and a curve for every run; the chosen run and
    moment stand out. A notebook shows it as HTML, and without the script of the book a sentence.

    Args:
        setting: what the runs differ in, such as ``"learning rate"``.
        values: of the setting, S numbers in the order of the slider.
        time: what passes from left to right, such as ``"training step"``.
        moments: T numbers, drawn at equal distances.
        panels: for each quantity, by its name, its values (S, T), all above zero.
        guides: heights of dashed lines, by the name of the panel.
        origin: one sentence that says where the numbers come from. It is shown below the picture.

    Raises:
        ValueError: no panels, or values not above zero, or not one for each run and moment.

    Example:
        >>> doubled = [[1.0, 2.0, 4.0], [10.0, 20.0, 40.0]]
        >>> curves = Curves("start", [1, 10], "step", [0, 1, 2], {"size": doubled}, origin="Sums.")
        >>> curves.data["panels"][0]["rows"][1]
        [10.0, 20.0, 40.0]
    """

    def __init__(
        self,
        setting: str,
        values: Sequence[float],
        time: str,
        moments: Sequence[int],
        panels: Mapping[str, Tensor | Sequence[Sequence[float]]],
        *,
        guides: Mapping[str, float] | None = None,
        origin: str,
    ) -> None:
        rows = {name: torch.as_tensor(panel).double().cpu() for name, panel in panels.items()}
        shape = (len(values), len(moments))
        for name, panel in rows.items():
            if panel.shape != shape or not (panel.isfinite() & (panel > 0)).all():
                raise ValueError(
                    f"Curves expects {shape[0]} runs of {shape[1]} moments in each panel, all "
                    f"above zero; got {name!r} of shape {tuple(panel.shape)}."
                )
        if not rows:
            raise ValueError("Curves expects at least one panel; got none.")
        data = {
            "setting": setting,
            "values": list(values),
            "time": time,
            "moments": list(moments),
            "panels": [
                {"name": name, "guide": (guides or {}).get(name), "rows": _digits(panel)}
                for name, panel in rows.items()
            ],
        }
        super().__init__("curves", data, origin=origin)

    def __repr__(self) -> str:
        return f"Curves({', '.join(panel['name'] for panel in self.data['panels'])})"


def _run(
    history: History, records: Mapping[str, ActivationRecord], chosen: Sequence[int]
) -> dict[str, Any]:
    evaluations = zip(history.eval_steps, history.test_accuracy, strict=True)
    return {
        "evaluations": [[step, round(accuracy, 4)] for step, accuracy in evaluations],
        "layers": {name: _layer(record, chosen) for name, record in records.items()},
    }


def _layer(record: ActivationRecord, chosen: Sequence[int]) -> dict[str, Any]:
    """One layer: percentiles of some units, shares of the histogram, mean and deviation of all."""
    shown = evenly(record.percentiles.shape[2], UNITS)
    percentiles = record.percentiles[chosen][:, :, shown].mT  # (frames, units, 5)
    low, high = record.edges[0].item(), record.edges[-1].item()
    counts = record.histogram[chosen].double()
    group = math.ceil(counts.shape[1] / BINS)
    counts = F.pad(counts, (0, -counts.shape[1] % group)).unflatten(1, (-1, group)).sum(2)
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    return {
        "range": [low, high],
        "units": _rounded(percentiles, 3),
        "shares": _rounded(shares, 4),
        "mean": _rounded(record.pooled_mean[chosen], 3),
        "std": _rounded(record.pooled_std[chosen], 3),
    }


def _rounded(x: Tensor, digits: int) -> list:
    """Nested lists, short in JSON; what is not finite becomes zero."""
    return torch.nan_to_num(x.double(), 0.0, 0.0, 0.0).round(decimals=digits).tolist()


def _digits(x: Tensor) -> list:
    """Nested lists of numbers with three digits each."""
    return [[float(f"{value:.3g}") for value in row] for row in x.tolist()]
