"""The data of the pictures to drag through, and the HTML that carries it."""

import json
import math
import re

import pytest
import torch

from normtutorial import MLP, ActivationProbe, History
from normtutorial.explorer import BINS, FRAMES, UNITS, Curves, Explorer, Recording


def run(steps=40, every=2, layers=("linear1", "linear2"), scale=1.0):
    model = MLP((6, 50, 10, 3))
    probe = ActivationProbe(model, layers, every=every, range=(-2, 2), bins=64)
    with probe:
        for _ in range(steps):
            model(scale * torch.randn(32, 6))
    return History(eval_steps=[10, 40], test_metric=[0.5, 0.87654]), probe.records


def test_it_holds_what_the_probe_recorded():
    history, records = run()
    data = Explorer({"none": (history, records)}, origin="Noise.").data
    assert data["frames"][0] == 0 and data["frames"][-1] == 38 and len(data["frames"]) == FRAMES
    assert data["runs"]["none"]["evaluations"] == [[10, 0.5], [40, 0.8765]]
    layer, record = data["runs"]["none"]["layers"]["linear1"], records["linear1"]
    assert layer["range"] == [-2, 2]
    at = record.passes.tolist().index(data["frames"][3])
    assert layer["std"][3] == pytest.approx(record.pooled_std[at].item(), abs=6e-4)
    assert layer["mean"][3] == pytest.approx(record.pooled_mean[at].item(), abs=6e-4)
    assert len(layer["units"][3]) == UNITS
    for shown, unit in ((0, 0), (-1, 49)):
        expected = record.percentiles[at][:, unit].tolist()
        assert layer["units"][3][shown] == pytest.approx(expected, abs=6e-4)
    shares = layer["shares"][3]
    assert len(shares) == BINS and sum(shares) == pytest.approx(1, abs=0.01)
    pairs = record.histogram[at].double().unflatten(0, (BINS, 2)).sum(1)
    assert shares == pytest.approx((pairs / pairs.sum()).tolist(), abs=6e-5)


def test_a_layer_with_few_units_and_a_run_with_few_passes_are_shown_whole():
    history, records = run(steps=3, every=1)
    data = Explorer({"none": (history, records)}, origin="Noise.").data
    assert data["frames"] == [0, 1, 2]
    assert len(data["runs"]["none"]["layers"]["linear2"]["units"][0]) == 10


def test_html_carries_strict_json_and_cannot_end_its_script():
    explorer = Explorer({"</script>": run(scale=float("inf"))}, origin="Noise <b>.")
    html = explorer._repr_html_()
    assert html.count("</script>") == 1 and 'data-demo="explorer"' in html
    text = re.search(r"<script[^>]*>(.*)</script>", html)[1]
    data = json.loads(text, parse_constant=pytest.fail)
    assert data == explorer.data
    assert repr(explorer) == "Explorer(</script>)"


def test_a_recording_carries_what_it_was_given():
    html = Recording("line", {"accuracy": [0.9, 0.5]}, origin="</script> of a test.")._repr_html_()
    assert html.count("</script>") == 1 and 'data-demo="line"' in html
    data = json.loads(re.search(r"<script[^>]*>(.*)</script>", html)[1])
    assert data == {"origin": "</script> of a test.", "accuracy": [0.9, 0.5]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        Recording("line", {"accuracy": [float("nan")]}, origin="A test.")._repr_html_()


@pytest.mark.parametrize(
    "runs",
    [{}, {"a": run(), "b": run(every=4)}, {"a": run(), "b": run(layers=("linear1",))}],
    ids=["none", "other passes", "other depth"],
)
def test_runs_that_do_not_fit_together_are_refused(runs):
    with pytest.raises(ValueError, match="same recorded passes and the same number of layers"):
        Explorer(runs, origin="Noise.")


def curves(panel, **more):
    return Curves("rate", [0.1, 1], "step", [0, 5, 9], {"loss": panel}, origin="<i>", **more)


def test_curves_keep_three_digits_and_their_html_is_strict_json():
    panel = torch.tensor([[1.23456, 0.000123456, 98765.0], [1, 2, 3]])
    made = curves(panel, guides={"loss": 2.0})
    (kept,) = made.data["panels"]
    assert kept == {"name": "loss", "guide": 2.0, "rows": [[1.23, 0.000123, 98800.0], [1, 2, 3]]}
    html = made._repr_html_()
    assert html.count("</script>") == 1 and 'data-demo="curves"' in html
    text = re.search(r"<script[^>]*>(.*)</script>", html)[1]
    assert json.loads(text, parse_constant=pytest.fail) == made.data
    assert repr(made) == "Curves(loss)" and curves(panel).data["panels"][0]["guide"] is None


@pytest.mark.parametrize(
    "panel", [[[1, 2, 3]], [[1, 2], [3, 4]], [[1, 2, 3], [1, 0, 3]], [[1, 2, 3], [1, math.inf, 3]]]
)
def test_curves_that_cannot_be_drawn_are_refused(panel):
    with pytest.raises(ValueError, match=r"2 runs of 3 moments in each panel, all above zero"):
        curves([[float(x) for x in row] for row in panel])


def test_curves_without_a_panel_are_refused():
    with pytest.raises(ValueError, match="at least one panel; got none"):
        Curves("rate", [1], "step", [0], {}, origin="")
