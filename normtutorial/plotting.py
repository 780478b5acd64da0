"""The figures of the book. Every function draws on the Axes it is given and returns it.

Numbers may come as tensors, arrays or lists. A normalization has the same color, marker and line
style in all figures, those of its entry in :mod:`normtutorial.norms`.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from torch import Tensor

from .norms import NORMS, ORIGINAL, Norm
from .probes import ActivationRecord, GradientRecord
from .probes.records import evenly

__all__ = [
    "color",
    "curves",
    "dead_units",
    "dots",
    "gradient_ratios",
    "histogram_over_time",
    "linestyle",
    "marker",
    "percentile_band",
    "unit_histograms",
    "use_style",
]

_NEUTRAL = (  # for what is no normalization
    Norm("slate", "", color="#4A5A6A", marker="h", linestyle="-"),
    Norm("brown", "", color="#8C6D46", marker="<", linestyle="--"),
    Norm("mauve", "", color="#94879C", marker=">", linestyle="-."),
    Norm("olive", "", color="#6E7F5E", marker="p", linestyle=":"),
)
_LOOKS = {look.name: look for look in (*NORMS.values(), ORIGINAL, *_NEUTRAL)}
_GUIDE: dict[str, Any] = {"color": "#777777", "lw": 1, "ls": "--", "zorder": 1}


def use_style() -> None:
    """Set the look of all figures that follow: legible on a phone, on a light and a dark page.

    Example:
        >>> with plt.rc_context():  # and as it was afterwards
        ...     use_style()
        ...     plt.rcParams["axes.prop_cycle"].by_key()["color"][0]
        '#222222'
    """
    cycle = plt.cycler(color=[norm.color for norm in (*NORMS.values(), ORIGINAL)])
    plt.rcParams.update(
        {
            "figure.figsize": (6.4, 3.2),
            "figure.dpi": 130,
            "savefig.dpi": 130,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.labelsize": 11,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "legend.fontsize": 10,
            "legend.frameon": False,
            "axes.prop_cycle": cycle,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.formatter.useoffset": False,
            "grid.color": "#E4E4E4",
            "grid.linewidth": 0.8,
            "lines.linewidth": 1.8,
            "lines.markersize": 5.5,
        }
    )


def color(norm: str) -> str:
    """The color of a normalization.

    The names are those of :data:`~normtutorial.norms.NORMS`, and original. Any other label has one
    of four neutral colors, always the same one. Two labels of a figure that happen to share it can
    be told apart by the names of these colors: slate, brown, mauve and olive.

    Args:
        norm: its name, or another label.

    Returns:
        As matplotlib takes it.

    Example:
        >>> color("batch"), color("slate")
        ('#0072B2', '#4A5A6A')
    """
    return _look(norm).color


def marker(norm: str) -> str:
    """The marker of a normalization.

    Args:
        norm: as for :func:`color`.

    Example:
        >>> marker("batch")
        's'
    """
    return _look(norm).marker


def linestyle(norm: str) -> Any:
    """The line style of a normalization.

    Args:
        norm: as for :func:`color`.

    Example:
        >>> linestyle("batch")
        '-'
    """
    return _look(norm).linestyle


def curves(
    ax: Axes, x: Any, runs: Any, *, label: str | None = None, norm: str | None = None
) -> Axes:
    """The median of several runs as a line, and their range as a band.

    Args:
        ax: to draw on.
        x: (T,) such as training steps.
        runs: (S, T), a row for each seed, or (T,) for a single run. NaN counts as missing. At a
            single ``x``, (S,) will do.
        label: for the legend; None is the label of the normalization.
        norm: sets color, marker and line style, as in :func:`color`; None looks at ``label``.

    Returns:
        ``ax``.

    Raises:
        ValueError: if the runs are not as long as ``x``.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = curves(Figure().subplots(), [1, 2], [[3, 8], [5, 6], [4, 9]], norm="batch")
        >>> ax.lines[0].get_label(), ax.lines[0].get_ydata()  # the medians
        ('batch norm', array([4., 8.]))
    """
    x, runs = _tensor(x), _as_runs("curves", x, runs)
    look = _look(norm or label or "")
    style = {"color": look.color, "marker": look.marker, "ls": look.linestyle}
    ax.fill_between(x, *_extent(runs), color=look.color, alpha=0.2, lw=0)
    ax.plot(x, _median(runs), label=label or look.label, markevery=_marker_stride(x), **style)
    return ax


def dots(ax: Axes, x: Any, runs: Any, *, label: str | None = None, norm: str | None = None) -> Axes:
    """One dot for each run, and a line through the medians.

    Args:
        ax, runs, label, norm: as for :func:`curves`.
        x: as there, or a list of names. A single point gets a short bar as its median.

    Returns:
        ``ax``.

    Raises:
        ValueError: if the runs are not as long as ``x``.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = dots(Figure().subplots(), ["first", "last"], [[3, 8], [5, 6]], norm="layer")
        >>> len(ax.lines), ax.lines[-1].get_ydata()  # two runs and their medians
        (3, array([4., 7.]))
    """
    runs = _as_runs("dots", x, runs)
    x = list(x) if _are_names(x) else _tensor(x).tolist()
    look = _look(norm or label or "")
    for run in runs:
        ax.plot(x, run, ls="", color=look.color, marker=look.marker, alpha=0.45, mec="none")
    bar = {"marker": "_", "ms": 16, "mew": 2} if len(x) == 1 else {"ls": look.linestyle}
    ax.plot(x, _median(runs), color=look.color, label=label or look.label, **bar)
    return ax


def histogram_over_time(ax: Axes, record: ActivationRecord) -> Axes:
    """How the activations of a layer spread over the training, as an image.

    Each column is a histogram. The scale is logarithmic and the same for all layers: white is less
    than 1 in 2000 of the values, the darkest blue a fifth and more.

    The rows at the edge hold what lies beyond it, too.

    Args:
        ax: to draw on.
        record: of an :class:`~normtutorial.ActivationProbe`.

    Returns:
        ``ax``.

    Example:
        >>> from matplotlib.figure import Figure
        >>> from normtutorial import MLP, ActivationProbe
        >>> with ActivationProbe(MLP((4, 8, 3)), ["act1"], every=1) as probe:
        ...     _ = probe.model(torch.randn(16, 4))
        >>> histogram_over_time(Figure().subplots(), probe.records["act1"]).get_ylabel()
        'activation'
    """
    counts = record.histogram.double()
    share = counts / counts.sum(1, keepdim=True).clamp(min=1)
    ax.pcolormesh(
        _bin_edges(record.passes).numpy(),
        record.edges.numpy(),
        share.T.numpy(),
        norm=LogNorm(5e-4, 0.2),
        cmap="Blues",
        rasterized=True,
    )
    ax.grid(False)
    ax.set(xlabel="training step", ylabel="activation")
    return ax


def percentile_band(
    ax: Axes, record: ActivationRecord, unit: int | None = None, *, norm: str | None = None
) -> Axes:
    """The median of the activations over the training, in a band of 70 % and a lighter one of 90 %.

    Args:
        ax: to draw on.
        record: of an :class:`~normtutorial.ActivationProbe`.
        unit: which one; None is all of the layer together.
        norm: sets the color.

    Returns:
        ``ax``.

    Raises:
        ValueError: a unit that the layer does not have.

    Example:
        >>> from matplotlib.figure import Figure
        >>> from normtutorial import MLP, ActivationProbe
        >>> with ActivationProbe(MLP((4, 8, 3)), ["act1"], every=1) as probe:
        ...     _ = probe.model(torch.randn(16, 4))
        >>> ax = percentile_band(Figure().subplots(), probe.records["act1"], unit=7)
        >>> len(ax.collections)  # the two bands
        2
    """
    percentiles, hue = record.pooled_percentiles, color(norm or "batch")
    if unit is not None:
        units = record.percentiles.shape[2]
        if not -units <= unit < units:
            raise ValueError(f"percentile_band expects a unit from 0 to {units - 1}; got {unit}.")
        percentiles = record.percentiles[:, :, unit]
    p5, p15, p50, p85, p95 = percentiles.T
    ax.fill_between(record.passes, p5, p95, color=hue, alpha=0.15, lw=0)
    ax.fill_between(record.passes, p15, p85, color=hue, alpha=0.3, lw=0)
    ax.plot(record.passes, p50, color=hue)
    ax.set(xlabel="training step", ylabel="activation")
    return ax


def dead_units(ax: Axes, records: Mapping[str, ActivationRecord]) -> Axes:
    """The fraction of units of each layer that give the same value for the whole batch.

    Args:
        ax: to draw on.
        records: of an :class:`~normtutorial.ActivationProbe`, by name, in the order of their depth:
            the darker, the deeper.

    Returns:
        ``ax``.

    Example:
        >>> from matplotlib.figure import Figure
        >>> from normtutorial import MLP, ActivationProbe
        >>> with ActivationProbe(MLP((4, 8, 8, 3)), ["act1", "act2"], every=1) as probe:
        ...     _ = probe.model(torch.zeros(16, 4))
        >>> ax = dead_units(Figure().subplots(), probe.records)
        >>> [(line.get_label(), line.get_ydata().tolist()) for line in ax.lines]
        [('act1', [1.0]), ('act2', [1.0])]
    """
    for (name, record), style in zip(records.items(), _by_depth(len(records)), strict=True):
        ax.plot(
            record.passes, record.dead, label=name, markevery=_marker_stride(record.passes), **style
        )
    low, high = ax.get_ylim()
    ax.set_ylim(min(0, low), high + 0.25 * (high - low))  # room for the legend
    ax.set(xlabel="training step", ylabel="fraction of dead units")
    ax.legend(ncols=min(4, len(records)), loc="upper right")
    return ax


def unit_histograms(
    ax: Axes,
    x: Any,
    *,
    units: int | Sequence[int] = 8,
    bins: int = 40,
    range: tuple[float, float] | None = None,
    norm: str | None = None,
) -> Axes:
    """The density of single units as thin lines, before that of all units together, filled.

    What looks healthy pooled can be a layer of units that hardly move, each at its own place.

    Args:
        ax: to draw on.
        x: (N, U) or (N, U, ...), as :func:`~normtutorial.activations` returns it. What is not
            finite is left out.
        units: which ones, or how many, evenly spread.
        bins: of the histograms.
        range: lower and upper end; None holds 99 % of the values.
        norm: sets the color.

    Returns:
        ``ax``.

    Raises:
        ValueError: no unit, or one that is not there.

    Example:
        >>> from matplotlib.figure import Figure
        >>> len(unit_histograms(Figure().subplots(), torch.randn(100, 12), units=[0, 5]).lines)
        2
    """
    x = _tensor(x).transpose(0, 1).flatten(1)  # (U, samples)
    chosen = evenly(len(x), units) if isinstance(units, int) else list(units)
    if not chosen or not all(-len(x) <= unit < len(x) for unit in chosen):
        raise ValueError(f"unit_histograms expects units from 0 to {len(x) - 1}; got {units}.")
    low, high = range or _middle_99(x)
    edges = torch.linspace(low, high, bins + 1, dtype=x.dtype)
    middle, hue = (edges[1:] + edges[:-1]) / 2, color(norm or "batch")
    ax.fill_between(middle, _density(x, edges), color=hue, alpha=0.35, lw=0, label="all units")
    for unit in chosen:
        label = "single units" if unit == chosen[0] else None
        ax.plot(middle, _density(x[unit], edges), color="#333333", lw=0.8, label=label)
    ax.set_ylim(bottom=0)
    ax.set(xlabel="activation", ylabel="density")
    return ax


def gradient_ratios(ax: Axes, records: Mapping[str, GradientRecord]) -> Axes:
    """By which share each update changes its parameter, on a logarithmic axis.

    The dashed line is at 1/1000, a rule of thumb for networks that learn well.

    Args:
        ax: to draw on.
        records: of a :class:`~normtutorial.GradientProbe`, by name, in the order of their depth:
            the darker, the deeper.

    Returns:
        ``ax``.

    Example:
        >>> from matplotlib.figure import Figure
        >>> one = torch.ones(1)
        >>> record = GradientRecord(passes=one, grad_norm=one, param_norm=one, update_norm=one / 8)
        >>> gradient_ratios(Figure().subplots(), {"linear1": record}).lines[1].get_ydata().item()
        0.125
    """
    ax.axhline(1e-3, **_GUIDE)
    for (name, record), style in zip(records.items(), _by_depth(len(records)), strict=True):
        every = _marker_stride(record.passes)
        ax.plot(record.passes, record.update_ratio, label=name, markevery=every, **style)
    ax.set_yscale("log")
    ax.set(xlabel="training step", ylabel="update / parameter")
    ax.legend(ncols=2 if len(records) > 3 else 1)
    return ax


def _look(name: str) -> Norm:
    return _LOOKS.get(name) or _NEUTRAL[crc32(name.encode()) % len(_NEUTRAL)]


def _tensor(values: Any) -> Tensor:
    """Float64 on the CPU, of a tensor, an array, numbers, or lists of any of them."""
    if isinstance(values, list | tuple) and any(hasattr(v, "__len__") for v in values):
        return torch.stack([_tensor(v) for v in values])
    return torch.as_tensor(values).detach().to("cpu", torch.float64)


def _are_names(x: Any) -> bool:
    return not isinstance(x, Tensor) and any(isinstance(value, str) for value in x)


def _as_runs(caller: str, x: Any, runs: Any) -> Tensor:
    """(S, T), each row as long as ``x``."""
    try:
        runs = _tensor(runs)
    except RuntimeError:  # the rows do not stack
        lengths = sorted({len(run) for run in runs})
        raise ValueError(f"{caller} expects runs of the same length; got {lengths}.") from None
    if runs.ndim == 1:
        runs = runs[:, None] if len(x) == 1 else runs[None]
    if runs.ndim != 2 or runs.shape[1] != len(x):
        raise ValueError(
            f"{caller} expects runs of shape (seeds, {len(x)}), as long as x; got "
            f"{tuple(runs.shape)}."
        )
    return runs


def _median(runs: Tensor) -> Tensor:
    return runs.nanquantile(0.5, dim=0)


def _extent(runs: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest over the runs, where there are any."""
    return runs.nanquantile(0, dim=0), runs.nanquantile(1, dim=0)


def _marker_stride(x: Tensor) -> int:
    """About eight markers to a line."""
    return max(1, len(x) // 8)


def _bin_edges(x: Tensor) -> Tensor:
    """Halfway between the values, and as far before the first and behind the last."""
    x = x.double()
    half = x.diff() / 2 if len(x) > 1 else torch.full((1,), 0.5, dtype=x.dtype)
    return torch.cat([x[:1] - half[:1], x[:-1] + x.diff() / 2, x[-1:] + half[-1:]])


def _by_depth(n: int) -> list[dict[str, Any]]:
    shades = [plt.get_cmap("plasma_r")(0.38 + 0.62 * i / max(1, n - 1)) for i in range(n)]
    return [{"color": shade, "marker": "osD^vPXh"[i % 8]} for i, shade in enumerate(shades)]


def _middle_99(x: Tensor) -> tuple[float, float]:
    """The ends of the middle 99 % of all finite values, apart even if these are all the same."""
    x = x[x.isfinite()].sort().values
    if len(x) == 0:
        return -1.0, 1.0
    low, high = x[int(0.005 * (len(x) - 1))].item(), x[-1 - int(0.005 * (len(x) - 1))].item()
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _density(x: Tensor, edges: Tensor) -> Tensor:
    """Of all finite values, so the area is less than 1 if some lie out of range."""
    x = x[x.isfinite()]
    counts = x.histogram(edges).hist
    return counts / (max(1, len(x)) * (edges[1] - edges[0]))
