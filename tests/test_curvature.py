"""The sharpness is the largest eigenvalue of a Hessian that is known."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from normtutorial import MLP, init_normal_
from normtutorial.probes import sharpness
from normtutorial.probes.curvature import hessian_product


def quadratic(eigenvalues, seed=0):
    """x and a loss of x whose Hessian has these eigenvalues, along directions drawn at random."""
    n = len(eigenvalues)
    draw = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, _ = torch.linalg.qr(draw)
    hessian = q @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ q.T
    x = torch.ones(n, dtype=torch.float64, requires_grad=True)
    return x, 0.5 * x @ hessian @ x


@pytest.mark.parametrize(
    "eigenvalues",
    [
        [3.0, 1.0, 0.5, -2.0],
        [1.0, -5.0, 0.1],  # the largest, not the one of the largest size
        [-1.0, -2.0, -3.0],
        [2.0, 2.0, 2.0, 2.0],  # found in one step
        [0.0, 0.0, 4.0],
    ],
)
def test_the_ends_of_the_spectrum_of_a_quadratic(eigenvalues):
    x, loss = quadratic(eigenvalues)
    found = sharpness(loss, [x])
    assert found.largest == pytest.approx(max(eigenvalues), abs=1e-9)
    assert found.smallest == pytest.approx(min(eigenvalues), abs=1e-9)
    assert found.error < 1e-5


def test_an_eigenvalue_is_as_near_as_the_error_says():
    eigenvalues = torch.linspace(-1, 3, 60).tolist()
    for iterations in (2, 4, 8, 16):
        x, loss = quadratic(eigenvalues)
        found = sharpness(loss, [x], iterations=iterations)
        distance = min(abs(found.largest - e) for e in eigenvalues)
        assert distance <= found.error + 1e-12
        assert found.largest <= max(eigenvalues) + 1e-12
        assert found.smallest >= min(eigenvalues) - 1e-12
    assert found.error < 0.05


def network(norm):
    torch.manual_seed(0)
    model = init_normal_(MLP((5, 6, 6, 3), norm, activation=nn.Tanh)).double()
    x, y = torch.randn(20, 5, dtype=torch.float64), torch.arange(20) % 3
    return model, x, y


@pytest.mark.parametrize("norm", [None, "batch", "layer", "rms", "weight"])
def test_a_network_against_its_whole_hessian(norm):
    model, x, y = network(norm)
    names, parameters = zip(*model.named_parameters(), strict=True)
    sizes = [p.numel() for p in parameters]

    def loss(flat):
        parts = [v.view_as(p) for v, p in zip(flat.split(sizes), parameters, strict=True)]
        out = torch.func.functional_call(model, dict(zip(names, parts, strict=True)), (x,))
        return F.cross_entropy(out, y)

    flat = torch.cat([p.detach().flatten() for p in parameters])
    values = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))
    found = sharpness(F.cross_entropy(model(x), y), model.parameters(), iterations=60)
    assert found.largest == pytest.approx(values[-1].item(), rel=1e-8)
    assert found.smallest == pytest.approx(values[0].item(), rel=1e-6)


def test_of_some_parameters_the_others_held_fixed():
    a = torch.tensor(1.0, requires_grad=True)
    b = torch.tensor(1.0, requires_grad=True)
    loss = 3 * a**2 + 50 * b**2
    assert sharpness(loss, [a]).largest == pytest.approx(6)
    assert sharpness(loss, [a, b]).largest == pytest.approx(100)


def test_it_leaves_no_trace():
    model, x, y = network("batch")
    loss = F.cross_entropy(model(x), y)
    before, state = torch.random.get_rng_state(), [v.clone() for v in model.state_dict().values()]
    first, again = (sharpness(loss, model.parameters()) for _ in range(2))
    assert first == again
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(state, model.state_dict().values(), strict=True))
    assert all(p.grad is None for p in model.parameters())
    loss.backward()  # the graph is still there


def test_another_seed_finds_the_same():
    model, x, y = network("layer")
    loss = F.cross_entropy(model(x), y)
    values = [sharpness(loss, model.parameters(), iterations=40, seed=s).largest for s in range(3)]
    assert values == pytest.approx(values[:1] * 3, rel=1e-8)


def test_a_linear_loss_has_no_curvature():
    x = torch.ones(3, requires_grad=True)
    assert sharpness(x.sum(), [x]) == (0, 0, 0)
    unused = torch.ones(2, requires_grad=True)
    assert sharpness(x.square().sum(), [x, unused]).largest == pytest.approx(2)
    assert sharpness(x.sum(), [unused]) == (0, 0, 0)


def test_half_precision_is_iterated_in_float32():
    x = torch.ones(4, dtype=torch.bfloat16, requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.bfloat16)
    assert sharpness((weights * x * x).sum(), [x]).largest == pytest.approx(8, rel=0.01)


def test_what_is_not_finite_is_nan():
    x = torch.zeros(2, requires_grad=True)
    assert all(map(math.isnan, sharpness(x.sqrt().sum(), [x])))


def test_what_makes_no_sense_is_refused():
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="expects parameters; got none"):
        sharpness(x.sum(), [])
    for loss in (x, x.detach().sum(), 3.0):
        with pytest.raises(ValueError, match="expects a loss that is a single number"):
            sharpness(loss, [x])
    with pytest.raises(ValueError, match="iterations of at least 1"):
        sharpness(x.sum(), [x], iterations=0)


def test_a_product_is_a_column_of_the_hessian():
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    product = hessian_product(x[0] * x[1] * x[2], [x])
    columns = torch.stack([product(e) for e in torch.eye(3)])
    expected = torch.tensor([[0.0, 3, 2], [3, 0, 1], [2, 1, 0]])
    assert torch.equal(columns, expected)
