"""Settings of the recorded studies that no chapter trains again give what was recorded of them."""

import pytest

import chapters
from normtutorial import ImageData, digits, studies


@pytest.fixture(scope="module")
def data() -> ImageData:
    return digits("synthetic", device="cpu")


def first(name: str, setting: str) -> dict:
    """The first run of a setting that is recorded."""
    return studies.recorded(chapters.ROOT / "records" / f"{name}.json", "synthetic")[setting][0]


def quick(data: ImageData, tested: int) -> ImageData:
    return data.subset(len(data.train_images), tested)


def test_the_original_network_has_its_recorded_loss(data):
    """Two claims read its runs, and the chapter on comparison trains the other four again."""
    then = first("compare", "original")
    how = {"epochs": None, "steps": 67, "evaluate_every": 67, "progress": False}
    (run,) = studies.compare(["original"], data, seeds=[then["seed"]], **how)
    loss = sum(run.history.train_loss) / 67
    assert loss == pytest.approx(then["train_loss_mean"][0], rel=0.01)


@pytest.mark.parametrize("arm", ["gains without biases, SGD", "original without biases, SGD"])
def test_an_arm_of_the_audit_has_its_recorded_accuracy(data, arm):
    then = first("audit", arm)
    run = studies.audit(arm, quick(data, 2000), seed=then["seed"], steps=25)
    assert run.history.final_accuracy == pytest.approx(then["accuracy"][0], abs=0.2)


@pytest.mark.parametrize(
    "place", ["post, layer, 4 blocks, 0.02, warm-up", "pre, rms, 4 blocks, 0.003"]
)
def test_a_place_of_the_norm_has_its_recorded_accuracy(data, place):
    then = first("placed", place)
    run = studies.placed(place, quick(data, 2000), seed=then["seed"])
    assert run.history.final_accuracy == pytest.approx(then["accuracy"], abs=0.05)


@pytest.mark.parametrize("setting", studies.LEFT_OUT)
def test_what_takes_the_place_of_a_norm_has_its_recorded_first_loss(data, setting):
    then = first("left_out", setting)
    run = studies.left_out(setting, quick(data, 10), seed=then["seed"], steps=1)
    assert run.history.train_loss[0] == pytest.approx(then["first"], rel=0.01)
