"""The lab's mathematics in a browser, beside torch's: the same weights and batches."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from chapters import ROOT
from normtutorial import MLP, init_normal_

LAB = ROOT / "book" / "_static" / "lab"
SIZES = (196, 16, 12, 10)
STEPS, BATCH = 30, 16
ROUNDING = 1e-9  # a bias before batch norm has no gradient but rounding, which Adam enlarges
NORMS = {"none": None, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm, "rms": nn.RMSNorm}
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.02, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.005),
}
RATES = {"sgd": 0.1, "momentum": 0.02, "adam": 0.005}
TRAIN = """({ weights, sizes, norm, images, labels, batches, cases }) => {
  const lab = window.normtutorial.lab, { Run } = lab.training(lab.network());
  const length = (x) => Math.sqrt(x.reduce((a, b) => a + b * b, 0));
  const size = sizes[0], drawn = weights.map((w) => Float64Array.from(w));
  return cases.map(([activation, optimizer, lr]) => {
    const run = new Run(norm, drawn, sizes, activation);
    const losses = batches.map((batch) => run.step({
      x: Float64Array.from(batch.flatMap((n) => images.slice(n * size, (n + 1) * size))),
      labels: batch.map((n) => labels[n]),
    }, { optimizer, lr, momentum: 0.1 }));
    const norms = run.network.layers.map((layer) => Object.fromEntries(
      ["weight", "bias", "g", "gamma", "beta"].filter((name) => layer[name])
        .map((name) => [name, length(layer[name].value)])));
    const running = run.network.layers.filter((layer) => layer.running)
      .map(({ running }) => [[...running.mean], [...running.variance]]);
    return { losses, norms, running };
  });
}"""


@pytest.fixture(scope="module")
def page(browser):
    """A page with nothing on it but the mathematics."""
    page = browser.new_page()
    page.add_script_tag(content="window.normtutorial = { lab: {} }")
    for name in ("network", "training", "digits"):
        page.add_script_tag(path=LAB / f"{name}.js")
    yield page
    page.close()


@pytest.fixture(scope="module")
def images(page):
    """Some digits of the lab, (400, 196), and their labels."""
    numbers, labels = page.evaluate("""() => {
      const lab = window.normtutorial.lab, { decode } = lab.training(lab.network());
      const { train } = decode(lab.digits);
      return [[...train.images.subarray(0, 400 * train.size)], train.labels.slice(0, 400)];
    }""")
    return torch.tensor(numbers, dtype=torch.float64).view(400, 196), torch.tensor(labels)


def of_torch(norm, activation, weights):
    """The same network of torch's own layers, from the same weights."""

    def linear(*sizes):
        layer = nn.Linear(*sizes)
        return parametrizations.weight_norm(layer) if norm == "weight" else layer

    model = MLP(SIZES, NORMS.get(norm), linear=linear, activation=ACTIVATIONS[activation]).double()
    for layer, weight in zip(linears(model), weights, strict=True):
        nn.init.zeros_(layer.bias)
        if norm == "weight":
            layer.weight = weight.clone()  # which it keeps, as it is
        else:
            layer.weight = nn.Parameter(weight.clone())
    return model


def linears(model):
    return [module for module in model if isinstance(module, nn.Linear)]


def train(model, optimizer, images, labels, batches):
    losses = []
    for batch in batches:
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def lengths(model):
    """Of every parameter, by its name in the lab, a dictionary for each layer."""
    ours = {
        "linear": {"original1": "weight", "original0": "g"},
        "norm": {"weight": "gamma", "bias": "beta"},
    }
    layers: list[dict[str, float]] = [{} for _ in linears(model)]
    for name, value in model.named_parameters():
        kind, number = re.match(r"(linear|norm)(\d)", name).groups()
        last = name.split(".")[-1]
        layers[int(number) - 1][ours[kind].get(last, last)] = value.norm().item()
    return layers


def running(model):
    norms = [module for module in model if isinstance(module, nn.BatchNorm1d)]
    return [[m.running_mean.tolist(), m.running_var.tolist()] for m in norms]


@pytest.mark.parametrize("norm", [*NORMS, "weight"])
def test_the_same_weights_and_batches_give_torchs_numbers(norm, page, images, figures):
    x, labels = images
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randperm(len(x), generator=generator)[:BATCH].tolist() for _ in range(STEPS)]
    drawn = init_normal_(MLP(SIZES).double(), generator=generator)
    weights = [layer.weight.detach() for layer in linears(drawn)]
    cases = [(activation, name) for activation in ACTIVATIONS for name in OPTIMIZERS]
    given = {
        "weights": [weight.flatten().tolist() for weight in weights],
        "sizes": SIZES,
        "norm": norm,
        "images": x.flatten().tolist(),
        "labels": labels.tolist(),
        "batches": batches,
        "cases": [(activation, name, RATES[name]) for activation, name in cases],
    }
    for (activation, name), seen in zip(cases, page.evaluate(TRAIN, given), strict=True):
        model = of_torch(norm, activation, weights)
        losses = train(model, OPTIMIZERS[name](model.parameters()), x, labels, batches)
        figures("lab: distance to torch", relative(seen["losses"], losses))
        assert losses[-1] < losses[0]
        assert seen["losses"] == pytest.approx(losses, rel=1e-6)
        for ours, theirs in zip(seen["norms"], lengths(model), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-6, abs=ROUNDING)
        for ours, theirs in zip(seen["running"], running(model), strict=True):
            assert ours[0] == pytest.approx(theirs[0], rel=1e-6)
            assert ours[1] == pytest.approx(theirs[1], rel=1e-6)


def relative(ours, theirs):
    """The largest relative difference."""
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))


def test_every_backward_pass_is_what_finite_differences_say(page):
    found = page.evaluate(Path(__file__).with_name("finite_differences.js").read_text("utf-8"))
    assert len(found) == 3 + 3 + 3 + 2 + 3 + 1 + 15
    assert max(found.values()) < 1e-7, {k: v for k, v in found.items() if not v < 1e-7}
