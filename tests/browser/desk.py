"""A person at a browser: opens the console's pages, and notices what no page may do."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

Theme = Literal["light", "dark"]
Look = tuple[Theme, int]
"""The system's theme and the window's width in pixels."""
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
_DRAG = """([kind, place]) => {
  const files = new DataTransfer();
  files.items.add(new File([""], "nothing.csv"));
  const event = new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true });
  return !document.querySelector(place).dispatchEvent(event);
}"""
# What follows a change of size is done before the next frame, and drawn in it.
_DRAWN = "() => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)))"


class Desk:
    """The page that is opened here is watched: errors in its console, and requests to anybody else.

    There is one window for all of them: another would load and compile all scripts anew.
    """

    def __init__(self, browser: Browser, url: str) -> None:
        self.url = url
        self.complaints: list[str] = []
        self._browser = browser

    def open(self, path: str = "/", *, width: int = WIDE, theme: Theme = "light", ready: str = "h1") -> Page:
        """Open a page, and wait until it is drawn."""
        window = self._window
        self._set_look(theme, width)
        window.goto(self.url.rstrip("/") + path)
        window.wait_for_selector(ready)
        # Until then NiceGUI's events wait, each by itself, and a click may overtake what was typed before it.
        window.wait_for_function("window.did_handshake")
        return window

    def change_look(self, theme: Theme, width: int) -> None:
        """Change the look of the page that is open, and wait until it is drawn so."""
        self._set_look(theme, width)
        self._window.evaluate(_DRAWN)

    def leave(self) -> list[str]:
        """Leave the page and forget what was chosen in it. Returns the complaints of this time."""
        # Not about:blank, from which the next page would get another process, with all scripts to compile.
        self._window.goto(self.url + "static/favicon.svg")
        self._window.context.clear_cookies()
        complaints, self.complaints = self.complaints, []
        return complaints

    def close(self) -> None:
        self._window.context.close()

    @cached_property
    def _window(self) -> Page:
        context = self._browser.new_context(reduced_motion="reduce")
        context.set_default_timeout(PATIENCE_MS)
        window = context.new_page()
        self._watch(window)
        return window

    def _set_look(self, theme: Theme, width: int) -> None:
        self._window.emulate_media(color_scheme=theme)
        self._window.set_viewport_size({"width": width, "height": _HEIGHT})

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


def drag(page: Page, kind: str, place: str) -> bool:
    """Drag an empty file over, into or off an element; returns whether the browser is kept from its own."""
    prevented: bool = page.evaluate(_DRAG, [kind, place])
    return prevented


def assert_fit_and_free_of_barriers(
    desk: Desk, pages: Sequence[tuple[str, str]], looks: Sequence[Look]
) -> None:
    """Each of the pages (path, what shows that it is drawn) in each look: opened in one, changed to the next.

    The next page is opened in the look that the one before it was left in, so each look is opened, too.
    """
    for path, ready in pages:
        (theme, width), *others = looks
        page = desk.open(path, width=width, theme=theme, ready=ready)
        _assert_fits_and_is_free_of_barriers(page)
        for each in others:
            desk.change_look(*each)
            _assert_fits_and_is_free_of_barriers(page)
        looks = looks[::-1]


def _assert_fits_and_is_free_of_barriers(page: Page) -> None:
    assert not _is_wider_than_the_window(page), page.url
    found = _serious_violations(page)
    assert found == [], f"{page.url}: {found}"


def _serious_violations(page: Page) -> list[str]:
    """What axe-core finds to be serious or critical: the rule, its help, the first elements."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    found: dict[str, Any] = page.evaluate("axe.run({ resultTypes: ['violations'] })")
    return [
        f"{each['id']}: {each['help']}: {[node['html'][:160] for node in each['nodes'][:3]]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


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
