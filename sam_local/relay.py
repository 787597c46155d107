"""Lets containers reach the local host, which listens on loopback alone."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def relayed(address: str, port: int) -> Iterator[str]:
    """Pass what comes to `address`, the engine's bridge, on to 127.0.0.1:`port`. Yields the relay's URL.

    The bridge is this machine's own: nothing beyond it reaches that address.
    """
    server = socket.create_server((address, 0))
    threading.Thread(target=_accept, args=(server, port), daemon=True).start()
    try:
        yield f"http://{address}:{server.getsockname()[1]}"
    finally:
        # Wakes the thread that accepts; closing alone would not.
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()


def _accept(server: socket.socket, port: int) -> None:
    while True:
        try:
            caller, _ = server.accept()
        except OSError:
            return
        try:
            host = socket.create_connection(("127.0.0.1", port))
        except OSError:
            caller.close()
            continue
        for source, target in ((caller, host), (host, caller)):
            threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(1 << 16):
            target.sendall(block)
    for each in (target, source):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_WR if each is target else socket.SHUT_RD)
