"""The lab without the book around it.

``python tools/lab_page.py presets 20 30`` prints what its questions have for an answer at the seeds
20 to 29, and ``python tools/lab_page.py still`` draws the picture that stands for it on paper.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page

from browser import launched
from chapters import ROOT
from lab_data import TARGET
from normtutorial.norms import NORMS

STATIC = ROOT / "book" / "_static"
STILL = STATIC / "lab" / "still.svg"
STYLE = """
text { font: 12px sans-serif; fill: #222 } .title { font-size: 13px; font-weight: 600 }
.x { text-anchor: middle } .y { text-anchor: end } path { fill: none; stroke-width: 2 }
.grid { stroke: #ddd; stroke-width: 1 }
.run-0 { stroke: %s } .run-1 { stroke: %s; stroke-dasharray: 6 3 }
"""


@contextmanager
def opened(browser: Browser, size: str = "whole") -> Iterator[Page]:
    """A page with the lab on it, opened as a file."""
    norms = {norm.name: {"label": norm.label, "color": norm.color} for norm in NORMS.values()}
    scripts = [STATIC / "demos.js", *sorted({*(STATIC / "lab").glob("*.js")} - {TARGET})]
    loads = "".join(f'<script defer src="{path.as_uri()}"></script>' for path in scripts)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "lab.html")
        file.write_text(
            f"<!doctype html><script>window.normtutorial = {json.dumps({'norms': norms})}</script>"
            f'{loads}<div class="demo lab" data-demo="lab" data-size="{size}"></div>',
            "utf-8",
        )
        page = browser.new_page()
        page.goto(file.as_uri())
        page.wait_for_selector(".demo-live")
        yield page
        page.close()


def answer(page: Page, name: str, seed: int) -> tuple[int, str]:
    """The choice that proved right, and what was measured."""
    told = page.evaluate(
        "([name, seed]) => document.querySelector('.lab').lab.answer(name, seed)", [name, seed]
    )
    return told["right"], told["said"]


def presets(page: Page, seeds: range) -> bool:
    """Print the answers, and return whether each question had one and the same at all seeds."""
    steady = True
    for name in page.evaluate("Object.keys(window.normtutorial.lab.PRESETS)"):
        told = [answer(page, name, seed) for seed in seeds]
        rights = {right for right, _ in told}
        steady = steady and len(rights) == 1
        print(
            f"{name}: {sorted(rights)}",
            *(f"  {s}: {one[1]}" for s, one in zip(seeds, told, strict=True)),
            sep="\n",
            flush=True,
        )
    return steady


def still(page: Page) -> str:
    """Both curves of the small lab after a run, as one picture."""
    charts = page.evaluate("""async () => {
      const root = document.querySelector(".lab");
      await root.lab.reset({ pace: "full" });
      await root.lab.play();
      await new Promise((done) => setTimeout(done, 500));
      return [...root.querySelectorAll(".lab-chart")].map((chart) => chart.innerHTML);
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
    with launched() as browser, opened(browser, "small" if what == "still" else "whole") as page:
        if what == "still":
            STILL.write_text(still(page), "utf-8")
            return 0
        return 0 if presets(page, range(int(first), int(end))) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
