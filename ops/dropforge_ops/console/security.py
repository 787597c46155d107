"""Decides about every request before any page sees it: where it was sent, from which page, by whom."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Mapping
from html import escape
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dropforge_ops.console.settings import Settings

SIGN_IN: Final = "/sign-in"
COOKIE: Final = "dropforge_console"
# Not a redirect: one that follows a link from elsewhere would not carry a strict cookie.
_ONWARDS: Final = '<!doctype html><meta http-equiv="refresh" content="0;url=/"><title>…</title>'
_FORM: Final = Path(__file__).parent / "sign_in.html"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# A form with one token.
_LARGEST_SIGN_IN = 4096

# Vue compiles NiceGUI's templates in the browser and the page starts with an inline script, hence the two
# 'unsafe' sources; what matters is that nothing is loaded from, or sent to, anywhere else.
_POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: a form would then be sent with the origin "null", as another site's is.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """An ASGI application around another.

    - The ``Host`` header has to be one of ours, so that a web page whose name was made to point here (DNS
      rebinding) is refused.
    - What changes something, and every websocket, has to come from a page of ours (``Origin``).
    - Where there is a token, a request needs the cookie that the token is exchanged for.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._settings = settings
        self._session = None if settings.token is None else _session_of(settings.token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        answer = await self._answer(scope, receive)
        if answer is None:
            await self.app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await answer(scope, receive, _with_headers(send))

    async def _answer(self, scope: Scope, receive: Receive) -> Response | None:
        """The response that ends the request here, or None where it may pass."""
        headers = _headers(scope)
        if not self._is_our_host(headers.get("host", "")):
            return PlainTextResponse(
                "This console doesn't go by that name. Open it under the address that it printed, or start "
                "it with --allow-host NAME.\n",
                421,
            )
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if changes and not _is_our_page(headers):
            return PlainTextResponse("Only the console's own pages may do this.\n", 403)
        if self._session is None:
            return None
        if self._is_signed_in(headers):
            return HTMLResponse(_ONWARDS) if scope["path"] == SIGN_IN else None
        if scope["type"] == "websocket":
            return PlainTextResponse("", 401)
        return await self._sign_in(Request(scope, receive))

    def _is_our_host(self, header: str) -> bool:
        try:
            name = (urlsplit(f"//{header}").hostname or "").lower().rstrip(".")
        except ValueError:
            return False
        if name in self._settings.names or name == "localhost":
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return not self._settings.is_loopback and name in _names_of_this_machine()
        # A name can be made to point here; an address is what it is.
        return address.is_loopback or not self._settings.is_loopback

    def _is_signed_in(self, headers: Mapping[str, str]) -> bool:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        value = "" if morsel is None else morsel.value
        return hmac.compare_digest(value.encode(), (self._session or "").encode())

    async def _sign_in(self, request: Request) -> Response:
        given = request.query_params.get("token")
        if request.url.path == SIGN_IN and request.method == "POST":
            given = await _posted_token(request)
        if given is None:
            return HTMLResponse(_form(""), 401)
        if not hmac.compare_digest(given.encode(), (self._settings.token or "").encode()):
            return HTMLResponse(_form("That is not the token."), 403)
        # Not a redirect: one that follows a link from elsewhere would not carry a strict cookie.
        response = HTMLResponse(
            '<!doctype html><meta http-equiv="refresh" content="0;url=/"><title>…</title>'
        )
        secure = request.url.scheme == "https"
        response.set_cookie(
            COOKIE, self._session or "", httponly=True, samesite="strict", secure=secure, path="/"
        )
        return response


def _session_of(token: str) -> str:
    """What the browser keeps in place of the token itself."""
    return hmac.new(token.encode(), b"dropforge console session", hashlib.sha256).hexdigest()


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _is_our_page(headers: Mapping[str, str]) -> bool:
    origin = urlsplit(headers.get("origin", ""))
    return origin.scheme in ("http", "https") and origin.netloc.lower() == headers.get("host", "").lower()


def _names_of_this_machine() -> frozenset[str]:
    return frozenset({socket.gethostname().lower(), socket.getfqdn().lower()})


async def _posted_token(request: Request) -> str:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_SIGN_IN:
            return ""
    return parse_qs(body.decode("latin-1")).get("token", [""])[0]


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return sent


def _form(problem: str) -> str:
    said = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    return _FORM.read_text(encoding="utf-8").replace("<!-- problem -->", said)
