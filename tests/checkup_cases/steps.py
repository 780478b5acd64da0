"""A step does something else than it seems."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .parts import batches, fault, mlp, norms_of, plain_step, points, trained


class Checkpointed(nn.Module):
    def __init__(self, model, again):
        super().__init__()
        self.model, self.again = model, again

    def forward(self, x):
        if self.again and self.training:
            return checkpoint(self.model, x, use_reentrant=False)
        return self.model(x)


@fault("updated-twice")
def memory_was_saved_by_checkpointing(broken):
    return {"model": Checkpointed(trained(), broken), "batches": batches()}


@fault("updated-twice")
def sharpness_aware_minimization_looks_twice(broken):
    model = trained()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def climb(sign):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(sign * 0.05 * kept[p])

    def step(batch):
        x, y = batch
        F.cross_entropy(model(x), y).backward()
        kept.update({p: p.grad.clone() for p in model.parameters()})
        optimizer.zero_grad()
        climb(1)
        for norm in norms_of(model):
            norm.momentum = 0.1 if broken else 0.0
        F.cross_entropy(model(x), y).backward()
        climb(-1)
        for norm in norms_of(model):
            norm.momentum = 0.1
        optimizer.step()

    kept: dict = {}
    return {"model": model, "batches": batches(), "step": step, "optimizer": optimizer}


@fault("frozen-drifts")
def the_backbone_was_frozen_by_requires_grad(broken):
    model = trained()
    model[:6].requires_grad_(False)
    model.train()
    if not broken:
        for norm in norms_of(model):
            norm.eval()
    return {"model": model, "batches": batches()}


@fault("frozen-drifts")
def train_undoes_the_freezing(broken):
    model = trained().requires_grad_(False)
    model[-1].requires_grad_(True)
    plain = plain_step(model, torch.optim.SGD(model[-1].parameters(), 0.1))

    def step(batch):
        model.train()
        for norm in norms_of(model):
            norm.train(broken)
        plain(batch)

    return {"model": model.eval(), "batches": batches(), "step": step}


@fault("left-in-eval")
def after_the_first_evaluation_it_never_trained_again(broken):
    model = trained().train()
    step = plain_step(model, torch.optim.SGD(model.parameters(), 0.1))

    def evaluate():
        model.eval()
        model(points(64, 7)[0])
        model.train(not broken)

    return {"model": model, "batches": batches(), "step": step, "evaluate": evaluate}


@fault("left-in-eval")
def the_loop_forgot_train(broken):
    model = trained().train(not broken)
    step = plain_step(model, torch.optim.SGD(model.parameters(), 0.1))
    return {"model": model, "batches": batches(), "step": step}


@fault("trained-in-evaluation")
def no_grad_was_taken_for_eval(broken):
    model = trained().train()

    def evaluate():
        model.train(broken)
        with torch.no_grad():
            model(points(64, 7)[0])
        model.train()

    return {"model": model, "batches": batches(), "evaluate": evaluate}


@fault("not-optimized")
def the_norms_were_forgotten_in_the_groups(broken):
    model = trained()
    chosen = [p for p in model.parameters() if p.ndim > 1 or not broken]
    return {"model": model, "batches": batches(), "optimizer": torch.optim.Adam(chosen)}


@fault("averaged-statistics")
def the_average_is_over_parameters_alone(broken):
    model, averaged = trained(), mlp()
    for mine, other in zip(averaged.parameters(), model.parameters(), strict=True):
        mine.data.copy_(other)
    if not broken:
        torch.optim.swa_utils.update_bn([x for x, _ in batches(first=50)], averaged)
    return {"model": model, "batches": batches(), "averaged": averaged}
