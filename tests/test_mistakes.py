"""The gallery of mistakes: each shows somewhere, reads well, and leaves no trace."""

import copy
import inspect
import re
import sys

import pytest
import torch
from torch import nn

import normtutorial
from normtutorial import MLP, BatchNorm, ImageData, WeightNormLinear, functional, training
from normtutorial.mistakes import MISTAKES, Mistake
from normtutorial.mistakes.steps import IN_STEPS

# What one sees of a public function or class: a list of tensors, numbers and words.


def tensors(*shapes, **options):
    torch.manual_seed(0)
    return [torch.randn(shape, dtype=torch.float64, **options) for shape in shapes]


def attempt(call, *args, **options):
    try:
        return [call(*args, **options)]
    except (ValueError, RuntimeError) as error:
        return [str(error)]


def with_gradients(f, *inputs):
    leaves = [x.clone().requires_grad_() for x in inputs]
    outputs = f(*leaves)
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    loss = sum((y.double() * torch.arange(y.numel()).view(y.shape)).sum() for y in outputs)
    if not loss.requires_grad:
        return [*outputs, "no gradient"]
    return [*outputs, *torch.autograd.grad(loss, leaves, allow_unused=True)]


def see_moments(f):
    (x,) = tensors((6, 4))
    far = f(x.float() + 5e3, (0,))
    return [*far, *f(x, (0,), correction=1), *with_gradients(lambda x: f(x, (0,)), x)]


def see_standardize(f):
    x, mean, var = tensors((6, 4), (1, 4), (1, 4))
    return [*f(x, mean, var.abs(), 0.1), *f(x, mean, var.abs(), 1e-5)]


def see_standardize_backward(f):
    g, x_hat, rstd = tensors((6, 4), (6, 4), (1, 4))
    return [f(g, x_hat, rstd, (0,), centered=centered) for centered in (True, False)]


def see_batch_norm(f):
    x, mean, weight, bias = tensors((3, 4, 4), (4,), (4,), (4,))
    found = []
    for on in True, False:
        buffers = mean.clone(), mean.square() + 0.5
        found += with_gradients(
            lambda x, w, b, on=on, buffers=buffers: f(
                x, *buffers, w, b, training=on, eps=0.01
            ),
            x, weight, bias,
        )  # fmt: skip
        found += [b for buffer in buffers for b in (buffer.detach(), buffer.requires_grad)]
    found += attempt(f, x[:1, :, 0], None, None, training=True)
    found += attempt(f, x, None, None)
    return [*found, f(x.float() + 5e3, None, None, training=True)]


def see_combine(f):
    mean, var = tensors((3, 4), (3, 4))
    return [x for n in ([1, 5, 2], [4, 4, 4]) for x in f(torch.tensor(n), mean, var.abs())]


def see_layer_norm(f):
    x, weight, bias = tensors((3, 2, 4, 4), (4, 4), (4, 4))
    found = with_gradients(lambda x, w, b: f(x, (4, 4), w, b, eps=0.01), x, weight, bias)
    return [*found, f(x.float() + 5e3, (4, 4)), f((100 * x).half(), (4, 4))]


def see_rms_norm(f):
    x, weight = tensors((3, 2, 4, 4), (4, 4))
    found = with_gradients(lambda x, w: f(x, (4, 4), w, eps=0.01), x, weight)
    return [*found, f(0 * x, (4, 4)), f((300 * x).half(), (4, 4))]


def see_instance_norm(f):
    return with_gradients(f, *tensors((3, 4, 5), (4,), (4,)))


def see_group_norm(f):
    x, weight, bias = tensors((3, 6, 5), (6,), (6,))
    return with_gradients(lambda x, w, b: f(x, 2, w, b), x, weight, bias)


def see_lengths(f):
    (v,) = tensors((3, 4))
    return [f(v, 0), f(v, 1), f(v, None), *attempt(f, 0 * v, 0)]


def see_weight_norm(f):
    return with_gradients(f, *tensors((3, 4), (3, 1)))


def see_weight_norm_backward(f):
    return list(f(*tensors((3, 4), (3, 4), (3, 1))))


def see_weight_norm_of_a_module(f):
    torch.manual_seed(0)
    layers = [f(nn.Linear(3, 2), dim=dim) for dim in (0, 1)]
    return [p.detach() for layer in layers for p in (*layer.parameters(), layer.weight)]


def see_data_dependent_init_(f):
    torch.manual_seed(0)
    model, x = MLP((4, 5, 3, 2), linear=WeightNormLinear), torch.randn(16, 4)
    return [f(model, x)(x).detach()]


def see_batch_norm_layer(f):
    layer, (x,) = f(4), tensors((6, 4))
    before, found = layer.running_mean, [*layer.state_dict()]
    layer.double()
    before = layer.running_mean
    for grad in True, False:
        for mode in True, False:
            with torch.set_grad_enabled(grad):
                found.append(layer.train(mode)(x).detach())
                found += [b.clone() for b in layer.buffers()]
    return [*found, layer.running_mean is before]


def see_layer_norm_layer(f):
    return [p.detach() for p in f(4).parameters()]


def see_mlp(f):
    return [str(f((4, 3, 2), BatchNorm))]


def see_init_normal_(f):
    torch.manual_seed(0)
    wide = nn.Linear(100, 10)
    return [f(wide, std).weight.detach().clone() for std in ("kaiming", 0.01)]


def toy():
    images, labels = torch.randn(20, 4), torch.arange(20) % 3
    return ImageData(images, labels, images + 1, labels, source="noise")


def see_evaluate(f):
    torch.manual_seed(0)
    model, data = MLP((4, 5, 3), BatchNorm), toy()
    scores = f(model, data.train_images, data.train_labels, batch_size=16)
    return [*scores, model.training, *model.buffers()]


def see_fit(f):
    torch.manual_seed(0)
    model, data, found = MLP((4, 5, 3), BatchNorm), toy(), []
    for seed in 0, 1:
        trained = copy.deepcopy(model)
        history = f(trained, data, epochs=2, batch_size=8, seed=seed, progress=False)
        found += [torch.tensor(history.train_loss).double(), *trained.buffers()]
    return found


def see_activation_probe(f):
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    with f(model):
        pass
    return [sum(len(m._forward_hooks) for m in model.modules())]


SEE = {
    functional.moments: see_moments,
    functional.standardize: see_standardize,
    functional.standardize_backward: see_standardize_backward,
    functional.batch_norm: see_batch_norm,
    functional.combine: see_combine,
    functional.layer_norm: see_layer_norm,
    functional.rms_norm: see_rms_norm,
    functional.instance_norm: see_instance_norm,
    functional.group_norm: see_group_norm,
    functional.lengths: see_lengths,
    functional.weight_norm: see_weight_norm,
    functional.weight_norm_backward: see_weight_norm_backward,
    normtutorial.weight_norm: see_weight_norm_of_a_module,
    normtutorial.data_dependent_init_: see_data_dependent_init_,
    normtutorial.BatchNorm: see_batch_norm_layer,
    normtutorial.LayerNorm: see_layer_norm_layer,
    normtutorial.MLP: see_mlp,
    normtutorial.init_normal_: see_init_normal_,
    normtutorial.evaluate: see_evaluate,
    normtutorial.fit: see_fit,
    normtutorial.ActivationProbe: see_activation_probe,
}


def same(seen, other) -> bool:
    def alike(a, b):
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            tolerance = 1e-9 if a.dtype == torch.float64 else 1e-2
            within = {"rtol": tolerance, "atol": tolerance, "equal_nan": True}
            return a.shape == b.shape and torch.allclose(a.double(), b.double(), **within)
        return a == b

    return len(seen) == len(other) and all(map(alike, seen, other))


EACH = pytest.mark.parametrize("mistake", MISTAKES.values(), ids=lambda mistake: mistake.name)


@EACH
def test_a_mistake_shows(mistake):
    (wrong,), (right,) = (attempt(SEE[mistake.seam], f) for f in (mistake.stand_in(), mistake.seam))
    assert not same(wrong, right)


@pytest.mark.parametrize("seam", SEE, ids=lambda seam: seam.__name__)
def test_without_a_mistake_nothing_shows(seam):
    assert same(SEE[seam](IN_STEPS.get(seam, seam)), SEE[seam](seam))


@EACH
def test_it_says_in_a_sentence_what_is_wrong(mistake):
    assert re.fullmatch(r"[A-Z0-9].+[.]", mistake.says, re.DOTALL)
    assert len(inspect.getsource(mistake.wrong).splitlines()) <= 20  # as a page can show it


@EACH
def test_by_name_and_signature_it_is_what_it_stands_in_for(mistake):
    stand_in = mistake.stand_in()
    assert stand_in.__name__ == mistake.seam.__name__
    assert inspect.signature(stand_in) == inspect.signature(mistake.seam)


def names():
    return {
        (path, name): value
        for path, module in sys.modules.items()
        if path.startswith("normtutorial")
        for name, value in vars(module).items()
    }


@EACH
def test_while_it_is_made_it_is_all_there_is_and_afterwards_it_is_gone(mistake):
    before = names()
    places = [place for place, value in before.items() if value is mistake.seam]
    public = {place for place in places if not place[0].startswith("normtutorial.mistakes")}
    with mistake.made() as stand_in:
        during = names()
        assert {place for place in places if during[place] is stand_in} == public
    assert names() == before
    assert public


def failing(mistake):
    with mistake.made():
        assert training.evaluate is not mistake.seam
        raise RuntimeError("in the midst of it")


def test_an_error_removes_it_too():
    mistake = MISTAKES["evaluate: left in eval mode"]
    with pytest.raises(RuntimeError, match="in the midst of it"):
        failing(mistake)
    assert training.evaluate is mistake.seam


def test_layers_use_the_wrong_formula_while_it_is_made():
    layer, x = BatchNorm(4, eps=1.0), torch.randn(6, 4)
    right = layer(x)
    with MISTAKES["batch_norm: eps outside the root"].made():
        assert (layer(x) - right).abs().max() > 0.1
    assert torch.equal(layer(x), right)


def test_a_mistake_is_a_value():
    mistake = next(iter(MISTAKES.values()))
    assert mistake == Mistake(mistake.name, mistake.seam, mistake.wrong, mistake.step)
