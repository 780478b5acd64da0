"""The layers beside torch's, at the scales of the input that tests/test_layers.py leaves out."""

import pytest

from test_layers import PAIRS, assert_in_step


@pytest.mark.parametrize("scale", [1.0, 1e3])
@pytest.mark.parametrize("ours, theirs, shape", PAIRS)
def test_layer_walks_in_step_with_torch(ours, theirs, shape, scale):
    assert_in_step(ours, theirs, shape, scale)
