"""What a checkup says: findings, and the report that holds them."""

import json
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

__all__ = ["CHAPTERS", "Finding", "Report", "counted", "deviations", "finite", "many", "short"]

COLUMNS = 76  # as many as a page of the book has

CHAPTERS = {  # the label of the chapter that explains it
    "statistics-untouched": "ch-running-statistics",
    "statistics-young": "ch-running-statistics",
    "statistics-stale": "ch-running-statistics",
    "statistics-nonfinite": "ch-checkup",
    "input-scale": "ch-real-network",
    "updated-twice": "ch-running-statistics",
    "frozen-drifts": "ch-running-statistics",
    "left-in-eval": "ch-running-statistics",
    "trained-in-evaluation": "ch-running-statistics",
    "batch-leak": "ch-running-statistics",
    "batch-composition": "ch-many-machines",
    "one-norm-two-domains": "ch-checkup",
    "degenerate-set": "ch-batch-size",
    "wrong-axis": "ch-layer-norm",
    "padding-counted": "ch-checkup",
    "dropout-before-batch-norm": "ch-checkup",
    "momentum-convention": "ch-checkup",
    "ignored-flag": "ch-checkup",
    "low-precision": "ch-numerics",
    "nonfinite-activation": "ch-numerics",
    "averaged-statistics": "ch-averaging",
    "not-optimized": "ch-checkup",
    "never-called": "ch-checkup",
    "eps-rules": "ch-batch-norm",
    "dead-gain": "ch-real-network",
    "bias-before-norm": "ch-batch-norm",
    "decay-on-gain": "ch-transformers",
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
        chapter: the label of the chapter that explains it.

    Example:
        >>> numbers = {"batch": 2}
        >>> finding = Finding("batch-leak", "note", "norm1", "It leaks.", numbers, "Use eval mode.")
        >>> print(finding)
        note  batch-leak  norm1
              It leaks.
              What to do: Use eval mode.
        >>> finding.chapter
        'ch-running-statistics'
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
            parts.append(self._none())
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        items = "".join(map(_item, self.faults + self.notes))
        items = f'<ul style="list-style: none; margin: 0; padding: 0">{items}</ul>'
        errors = "".join(f"<p>Could not look: {escape(error)}</p>" for error in self.errors)
        none = "" if self.faults else f"<p>{self._none()}</p>"
        body = f"<p>{escape(self._head())}</p>{items}{errors}{none}"
        return f'<div class="checkup" style="overflow-wrap: anywhere">{body}</div>'

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values; what is not finite is None."""
        record = {
            "about": self.about,
            "faults": [asdict(finding) for finding in self.faults],
            "notes": [asdict(finding) for finding in self.notes],
            "errors": self.errors,
        }
        plain: dict[str, Any] = finite(record)
        return plain

    def to_json(self) -> str:
        """The same as strict JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def _none(self) -> str:
        return f"No fault was found{' where it could look' if self.errors else ''}."

    def _head(self) -> str:
        parts = [
            counted(self.about[f"{what}{more}"], what, more)
            for what, more in (("norm", "s"), ("batch", "es"), ("sample", "s"))
            if f"{what}{more}" in self.about
        ]
        if "seconds" in self.about:
            parts.append(f"{self.about['seconds']:.1f} s")
        return f"Checkup of {self.about['model']}: {', '.join(parts)}"


def counted(number: int, what: str, more: str = "s") -> str:
    """A number and what is counted.

    Example:
        >>> counted(1, "batch", "es"), counted(0, "batch", "es")
        ('1 batch', '0 batches')
    """
    return f"{number} {what if number == 1 else what + more}"


def short(number: float) -> str:
    """Two digits of a number, without powers of ten unless it is very large or small.

    Example:
        >>> short(0.456), short(100.0), short(153.0)
        ('0.46', '100', '150')
    """
    return f"{float(f'{number:.2g}'):g}"


def deviations(distance: float) -> str:
    """How many standard deviations.

    Example:
        >>> deviations(0.999), deviations(0.45)
        ('1 standard deviation', '0.45 standard deviations')
    """
    text = short(distance)
    return f"{text} standard deviation{'' if text == '1' else 's'}"


def many(layers: Sequence[str], what: str = "layer") -> str:
    """How many layers, and which comes first.

    Example:
        >>> many(["a"]), many(["a", "b", "c"])
        ("1 layer ('a')", "3 layers (first 'a')")
    """
    first = "" if len(layers) == 1 else "first "
    return f"{counted(len(layers), what)} ({first}{layers[0]!r})"


def finite(value: Any) -> Any:
    """A record as strict JSON wants it: with None for floats that are not finite.

    Example:
        >>> finite({"loss": (1.0, math.nan)})
        {'loss': [1.0, None]}
    """
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _tried(repair: dict[str, Any]) -> str:
    return f"{repair['what']}: {repair['before']:.3g} became {repair['after']:.3g}."


def _item(finding: Finding) -> str:
    """As HTML: in the colors of the page, whatever they are, and no wider than a phone."""
    layer = f" <samp>{escape(finding.layer)}</samp>" if finding.layer else ""
    lines = "".join(f"<br>{label}{escape(text)}" for label, text in finding._lines())
    return (
        '<li style="margin: 0 0 0.7em; padding-left: 0.7em; '
        f'border-left: {4 if finding.kind == "fault" else 1}px solid">'
        f"<b>{finding.kind} {finding.name}</b>{layer}{lines}</li>"
    )
