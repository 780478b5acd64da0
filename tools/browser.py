"""The browser that prints the book and checks its pages."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import which

from playwright.sync_api import Browser, Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TYPESET = "() => window.MathJax && MathJax.startup ? MathJax.startup.promise.then(() => 0) : 0"


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser without a window.

    Raises:
        SystemExit: if none is installed, with what to do.
    """
    path = next(filter(None, map(which, BROWSERS)), None)
    if path is None:
        sys.exit(f"No browser was found; `.ci/browser` installs one ({', '.join(BROWSERS)}).")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


def typeset(page: Page) -> None:
    """Wait until the formulas of a page are set."""
    page.evaluate(TYPESET)
