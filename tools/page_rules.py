"""Print how chapters keep to the rules of the page: ``make rules``, or ``CHAPTER=`` for one.

The rules are about what a reader sees without opening a fold (``tools/visible.py``): the code, the
prose, and in columns also what was printed.
"""

import re
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

import nbformat

import chapters
from visible import printed, visible

COLUMNS = 76
LINES = 15
MEDIAN = 6
WORDS_PER_LINE = 12

NO_PROSE = re.compile(  # formulas on lines of their own, markup, the marks of directives and labels
    r"\$\$[^$]*\$\$(?: \([\w-]+\))?|<[^>]+>|^[:`]{3,}(?:\{[\w-]+\})?|^:[\w-]+:.*$|^\([\w-]+\)=$",
    re.MULTILINE,
)
INLINE = re.compile(r"\$[^$]+\$")  # a formula in a sentence is read as a word


class Page(NamedTuple):
    """The figures of a chapter: its longest line in columns, of code or printed, its longest cell
    and the median in lines, its words of prose and its lines of code."""

    columns: int
    longest: int
    median: float
    words: int
    lines: int

    @property
    def words_per_line(self) -> float:
        return self.words / self.lines if self.lines else float("inf")

    def missed(self) -> set[str]:
        """The rules that the chapter does not keep."""
        kept = {
            "columns": self.columns <= COLUMNS,
            "lines": self.longest <= LINES,
            "median": self.median <= MEDIAN,
            "words": self.words_per_line >= WORDS_PER_LINE,
        }
        return {rule for rule, keeps in kept.items() if not keeps}


def words(markdown: str) -> int:
    """The words of a cell of prose.

    Example:
        >>> words("(ch-a)=\\n# A mean\\n\\nIt is $a + b$.\\n\\n$$\\na = b\\n$$")
        5
    """
    text = INLINE.sub("x", NO_PROSE.sub(" ", markdown.replace("\n> ", "\n")))
    return sum(any(c.isalnum() for c in word) for word in text.split())


def measure(path: Path) -> Page:
    """The figures of a chapter."""
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    seen = [lines for cell in code if (lines := visible(cell).splitlines())]
    outputs = [printed(cell) for cell in code]
    return Page(
        columns=max((len(line) for lines in seen + outputs for line in lines), default=0),
        longest=max(map(len, seen), default=0),
        median=median(map(len, seen)) if seen else 0,
        words=sum(words(cell.source) for cell in cells if cell.cell_type == "markdown"),
        lines=sum(map(len, seen)),
    )


def main(names: list[str]) -> int:
    try:
        paths = [chapters.find(name) for name in names] or chapters.notebooks()
    except LookupError as error:
        print(error, file=sys.stderr)
        return 2
    print("chapter              columns  longest  median  words a line  misses")
    print(f"{'(the rule)':20s} {COLUMNS:7d} {LINES:8d} {MEDIAN:7d} {WORDS_PER_LINE:13d}")
    for path in paths:
        page = measure(path)
        print(
            f"{path.stem:20s} {page.columns:7d} {page.longest:8d} {page.median:7g} "
            f"{page.words_per_line:13.1f}  {', '.join(sorted(page.missed())) or 'none'}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
