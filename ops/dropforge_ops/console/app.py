"""The web application: its pages, its own style and script, and NiceGUI set up for them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from nicegui import app as nicegui_app
from nicegui import ui

from dropforge_ops.console import downloads, shell
from dropforge_ops.console.context import Context
from dropforge_ops.console.page import Page
from dropforge_ops.console.pages import PAGES
from dropforge_ops.errors import NotFound

_STATIC: Final = Path(__file__).parent / "static"
# A page is answered once it is drawn, and drawing reads AWS.
_DRAWN_WITHIN_S: Final = 30.0


async def _say_missing(_: Context) -> None:
    ui.context.client.status_code = 404
    raise NotFound("There is no such page. The navigation leads to those there are.")


_MISSING: Final = Page("", "Not found", _say_missing)


def create_app(context: Context) -> FastAPI:
    """The application, ready to be served."""
    nicegui_app.add_static_files("/static", _STATIC, max_cache_age=3600)
    for page in PAGES:
        ui.page(page.path, title=f"{page.title} · dropforge", response_timeout=_DRAWN_WITHIN_S)(
            _handler(page, context)
        )
    nicegui_app.on_page_exception(shell.draw_unexpected)
    # What is sent shows its own progress, by name; Quasar would add a bar without one.
    nicegui_app.config.quasar_config["loadingBar"]["skipHijack"] = True
    nicegui_app.config.vue_config_script += "app.mixin(dropforge.lateChart);"
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    context.drops.register(application)
    downloads.register(application, context.target)
    ui.run_with(
        application,
        root=_handler(_MISSING, context),
        title="dropforge",
        favicon=_STATIC / "favicon.svg",
        dark=None,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=10,
    )
    return application


def _handler(page: Page, context: Context) -> Callable[..., Any]:
    """A function whose parameters are the path's, as NiceGUI's router wants it."""
    names = [part[1:-1] for part in page.path.split("/") if part.startswith("{")]

    async def draw(**parameters: str) -> None:
        await shell.draw(context, page, PAGES, **parameters)

    draw.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=str) for name in names]
    )
    return draw
