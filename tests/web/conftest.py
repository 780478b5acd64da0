"""What the tests of the built pages share: a server, a browser, and the figures they print.

They need a built book and a browser, so only `make web-test` collects them.
"""

import functools
import http.server
import os
import statistics
import threading

import pytest

import browser as installed
from built import SITE

FOLDER = "a/folder/of/the/host"  # the book need not be at the root of its host

collect_ignore_glob = [] if os.environ.get("NORMTUTORIAL_WEB") else ["test_*.py"]

FIGURES: dict[str, list] = {}


def note(name: str, value) -> None:
    """Keep a figure for the summary; with xdist it travels with the report of its test."""
    FIGURES.setdefault(name, []).append(value)


@pytest.fixture
def figures(record_property):
    return lambda name, value: record_property("figure", (name, value))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        for kind, figure in report.user_properties:
            if kind == "figure":
                note(*figure)


def pytest_terminal_summary(terminalreporter) -> None:
    if not FIGURES:
        return
    terminalreporter.section("the built pages")
    line = terminalreporter.write_line
    line(f"pages checked: {len(FIGURES.get('weight', []))}")
    for name in (
        "requests to other hosts",
        "console errors",
        "failed loads",
        "formulas not rendered",
        "axe violations, light",
        "axe violations, dark",
        "axe violations, phone",
    ):
        line(f"{name}: {sum(FIGURES.get(name, []))}")
    if weights := sorted(kilobytes for kilobytes, _ in FIGURES.get("weight", [])):
        heaviest = max(FIGURES["weight"])
        line(
            f"weight of a page with all it loads, compressed: median "
            f"{statistics.median(weights):.0f} kB, heaviest {heaviest[0]:.0f} kB ({heaviest[1]})"
        )
    for name in sorted(name for name in FIGURES if name.startswith("lab: ")):
        line(f"{name}: {max(FIGURES[name]):.3g}")
    size = sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file())
    line(f"the whole site: {size / 1e6:.1f} MB")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the site in a sub-folder, and is silent."""

    def translate_path(self, path: str) -> str:
        if not path.startswith(f"/{FOLDER}/"):
            return str(SITE / "outside")
        return super().translate_path(path.removeprefix(f"/{FOLDER}"))

    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="session")
def server():
    """The address of the site on a local host, in a sub-folder."""
    handler = functools.partial(Handler, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{FOLDER}"
        server.shutdown()


@pytest.fixture(scope="session")
def browser():
    with installed.launched() as browser:
        yield browser
