"""What both kinds of kernels share."""

import torch
import triton
import triton.language as tl
from torch import Tensor

OPTIONS = {"enable_fp_fusion": True}  # a product and a sum in one step; said, it needs no warning
PROGRAMS = 1056  # of four warps: eight for each of the 132 multiprocessors of an H100


@triton.jit
def load(x, here, inside, wide: tl.constexpr):
    """Numbers of ``x``, in the dtype that is computed in, and 0 where there are none."""
    return tl.load(x + here, inside, 0).to(wide)


def statistics_of(x: Tensor, *shape: int) -> Tensor:
    """Memory for statistics, in the dtype that is computed in."""
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_empty(shape, dtype=wide)
