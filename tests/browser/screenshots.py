"""Pictures of every page of the console, in both themes and widths: ``python -m tests.browser.screenshots``.

They show a stack of the local host whose second version waits for a decision while traffic has shifted. They
are written to ``docs/images/`` with a palette, which keeps them small.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from dropforge_local.host import LocalHost
from dropforge_ops.stack.samples import SAMPLES, write_samples
from tests.browser.beds import ROOT, SAMPLE, chromium, console_of
from tests.browser.desk import NARROW, WIDE, Desk, Theme
from tests.browser.traffic import rows_of, watched_hour
from tests.workflow.stack import Stack

IMAGES = ROOT / "docs" / "images"
COLOURS = 96
# A page that is longer is cut off: the picture shows what it looks like, not all that it says.
TALLEST = 1800


def main() -> int:
    """Write the pictures; the names of the files go to stdout."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch, LocalHost(ROOT, wait_scale=0.1) as host:
        stack = lived_in(host, Path(scratch))
        # The month's cost is estimated from the project's template.
        with console_of(host, stack.name, ROOT) as url, sync_playwright() as playwright:
            browser = chromium(playwright)
            for name, path, ready in pages(stack):
                for theme, width in ((t, w) for t in ("light", "dark") for w in (WIDE, NARROW)):
                    picture(browser, url, path, ready, theme, width, IMAGES / f"{name}-{width}-{theme}.png")
            browser.close()
    return 0


def pages(stack: Stack) -> Iterator[tuple[str, str, str]]:
    """Name, address, and what is there once the page is drawn."""
    waiting = stack.ledger.list_models()[0]
    yield "overview", "/", ".cost-lines"
    yield "runs", "/runs", "tbody"
    yield "drops", "/drops", "tbody"
    yield "run", f"/runs/{waiting.run_id}", "g.node[data-tone=warn]"
    yield "models", "/models", ".table"
    yield "version", f"/models/{waiting.version}", ".confusion"
    yield "card", f"/models/{waiting.version}/card", ".facts"
    yield "drift", "/drift", ".chart svg"
    yield "try", "/try", ".field"


def lived_in(host: LocalHost, folder: Path) -> Stack:
    """A stack with a live version, shifted traffic, a refused file and a version that waits."""
    write_samples(folder)
    sample, data = SAMPLES[SAMPLE], folder / f"{SAMPLE}.csv"
    stack = Stack(
        host,
        "breast-cancer",
        {"TargetColumn": sample.target, "IdColumn": sample.key, "DriftResponse": "notify"},
        ROOT / "template.yaml",
    )
    lines = data.read_bytes().splitlines(keepends=True)
    stack.wait_for_run_of(stack.train_and_deploy(b"".join(lines[:-120]), "january.csv"))
    stack.drop(b"id,diagnosis\n1,benign\n", "february.csv")
    failed = stack.wait_for_failed_run(2)
    for hours_ago in (7, 6, 5, 4):
        watched_hour(stack, rows_of(data, stack, 70, 60 * (hours_ago % 4)), hours_ago)
    for hours_ago in (3, 2, 1):
        moved = [{**row, "mean radius": row["mean radius"] * 1.6} for row in rows_of(data, stack, 70, 70)]
        watched_hour(stack, moved, hours_ago)
    stack.drop(data, "march.csv")
    stack.wait_for_version(2, ignoring=failed.run_id)
    return stack


def picture(browser: Browser, url: str, path: str, ready: str, theme: Theme, width: int, file: Path) -> None:
    """Open a page, wait until it stands still, and write what it looks like."""
    desk = Desk(browser, url)
    page = desk.open(path, width=width, theme=theme, ready=ready)
    taken = settled(page)
    desk.close()
    if desk.complaints:
        raise AssertionError(f"{path}: {desk.complaints}")
    with Image.open(io.BytesIO(taken)) as image:
        shown = image.crop((0, 0, image.width, min(image.height, TALLEST))).convert("RGB")
        # Rare colours carry the meaning; the refinement brings the large surfaces back to theirs.
        shown.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE).save(
            file, optimize=True
        )
    sys.stdout.write(f"{file.relative_to(ROOT)}  {file.stat().st_size / 1024:.0f} KiB\n")


def settled(page: Page) -> bytes:
    """The page as a PNG, once two in a row are the same (relative times may count on for ever)."""
    before = b""
    for _ in range(10):
        page.wait_for_timeout(400)
        now = page.screenshot(full_page=True)
        if now == before:
            break
        before = now
    return now


if __name__ == "__main__":
    sys.exit(main())
