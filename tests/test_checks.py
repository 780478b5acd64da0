"""What is given as an argument is refused in words where it makes no sense."""

import math
from decimal import Decimal

import numpy as np
import pytest
import torch

from normtutorial.checks import classes, is_finite, pairs, positive, whole


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), torch.tensor(3)], ids=repr)
def test_a_whole_number_of_any_kind_becomes_one_of_python(value):
    assert type(whole("f", "n", value)) is int and whole("f", "n", value) == 3


@pytest.mark.parametrize(
    "value",
    [3.0, "3", None, True, np.True_, torch.tensor(True), torch.tensor(3.0), np.float64(3), [3]],
    ids=repr,
)
def test_what_is_no_whole_number_is_named(value):
    with pytest.raises(ValueError, match=r"f expects a whole number for n; got .+\."):
        whole("f", "n", value)


@pytest.mark.parametrize("least", [1, 0, -2])
def test_a_whole_number_has_a_lower_bound(least):
    assert whole("f", "n", least, least) == least
    with pytest.raises(ValueError, match=f"f expects n of at least {least}; got {least - 1}"):
        whole("f", "n", least - 1, least)


def test_without_a_lower_bound_any_will_do():
    assert whole("f", "n", -(10**30), least=None) == -(10**30)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), Decimal("0.5"), torch.tensor(0.5)])
def test_numbers_of_any_kind_are_numbers(value):
    assert is_finite(value) and positive("f", "x", value) == float(value)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, True, np.True_, "1", None, 1j, torch.ones(2), 10**400],
    ids=lambda value: str(value)[:9],
)
def test_what_is_no_finite_number_is_none(value):
    assert not is_finite(value)
    with pytest.raises(ValueError, match="f expects a positive, finite number for x; got"):
        positive("f", "x", value)


@pytest.mark.parametrize("value", [0, -1, -0.5])
def test_positive_is_above_0(value):
    with pytest.raises(ValueError, match=f"positive, finite number for x; got {value}"):
        positive("f", "x", value)


@pytest.mark.parametrize(
    "images, labels, got",
    [
        (torch.ones(3, 2), torch.ones(2), "3 images and 2 labels"),
        (torch.ones(3, 2), torch.tensor(1), "3 images and no labels"),
        (torch.tensor(1), torch.tensor(1), "no images and no labels"),
        (torch.ones(3), [1, 2, 3], "got Tensor and list"),
    ],
)
def test_images_and_labels_are_tensors_of_one_length(images, labels, got):
    with pytest.raises(ValueError, match=f"f expects .* test images? .*{got}|f expects .*{got}"):
        pairs("f", "test ", images, labels)


def test_a_class_may_be_given_for_each_position():
    scores, labels = torch.zeros(2, 5, 7), torch.randint(5, (9, 7))
    classes("f", "", scores, labels, entropy=True)
    with pytest.raises(ValueError, match=r"of shape \(9, 7\); got torch.int64 of shape \(9, 6\)"):
        classes("f", "", scores, labels[:, 1:], entropy=True)


def test_all_labels_may_be_missing():
    classes("f", "", torch.zeros(2, 5), torch.full((4,), -1), entropy=True, ignored=-1)
    classes("f", "", torch.zeros(2, 5), torch.empty(0, dtype=torch.int64), entropy=True)
