"""What a checkup says: findings, and the report that holds them."""

import json
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

__all__ = ["CHAPTERS", "Finding", "Report"]

COLUMNS = 80

CHAPTERS = {  # the label of the chapter that shows it
    "statistics-untouched": "ch-running-statistics",
    "statistics-young": "ch-running-statistics",
    "statistics-stale": "ch-running-statistics",
    "statistics-nonfinite": "ch-running-statistics",
    "input-scale": "ch-running-statistics",
    "updated-twice": "ch-running-statistics",
    "frozen-drifts": "ch-running-statistics",
    "left-in-eval": "ch-running-statistics",
    "trained-in-evaluation": "ch-running-statistics",
    "batch-leak": "ch-batch-norm",
    "batch-composition": "ch-batch-size",
    "one-norm-two-domains": "ch-running-statistics",
    "degenerate-set": "ch-batch-size",
    "wrong-axis": "ch-layer-norm",
    "padding-counted": "ch-transformers",
    "dropout-before-batch-norm": "ch-running-statistics",
    "momentum-convention": "ch-running-statistics",
    "ignored-flag": "ch-running-statistics",
    "low-precision": "ch-numerics",
    "nonfinite-activation": "ch-numerics",
    "averaged-statistics": "ch-averaging",
    "not-optimized": "ch-batch-norm",
    "never-called": "ch-batch-norm",
    "eps-rules": "ch-numerics",
    "dead-gain": "ch-batch-norm",
    "bias-before-norm": "ch-batch-norm",
    "decay-on-gain": "ch-scale-invariance",
    "old-weight-norm": "ch-weight-norm",
}


@dataclass(frozen=True)
class Finding:
    """One thing that a checkup has found.

    Attributes:
        name: of what is wrong, one of a fixed list.
        kind: ``"fault"`` if it is proven, ``"note"`` if it is only odd.
        layer: where, by its name in ``named_modules``; the worst of several; "" for all of it.
        says: one sentence, with the numbers.
        evidence: the numbers.
        remedy: one sentence.
        repair: None, or what was tried on a copy, with the number that it changed:
            ``{"what": ..., "before": ..., "after": ...}``.
        chapter: the label of the chapter that shows it.

    Example:
        >>> numbers = {"batch": 2}
        >>> finding = Finding("batch-leak", "note", "norm1", "It leaks.", numbers, "Use eval mode.")
        >>> print(finding)
        note  batch-leak  norm1
              It leaks.
              What to do: Use eval mode.
        >>> finding.chapter
        'ch-batch-norm'
    """

    name: str
    kind: str
    layer: str
    says: str
    evidence: dict[str, Any]
    remedy: str
    repair: dict[str, Any] | None = None
    chapter: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "chapter", CHAPTERS[self.name])

    def __str__(self) -> str:
        head = f"{self.kind.upper() if self.kind == 'fault' else self.kind:6}{self.name}"
        lines = textwrap.wrap(f"{head}  {self.layer}", COLUMNS, subsequent_indent=" " * 6)
        for label, text in self._lines():
            lines += textwrap.wrap(
                f"{label}{text}",
                COLUMNS,
                initial_indent=" " * 6,
                subsequent_indent=" " * 6,
                break_on_hyphens=False,
            )
        return "\n".join(lines)

    def _lines(self) -> Iterable[tuple[str, str]]:
        yield "", self.says
        if self.repair:
            yield "Tried on a copy: ", _tried(self.repair)
        yield "What to do: ", self.remedy


class Report(Mapping[str, list[Finding]]):
    """What a checkup has found, as a table for a terminal, a notebook or a program.

    A mapping, too: the findings by name.

    Args:
        findings: in the order in which they are shown, faults before notes.
        errors: what could not be looked at, in sentences.
        about: what was looked at.

    Attributes:
        faults: what is proven.
        notes: what is only odd.
        errors: a sentence for each pass that could not be made, such as when the model raised, and
            for each check that came to no end.
        about: what was looked at: the model, norms, batches, samples and seconds.

    Raises:
        KeyError: of ``report[name]``, where nothing of that name was found.

    Example:
        >>> report = Report([], [], {"model": "Linear", "norms": 0, "batches": 1, "samples": 2})
        >>> print(report)
        Checkup of Linear: 0 norms, 1 batch, 2 samples
        No fault was found.
    """

    def __init__(
        self, findings: Sequence[Finding], errors: Sequence[str], about: dict[str, Any]
    ) -> None:
        self.faults = [finding for finding in findings if finding.kind == "fault"]
        self.notes = [finding for finding in findings if finding.kind == "note"]
        self.errors = list(errors)
        self.about = about

    def __getitem__(self, name: str) -> list[Finding]:
        found = [finding for finding in self.faults + self.notes if finding.name == name]
        if not found:
            raise KeyError(f"no finding {name!r}; there are {', '.join(self) or 'none'}.")
        return found

    def __iter__(self) -> Any:
        return iter(dict.fromkeys(finding.name for finding in self.faults + self.notes))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __bool__(self) -> bool:
        return True  # also a report in which nothing was found is one

    def __repr__(self) -> str:
        names = [finding.name for finding in self.faults]
        return f"Report(faults={names}, notes={len(self.notes)}, errors={len(self.errors)})"

    def __str__(self) -> str:
        parts = [textwrap.fill(self._head(), COLUMNS)]
        parts += [str(finding) for finding in self.faults + self.notes]
        for error in self.errors:
            parts.append(textwrap.fill(f"Could not look: {error}", COLUMNS, subsequent_indent="  "))
        if not self.faults:
            parts.append("No fault was found.")
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        rows = "".join(map(_row, self.faults + self.notes))
        table = f"<table><tbody>{rows}</tbody></table>" if rows else ""
        errors = "".join(f"<p>Could not look: {escape(error)}</p>" for error in self.errors)
        none = "" if self.faults else "<p>No fault was found.</p>"
        return f'<div class="checkup"><p>{escape(self._head())}</p>{table}{errors}{none}</div>'

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values; what is not finite is None."""
        record = {
            "about": self.about,
            "faults": [asdict(finding) for finding in self.faults],
            "notes": [asdict(finding) for finding in self.notes],
            "errors": self.errors,
        }
        plain: dict[str, Any] = _finite(record)
        return plain

    def to_json(self) -> str:
        """The same as strict JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def _head(self) -> str:
        counted = [
            f"{self.about[what]} {what if self.about[what] != 1 else one}"
            for what, one in (("norms", "norm"), ("batches", "batch"), ("samples", "sample"))
            if what in self.about
        ]
        if "seconds" in self.about:
            counted.append(f"{self.about['seconds']:.1f} s")
        return f"Checkup of {self.about['model']}: {', '.join(counted)}"


def _tried(repair: dict[str, Any]) -> str:
    return f"{repair['what']}: {repair['before']:.3g} became {repair['after']:.3g}."


def _row(finding: Finding) -> str:
    tried = f"<br>Tried on a copy: {escape(_tried(finding.repair))}" if finding.repair else ""
    name = f"<b>{finding.name}</b>" if finding.kind == "fault" else finding.name
    return (
        f"<tr><td>{finding.kind}</td><td>{name}<br><code>{escape(finding.layer)}</code></td>"
        f'<td style="text-align: left">{escape(finding.says)}{tried}'
        f"<br>{escape(finding.remedy)}</td></tr>"
    )


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
