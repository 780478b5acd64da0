"""What is drawn is what was measured."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgb
from torch import nn
from torch.testing import assert_close

from normtutorial import plotting
from normtutorial.norms import NORMS, ORIGINAL
from normtutorial.probes import ActivationProbe, GradientProbe

NAMES = [*NORMS, "original"]
NEUTRAL = ["slate", "brown", "mauve", "olive"]


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context():
        plotting.use_style()
        yield
    plt.close("all")


@pytest.fixture
def ax():
    _, ax = plt.subplots(dpi=50, layout="none")
    yield ax
    ax.figure.canvas.draw()  # whatever was drawn can be rendered without a warning


@pytest.fixture(scope="module")
def probes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3))
    model[0].bias.data[:5] = -100  # a quarter is dead
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with ActivationProbe(model, every=2) as inside, GradientProbe(model, every=2) as gradients:
        for _ in range(9):
            optimizer.zero_grad()
            model(torch.randn(64, 6)).square().mean().backward()
            optimizer.step()
    return inside.records, gradients.records


def y_of(line):
    return torch.as_tensor(np.asarray(line.get_ydata(), dtype=float))


def x_of(line):
    return torch.as_tensor(np.asarray(line.get_xdata(), dtype=float))


def edges_of(image):
    """Along x and along y."""
    assert isinstance(image, QuadMesh)
    corners = np.asarray(image.get_coordinates())
    return corners[0, :, 0].tolist(), corners[:, 0, 1].tolist()


def band(collection):
    """Lower and upper end of a filled band at each x."""
    points = collection.get_paths()[0].vertices
    xs = np.unique(points[:, 0])
    return [tuple(f(points[points[:, 0] == x, 1]) for f in (min, max)) for x in xs]


def contrast_with_white(hue):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(hue)]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)


# Style


def test_a_normalization_looks_as_the_registry_says():
    for norm in (*NORMS.values(), ORIGINAL):
        look = (norm.color, norm.marker, norm.linestyle)
        assert look == tuple(
            choose(norm.name) for choose in (plotting.color, plotting.marker, plotting.linestyle)
        )


@pytest.mark.parametrize("choose", [plotting.color, plotting.marker])
def test_no_two_normalizations_look_the_same(choose):
    assert len({choose(name) for name in [*NAMES, *NEUTRAL]}) == 12


def test_another_label_has_a_neutral_color_whatever_was_asked_before():
    neutral = {plotting.color(name) for name in NEUTRAL}
    labels = [f"momentum {i}" for i in range(40)]
    colors = [plotting.color(label) for label in labels]
    assert set(colors) == neutral
    assert [plotting.color(label) for label in reversed(labels)] == colors[::-1]
    assert plotting.color("momentum 0") == plotting.color("brown")  # in every process


@pytest.mark.parametrize("name", [*NAMES, *NEUTRAL])
def test_every_color_stands_out_from_white(name):
    assert contrast_with_white(plotting.color(name)) >= 3


def test_the_style_is_legible_and_bare():
    rc = plt.rcParams
    assert min(rc["axes.labelsize"], rc["xtick.labelsize"], rc["ytick.labelsize"]) >= 10
    assert rc["legend.fontsize"] >= 10
    assert 110 <= rc["figure.dpi"] <= 150 and list(rc["figure.figsize"]) == [6.4, 3.2]
    assert not rc["axes.spines.top"] and not rc["axes.spines.right"] and rc["axes.grid"]
    assert rc["figure.facecolor"] == rc["savefig.facecolor"] == "white"


# Runs


@pytest.mark.parametrize(
    "as_given",
    [lambda x: x, lambda x: x.tolist(), lambda x: x.numpy(), lambda x: list(x)],
    ids=["tensor", "lists", "array", "list of tensors"],
)
def test_curves_draw_the_median_in_the_range_of_the_runs(ax, as_given):
    runs = torch.tensor([[1.0, 2.0, 9.0], [3.0, 4.0, 5.0], [2.0, 6.0, 7.0]])
    assert plotting.curves(ax, [0, 10, 20], as_given(runs), label="batch") is ax
    (line,) = ax.lines
    assert y_of(line).tolist() == [2, 4, 7]
    assert list(line.get_xdata()) == [0, 10, 20]
    assert band(ax.collections[0]) == [(1, 3), (2, 6), (5, 9)]
    assert (line.get_label(), line.get_color()) == ("batch", plotting.color("batch"))
    assert line.get_marker() == plotting.marker("batch")


def test_curves_take_their_look_from_norm_before_label(ax):
    plotting.curves(ax, [0, 1], [[1, 2]], label="with layer norm", norm="layer")
    assert ax.lines[0].get_color() == plotting.color("layer")


@pytest.mark.parametrize("draw", [plotting.curves, plotting.dots])
@pytest.mark.parametrize(
    "given, shown",
    [
        ({"norm": "batch"}, ["batch norm"]),
        ({"norm": "batch", "label": "after"}, ["after"]),
        ({"label": "batch"}, ["batch"]),
        ({"norm": "slate"}, []),
        ({}, []),
    ],
    ids=str,
)
def test_a_legend_has_the_label_or_that_of_the_normalization(ax, draw, given, shown):
    draw(ax, [0, 1], [[1, 2]], **given)
    assert ax.get_legend_handles_labels()[1] == shown


def test_curves_draw_a_single_run_and_one_that_needs_a_gradient(ax):
    plotting.curves(ax, [0, 1], torch.tensor([1.0, 2.0], requires_grad=True))
    assert y_of(ax.lines[0]).tolist() == [1, 2]


def test_missing_values_are_left_out_of_the_median(ax):
    nan = float("nan")
    plotting.curves(ax, [0, 1, 2], [[1, nan, nan], [3, 4, nan], [2, nan, nan]])
    assert_close(y_of(ax.lines[0]), torch.tensor([2, 4, nan]).double(), equal_nan=True)


@pytest.mark.parametrize("draw", [plotting.curves, plotting.dots])
def test_runs_that_do_not_fit_are_named(ax, draw):
    with pytest.raises(ValueError, match=rf"{draw.__name__} expects runs of shape \(seeds, 3\)"):
        draw(ax, [0, 1, 2], [[1, 2]])
    with pytest.raises(ValueError, match=r"runs of the same length; got \[1, 2\]"):
        draw(ax, [0, 1], [[1, 2], [1]])


def test_dots_draw_each_run_and_a_line_through_the_medians(ax):
    runs = torch.tensor([[1.0, 2.0], [5.0, 4.0], [2.0, 9.0]])
    assert plotting.dots(ax, [0.1, 1.0], runs, label="rms") is ax
    *singles, line = ax.lines
    assert torch.stack([y_of(one) for one in singles]).tolist() == runs.tolist()
    assert y_of(line).tolist() == [2, 4]
    assert [one.get_linestyle() for one in singles] == ["None"] * 3
    assert ax.get_legend_handles_labels()[1] == ["rms"]


def test_dots_take_names_and_a_run_to_a_number(ax):
    plotting.dots(ax, ["batch"], [0.9, 0.8, 0.85], label="batch")
    assert [y_of(line).item() for line in ax.lines] == pytest.approx([0.9, 0.8, 0.85, 0.85])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["batch"]


# Records


def test_a_column_of_the_image_is_a_histogram(ax, probes):
    record = probes[0]["0"]
    assert plotting.histogram_over_time(ax, record) is ax
    (image,) = ax.collections
    share = record.histogram.double() / (64 * 20)
    assert_close(torch.as_tensor(image.get_array().data).reshape(64, 5).T, share)
    assert edges_of(image) == ([-1, 1, 3, 5, 7, 9], record.edges.tolist())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("training step", "activation")


def test_the_image_goes_from_white_to_dark(ax, probes):
    plotting.histogram_over_time(ax, probes[0]["0"])
    cmap = ax.collections[0].cmap
    assert contrast_with_white(cmap(0.0)) < 1.1 and contrast_with_white(cmap(1.0)) > 7
    assert cmap.get_bad()[3] == 0  # nothing counted: the white of the page


def test_the_image_of_a_single_step_has_a_column(ax):
    with ActivationProbe(model := nn.Linear(2, 2)) as probe:
        model(torch.randn(4, 2))
    plotting.histogram_over_time(ax, probe.records[""])
    assert edges_of(ax.collections[0])[0] == [-0.5, 0.5]


@pytest.mark.parametrize("unit", [None, 0, 19, -1])
def test_the_percentile_band_holds_the_percentiles(ax, probes, unit):
    record = probes[0]["0"]
    assert plotting.percentile_band(ax, record, unit) is ax
    p = record.pooled_percentiles if unit is None else record.percentiles[:, :, unit]
    assert_close(y_of(ax.lines[0]).float(), p[:, 2])
    for collection, low, high in zip(ax.collections, (0, 1), (4, 3), strict=True):
        assert_close(torch.tensor(band(collection)).float(), p[:, [low, high]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("training step", "activation")


def test_a_unit_that_is_not_there_is_named(ax, probes):
    with pytest.raises(ValueError, match="percentile_band expects a unit from 0 to 19; got 20"):
        plotting.percentile_band(ax, probes[0]["0"], 20)


def test_dead_units_are_drawn_for_each_layer(ax, probes):
    records = {name: probes[0][name] for name in ("0", "1")}
    assert plotting.dead_units(ax, records) is ax
    for line, record in zip(ax.lines, records.values(), strict=True):
        assert y_of(line).tolist() == record.dead.tolist()
        assert list(line.get_xdata()) == [0, 2, 4, 6, 8]
    assert y_of(ax.lines[1])[0] >= 0.25
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0", "1"]
    assert ax.get_ylabel() == "fraction of dead units" and ax.get_ylim()[0] <= 0


def test_layers_are_told_apart_by_color_and_marker(ax, probes):
    plotting.dead_units(ax, {str(i): probes[0]["1"] for i in range(6)})
    assert len({(line.get_color(), line.get_marker()) for line in ax.lines}) == 6
    assert all(contrast_with_white(line.get_color()) >= 3 for line in ax.lines)


def test_update_ratios_are_drawn_on_a_log_axis_with_a_guide(ax, probes):
    records = {name: probes[1][name] for name in ("0.weight", "2.weight")}
    assert plotting.gradient_ratios(ax, records) is ax
    guide, *lines = ax.lines
    assert y_of(guide).tolist() == [1e-3, 1e-3] and ax.get_yscale() == "log"
    for line, record in zip(lines, records.values(), strict=True):
        assert_close(y_of(line).float(), record.update_ratio)


def test_densities_of_units_and_of_all_have_area_one(ax):
    x = torch.randn(500, 6) * 0.1 + torch.arange(6)
    assert plotting.unit_histograms(ax, x, units=[1, 4], bins=50, range=(-1, 6)) is ax
    width = 7 / 50
    assert [y_of(line).sum().item() * width for line in ax.lines] == pytest.approx([1, 1])
    peaks = [x_of(line)[y_of(line).argmax()].item() for line in ax.lines]
    assert peaks == pytest.approx([1, 4], abs=0.2)
    expected = x.flatten().double().histogram(50, range=(-1.0, 6.0), density=True).hist
    assert_close(torch.tensor([top for _, top in band(ax.collections[0])]).double(), expected)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("activation", "density")


@pytest.mark.parametrize("units, drawn", [(3, 3), (8, 8), (99, 10), ([0], 1)])
def test_as_many_units_are_drawn_as_asked_for(ax, units, drawn):
    plotting.unit_histograms(ax, torch.randn(50, 10), units=units)
    assert len(ax.lines) == drawn
    assert sorted(ax.get_legend_handles_labels()[1]) == ["all units", "single units"]


@pytest.mark.parametrize(
    "x",
    [torch.zeros(20, 3), torch.full((20, 3), float("nan")), torch.randn(4, 3, 5, 5)],
    ids=["constant", "nan", "images"],
)
def test_odd_activations_can_be_drawn(ax, x):
    plotting.unit_histograms(ax, x)
    assert len(ax.lines) == 3


@pytest.mark.parametrize("units", [[7], 0])
def test_units_that_are_not_there_are_named(ax, units):
    with pytest.raises(ValueError, match="unit_histograms expects units from 0 to 2; got"):
        plotting.unit_histograms(ax, torch.randn(5, 3), units=units)
