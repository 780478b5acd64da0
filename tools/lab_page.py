"""The lab of the built book, run by a script (``make book`` comes first).

``python tools/lab_page.py presets 20 30`` prints what its questions have for an answer at the seeds
20 to 29, and ``python tools/lab_page.py still`` draws the picture that stands for it on paper.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page

from browser import launched
from chapters import ROOT
from normtutorial.norms import NORMS

SITE = ROOT / "_build" / "html" / "book"
STILL = ROOT / "book" / "_static" / "lab" / "still.svg"
STYLE = """
text { font: 12px sans-serif; fill: #222 } .title { font-size: 13px; font-weight: 600 }
.x { text-anchor: middle } .y { text-anchor: end } path { fill: none; stroke-width: 2 }
.grid { stroke: #ddd; stroke-width: 1 }
.run-0 { stroke: %s } .run-1 { stroke: %s; stroke-dasharray: 6 3 }
"""


@contextmanager
def opened(browser: Browser, name: str = "lab") -> Iterator[Page]:
    """A page with a lab, opened as a file: its own, or the first one, which has the small lab."""
    page = browser.new_page()
    page.goto((SITE / f"{name}.html").as_uri())
    page.wait_for_selector(".lab.demo-live")
    yield page
    page.close()


def answer(page: Page, name: str, seed: int) -> tuple[int, str]:
    """The choice that proved right, and what was measured."""
    told = page.evaluate(
        "([name, seed]) => document.querySelector('.lab').lab.answer(name, seed)", [name, seed]
    )
    return told["right"], told["said"]


def expected(page: Page) -> dict[str, int]:
    """The choice that is right by what the page itself says, for each question."""
    found = page.evaluate(
        "[...document.querySelectorAll('[data-preset]')].map(({ dataset }) => ({ ...dataset }))"
    )
    return {one["preset"]: int(one["right"]) for one in found}


def presets(page: Page, seeds: range) -> bool:
    """Print the answers, and return whether each question had the one of the page at all seeds."""
    steady = True
    for name, right in expected(page).items():
        told = [answer(page, name, seed) for seed in seeds]
        rights = {right for right, _ in told}
        steady = steady and rights == {right}
        print(
            f"{name}: {sorted(rights)}, on the page {right}",
            *(f"  {s}: {one[1]}" for s, one in zip(seeds, told, strict=True)),
            sep="\n",
            flush=True,
        )
    return steady


def still(page: Page) -> str:
    """Both curves of the small lab after a run, as one picture."""
    charts = page.evaluate("""async () => {
      const root = document.querySelector(".lab");
      await root.lab.reset({ pace: 0 });
      await root.lab.play();
      await new Promise((done) => setTimeout(done, 500));
      return [...root.querySelectorAll(".lab-loss, .lab-accuracy")].map((chart) => chart.innerHTML);
    }""")
    colors = STYLE % (NORMS["none"].color, NORMS["batch"].color)
    panels = (
        f'<svg x="{360 * i}" width="340" height="200">{one}</svg>' for i, one in enumerate(charts)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 200"><style>{colors}</style>'
        f"{''.join(panels)}</svg>\n"
    )


def main(what: str, first: str = "0", end: str = "10") -> int:
    with launched() as browser, opened(browser, "intro" if what == "still" else "lab") as page:
        if what == "still":
            STILL.write_text(still(page), "utf-8")
            return 0
        return 0 if presets(page, range(int(first), int(end))) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
