"""They are well."""

import copy
import functools

import torch
from torch import nn
from torch.nn import functional as F

from .company import TwoEyes
from .parts import (
    CLASSES,
    batches,
    convnet,
    healthy,
    images,
    mlp,
    norms_of,
    plain_step,
    points,
    series,
    tokens,
    train,
    trained,
)


@healthy
def new_mlp():
    return {"model": mlp(), "batches": batches()}


@healthy
def new_mlp_in_eval():
    return {"model": mlp().eval(), "batches": batches()}


@healthy
def trained_mlp():
    return {"model": trained(), "batches": batches()}


@healthy
def trained_mlp_in_eval_without_targets():
    return {"model": trained().eval(), "batches": [x for x, _ in batches()]}


@healthy
def trained_convnet_with_its_step_and_optimizer():
    model = trained(convnet, images).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)

    def evaluate():
        model.eval()
        model(images(64, 7)[0])
        model.train()

    step = plain_step(model, optimizer)
    return {
        "model": model,
        "batches": batches(images),
        "step": step,
        "evaluate": evaluate,
        "optimizer": optimizer,
    }


@healthy
def batches_of_one_with_layer_norm():
    return {"model": trained(norm=nn.LayerNorm), "batches": batches(n=1)}


@healthy
def batches_of_one_with_group_norm():
    model = convnet(functools.partial(nn.GroupNorm, 4))
    return {"model": model, "batches": batches(images, n=1)}


@healthy
def batches_of_one_with_rms_norm():
    return {"model": mlp(nn.RMSNorm), "batches": batches(n=1)}


@healthy
def a_trained_batch_norm_asked_one_by_one():
    return {"model": trained().eval(), "batches": batches(n=1)}


@healthy
def properly_frozen():
    model = trained().train()
    for norm in norms_of(model):
        norm.eval().requires_grad_(False)
    return {"model": model, "batches": batches()}


@healthy
def recalibrated_by_update_bn():
    model = trained()
    torch.optim.swa_utils.update_bn([x for x, _ in batches(first=50)], model)
    return {"model": model, "batches": batches()}


@healthy
def momentum_none():
    model = mlp(functools.partial(nn.BatchNorm1d, momentum=None))
    return {"model": train(model, steps=300, lr=0.003), "batches": batches()}


class AdaIN(nn.Module):
    """By F.batch_norm on buffers to be thrown away: each sample and channel by itself."""

    def __init__(self, width):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.bias = nn.Parameter(torch.randn(width))

    def forward(self, x):
        n, c, *size = x.shape
        mean, var = self.running_mean.repeat(n), self.running_var.repeat(n)
        y = F.batch_norm(x.reshape(1, n * c, *size), mean, var, training=True)
        return y.view_as(x) + self.bias[:, None, None]


class AdaptiveInstanceNorm(AdaIN):
    pass


@healthy
def adaptive_instance_norm_with_dummy_buffers():
    return {
        "model": trained(convnet, images, norm=AdaptiveInstanceNorm),
        "batches": batches(images),
    }


@healthy
def layer_norm_over_the_whole_picture():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.LayerNorm((8, 6, 6)), nn.Flatten(), nn.Linear(288, 4)
    )
    return {"model": model, "batches": batches(images)}


@healthy
def only_the_last_batch_norm_trains():
    model = trained(convnet, images).requires_grad_(False).eval()
    model[4].requires_grad_(True)
    model[4].train()
    return {"model": model, "batches": batches(images)}


@healthy
def instance_norm():
    return {"model": trained(convnet, images, norm=nn.InstanceNorm2d), "batches": batches(images)}


@healthy
def instance_norm_that_remembers():
    norm = functools.partial(nn.InstanceNorm2d, track_running_stats=True, affine=True)
    return {"model": train(convnet(norm), images), "batches": batches(images)}


@healthy
def shuffled_batches_of_sixteen():
    return {"model": trained(), "batches": batches(n=16)}


@healthy
def an_untrained_generator_of_noise():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.ConvTranspose2d(10, 16, 4), nn.BatchNorm2d(16), nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    for norm in norms_of(model):
        nn.init.normal_(norm.weight, 1.0, 0.02)
    return {"model": model, "batches": [torch.randn(16, 10, 1, 1) for _ in range(8)]}


@healthy
def gradients_are_accumulated_with_layer_norm():
    model = trained(norm=nn.LayerNorm).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def step(batch):
        optimizer.zero_grad()
        for x, y in zip(batch[0].chunk(4), batch[1].chunk(4), strict=True):
            F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return {"model": model, "batches": batches(), "step": step}


@healthy
def gradients_are_accumulated_with_batch_norm():
    return gradients_are_accumulated_with_layer_norm() | {"model": trained().train()}


@healthy
def a_second_look_whose_statistics_are_put_back():
    model = trained().train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def step(batch):
        x, y = batch
        optimizer.zero_grad()
        kept = copy.deepcopy(list(model.buffers()))
        model(x)
        for buffer, before in zip(model.buffers(), kept, strict=True):
            buffer.copy_(before)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return {"model": model, "batches": batches(), "step": step, "optimizer": optimizer}


class Answer:
    def __init__(self, logits, hidden):
        self.logits, self.hidden, self.loss = logits, hidden, None


class Encoder(nn.Module):
    """Called with a dict, puts out an object."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(20, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, input_ids, attention_mask=None):
        hidden = self.encoder(self.embedding(input_ids))
        return Answer(self.head(hidden.mean(1)), hidden)


@healthy
def a_transformer_with_a_dict_in_and_an_object_out():
    return {"model": Encoder(), "batches": [({"input_ids": x}, y) for x, y in batches(tokens)]}


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.lstm = nn.LSTM(6, 16, batch_first=True)
        self.norm, self.head = nn.BatchNorm1d(16), nn.Linear(16, CLASSES)

    def forward(self, x):
        return self.head(self.norm(self.lstm(x)[0][:, -1]))


@healthy
def a_recurrent_network():
    return {"model": trained(Recurrent, series), "batches": batches(series)}


class TimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.norm, self.head = nn.GRU(6, 16), nn.LayerNorm(16), nn.Linear(16, 6)

    def forward(self, x):
        return self.head(self.norm(self.rnn(x)[0]))


@healthy
def a_recurrent_network_with_time_first():
    return {"model": TimeFirst(), "batches": [torch.randn(10, 16, 6) for _ in range(4)]}


@healthy
def two_views_share_their_norms():
    model = TwoEyes(own=False)
    data = [((x, points(32, 500 + i)[0]), y) for i, (x, y) in enumerate(batches())]
    return {"model": model, "batches": data}


@healthy
def half_precision():
    return {"model": trained(norm=nn.LayerNorm).bfloat16(), "batches": batches()}


@healthy
def regression():
    model = nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 1))
    data = [(x, x[:, :1]) for x, _ in batches()]
    return {"model": model, "batches": data}


class Contrasts(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = mlp(nn.LayerNorm), mlp(nn.LayerNorm)

    def forward(self, a, b):
        return self.left(a) @ self.right(b).T


@healthy
def every_sample_is_compared_with_every_other():
    return {"model": Contrasts(), "batches": [(x, x.flip(1)) for x, _ in batches()]}


@healthy
def samples_are_drawn_in_eval():
    class Draws(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp()

        def forward(self, x):
            y = self.body(x)
            return y + torch.randn_like(y)

    return {"model": Draws(), "batches": batches()}


@healthy
def no_norm_at_all():
    return {"model": nn.Linear(12, CLASSES), "batches": batches()}
