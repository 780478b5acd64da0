"""Many networks that are well, and those of others: a checkup is to say nothing of them."""

import pytest
import torch
import torchvision
from torch import nn

from checkup_cases import FAULTS, batches, mlp
from checkup_random import random_network
from normtutorial import checkup


def test_of_100_random_networks_that_are_well_none_has_a_fault():
    found = {}
    for seed in range(1000, 1100):
        report = checkup(**random_network(seed))
        assert not report.errors, report.errors
        if report.faults:
            found[seed] = str(report)
    assert not found


MODELS: dict[str, dict] = {
    "resnet18": {}, "vgg11_bn": {}, "densenet121": {}, "mobilenet_v3_small": {},
    "shufflenet_v2_x0_5": {}, "efficientnet_b0": {}, "regnet_y_400mf": {}, "convnext_tiny": {},
    "swin_t": {}, "vit_b_16": {"image_size": 32}, "squeezenet1_1": {}, "mnasnet0_5": {},
    "googlenet": {"init_weights": False},
}  # fmt: skip


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_new_models_of_torchvision_are_well(name, training):
    torch.manual_seed(0)
    options = {"num_classes": 10, **MODELS[name]}
    model = getattr(torchvision.models, name)(weights=None, **options).train(training)
    side = 32 if "image_size" in options else 64
    data = [(torch.randn(16, 3, side, side), torch.randint(10, (16,))) for _ in range(2)]
    report = checkup(model, data)
    assert not report.faults, str(report)
    assert not report.errors


@pytest.mark.parametrize("training", [False, True])
def test_a_trained_residual_network_is_well_until_its_statistics_are_lost(training):
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None, num_classes=4)

    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        y = torch.randint(4, (16,), generator=generator)
        x = torch.randn(16, 3, 32, 32, generator=generator)
        return x + nn.functional.one_hot(y, 4).float()[:, :3, None, None], y

    optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
    for i in range(60):
        x, y = draw(i)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    model.train(training)
    data = [draw(1000 + i) for i in range(6)]
    assert not checkup(model, data).faults
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    assert [fault.name for fault in checkup(model, data).faults] == ["statistics-untouched"]


def test_compiled_models_are_looked_into():
    arguments = FAULTS["only_the_parameters_were_saved"].make(True)
    arguments["model"] = torch.compile(arguments["model"], backend="eager")
    assert [fault.layer for fault in checkup(**arguments).faults] == ["1"]
    assert not checkup(torch.compile(mlp(), backend="eager"), batches()).faults


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_on_a_gpu_and_its_generators_are_as_before(name):
    arguments = FAULTS[name].make(True)
    if "step" in arguments or "evaluate" in arguments or "optimizer" in arguments:
        pytest.skip("its data stay on the CPU")
    for key in "model", "averaged":
        if key in arguments:
            arguments[key].cuda()
    before = torch.cuda.get_rng_state_all()
    report = checkup(**arguments)
    assert [fault.name for fault in report.faults] == [FAULTS[name].finds]
    assert all(map(torch.equal, torch.cuda.get_rng_state_all(), before))
