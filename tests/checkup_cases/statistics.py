"""It trains, but eval is garbage."""

import torch

from .parts import batches, convnet, fault, images, mlp, norms_of, points, train, trained


@fault("statistics-untouched")
def only_the_parameters_were_saved(broken):
    model = trained()
    if broken:
        new = mlp()
        new.load_state_dict(dict(model.named_parameters()), strict=False)
        model = new
    return {"model": model.eval(), "batches": batches()}


@fault("statistics-untouched")
def the_buffers_of_one_block_were_lost(broken):
    model = trained(convnet, images)
    if broken:
        model[1].reset_running_stats()
    return {"model": model.eval(), "batches": batches(images)}


@fault("statistics-untouched")
def the_statistics_were_never_loaded_and_nobody_has_labels(broken):
    model = trained(convnet, images)
    if broken:
        for norm in norms_of(model):
            norm.reset_running_stats()
    return {"model": model.eval(), "batches": [x for x, _ in batches(images)]}


@fault("statistics-young")
def the_momentum_was_a_thousandth(broken):
    model = mlp()
    for norm in norms_of(model):
        norm.momentum = 0.001 if broken else 0.1
    return {"model": train(model), "batches": batches()}


@fault("statistics-young")
def it_was_evaluated_after_twenty_large_steps(broken):
    model = convnet()
    for norm in norms_of(model):
        norm.momentum = 0.01
    train(model, images, steps=40, lr=0.02)
    if not broken:
        torch.optim.swa_utils.update_bn([x for x, _ in batches(images, first=50)], model)
    return {"model": model, "batches": batches(images)}


@fault("statistics-stale")
def the_weights_were_tuned_on_with_statistics_that_stood_still(broken):
    model = trained()
    train(model, steps=1)
    for norm in norms_of(model):
        norm.momentum = 0.0 if broken else 0.1
    train(model, steps=150, lr=0.05)
    for norm in norms_of(model):
        norm.momentum = 0.1
    return {"model": model, "batches": batches()}


@fault("statistics-stale")
def it_meets_the_data_of_another_hospital(broken):
    model = trained()
    shift = torch.linspace(-3, 3, 12)[torch.randperm(12, generator=torch.manual_seed(0))]
    data = [(x + shift * broken, y) for x, y in batches()]
    return {"model": model, "batches": data}


@fault("input-scale")
def pictures_of_bytes_for_a_network_that_knows_0_to_1(broken):
    data = [(x * 255 if broken else x, y) for x, y in batches(images)]
    return {"model": trained(convnet, images), "batches": data}


@fault("input-scale")
def the_pictures_were_normalized_twice(broken):
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.2, 0.2, 0.2)))

    def normalized(n, seed):
        x, y = images(n, seed)
        return (x - mean) / std, y

    model = trained(convnet, normalized)
    data = batches(normalized)
    return {"model": model, "batches": [((x - mean) / std if broken else x, y) for x, y in data]}


@fault("momentum-convention")
def momentum_was_copied_from_another_framework(broken):
    model = mlp()
    for norm in norms_of(model):
        norm.momentum = 0.99 if broken else 0.01
    train(model, steps=300)
    model(3 * points(4, 5)[0] + 2)  # the last batch
    return {"model": model, "batches": batches()}


@fault("momentum-convention")
def momentum_was_0(broken):
    model = mlp()
    for norm in norms_of(model):
        norm.momentum = 0.0 if broken else 0.1
    return {"model": train(model), "batches": batches()}


@fault("dropout-before-batch-norm")
def dropout_stands_before_batch_norm(broken):
    model = mlp(dropout=0.8)
    if not broken:
        model[3].p = 0.0
    return {"model": train(model, steps=400), "batches": batches()}


@fault("ignored-flag")
def the_flag_was_taken_away_after_the_layer_was_made(broken):
    model = trained()
    for norm in norms_of(model):
        norm.track_running_stats = not broken
    return {"model": model, "batches": batches()}
