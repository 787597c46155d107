"""What every page stands in: navigation, the stack's name, the theme, and a place for what goes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from nicegui import html, ui
from nicegui.element import Element

from dropforge_ops.console.components.drop_zone import drop_zone
from dropforge_ops.console.components.feedback import error_banner
from dropforge_ops.console.components.text import link
from dropforge_ops.console.context import Context
from dropforge_ops.console.page import Page
from dropforge_ops.errors import CommandError

THEME_COOKIE: Final = "dropforge_theme"
_THEMES: Final = {"auto": None, "dark": True, "light": False}
_HEAD: Final = (
    '<link rel="stylesheet" href="/static/console.css">\n<script src="/static/console.js"></script>'
)


async def draw(context: Context, page: Page, pages: Sequence[Page], **parameters: str) -> None:
    """Draw the whole page: the frame, then its content, or in its place what went wrong."""
    ui.add_head_html(_HEAD)
    ui.dark_mode(_theme())
    ui.page_title(f"{page.named(parameters)} · dropforge")
    html.a("Skip to content").props('href="#content"').classes("skip")
    with html.div().classes("frame"):
        _navigation(context, page, pages)
        with html.div().classes("content").props('id="content" tabindex="-1"'):
            _crumbs(page, pages, parameters)
            with html.div().classes("live") as content:
                await _draw_content(context, page, content, parameters)
        if not page.takes_drops:
            with html.div().classes("apart-drops"):
                drop_zone(context, apart=True)


def draw_unexpected(error: Exception) -> None:
    """The page in place of one whose code failed. The details are in the console's log."""
    ui.add_head_html(_HEAD)
    with html.div().classes("content"):
        error_banner(f"The console itself failed: {type(error).__name__}. Its log says where.")


async def _draw_content(context: Context, page: Page, content: Element, parameters: dict[str, str]) -> None:
    try:
        await page.draw(context, **parameters)
    except CommandError as error:
        content.clear()
        with content:
            html.h1(page.title)
            error_banner(str(error))


def _crumbs(page: Page, pages: Sequence[Page], parameters: Mapping[str, str]) -> None:
    """The pages that this one lies below, the highest first."""
    if page.within is None:
        return
    above = [each for each in pages if page.path.startswith(f"{each.path}/")]
    above = above or [each for each in pages if each.path == page.within]
    with html.nav().classes("crumbs").props('aria-label="Breadcrumb"'):
        for each in above:
            link(each.named(parameters), each.path.format_map(parameters))
            html.span("/").props("aria-hidden=true")


def _theme() -> bool | None:
    request = ui.context.client.request
    return _THEMES.get(request.cookies.get(THEME_COOKIE, "auto") if request else "auto")


def _navigation(context: Context, page: Page, pages: Sequence[Page]) -> None:
    with html.header().classes("bar"):
        with html.a().props('href="/" aria-label="dropforge, overview"').classes("brand"):
            html.span().classes("mark").props("aria-hidden=true")
            html.span("dropforge").classes("name")
        with html.nav().props('aria-label="Pages"').classes("pages"):
            for each in pages:
                if each.icon is not None:
                    _entry(each, is_current=each.path == page.section)
        with html.div().classes("where"):
            with html.div().classes("stack"):
                html.span(context.target.stack).classes("stack-name")
                place = "this machine" if context.target.is_local else context.target.host
                html.span(place, title=context.target.host).classes("stack-host")
            _theme_button()


def _entry(page: Page, *, is_current: bool) -> None:
    link = html.a().props(f'href="{page.path}"').classes("entry")
    if is_current:
        link.props('aria-current="page"')
    with link:
        ui.icon(page.icon or "").props("aria-hidden=true")
        html.span(page.title)


def _theme_button() -> None:
    with (
        html.button()
        .classes("icon-button theme")
        .props('type="button" aria-label="Switch between dark and light"')
        .on("click", js_handler="() => dropforge.switchTheme()")
    ):
        ui.icon("contrast").props("aria-hidden=true")
