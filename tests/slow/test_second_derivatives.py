"""Second derivatives against finite differences of the first ones."""

import pytest
from torch.autograd import gradgradcheck

from test_gradients import FUNCTIONS, leaf

# torch's own, when it first takes a forward-mode derivative
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:Warning")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_second_derivatives_are_those_of_finite_differences(name):
    function, shape, affine = FUNCTIONS[name]
    inputs = leaf(*shape), leaf(*affine), leaf(*affine)
    assert gradgradcheck(function, inputs, check_fwd_over_rev=True)
