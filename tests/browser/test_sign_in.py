"""The token, asked for by a real browser, which decides itself what origin and cookies it sends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from playwright.sync_api import Browser, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from dropforge_ops.console.security import Guard
from dropforge_ops.console.settings import Settings
from tests.workflow.stack import wait_for

TOKEN = "a token that nobody guesses"
_TALK = """() => new Promise((resolve) => {
  const socket = new WebSocket(`ws://${location.host}/ws`);
  socket.onmessage = (event) => resolve(event.data);
  socket.onerror = () => resolve("refused");
})"""


@pytest.fixture
def guarded() -> Iterator[str]:
    """The URL of a guarded page with a websocket."""

    async def page(_: Request) -> HTMLResponse:
        return HTMLResponse("<title>in</title><h1>Inside</h1>")

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    app = Starlette(routes=[Route("/", page), WebSocketRoute("/ws", talk)])
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Guard(app, Settings.of(token=TOKEN)), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_for("web server", lambda: server.started)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


def test_the_form_takes_the_token_and_only_then_pages_and_websockets_are_there(
    browser: Browser, guarded: str
):
    context = browser.new_context()
    page = context.new_page()
    page.goto(guarded)
    page.get_by_label("The token").fill("a token that is wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("That is not the token.")
    assert page.evaluate(_TALK) == "refused"
    page.get_by_label("The token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Inside")).to_be_visible()
    assert page.evaluate(_TALK) == "hello"
    assert page.evaluate("document.cookie") == ""
    context.close()


def test_the_printed_address_opens_it_also_from_a_link_of_another_site(browser: Browser, guarded: str):
    context = browser.new_context()
    page = context.new_page()
    context.route(
        "http://elsewhere.example/",
        lambda route: route.fulfill(
            content_type="text/html",
            body=f'<a href="{guarded}/sign-in?token={TOKEN.replace(" ", "+")}">open</a>',
        ),
    )
    page.goto("http://elsewhere.example/")
    page.get_by_role("link").click()
    expect(page.get_by_role("heading", name="Inside")).to_be_visible()
    assert "token" not in page.url
    context.close()
