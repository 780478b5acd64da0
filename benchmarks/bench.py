"""`make bench`: how fast training is, as ratios measured in alternation within one run.

Every row compares two or more ways to do the same work. They take turns, several rounds, so that a
busy machine slows all alike; the figure is the median of the ratios of the rounds. A missed target
is printed, and the exit code is 0 all the same: times depend on the machine. The result goes to
benchmarks/results/.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from normtutorial import (
    MLP,
    ActivationProbe,
    BatchNorm,
    GradientProbe,
    ImageData,
    LayerNorm,
    OriginalNet,
    WeightNormLinear,
    digits,
    fit,
)
from normtutorial.runtime import threads
from normtutorial.studies import WIDTHS
from timing import alternate, ratio, summary, table, write

BATCH = 128
NORMS = {"batch": (BatchNorm, nn.BatchNorm1d), "layer": (LayerNorm, nn.LayerNorm)}
LIMIT = ("products", "Adam's step", "reading")  # no step of the plain network does without


class Digits(torch.utils.data.Dataset):
    """PIL images, made tensors one by one: what torchvision's MNIST does with ToTensor."""

    def __init__(self, data: ImageData) -> None:
        from PIL import Image
        from torchvision.transforms import ToTensor

        self.from_array, self.to_tensor = Image.fromarray, ToTensor()
        self.images = (data.train_images[:, 0] * 255).round().byte().cpu()
        self.labels = data.train_labels.cpu()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.from_array(self.images[index].numpy())
        return self.to_tensor(image), int(self.labels[index])


def original_loop(data: ImageData, steps: int) -> Callable[[], None]:
    """The original notebook's loop: a DataLoader, an image at a time, model.forward, plain Adam."""
    loader = torch.utils.data.DataLoader(Digits(data), batch_size=BATCH, shuffle=True)
    device = data.device
    model = OriginalNet().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    loss_fn = nn.CrossEntropyLoss()

    def run() -> None:
        for _, (inputs, labels) in zip(range(steps), loader, strict=False):
            optimizer.zero_grad()
            outputs = model.forward(inputs.to(device).reshape(-1, 784))
            loss_fn(outputs, labels.to(device)).backward()
            optimizer.step()

    return run


def our_loop(
    data: ImageData, steps: int, model: nn.Module, *, probed: bool = False, compiled: bool = False
) -> Callable[[], None]:
    """`fit` for some steps; the evaluation is kept to two images."""
    data = data.subset(len(data.train_images), 2)
    model = model.to(data.device)
    if compiled:
        model.compile()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001, fused=True)

    def run() -> None:
        probes = (ActivationProbe(model), GradientProbe(model)) if probed else ()
        settings = {"steps": steps, "batch_size": BATCH, "progress": False}
        fit(model, data, optimizer=optimizer, probes=probes, **settings)

    return run


def matrix_products(data: ImageData, steps: int) -> Callable[[], None]:
    """The products that the steps cannot do without: forward, and both gradients of each layer."""
    device = data.device
    pairs = list(pairwise(WIDTHS))
    weights = [torch.randn(b, a, device=device) for a, b in pairs]
    inputs = [torch.randn(BATCH, a, device=device) for a, _ in pairs]
    grads = [torch.randn(BATCH, b, device=device) for _, b in pairs]

    def run() -> None:
        for _ in range(steps):
            for i, (w, x, g) in enumerate(zip(weights, inputs, grads, strict=True)):
                x @ w.T
                g.T @ x
                if i > 0:  # nobody asks for the gradient of the images
                    g @ w

    return run


def optimizer_steps(data: ImageData, steps: int) -> Callable[[], None]:
    """Adam's fused update of the plain network's parameters, the gradients being there."""
    parameters = list(MLP(WIDTHS).to(data.device).parameters())
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimizer = torch.optim.Adam(parameters, lr=0.001, fused=True)

    def run() -> None:
        for _ in range(steps):
            optimizer.step()

    return run


def batch_reading(data: ImageData, steps: int) -> Callable[[], None]:
    """A random order, and the images and labels of each batch."""

    def run() -> None:
        order = torch.randperm(len(data.train_images))
        for _, batch in zip(range(steps), order.split(BATCH), strict=False):
            batch = batch.to(data.device)
            data.train_images[batch], data.train_labels[batch]

    return run


def torch_weight_norm(a: int, b: int) -> nn.Module:
    return nn.utils.parametrizations.weight_norm(nn.Linear(a, b))


def arms(data: ImageData, steps: int) -> dict[str, Callable[[], None]]:
    """All ways to train for some steps. Those that are compared stand side by side."""
    ours = partial(our_loop, data, steps)
    return {
        "original": original_loop(data, steps),
        "ours, original": ours(OriginalNet()),
        "ours, none": ours(MLP(WIDTHS)),
        "products": matrix_products(data, steps),
        "Adam's step": optimizer_steps(data, steps),
        "reading": batch_reading(data, steps),
        "probed, batch": ours(MLP(WIDTHS, BatchNorm), probed=True),
        "ours, batch": ours(MLP(WIDTHS, BatchNorm)),
        "torch, batch": ours(MLP(WIDTHS, nn.BatchNorm1d)),
        "ours, layer": ours(MLP(WIDTHS, LayerNorm)),
        "torch, layer": ours(MLP(WIDTHS, nn.LayerNorm)),
        "ours, weight": ours(MLP(WIDTHS, linear=WeightNormLinear)),
        "torch, weight": ours(MLP(WIDTHS, linear=torch_weight_norm)),
    }


def compiled_arms(data: ImageData, steps: int, norm: str) -> dict[str, Callable[[], None]]:
    """The whole network compiled, with our layers and with torch's."""
    torch.compiler.reset()  # it compiles eight times at most, then runs as ever
    pair = zip(("ours", "torch"), NORMS[norm], strict=True)
    return {
        f"{whose}, {norm}, compiled": our_loop(data, steps, MLP(WIDTHS, layer), compiled=True)
        for whose, layer in pair
    }


def limit(seconds: dict[str, list[float]]) -> list[float]:
    """What the plain network's steps take at least: in each round the sum of the parts."""
    return [sum(parts) for parts in zip(*(seconds[part] for part in LIMIT), strict=True)]


def rows(seconds: dict[str, list[float]], n: int) -> Iterator[dict]:
    """The comparisons of what was timed with ``n`` threads, each at most its target. The original
    loop is no target: it mostly loads images, which some machines do fast."""
    label = "1 thread" if n == 1 else f"{n} threads"
    eager = 1.12 if n == 1 else 1.2  # some twenty operations against two, each begun by all threads
    for name, above, below, target in (
        ("our loop / original loop, the original's network", "ours, original", "original", None),
        ("our loop without norm / original loop", "ours, none", "original", None),
        ("our loop without norm / its limit", "ours, none", "limit", 1.15),
        ("our batch norm / torch's", "ours, batch", "torch, batch", eager),
        ("our layer norm / torch's", "ours, layer", "torch, layer", eager),
        ("our weight norm / torch's", "ours, weight", "torch, weight", eager),
        *(
            (f"our {norm} norm / torch's, both compiled",
             f"ours, {norm}, compiled", f"torch, {norm}, compiled", 1.05)
            for norm in NORMS
        ),
        ("with both probes / without", "probed, batch", "ours, batch", 1.10),
    ):  # fmt: skip
        if above in seconds:
            yield ratio(f"{name} ({label})", seconds[above], seconds[below], target)


def cached_data() -> dict:
    """Seconds that `digits()` takes when the files are there."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        digits()
        times.append(time.perf_counter() - started)
    return summary("digits() from the cache, seconds", times, 1.0)


def peak_memory() -> dict:
    """Peak memory of a process that trains for five epochs, in GB.

    To be asked for first: a process begins with the peak of the one that started it.
    """
    code = (
        "import resource; from normtutorial import digits, fit; "
        "from normtutorial.studies import build; data = digits(); "
        "fit(build('original', device=data.device), data, epochs=5); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    peak = int(out.stdout.split()[-1]) * unit / 1e9
    return summary("peak memory of five epochs, GB", [peak], 1.5)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument(
        "--quick", action="store_true", help="few steps, not compiled, to see that it runs"
    )
    options.add_argument("--threads", type=int, help="of torch; default: what torch takes")
    args = options.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    steps, rounds = (3, 1) if args.quick else (100, 5)
    results = [] if args.quick else [peak_memory()]
    data = digits()
    results.append(cached_data())
    torch.manual_seed(0)
    seconds = {}
    default = torch.get_num_threads()
    for n in dict.fromkeys((default, 1)):
        with threads(n):
            seconds[n] = alternate(arms(data, steps), rounds)
            for norm in () if args.quick else NORMS:
                seconds[n] |= alternate(compiled_arms(data, steps, norm), rounds)
        seconds[n]["limit"] = limit(seconds[n])
        results += rows(seconds[n], n)

    table(results)
    per_epoch = len(data.train_images) / BATCH / steps
    epoch = {
        n: {name: round(statistics.median(times) * per_epoch, 2) for name, times in runs.items()}
        for n, runs in seconds.items()
    }
    print("\nseconds per epoch, medians with " + " and ".join(f"{n}" for n in epoch) + " threads:")
    for name in epoch[default]:
        print(f"  {name:24}" + "".join(f"{medians[name]:8.2f}" for medians in epoch.values()))
    if not args.quick:
        record = {"source": data.source, "steps": steps, "rounds": rounds,
                  "rows": results, "seconds_per_epoch": epoch}  # fmt: skip
        write("training", record)


if __name__ == "__main__":
    main()
