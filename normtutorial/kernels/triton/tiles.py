"""What both kinds of kernels share."""

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

OPTIONS = {"enable_fp_fusion": True}  # a product and a sum in one step; said, it needs no warning


@triton.jit
def load(x, here, inside, wide: tl.constexpr):
    """Numbers of ``x``, in the dtype that is computed in, and 0 where there are none."""
    return tl.load(x + here, inside, 0).to(wide)


@triton.jit
def again(x, here, inside, wide: tl.constexpr):
    """The same, from the cache, for the last time."""
    return tl.load(x + here, inside, 0, eviction_policy="evict_first").to(wide)


@cache
def multiprocessors(device: torch.device) -> int:
    """How many there are, each with some programs at a time. In the interpreter there is one."""
    if device.type == "cpu":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def statistics_of(x: Tensor, *shape: int) -> Tensor:
    """Memory for statistics, in the dtype that is computed in."""
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_empty(shape, dtype=wide)
