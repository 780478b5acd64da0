"""Make the picture that stands for the book, in README and in previews of links: ``make preview``.

It is the figure of the first page with the two numbers that the page claims about it. The numbers
are kept in the file, so that a test can tell whether they are still those of the page.
"""

import sys
from pathlib import Path

import nbformat
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo
from playwright.sync_api import ViewportSize

import chapters
from browser import launched
from normtutorial.claims import Claim

TARGET = chapters.ROOT / "book" / "_static" / "preview.png"
SIZE: ViewportSize = {"width": 1200, "height": 630}
PAGE = """
<style>
  * {{ margin: 0; box-sizing: border-box }}
  body {{ font-family: "DejaVu Sans", sans-serif; background: #fff; width: 1200px }}
  header {{ background: #1f3a5f; color: #fff; height: 150px; padding: 26px 48px }}
  header {{ display: flex; gap: 30px }}
  header svg {{ height: 96px; margin-top: 2px }}
  h1 {{ font-size: 48px }}
  header p {{ font-size: 25px; margin-top: 4px }}
  main {{ display: flex; align-items: center; padding: 18px 40px }}
  main img {{ width: 660px }}
  .numbers {{ font-size: 30px; line-height: 1.35; padding-left: 34px }}
  .numbers p {{ margin: 26px 0 }}
  b {{ color: #0072b2 }}
</style>
<header>{logo}<div>
<h1>Normalization in deep learning</h1><p>A book of measured claims</p></div></header>
<main><img src="data:image/png;base64,{figure}"><div class="numbers">
<p>Batch norm is ahead after 20 steps by<br><b>{early}</b></p>
<p>and after 240 steps by<br><b>{late}</b></p></div></main>
"""


def first_page() -> tuple[str, list[str]]:
    """The figure of the first page, in base64, and what its two claims measured."""
    notebook = nbformat.read(chapters.ROOT / "book" / "intro.ipynb", as_version=4)
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    (figure,) = [out.data["image/png"] for out in outputs if "image/png" in out.get("data", {})]
    lines = "\n".join(out.get("text", "") for out in outputs).splitlines()
    made = [claim for claim in map(Claim.parse, lines) if claim]
    return figure.replace("\n", ""), [str(claim.measured) for claim in made]


def measured(picture: Path) -> list[str]:
    """The numbers that a picture was made with."""
    with PngImageFile(picture) as opened:
        return str(opened.text["measured"]).split("\n")


def main() -> int:
    figure, numbers = first_page()
    logo = (TARGET.parent / "logo.svg").read_text("utf-8")
    early, late = numbers
    content = PAGE.format(logo=logo, figure=figure, early=early, late=late)
    with launched() as browser:
        page = browser.new_page(viewport=SIZE)
        page.set_content(content)
        page.screenshot(path=TARGET)
    info = PngInfo()
    info.add_text("measured", "\n".join(numbers))
    with Image.open(TARGET) as opened:
        opened.convert("RGB").quantize(128).save(TARGET, pnginfo=info, optimize=True)
    print(f"The preview: {TARGET} ({TARGET.stat().st_size / 1000:.0f} kB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
