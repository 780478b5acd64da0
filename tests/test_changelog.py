"""What was public in version 0.2 is where it was, or the changelog says what it is called now."""

import importlib
import json
import re
from argparse import Namespace
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

import pytest

import chapters
import normtutorial
from normtutorial.cli import parser
from normtutorial.commands import describe, entry
from normtutorial.studies import Run
from normtutorial.training import History

CHANGELOG = (chapters.ROOT / "CHANGELOG.md").read_text("utf-8")
ROWS = re.findall(r"^\| (?!0\.2|---)(.+) \| (.+) \|$", CHANGELOG, re.MULTILINE)

OLD = {  # module: what was in its __all__, and the fields of its records
    "": "MLP ActivationProbe BatchNorm ClaimFailed DataError GradientProbe GroupNorm History "
    "ImageData InstanceNorm LayerNorm OriginalNet RMSNorm WeightNormLinear activations claim "
    "data_dependent_init_ evaluate fit init_normal_ mnist weight_norm",
    "claims": "ClaimFailed claim",
    "data": "DataError ImageData cache_dir locate mnist",
    "experiments": "NORMS WIDTHS build compare learning_rate_sweep machine seeds threads",
    "explorer": "Explorer MOMENTS",
    "functional": "batch_norm group_norm instance_norm layer_norm lengths moments rms_norm "
    "standardize standardize_backward weight_norm weight_norm_backward",
    "layers": "BatchNorm GroupNorm InstanceNorm LayerNorm RMSNorm",
    "models": "MLP init_normal_",
    "original": "BatchNorm LayerNorm OriginalNet WeightNormalizedLinear",
    "parametrizations": "WeightNormLinear data_dependent_init_ weight_norm",
    "plotting": "color curves dead_units dots gradient_ratios histogram_over_time linestyle marker "
    "percentile_band unit_histograms use_style",
    "probes": "PERCENTILES ActivationProbe ActivationRecord GradientProbe GradientRecord "
    "activations ActivationRecord.steps ActivationRecord.mean ActivationRecord.std "
    "ActivationRecord.percentiles ActivationRecord.pooled_mean ActivationRecord.pooled_std "
    "ActivationRecord.pooled_percentiles ActivationRecord.histogram ActivationRecord.edges "
    "ActivationRecord.dead ActivationRecord.saturated GradientRecord.steps "
    "GradientRecord.grad_norm GradientRecord.param_norm GradientRecord.update_norm",
    "training": "History evaluate fit History.loss History.steps History.test_loss "
    "History.test_accuracy History.seconds History.diverged History.interrupted",
}
OPTIONS = {
    "train": "--source --root --epochs --seed --json --norm",
    "compare": "--source --root --epochs --seed --json --norms --seeds --evaluate-every --figure",
    "data": "--source --root",
}
KEYS = (
    "command source widths epochs seed machine steps test_accuracy test_loss train_loss seconds "
    "diverged interrupted"
)


def spans(cell: str) -> list[str]:
    """What stands in a cell as code, without arguments."""
    return [re.match(r"[\w.-]*", code)[0] for code in re.findall(r"`([^`]+)`", cell)]


def told() -> dict[str, list[str]]:
    """The old names of the table, and what stands in their place. In a list the first one names the
    module for all."""
    found = {}
    for old, new in ROWS:
        module = ""
        for name in spans(old):
            module = name.rpartition(".")[0] or module
            found[name if "." in name or not module else f"{module}.{name}"] = spans(new)
    return found


def is_there(module: str, name: str) -> bool:
    try:
        found = importlib.import_module(f"normtutorial.{module}".rstrip("."))
    except ImportError:
        return False
    for part in name.split("."):
        if part not in getattr(found, "__dataclass_fields__", {}) and not hasattr(found, part):
            return False
        found = getattr(found, part, None)
    return not isinstance(found, ModuleType)


def resolves(name: str) -> bool:
    """Whether there is something of a name, by what the table says: whole, or without its home."""
    for home in "normtutorial", "normtutorial.models.original":
        try:
            resolve_name(f"{home}.{name}")
        except (AttributeError, ImportError):
            continue
        return True
    return False


@pytest.mark.parametrize("module", OLD)
def test_a_public_name_of_old_is_there_or_in_the_table(module):
    names = told()
    for name in OLD[module].split():
        if not is_there(module, name):
            whole = f"{module}.{name}".lstrip(".")
            assert {whole, name, module} & {*names}, f"{whole} is gone, and nobody said so"


def test_what_the_table_puts_in_place_of_a_module_s_name_is_there():
    modules = ("experiments", "original", "mnist")
    moved = {old: new for old, new in told().items() if old.split(".")[0] in modules}
    assert len(moved) > 10
    for old, new in moved.items():
        assert new and all(map(resolves, new)), old


def test_an_option_of_old_is_there_or_in_the_table():
    commands: Any = next(one.choices for one in parser()._actions if one.dest == "name")
    gone = " ".join(old for old, _ in ROWS)
    for command, options in OPTIONS.items():
        now = commands[command].format_help()
        for option in options.split():
            assert re.search(rf"{option}\b(?!-)", now) or f"{command} {option} " in gone


def test_a_key_of_old_of_the_json_is_there_or_in_the_table():
    args = Namespace(argv=[], model="mlp", epochs=1, lr=0.1, batch_size=1, seed=0, compile=False)
    now = {**describe(args, "noise"), **entry(Run("none", 0.1, 0, History()))}
    assert json.dumps(now)
    gone = [name for old, _ in ROWS if old.startswith("JSON") for name in spans(old)]
    assert {*KEYS.split()} - {*now} == {*gone}


def test_the_newest_heading_is_the_version():
    newest = re.search(r"^## (\S+)", CHANGELOG, re.MULTILINE)[1]
    assert newest.rstrip(",") == normtutorial.__version__
