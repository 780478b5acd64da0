"""Do the unit tests notice a wrong formula? Break the source in one place at a time, and see.

    python tests/mutants.py            all of them, a few minutes
    python tests/mutants.py momentum   those with this word in the name

Each mutant is made in a temporary copy; nothing here is changed. A run of all is recorded in
benchmarks/results/. Exit code 1: one survived.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "mutants.json"
TESTS = {  # what is asked about a mutant of this file
    "functional.py": ["functional", "gradients", "properties", "layers", "parametrizations"],
    "layers.py": ["layers"],
    "parametrizations.py": ["parametrizations"],
    "models.py": ["models"],
    "original.py": ["original"],
    "training.py": ["training"],
}


@dataclass(frozen=True)
class Mutant:
    name: str
    file: str
    old: str
    new: str

    def applied(self, source: str) -> str:
        if source.count(self.old) != 1:
            found = source.count(self.old)
            raise SystemExit(
                f"mutant {self.name!r}: {self.file} has {found} places with the text to replace, "
                f"where one is needed. It has changed: bring the mutant up to date.\n{self.old}"
            )
        return source.replace(self.old, self.new)


def mutants() -> Iterator[Mutant]:
    def of(file: str, *changes: tuple[str, str, str]) -> Iterator[Mutant]:
        return (Mutant(name, file, old, new) for name, old, new in changes)

    yield from of(
        "functional.py",
        ("batch norm: wrong axis", "dims = (0, *range(2, x.ndim))", "dims = (*range(1, x.ndim),)"),
        ("batch norm: positions forgotten", "dims = (0, *range(2, x.ndim))", "dims = (0,)"),
        (
            "layer norm: wrong axis",
            "dims = tuple(range(-len(normalized_shape), 0))\n    x_hat, *_",
            "dims = (0,)\n    x_hat, *_",
        ),
        (
            "layer norm: last axis only",
            "dims = tuple(range(-len(normalized_shape), 0))\n    x_hat, *_",
            "dims = (-1,)\n    x_hat, *_",
        ),
        (
            "instance norm: wrong axis",
            "dims = tuple(range(2, x.ndim))",
            "dims = (0, *range(2, x.ndim))",
        ),
        (
            "normalization by n - 1",
            "var = deviation.square().mean(dims, keepdim=True)",
            "var = deviation.square().sum(dims, keepdim=True) / (x.numel() // mean.numel() - 1)",
        ),
        ("moments: correction ignored", "/ (n - correction)", "/ n"),
        ("running variance by n", "var.view(-1) * (count / (count - 1))", "var.view(-1)"),
        (
            "eps outside the root",
            "rstd = torch.rsqrt(var + eps)\n        return",
            "rstd = 1 / (var.sqrt() + eps)\n        return",
        ),
        (
            "eps dropped",
            "rstd = torch.rsqrt(var + eps)\n        return",
            "rstd = torch.rsqrt(var)\n        return",
        ),
        (
            "standardize: eps outside the root",
            "rstd = torch.rsqrt(var + eps)\n    return",
            "rstd = 1 / (var.sqrt() + eps)\n    return",
        ),
        (
            "standardize: eps dropped",
            "rstd = torch.rsqrt(var + eps)\n    return",
            "rstd = torch.rsqrt(var)\n    return",
        ),
        (
            "one-pass variance in the layers",
            "deviation.square().mean(dims, keepdim=True)",
            "x.square().mean(dims, keepdim=True) - mean**2",
        ),
        (
            "eps of rms norm dropped",
            "standardized(x, dims, eps, centered=False)",
            "standardized(x, dims, 0.0, centered=False)",
        ),
        (
            "one-pass variance",
            "(x - mean).square().sum(tuple(dims), keepdim=True) / (n - correction)",
            "(x.square().mean(tuple(dims), keepdim=True) - mean**2) * n / (n - correction)",
        ),
        (
            "statistics detached",
            "torch.addcmul(rest, x_hat, scale, value=-1).mul_(rstd)",
            "grad_x_hat * rstd",
        ),
        (
            "variance detached",
            "torch.addcmul(rest, x_hat, scale, value=-1).mul_(rstd)",
            "rest * rstd",
        ),
        (
            "moments: statistics detached",
            "    return mean, var\n",
            "    return mean.detach(), var\n",
        ),
        ("second derivative: rstd taken as a constant", "if grad_rstd is not None:", "if False:"),
        ("second derivative: sign of rstd", "along_rstd = -x_hat", "along_rstd = x_hat"),
        (
            "forward mode: wrong tangent",
            "tangent, x_hat, rstd, ctx.dims",
            "tangent, rstd, rstd, ctx.dims",
        ),
        ("running statistics keep the graph", "ctx.mark_non_differentiable(mean, var)  #", "#"),
        (
            "running mean with momentum reversed",
            "mean.view(-1).to(running_mean.dtype), momentum)",
            "mean.view(-1).to(running_mean.dtype), 1 - momentum)",
        ),
        (
            "running variance with momentum reversed",
            "unbiased.to(running_var.dtype), momentum)",
            "unbiased.to(running_var.dtype), 1 - momentum)",
        ),
        (
            "running statistics never move",
            "        _track(running_mean, running_var, mean, var, count, momentum)\n",
            "",
        ),
        (
            "running statistics in half precision",
            "_widen(running_mean).view(shape), _widen(running_var)",
            "running_mean.view(shape), running_var",
        ),
        ("statistics in half precision", "    x = _widen(x)\n    n =", "    n ="),
        ("weight not applied", "addcmul(bias, x_hat, weight)", "add(bias, x_hat)"),
        ("weight not applied without a bias", "x_hat = x_hat * weight", "pass"),
        ("bias not applied", "addcmul(bias, x_hat, weight)", "mul(x_hat, weight)"),
        ("bias not applied without a weight", "x_hat = x_hat + bias", "pass"),
        ("rms norm centered", "eps, centered=False)", "eps, centered=True)"),
        (
            "group count ignored",
            "x.reshape(x.shape[0], num_groups, math.prod(x.shape[1:]) // num_groups)",
            "x.reshape(x.shape[0], 1, math.prod(x.shape[1:]))",
        ),
        (
            "groups interleaved",
            "x.reshape(x.shape[0], num_groups, math.prod(x.shape[1:]) // num_groups)",
            "x.reshape(x.shape[0], math.prod(x.shape[1:]) // num_groups, num_groups).mT",
        ),
        (
            "weight norm over the wrong dim",
            "for d in range(v.ndim) if d != dim)  #",
            "for d in range(v.ndim) if d == dim)  #",
        ),
        (
            "weight norm without gain",
            "return v * (g / lengths(v, dim))",
            "return v / lengths(v, dim)",
        ),
        ("weight norm without length", "return v * (g / lengths(v, dim))", "return v * g"),
        ("zero rows pass", "return bool(condition.any())", "return False"),
        (
            "backward: never centered",
            "keepdim=True) if centered else grad_x_hat",
            "keepdim=True) if False else grad_x_hat",
        ),
        ("backward: always centered", " if centered else grad_x_hat", ""),
        ("backward: wrong sign", "scale, value=-1)", "scale, value=1)"),
        (
            "backward of v keeps the part along v",
            "torch.addcmul(grad_weight, v, along / length, value=-1)",
            "grad_weight.clone()",
        ),
        ("forward mode: the length stands still", "if tangent_g is not None:", "if False:"),
        ("one value per channel passes", "if count < 2:", "if False:"),
    )
    yield from of(
        "layers.py",
        (
            "mode from grad mode",
            "training=self.training or self.running_mean is None",
            "training=torch.is_grad_enabled() or self.running_mean is None",
        ),
        (
            "running statistics miss the state dict",
            "self.register_buffer(name, value if track_running_stats else None)",
            "self.register_buffer(name, value if track_running_stats else None, persistent=False)",
        ),
        ("batches counted twice", "num_batches_tracked.add_(1)", "num_batches_tracked.add_(2)"),
        (
            "batches counted in eval",
            "tracking = self.training and self.track",
            "tracking = self.track",
        ),
        (
            "momentum None is 0.1",
            "momentum = 1.0 / float(self.num_batches_tracked)",
            "momentum = 0.1",
        ),
        (
            "without running statistics eval fails",
            "training=self.training or self.running_mean is None",
            "training=self.training",
        ),
        ("instance norm: running variance by n", "correction=1)", "correction=0)"),
        (
            "instance norm: running statistics never used",
            "if tracked and not self.training:",
            "if False:",
        ),
        (
            "bias=False ignored by batch norm",
            "affine, affine and bias, device, dtype)\n        self.num_features",
            "affine, affine, device, dtype)\n        self.num_features",
        ),
        ("negative eps passes", "eps is not None and not eps >= 0", "False"),
        ("integers pass", "if not x.is_floating_point():", "if False:"),
        ("any eps", "        self.eps = eps\n", "        self.eps = 1e-5\n"),
        ("groups need not divide", "num_groups < 1 or num_channels % num_groups", "num_groups < 1"),
    )
    yield from of(
        "parametrizations.py",
        ("one length is a matrix", "g = g.reshape(())", "pass"),
        ("dim ignored", "return NF.weight_norm(v, g, self.dim)", "return NF.weight_norm(v, g, 0)"),
        ("init: mean left", "layer.bias.sub_(mean).div_(std)", "layer.bias.div_(std)"),
        ("init: on the old outputs", "return (output - mean) / std", "return output"),
        ("init: hooks stay", "            handle.remove()", "            pass"),
    )
    yield from of(
        "models.py",
        ("norm after activation", 'layers[f"norm{i}"]', 'layers[f"act{i}x"]'),
        ("xavier is he", "2 / (fan_in + fan_out)", "2 / fan_in"),
    )
    yield from of(
        "original.py",
        (
            "original: rows instead of columns",
            "self.weight.norm(dim=0)",
            "self.weight.norm(dim=1, keepdim=True)",
        ),
        (
            "original: norm before relu",
            "self.bn2(F.relu(self.p2(x)))",
            "F.relu(self.bn2(self.p2(x)))",
        ),
    )
    yield from of(
        "training.py",
        ("training in eval mode", "                    model.train()\n", ""),
        ("gradients add up", "                    optimizer.zero_grad()\n", ""),
        ("evaluation in training mode", "    model.eval()\n", ""),
        ("evaluation leaves eval mode", "module.training = mode", "pass"),
        ("a last batch of one is used", "if len(batch) > 1 or batch_size == 1:", "if True:"),
        (
            "order from the global generator",
            "torch.randperm(n, generator=generator)",
            "torch.randperm(n)",
        ),
        ("divergence goes on", "last = step == total or history.diverged", "last = step == total"),
        (
            "interrupt not noted",
            "KeyboardInterrupt:\n            history.interrupted = True",
            "KeyboardInterrupt:\n            pass",
        ),
        (
            "training on the test set",
            "images, labels = data.train_images, data.train_labels",
            "images, labels = data.test_images, data.test_labels",
        ),
    )


def fate(mutant: Mutant | None) -> str:
    """The test that kills the mutant, or nothing. ``None`` is the source as it is."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in "normtutorial", "tests":
            files = shutil.ignore_patterns("__pycache__", "web", "*.ipynb")
            shutil.copytree(ROOT / name, copy / name, ignore=files)
        for name in "conftest.py", "pyproject.toml":
            shutil.copy(ROOT / name, copy)
        if mutant is not None:
            file = copy / "normtutorial" / mutant.file
            file.write_text(mutant.applied(file.read_text(encoding="utf-8")), encoding="utf-8")
        rooms = TESTS[mutant.file] if mutant else sorted(set(sum(TESTS.values(), [])))
        tests = [f"tests/test_{name}.py" for name in rooms]
        pytest = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider"]
        run = subprocess.run(
            [*pytest, "-k", "not compiled and not exported", *tests],
            cwd=copy,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": folder},
            capture_output=True,
            text=True,
            timeout=600,
        )
    if run.returncode == 0:
        return ""
    reason = [s for s in run.stdout.splitlines() if s.startswith(("FAILED", "ERROR"))]
    if run.returncode != 1 or not reason:
        raise SystemExit(f"{mutant}: pytest itself failed.\n{run.stdout}\n{run.stderr}")
    return reason[0].removeprefix("FAILED ").split(" - ")[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only mutants with one of these in their name")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (2)")
    arguments = parser.parse_args()
    words = arguments.words
    chosen = [m for m in mutants() if not words or any(w in m.name for w in words)]
    for mutant in chosen:  # complain at once
        mutant.applied((ROOT / "normtutorial" / mutant.file).read_text(encoding="utf-8"))
    started = time.perf_counter()
    if killer := fate(None):
        raise SystemExit(f"The tests fail without any mutant: {killer}")
    alive = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for mutant, killer in zip(chosen, pool.map(fate, chosen), strict=True):
            alive += [] if killer else [mutant.name]
            print(f"{'killed  ' if killer else 'SURVIVED'}  {mutant.name:45} {killer}", flush=True)
    seconds = time.perf_counter() - started
    if not words:
        record = {"mutants": len(chosen), "killed": len(chosen) - len(alive), "survivors": alive}
        RESULT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{len(chosen) - len(alive)} of {len(chosen)} killed in {seconds:.0f} s")
    return int(bool(alive))


if __name__ == "__main__":
    sys.exit(main())
