"""The way out of a network namespace that has none: a proxy whose listening socket was made inside it."""

from __future__ import annotations

import contextlib
import socket
import threading

_TIMEOUT_S = 60.0


class Relay:
    """An HTTP proxy for CONNECT alone; ``asked`` lists the hosts that were asked for, in order.

    Args:
        listening: made in the namespace; what it accepts is connected from this process's own network.
    """

    def __init__(self, listening: socket.socket) -> None:
        self.asked: list[str] = []
        self._listening = listening
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, ValueError):
            client.settimeout(_TIMEOUT_S)
            request = b""
            while b"\r\n\r\n" not in request:
                if not (piece := client.recv(4096)):
                    return
                request += piece
            method, target, _ = request.split(b"\r\n")[0].decode("ascii").split(" ")
            self.asked.append(target)
            if method != "CONNECT":
                client.sendall(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
                return
            host, _, port = target.rpartition(":")
            with socket.create_connection((host, int(port)), _TIMEOUT_S) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join(_TIMEOUT_S)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
