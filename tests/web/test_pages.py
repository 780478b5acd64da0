"""Every built page, in a real browser without a network."""

from pathlib import Path

import pytest
import yaml

from browser import typeset
from built import SITE, compressed
from chapters import ROOT, documents

PAGES = sorted(
    str(path.relative_to(SITE))
    for path in SITE.rglob("*.html")
    if "_static" not in path.parts and "http-equiv" not in path.read_text("utf-8")[:600]
)
MEGABYTE = 1000  # kB
MOVED = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["sphinx"]["config"]["redirects"]
every_page = pytest.mark.parametrize("name", PAGES)


def test_there_are_pages():
    assert {f"{document}.html" for document in documents()} | {"search.html"} <= set(PAGES)


class Watch:
    """A page that is refused the network, and what went wrong on it."""

    def __init__(self, browser, home: str, **options) -> None:
        self.home = home
        self.outside: list[str] = []
        self.failed: list[str] = []
        self.errors: list[str] = []
        self.bytes: dict[str, int] = {}
        self.context = browser.new_context(**options)
        self.context.route("**/*", self._route)
        self.page = self.context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("requestfailed", lambda request: self.failed.append(request.url))
        self.page.on("response", self._response)

    def _route(self, route) -> None:
        url = route.request.url
        if url.startswith((self.home, "data:", "blob:")):
            route.continue_()
        else:
            self.outside.append(url)
            route.abort()

    def _console(self, message) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _response(self, response) -> None:
        if response.status >= 400:
            self.failed.append(f"{response.status} {response.url}")
        elif response.url.startswith("http") and response.url not in self.bytes:
            kind = response.headers.get("content-type", "")
            self.bytes[response.url] = compressed(response.body(), kind)

    def open(self, name: str):
        self.page.goto(f"{self.home}/{name}")
        self.page.wait_for_load_state("load")
        typeset(self.page)
        return self.page


@pytest.fixture
def watch(browser):
    made = []

    def make(home: str, **options) -> Watch:
        made.append(Watch(browser, home, **options))
        return made[-1]

    yield make
    for one in made:
        one.context.close()


UNRENDERED = """() => {
  const formulas = [...document.querySelectorAll('.bd-content .math')];
  const bad = formulas.filter(f =>
    !f.querySelector('mjx-container svg') || f.querySelector('[data-mjx-error], mjx-merror'));
  return [formulas.length, bad.map(f => f.textContent.slice(0, 60))];
}"""


@every_page
@pytest.mark.parametrize("way", ["http", "file"])
def test_it_loads_from_its_own_folder_alone_and_renders(name, way, watch, server, figures):
    seen = watch(server if way == "http" else SITE.as_uri())
    page = seen.open(name)
    page.wait_for_timeout(300)  # for what a script asks for late
    _, bad = page.evaluate(UNRENDERED)
    figures("requests to other hosts", len(seen.outside))
    figures("console errors", len(seen.errors))
    figures("failed loads", len(seen.failed))
    figures("formulas not rendered", len(bad))
    assert (seen.outside, seen.failed, seen.errors, bad) == ([], [], [], [])
    if way == "http":
        kilobytes = sum(seen.bytes.values()) / 1000
        figures("weight", (round(kilobytes), name))
        assert kilobytes < 1.5 * MEGABYTE, sorted(seen.bytes.items(), key=lambda p: -p[1])[:5]


OVERFLOW = """() => {
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const out = [...document.querySelectorAll('.bd-article *')].filter(e => {
    const r = e.getBoundingClientRect();
    if (r.width === 0 || r.right <= document.documentElement.clientWidth + 1) return false;
    for (let p = e.parentElement; p; p = p.parentElement)
      if (/auto|scroll|hidden|clip/.test(getComputedStyle(p).overflowX)) return false;
    return true;
  });
  return [wide, out.slice(0, 3).map(e => e.outerHTML.slice(0, 120))];
}"""


@every_page
@pytest.mark.parametrize("width", [360, 640, 1280], ids=["phone", "zoom", "desktop"])
def test_nothing_is_lost_beside_the_page(name, width, watch, server):
    page = watch(server, viewport={"width": width, "height": 800}).open(name)
    assert page.evaluate(OVERFLOW) == [0, []]


def violations(page, **rules: bool) -> list[str]:
    """What axe finds, a line each."""
    import axe_playwright_python

    options = {name.replace("_", "-"): {"enabled": on} for name, on in rules.items()}
    page.add_script_tag(path=Path(axe_playwright_python.__file__).parent / "axe.min.js")
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:160]} {node['target']}"
        for rule in page.evaluate("rules => axe.run({ rules }).then(r => r.violations)", options)
        for node in rule["nodes"]
    ]


@every_page
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(name, scheme, watch, server, figures):
    page = watch(server, color_scheme=scheme, reduced_motion="reduce").open(name)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    found = violations(page)
    figures(f"axe violations, {scheme}", len(found))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", [page for page in PAGES if not page.startswith("_modules/")])
def test_axe_finds_nothing_on_a_phone(name, watch, server, figures):
    size = {"width": 390, "height": 800}
    page = watch(server, viewport=size, reduced_motion="reduce").open(name)
    page.wait_for_timeout(300)  # until what scrolls is marked
    found = violations(page, color_contrast=False)  # the longest: as on any screen
    figures("axe violations, phone", len(found))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "words",
    [
        "batch norm",
        "weight norm",
        "RMS norm",
        "GroupNorm",
        "rms_norm",
        "standardize_backward",
        "running variance",
        "momentum",
        "gamma",
        "epsilon",
    ],
)
def test_search_finds(words, watch, server):
    page = watch(server).open(f"search.html?q={words.replace(' ', '+')}")
    page.wait_for_selector("#search-results li a", timeout=10_000)
    assert page.locator("#search-results li").count() > 0


def test_the_whole_site_is_small():
    size = sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file())
    assert size < 40e6


@pytest.mark.parametrize("old", MOVED)
@pytest.mark.parametrize("way", ["http", "file"])
def test_an_old_address_leads_to_the_same_place_of_the_new_page(old, way, watch, server):
    home = server if way == "http" else SITE.as_uri()
    label = f"ch-{Path(old).name.replace('_', '-')}"
    page = watch(home).open(f"{old}.html#{label}")
    page.wait_for_url(f"{home}/book/{MOVED[old]}#{label}")
    assert page.locator(f"#{label}").count() == 1
