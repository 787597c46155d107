"""Who may talk to the console: only its own name, its own pages, and whoever holds the token."""

from __future__ import annotations

import socket

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from dropforge_ops.console.security import COOKIE, Guard
from dropforge_ops.console.settings import Settings
from dropforge_ops.errors import UsageError

EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing listens here
TOKEN = "0123456789abcdef-of-my-own"
HERE = "http://127.0.0.1:8931"
ABROAD = "http://192.0.2.7:8931"


def client(settings: Settings, base_url: str = HERE) -> TestClient:
    """A browser in front of a guarded application that answers everything."""

    async def page(_: object) -> PlainTextResponse:
        return PlainTextResponse("a page")

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    app = Starlette(
        routes=[Route("/{path:path}", page, methods=["GET", "POST"]), WebSocketRoute("/ws", talk)]
    )
    return TestClient(Guard(app, settings), base_url=base_url, follow_redirects=False)


@pytest.fixture
def local() -> TestClient:
    return client(Settings.of())


@pytest.fixture
def remote() -> TestClient:
    """A console on every address; its browser is on another machine."""
    return client(Settings.of(EVERYWHERE, token=TOKEN), ABROAD)


@pytest.mark.parametrize("host", ["127.0.0.1:8931", "localhost:8931", "[::1]:8931", "LOCALHOST"])
def test_on_this_machine_every_name_of_loopback_opens_it(local, host):
    assert local.get("/", headers={"Host": host}).text == "a page"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "192.0.2.7", "evil.example:8931", "[bad", ""]
)
def test_a_name_that_was_made_to_point_here_is_refused(local, host):
    answer = local.get("/", headers={"Host": host})
    assert answer.status_code == 421
    assert "--allow-host" in answer.text


def test_a_name_that_was_allowed_opens_it():
    browser = client(Settings.of(names=("Console.Example",)))
    assert browser.get("/", headers={"Host": "console.example:443"}).status_code == 200


@pytest.mark.parametrize(
    "origin", [None, "http://evil.example", "null", "http://127.0.0.1:9999", "ftp://127.0.0.1:8931"]
)
def test_another_site_can_neither_post_nor_open_a_websocket(local, origin):
    headers = {} if origin is None else {"Origin": origin}
    assert local.post("/drops", headers=headers).status_code == 403
    with pytest.raises(WebSocketDisconnect), local.websocket_connect("/ws", headers=headers):
        pass


def test_its_own_pages_can_do_both(local):
    assert local.post("/drops", headers={"Origin": HERE}).text == "a page"
    with local.websocket_connect("/ws", headers={"Origin": HERE, "Host": "127.0.0.1:8931"}) as talk:
        assert talk.receive_text() == "hello"


def test_every_answer_forbids_to_load_from_or_talk_to_anybody_else(local):
    for path in ("/", "/anything"):
        headers = local.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "connect-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
    assert (
        "default-src" in local.get("/", headers={"Host": "evil.example"}).headers["content-security-policy"]
    )


def test_beyond_this_machine_there_is_always_a_token():
    made, other = Settings.of(EVERYWHERE), Settings.of(EVERYWHERE)
    assert made.token is not None
    assert len(made.token) == 32
    assert made.token != other.token
    assert Settings.of("127.0.0.1").token is None
    assert Settings.of("::1").token is None


def test_a_token_that_can_be_guessed_is_refused():
    with pytest.raises(UsageError, match="16 or more"):
        Settings.of("127.0.0.1", token="secret")


def test_what_is_no_address_is_refused_with_those_that_are():
    with pytest.raises(UsageError, match=r"127\.0\.0\.1 is this machine only"):
        Settings.of("everywhere")


def test_without_the_token_there_is_only_the_form(remote):
    for answer in (remote.get("/"), remote.get("/runs"), remote.post("/drops", headers={"Origin": ABROAD})):
        assert answer.status_code == 401
        assert "a page" not in answer.text
        assert TOKEN not in answer.text
    with (
        pytest.raises(WebSocketDisconnect),
        remote.websocket_connect("/ws", headers={"Origin": ABROAD, "Host": "192.0.2.7:8931"}),
    ):
        pass


@pytest.mark.parametrize("wrong", ["", "0123456789abcdef-of-my-ow", TOKEN + "x", "пароль"])
def test_a_wrong_token_opens_nothing(remote, wrong):
    answer = remote.get("/sign-in", params={"token": wrong})
    assert answer.status_code == 403
    assert "That is not the token." in answer.text
    assert COOKIE not in answer.cookies
    assert remote.get("/", headers={"Cookie": f"{COOKIE}={wrong.encode().hex()}"}).status_code == 401


@pytest.mark.parametrize("by_form", [True, False])
def test_the_token_is_exchanged_for_a_cookie_that_is_not_the_token(remote, by_form):
    if by_form:
        answer = remote.post("/sign-in", data={"token": TOKEN}, headers={"Origin": ABROAD})
    else:
        answer = remote.get("/sign-in", params={"token": TOKEN})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    assert TOKEN not in answer.text
    assert remote.get("/runs").text == "a page"


def test_a_form_that_another_site_sends_is_not_looked_at(remote):
    answer = remote.post("/sign-in", data={"token": TOKEN}, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_form_that_never_ends_is_not_read(remote):
    answer = remote.post("/sign-in", content=b"token=" + b"a" * 100_000, headers={"Origin": ABROAD})
    assert answer.status_code == 403


def test_the_cookie_of_another_token_opens_nothing(remote):
    remote.get("/sign-in", params={"token": TOKEN})
    other = client(Settings.of(EVERYWHERE, token=TOKEN[::-1]), ABROAD)
    other.cookies = remote.cookies
    assert other.get("/").status_code == 401


def test_who_is_signed_in_is_led_on_from_the_form(remote):
    remote.get("/sign-in", params={"token": TOKEN})
    assert 'http-equiv="refresh"' in remote.get("/sign-in").text


def test_beyond_this_machine_it_goes_by_addresses_and_by_the_machines_own_name(remote):
    assert remote.get("/", headers={"Host": f"{socket.gethostname()}:8931"}).status_code == 401
    assert remote.get("/", headers={"Host": "evil.example"}).status_code == 421
