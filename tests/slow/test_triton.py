"""The kernels in Triton compute what they should, and compile for a GPU, if there is one or not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton", reason="triton comes with torch for CUDA on Linux")


def test_they_compute_what_they_should():
    """Compiled on a GPU; else in Triton's interpreter, to be chosen before triton is imported."""
    interpreted = {} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}
    cases = Path(__file__).with_name("triton_cases.py")
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", cases]
    run = subprocess.run(command, env=os.environ | interpreted, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-10_000:] + run.stderr[-1000:]
    assert " passed" in run.stdout


def sources(dtype: str, statistics: str):
    """Each kernel, with the types of its arguments and what is known when it is compiled: a pointer
    to what a name says, a number, or a constant."""
    from normtutorial.kernels.triton import columns, rows

    pointers = dict.fromkeys(("x", "weight", "bias", "y", "grad", "grad_x"), dtype)
    pointers |= dict.fromkeys(("stats", "parts", "sums", "grad_weight", "grad_bias"), statistics)
    constants = {"eps": 1e-5, "ROWS": 2, "WIDTH": 1024}
    constants |= {"SAMPLES": 16, "CHANNELS": 4, "POSITIONS": 8, "PARTS": 4}
    for kernel in (
        rows.forward_rows, rows.backward_rows, columns.moments_of_parts, columns.forward_columns,
        columns.sums_of_parts, columns.backward_columns,
    ):  # fmt: skip
        for known in ({"CENTERED": True}, {"CENTERED": False, "bias": None, "grad_bias": None}):
            if kernel in (rows.forward_rows, rows.backward_rows) or known["CENTERED"]:
                yield kernel, pointers, constants | known


@pytest.mark.parametrize("dtype", ["bf16", "fp64"])
def test_they_compile_for_a_gpu(dtype, tmp_path, monkeypatch):
    """The interpreter is Python: it does not know what Triton's compiler refuses."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from normtutorial.kernels.triton import tiles

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    made = 0
    for kernel, pointers, constants in sources(dtype, "fp64" if dtype == "fp64" else "fp32"):
        types, known = {}, {}
        for place, name in enumerate(kernel.arg_names):
            if name in constants:
                types[name], known[(place,)] = "constexpr", constants[name]
            else:
                types[name] = f"*{pointers[name]}" if name in pointers else "i32"
        source = ASTSource(kernel, types, known)
        options = {"num_warps": 4, **tiles.OPTIONS}
        compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        made += "cubin" in compiled.asm
    assert made == 8
