"""How long the console takes to paint over a ledger of 1,000 runs and 200 versions, in Chromium.

Prints the first contentful paint of the overview and of the runs, in milliseconds from the request: of the
first visit of a browser, when it loads all scripts as well, and the median of later ones.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, sync_playwright
from tests.browser.beds import ROOT, chromium, console_of
from tests.browser.long_ledger import RUNS, STACK, VERSIONS, long_stack_on

from dropforge_local.host import LocalHost

LATER = 5


def main() -> int:
    """Print a line a page."""
    with TemporaryDirectory() as scratch, LocalHost(ROOT) as host:
        long_stack_on(host)
        with console_of(host, STACK, Path(scratch)) as url, sync_playwright() as playwright:
            browser = chromium(playwright)
            sys.stdout.write(f"{RUNS} runs, {VERSIONS} versions; first contentful paint, ms\n")
            for name, path in (("overview", "/"), ("runs", "/runs")):
                page = browser.new_context().new_page()
                first = painted_ms(page, url.rstrip("/") + path)
                later = [painted_ms(page, url.rstrip("/") + path) for _ in range(LATER)]
                told = f"{name:<10} first visit {first:6.0f}  later {statistics.median(later):6.0f}\n"
                sys.stdout.write(told)
            browser.close()
    return 0


def painted_ms(page: Page, url: str) -> float:
    """Open the page and wait for its heading."""
    page.goto(url)
    page.wait_for_selector("h1")
    return float(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))


if __name__ == "__main__":
    sys.exit(main())
