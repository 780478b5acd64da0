"""Check built pages without a network: ``python tools/check_html.py _build/html``.

Every link and anchor inside the book leads somewhere, every image is described, nothing is loaded
from another host, no formula and no traceback is left raw.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a tag loads by itself, as opposed to where it leads.
LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
}
LOADED_LINKS = {"stylesheet", "preload", "modulepreload", "icon", "prefetch", "manifest"}
FILE_NAME = re.compile(r"\.(png|svg|jpe?g|gif)$", re.IGNORECASE)
REMOTE_IN_CSS = re.compile(r"""(?:url\(\s*["']?|@import\s+["'])((?:https?:)?//[^"')]+)""")


class Page(HTMLParser):
    """What one page defines and refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.assets: list[str] = []
        self.undescribed: list[str] = []
        self.title = ""
        self.forwards = False
        self._in: str | None = None
        self.styles = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._in = tag if tag in ("title", "style") else None
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "meta" and values.get("http-equiv", "").lower() == "refresh":
            self.forwards = True
            self.links.append(values.get("content", "").partition("url=")[2].strip())
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag == "link" and LOADED_LINKS & set(values.get("rel", "").split()):
            self.assets.append(values.get("href", ""))
        if values.get(LOADS.get(tag, "")):
            self.assets.append(values[LOADS[tag]])
        self.styles += values.get("style", "")
        decorative = values.get("role") == "presentation" or values.get("aria-hidden") == "true"
        # The theme shows the logo twice and hides one; both are described.
        if tag == "img" and not decorative:
            alt = values.get("alt", "")
            if not alt or FILE_NAME.search(alt):
                self.undescribed.append(values.get("src", "")[:60])

    def handle_data(self, data: str) -> None:
        if self._in == "title":
            self.title += data
        elif self._in == "style":
            self.styles += data

    def handle_endtag(self, tag: str) -> None:
        self._in = None


def leads_nowhere(url: str, page: Path, pages: dict[Path, Page]) -> bool:
    """Whether a link inside the book has no target."""
    parts = urlsplit(url)
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.exists():
        return True
    anchor = unquote(parts.fragment).partition("?")[0]  # what follows is for the lab
    return bool(anchor) and target in pages and anchor not in pages[target].ids


def built_pages(root: Path) -> dict[Path, Page]:
    """The pages under a folder, read."""
    files = [path for path in root.resolve().rglob("*.html") if "_static" not in path.parts]
    return {path: Page(path.read_text("utf-8")) for path in files}


def of_page(path: Path, pages: dict[Path, Page]) -> Iterator[str]:
    """The problems of one page."""
    page = pages[path]
    if not page.title.strip() and not page.forwards:
        yield "has no title"
    for url in page.assets:
        parts = urlsplit(url)
        if parts.netloc:
            yield f"loads {url} from another host"
        elif parts.scheme != "data" and leads_nowhere(url, path, pages):
            yield f"loads {url}, which is not there"
    for url in page.links:
        parts = urlsplit(url)
        if not parts.scheme and not parts.netloc and leads_nowhere(url, path, pages):
            yield f"links to {url}, which is not there"
    for url in REMOTE_IN_CSS.findall(page.styles):
        yield f"a style loads {url} from another host"
    for source in page.undescribed:
        yield f"the image {source} has no alternative text"
    for one in {one for one in page.ids if page.ids.count(one) > 1}:
        yield f"the id {one} is there twice"


def problems(root: Path) -> list[str]:
    """Every problem of the pages under ``root``, as sentences."""
    pages = built_pages(root)
    found = {
        f"{path.relative_to(root.resolve())}: {problem}"
        for path in pages
        for problem in of_page(path, pages)
    }
    for style in root.rglob("*.css"):
        for url in REMOTE_IN_CSS.findall(style.read_text("utf-8")):
            found.add(f"{style.relative_to(root)}: loads {url} from another host")
    return sorted(found) if pages else [f"there is no page under {root}"]


def main(root: str) -> int:
    found = problems(Path(root))
    print(*found, sep="\n", end="\n" if found else "")
    count = len(built_pages(Path(root)))
    print(f"{count} pages: {len(found) or 'no'} problem{'s' * (len(found) != 1)}.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
