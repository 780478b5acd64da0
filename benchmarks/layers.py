"""`make bench`, second part: each layer, forward and backward, as ratios within one run.

Ours stands beside torch's, and beside the form that is common in teaching code: mean, variance,
subtract, divide, scale and shift as plain tensor operations under autograd. Ways to compute the
same take turns; a figure is the median of the ratios of the rounds. Memory is what forward keeps
for backward, counted, not measured. The result goes to benchmarks/results/.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn

from normtutorial import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm, WeightNormLinear
from normtutorial.runtime import threads
from timing import Run, alternate, graphed, ratio, table, write

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = [(128, 512), (4096, 1024), (32, 64, 56, 56)]
KINDS = {
    "ours / plain operations": ("ours", "plain"),
    "ours / torch's": ("ours", "torch"),
    "ours compiled / torch's": ("compiled", "torch"),
    "torch's compiled / torch's": ("torch, compiled", "torch"),
}
TARGETS = {
    "ours / torch's, layer norm (4096, 1024), 1 thread": 3.6,
    "ours compiled / torch's, layer norm (4096, 1024), 1 thread": 1.45,
    "ours compiled / torch's, layer norm (4096, 1024), GPU": 1.1,
}


class Plain(nn.Module):
    """A normalization in plain tensor operations over ``dims``, derived by autograd."""

    def __init__(
        self, dims: tuple[int, ...], shape: tuple[int, ...] | None, centered: bool = True
    ) -> None:
        super().__init__()
        self.dims, self.centered, self.affine = dims, centered, shape is not None
        if shape is not None:
            self.weight = nn.Parameter(torch.ones(shape))
            self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        if self.centered:
            x = x - x.mean(self.dims, keepdim=True)
        var = (x * x).mean(self.dims, keepdim=True)
        y = x / torch.sqrt(var + 1e-5)
        if not self.affine:
            return y
        return y * self.weight + self.bias if self.centered else y * self.weight


def layers(shape: tuple[int, ...]) -> dict[str, tuple[nn.Module, nn.Module, nn.Module]]:
    """Ours, torch's and the plain one, for each normalization that takes the shape. A bare layer
    has neither weight nor bias."""
    _, c, *positions = shape
    if positions:
        per_channel = (1, c, *[1] * len(positions))
        return {
            "batch": (BatchNorm(c), nn.BatchNorm2d(c), Plain((0, 2, 3), per_channel)),
            "instance": (InstanceNorm(c, affine=True), nn.InstanceNorm2d(c, affine=True),
                         Plain((2, 3), per_channel)),
            "group": (GroupNorm(c, c), nn.GroupNorm(c, c), Plain((2, 3), per_channel)),
        }  # fmt: skip
    return {
        "batch": (BatchNorm(c), nn.BatchNorm1d(c), Plain((0,), (c,))),
        "layer": (LayerNorm(c), nn.LayerNorm(c), Plain((-1,), (c,))),
        "bare layer": (
            LayerNorm(c, elementwise_affine=False),
            nn.LayerNorm(c, elementwise_affine=False),
            Plain((-1,), None),
        ),
        "rms": (RMSNorm(c, eps=1e-5), nn.RMSNorm(c, eps=1e-5), Plain((-1,), (c,), centered=False)),
    }


class PlainWeightNorm(nn.Linear):
    """Weight norm in plain tensor operations; ``weight`` is the direction."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.length = nn.Parameter(torch.ones(outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        length = torch.sqrt((self.weight * self.weight).sum(1, keepdim=True))
        return nn.functional.linear(x, self.length * self.weight / length, self.bias)


def weight_norm_layers() -> tuple[nn.Module, nn.Module, nn.Module]:
    theirs = nn.utils.parametrizations.weight_norm(nn.Linear(512, 512))
    return WeightNormLinear(512, 512), theirs, PlainWeightNorm(512, 512)


def step(model: nn.Module, x: Tensor, upstream: Tensor) -> Run:
    def run() -> None:
        x.grad = None
        model(x).backward(upstream)

    return run


def kept(model: nn.Module, x: Tensor) -> int:
    """Bytes that forward keeps for backward, parameters left out."""
    exists = {p.untyped_storage().data_ptr() for p in model.parameters()}
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in exists:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(x)
    return sum(sizes.values())


def compare(
    layer: str,
    modules: tuple[nn.Module, ...],
    shape: tuple[int, ...],
    place: str,
    rounds: int,
    least: float,
    compiled: bool,
) -> list[dict]:
    """The ratios of one layer on inputs of one shape, which is that of its outputs, too."""
    x = torch.randn(shape, device=DEVICE, requires_grad=True)
    upstream = torch.randn(shape, device=DEVICE)
    ours, theirs, plain = (module.to(DEVICE) for module in modules)
    ways: dict[str, Callable[[Tensor], Tensor]] = {"ours": ours, "torch": theirs, "plain": plain}
    if compiled:
        ways |= {"compiled": torch.compile(ours), "torch, compiled": torch.compile(theirs)}
    runs = {way: step(module, x, upstream) for way, module in ways.items()}
    rows = ratios(runs, f"{layer}, {place}", rounds, least)
    if DEVICE == "cuda":
        graphs = {way: graphed(run) for way, run in runs.items()}
        rows += ratios(graphs, f"{layer}, CUDA graph", rounds, least)
    return rows


def ratios(runs: dict[str, Run], where: str, rounds: int, least: float) -> list[dict]:
    """The comparisons of a layer, each with its target if it has one."""
    seconds = alternate(runs, rounds, least)
    return [
        ratio(f"{kind}, {where}", seconds[above], seconds[below], target(kind, where))
        for kind, (above, below) in KINDS.items()
        if above in runs
    ]


def target(kind: str, where: str) -> float | None:
    """Of plain operations every layer is asked to be faster, where memory is what counts."""
    if kind == "ours / plain operations":
        return 1 / 1.3 if "(4096, 1024)" in where and "graph" not in where else None
    return TARGETS.get(f"{kind}, {where}")


def memory() -> list[dict]:
    """Bytes kept for each element that is normalized: of the input, or of the weight."""
    cases = {
        f"{norm} norm {shape}": (modules, torch.randn(shape, requires_grad=True), 0)
        for shape in ((4096, 1024), (32, 64, 56, 56))
        for norm, modules in layers(shape).items()
    }
    one = torch.randn(1, 512, requires_grad=True)  # kept, whatever the weight is made of
    cases["weight norm of 512 x 512"] = weight_norm_layers(), one, one.nbytes
    rows = []
    for name, (modules, x, input_bytes) in cases.items():
        elements = 512 * 512 if "weight" in name else x.numel()
        figures = [(kept(module, x) - input_bytes) / elements for module in modules]
        rows.append({"name": name, **dict(zip(("ours", "torch", "plain"), figures, strict=True))})
    return rows


def growth(rounds: int, least: float) -> list[dict]:
    """Milliseconds of a step as the work grows, with layer norm of ours and torch's: one layer with
    more features or a larger batch, and a network of more linear layers, each with its norm."""
    rows = []
    for axis, sizes in (
        ("features", [2**k for k in range(6, 13)]),
        ("batch", [2**k for k in range(4, 13)]),
        ("depth", [2**k for k in range(6)]),
    ):
        for size in sizes:
            n, d = {"features": (512, size), "batch": (size, 512), "depth": (128, 256)}[axis]
            x = torch.randn(n, d, device=DEVICE, requires_grad=True)
            upstream = torch.randn(n, d, device=DEVICE)
            runs = {}
            for name, norm in ("ours", LayerNorm), ("torch", nn.LayerNorm), ("none", nn.Identity):
                parts = [norm(d)]
                if axis == "depth":
                    parts = [f for _ in range(size) for f in (nn.Linear(d, d), norm(d), nn.ReLU())]
                elif name == "none":
                    continue
                runs[name] = step(nn.Sequential(*parts).to(DEVICE), x, upstream)
            seconds = alternate(runs, rounds, least)
            medians = {name: 1e3 * statistics.median(s) for name, s in seconds.items()}
            rows.append({"axis": axis, "size": size, **medians})
    return rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument(
        "--quick", action="store_true", help="small and short, to see that it runs"
    )
    args = options.parse_args()
    rounds, least = (1, 0.0) if args.quick else (7, 0.1)
    default = torch.get_num_threads()
    rows = []
    for n in (1,) if DEVICE == "cuda" else dict.fromkeys((1, default)):
        place = "GPU" if DEVICE == "cuda" else f"{n} thread{'s' * (n > 1)}"
        how = place, rounds, least, not args.quick
        with threads(n):
            for shape in [(8, 16)] if args.quick else SHAPES:
                torch._dynamo.reset()
                for norm, modules in layers(shape).items():
                    rows += compare(f"{norm} norm {shape}", modules, shape, *how)
            rows += compare("weight norm of 512 x 512", weight_norm_layers(), (128, 512), *how)
    table(rows)
    if args.quick:
        return
    with threads(1):
        kept_bytes, grown = memory(), growth(5, 0.05)
    print("\nbytes kept for backward, for each element that is normalized:")
    for row in kept_bytes:
        figures = "".join(f"   {name} {row[name]:5.2f}" for name in ("ours", "torch", "plain"))
        print(f"  {row['name']:32}{figures}")
    write("layers", {"rounds": rounds, "rows": rows, "memory": kept_bytes, "growth": grown})


if __name__ == "__main__":
    main()
