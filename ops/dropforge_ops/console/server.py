"""Serves the console: a web server in a thread of its own, for as long as a block lasts."""

from __future__ import annotations

import socket
import threading
import time
from types import TracebackType
from typing import Self

import uvicorn

from dropforge_ops.console.app import create_app
from dropforge_ops.console.context import Context
from dropforge_ops.console.security import SIGN_IN, Guard
from dropforge_ops.console.settings import Settings
from dropforge_ops.errors import OperationFailed, UsageError

_READY_WITHIN_S = 30.0
_STOP_WITHIN_S = 5.0


class ConsoleServer:
    """The console of one stack. NiceGUI has one application a process, so there can be one at a time."""

    def __init__(self, context: Context, settings: Settings) -> None:
        self._settings = settings
        self._socket = _listen(settings)
        # Tokens travel in the first URL, so no log may hold URLs.
        config = uvicorn.Config(
            Guard(create_app(context), settings),
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="console", daemon=True
        )

    @property
    def url(self) -> str:
        """Where the console is; without the token."""
        return f"http://{self._settings.shown_host}:{self._socket.getsockname()[1]}/"

    @property
    def entry_url(self) -> str:
        """The URL to open first: with the token where there is one."""
        token = self._settings.token
        return self.url if token is None else f"{self.url.rstrip('/')}{SIGN_IN}?token={token}"

    @property
    def is_running(self) -> bool:
        """Whether it still serves."""
        return self._thread.is_alive()

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + _READY_WITHIN_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self._stop()
                raise OperationFailed("The console's web server did not start.")
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(_STOP_WITHIN_S)
        self._socket.close()


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=128)
    except OSError as error:
        raise UsageError(
            f"The console can't listen on {settings.host} port {settings.port}: {error.strerror}. Take "
            "another --port (0 finds a free one) or --host."
        ) from error
