"""A closed-loop HTTP load: so many connections, each sending its next request when it has its answer.

One thread and plain sockets, so that it costs the machine little beside the server that is measured. A
connection is kept open as long as the server keeps it, and opened again when the server closes it.
"""

from __future__ import annotations

import selectors
import socket
import time
from dataclasses import dataclass, field


class UnexpectedAnswer(Exception):
    """The server answered something else than 200, or closed the connection in the middle of an answer."""


@dataclass
class _Connection:
    address: tuple[str, int]
    request: bytes
    socket: socket.socket = field(init=False)
    started: float = 0.0
    received: bytes = b""

    def __post_init__(self) -> None:
        self._open()

    def _open(self) -> None:
        self.socket = socket.create_connection(self.address, timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, selector: selectors.BaseSelector) -> None:
        self.started = time.perf_counter()
        if self.socket.fileno() < 0:
            self._open()
        self.received = b""
        self.socket.sendall(self.request)
        selector.register(self.socket, selectors.EVENT_READ, self)

    def receive(self, selector: selectors.BaseSelector) -> float | None:
        """Read what is there; return the seconds that the request took once its answer is complete."""
        data = self.socket.recv(1 << 16)
        self.received += data
        head, _, body = self.received.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), None)
        complete = length is not None and len(body) >= length
        if not complete and data:
            return None
        seconds = time.perf_counter() - self.started
        selector.unregister(self.socket)
        if not complete or b" 200 " not in lines[0]:
            self.socket.close()
            raise UnexpectedAnswer(repr(self.received[:500]))
        if b"connection: close" in lines:
            self.socket.close()
        return seconds


def run(port: int, path: str, body: bytes, *, connections: int, seconds: float) -> list[float]:
    """Send JSON to ``127.0.0.1:port`` for so long; return the seconds of every answered request.

    Raises:
        UnexpectedAnswer: an answer is not 200, so its time would mean nothing.
    """
    request = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Accept: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    took: list[float] = []
    selector = selectors.DefaultSelector()
    pool = [_Connection(("127.0.0.1", port), request) for _ in range(connections)]
    try:
        until = time.perf_counter() + seconds
        for connection in pool:
            connection.send(selector)
        while selector.get_map():
            for key, _ in selector.select(timeout=60):
                done = key.data.receive(selector)
                if done is None:
                    continue
                took.append(done)
                if time.perf_counter() < until:
                    key.data.send(selector)
    finally:
        for connection in pool:
            connection.socket.close()
        selector.close()
    return took
