"""A person at a browser: opens the console's pages, and notices what no page may do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page

Theme = Literal["light", "dark"]
WIDE, NARROW = 1440, 360
PATIENCE_MS = 90_000
_HEIGHT = 900

_DROP = """([content, name]) => {
  const files = new DataTransfer();
  files.items.add(new File([content], name));
  const zone = document.querySelector(".drop-zone");
  for (const kind of ["dragenter", "dragover", "drop"])
    zone.dispatchEvent(new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true }));
}"""


class Desk:
    """Every page that is opened here is watched: errors in its console, and requests to anybody else.

    Windows of one size and theme share what a browser keeps; a cold cache would make each page twice as dear.
    """

    def __init__(self, browser: Browser, url: str) -> None:
        self.url = url
        self.complaints: list[str] = []
        self._browser = browser
        self._contexts: dict[tuple[int, Theme], BrowserContext] = {}

    def open(self, path: str = "/", *, width: int = WIDE, theme: Theme = "light", ready: str = "h1") -> Page:
        """Open a page in a window of its own, and wait until it is drawn."""
        page = self._context(width, theme).new_page()
        self._watch(page)
        self.go(page, path, ready)
        return page

    def go(self, page: Page, path: str, ready: str) -> None:
        """Go to another page in the same window, and wait until it is drawn."""
        page.goto(self.url.rstrip("/") + path)
        page.wait_for_selector(ready)
        # Until then NiceGUI's events wait, each by itself, and a click may overtake what was typed before it.
        page.wait_for_function("window.did_handshake")

    def leave(self) -> list[str]:
        """Close the windows and forget what was chosen in them. Returns the complaints of this time."""
        for context in self._contexts.values():
            for page in context.pages:
                page.close()
            context.clear_cookies()
        complaints, self.complaints = self.complaints, []
        return complaints

    def close(self) -> None:
        for context in self._contexts.values():
            context.close()

    def _context(self, width: int, theme: Theme) -> BrowserContext:
        if (width, theme) not in self._contexts:
            context = self._browser.new_context(
                viewport={"width": width, "height": _HEIGHT}, color_scheme=theme, reduced_motion="reduce"
            )
            context.set_default_timeout(PATIENCE_MS)
            self._contexts[width, theme] = context
        return self._contexts[width, theme]

    def _watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on(
            "console",
            lambda message: (
                self.complaints.append(f"{page.url}: {message.text}") if message.type == "error" else None
            ),
        )
        page.on("request", lambda request: self._check(request.url))
        page.on("websocket", lambda socket: self._check(socket.url))

    def _check(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.netloc != urlsplit(self.url).netloc:
            self.complaints.append(f"asked for {url}")


def drop(page: Page, file: Path | bytes, name: str) -> None:
    """Drag a file onto the page's drop zone."""
    content = file if isinstance(file, bytes) else file.read_bytes()
    page.wait_for_selector(".drop-zone")
    page.evaluate(_DROP, [content.decode(), name])


def _serious_violations(page: Page) -> list[str]:
    """What axe-core finds to be serious or critical: the rule, its help, the first elements."""
    found: dict[str, Any] = Axe().run(page).response
    return [
        f"{each['id']}: {each['help']}: {[node['html'][:160] for node in each['nodes'][:3]]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


def assert_fit_and_free_of_barriers(
    desk: Desk, pages: Sequence[tuple[str, str]], theme: Theme, width: int
) -> None:
    """Each of the pages (path, what shows that it is drawn) in a window of this width."""
    (first, ready), *_ = pages
    page = desk.open(first, width=width, theme=theme, ready=ready)
    for path, ready in pages:
        if path != first:
            desk.go(page, path, ready)
        assert not _is_wider_than_the_window(page), path
        assert _serious_violations(page) == [], path


def _is_wider_than_the_window(page: Page) -> bool:
    """Whether a reader would have to scroll sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


def await_quiet(page: Page) -> None:
    """Wait until the server has sent nothing for half a second: what it sends overwrites what is typed."""
    page.evaluate(
        """() => new Promise(resolve => {
            let timer = setTimeout(resolve, 500);
            window.socket.onAny(() => { clearTimeout(timer); timer = setTimeout(resolve, 500); });
        })"""
    )
