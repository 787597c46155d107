"""The other instances of a training job, which train one model together.

SageMaker calls an instance a host, and names all of them in ``resourceconfig.json``. Each connects to the
first, which passes on what they say, so that all hosts hear the same in the same order. A host that ends
before the others are done, or is silent for SILENT_S, ends all of them with its reason, or with `LostHost`.

What is sent is bytes that are read as data alone (JSON, numpy's arrays without objects), never pickles. The
ports are PORT for this, and above it those that a library connects by; see `Peers.ports`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import queue
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.errors import LostHost
from folders import Folders

PORT = 7310
"""Where the first host listens. Each host has its own address on AWS; on one machine all share one."""

COMING_S = 900.0
"""How long hosts wait for each other at first: each begins when its channels are copied in."""

SILENT_S, BEAT_S = 60.0, 5.0
"""A host says something every BEAT_S seconds, whatever it computes. After SILENT_S without it is lost."""

EXPLAINED_S = 10.0
"""So long an error of a connection waits for its reason."""

MAXIMUM_BYTES = 4 << 30
"""Of one message."""

_DATA, _BEAT, _FAILURE, _END = b"D", b"B", b"F", b"E"
_HEAD = struct.Struct("!cQ")
_CHUNK = 1 << 20

OnLoss = Callable[[str], None]
"""Is told, in a thread of its own, with what all hosts fail: the error's class and text."""


class Peers:
    """The hosts of a job, and what they tell each other. A job of one instance has itself alone.

    Attributes:
        names: of all hosts, in SageMaker's order.
        place: of this host among them.
    """

    def __init__(self, names: list[str], place: int, token: str, on_loss: OnLoss) -> None:
        self.names, self.place = names, place
        self._token = hashlib.sha256(token.encode()).digest()
        self._on_loss = on_loss
        self._links: dict[int, _Link] = {}
        self._ended = threading.Event()
        self._failing = threading.Lock()
        self.rows: list[int] = [1] * len(names)
        self._ports_used = 1

    @classmethod
    def of(cls, folders: Folders, environment: Mapping[str, str], on_loss: OnLoss) -> Self:
        """Read who they are; nobody is spoken to before the ``with`` block."""
        path = folders.config / "resourceconfig.json"
        told: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {"hosts": ["algo-1"]}
        names = [str(name) for name in told["hosts"]]
        place = names.index(told.get("current_host", names[0]))
        return cls(names, place, environment.get("TRAINING_JOB_ARN", ""), on_loss)

    @classmethod
    def alone(cls) -> Self:
        """The only instance of a job."""
        return cls(["algo-1"], 0, "", sys.exit)

    @property
    def several(self) -> bool:
        return len(self.names) > 1

    # --- who does what ---

    @property
    def working(self) -> list[int]:
        """The places of the hosts that have rows; the others only listen."""
        return [place for place, rows in enumerate(self.rows) if rows]

    @property
    def leads(self) -> bool:
        """Whether this host writes the model: the first that has rows does."""
        return self.working[:1] == [self.place]

    @property
    def share(self) -> tuple[int, int]:
        """Which of how many parts this host takes of what all of them have."""
        return self.working.index(self.place), len(self.working)

    # --- coming and going ---

    def __enter__(self) -> Self:
        if self.several:
            self._connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._tell_all(_FAILURE, f"{type(error).__name__}: {error}".encode())
        self._end()

    def leave(self) -> None:
        """Be done with what hosts do together: nobody's end is a loss any more."""
        if self.several and not self._ended.is_set():
            self.exchange(b"END")
            self._end()

    def listen(self) -> None:
        """Take part as a host without rows, until the others leave."""
        while b"END" not in self.exchange(b""):
            pass
        self._end()

    def _end(self) -> None:
        self._ended.set()
        self._tell_all(_END, b"")
        for link in self._links.values():
            link.close()

    def _connect(self) -> None:
        until = time.monotonic() + COMING_S
        first = self.names[0]
        if self.place:
            self._links[0] = _Link(_reach(first, until), 0)
            self._links[0].send(_DATA, self._token + struct.pack("!I", self.place))
        else:
            with socket.create_server((_address(first, until), PORT)) as server:
                while len(self._links) < len(self.names) - 1:
                    server.settimeout(max(until - time.monotonic(), 0.001))
                    try:
                        link, place = self._greeted(server.accept()[0])
                    except TimeoutError as error:
                        missing = [n for k, n in enumerate(self.names) if k and k not in self._links]
                        raise LostHost(f"{', '.join(missing)} did not come in time.") from error
                    if link is not None:
                        self._links[place] = link
        for link in self._links.values():
            threading.Thread(target=self._hear, args=(link,), daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def _greeted(self, connection: socket.socket) -> tuple[_Link | None, int]:
        """Whoever connects and isn't of this job is sent away."""
        link = _Link(connection, -1)
        with contextlib.suppress(OSError, struct.error, EOFError):
            connection.settimeout(BEAT_S)
            kind, said = link.receive(limit=len(self._token) + 4)
            place = struct.unpack("!I", said[-4:])[0]
            if kind == _DATA and said[:-4] == self._token and 0 < place < len(self.names):
                connection.settimeout(SILENT_S)
                link.place = place
                return link, place
        link.close()
        return None, -1

    # --- talking ---

    def exchange(self, content: bytes) -> list[bytes]:
        """Say something to all, and return what each host with rows said, in the hosts' order.

        All hosts have to call it equally often. One without rows says nothing, b"".
        """
        if not self.several:
            return [content]
        with self.explaining(OSError):
            if self.place:
                self._links[0].send(_DATA, content)
                said = _unpacked(self._links[0].heard.get())
            else:
                said = [content, *(self._links[place].heard.get() for place in sorted(self._links))]
                packed = b"".join(struct.pack("!Q", len(each)) + each for each in said)
                for link in self._links.values():
                    link.send(_DATA, packed)
        return [each for each in said if each]

    @contextlib.contextmanager
    def explaining(self, *errors: type[Exception]) -> Iterator[None]:
        """Let an error of a connection wait for the thread that knows who is lost, and ends this process."""
        try:
            yield
        except errors:
            time.sleep(EXPLAINED_S)
            raise

    def exchange_json(self, content: Any) -> list[Any]:
        """Exchange what JSON can say."""
        return [json.loads(each) for each in self.exchange(json.dumps(content).encode())]

    def exchange_array(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Exchange arrays of numbers."""
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        said = self.exchange(file.getvalue())
        return [np.load(io.BytesIO(each), allow_pickle=False) for each in said]

    def ports(self) -> list[tuple[str, int]]:
        """Return the address and a port, new at each call, of each host with rows, for a library's sockets.

        Each host has a port of its own, so that hosts may share an address. The calls have to be the same on
        all hosts.
        """
        base = PORT + self._ports_used
        self._ports_used += len(self.names)
        until = time.monotonic() + SILENT_S
        return [(_address(self.names[place], until), base + place) for place in self.working]

    # --- listening ---

    def _hear(self, link: _Link) -> None:
        name = self.names[link.place]
        while True:
            try:
                kind, content = link.receive()
            except TimeoutError:
                problem = f"{name} has been silent for {SILENT_S:.0f} s"
                break
            except (OSError, EOFError):
                problem = f"{name} ended before the others were done"
                break
            if kind == _DATA:
                link.heard.put(content)
            elif kind == _FAILURE:
                self._lose(content.decode("utf-8", "replace"))
                return
            elif kind == _END:
                self._ended.set()
                return
        self._lose(
            f"LostHost: {problem}, so the job of {len(self.names)} instances can't go on. The log of "
            f"{name} may say why; ended by the system, it may have lacked memory."
        )

    def _lose(self, failure: str) -> None:
        if self._ended.is_set() or not self._failing.acquire(blocking=False):
            return
        self._tell_all(_FAILURE, failure.encode())
        self._on_loss(failure)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            self._tell_all(_BEAT, b"")

    def _tell_all(self, kind: bytes, content: bytes) -> None:
        for link in self._links.values():
            with contextlib.suppress(OSError):
                link.send(kind, content)


class _Link:
    """A connection to one host."""

    def __init__(self, connection: socket.socket, place: int) -> None:
        self._connection, self.place = connection, place
        self._sending = threading.Lock()
        self.heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        connection.settimeout(SILENT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, kind: bytes, content: bytes) -> None:
        with self._sending:
            for part in (_HEAD.pack(kind, len(content)), content):
                view = memoryview(part)
                while view:  # sendall's limit of time is one for all of it
                    view = view[self._connection.send(view[:_CHUNK]) :]

    def receive(self, limit: int = MAXIMUM_BYTES) -> tuple[bytes, bytes]:
        """Return the next message. Raises EOFError at the end, TimeoutError after SILENT_S without a byte."""
        kind, size = _HEAD.unpack(self._read(_HEAD.size))
        if size > limit:
            raise EOFError
        return kind, self._read(size)

    def _read(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            part = self._connection.recv(min(size - len(found), _CHUNK))
            if not part:
                raise EOFError
            found += part
        return bytes(found)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
        self._connection.close()


def _reach(name: str, until: float) -> socket.socket:
    return _tried(lambda: socket.create_connection((name, PORT), timeout=BEAT_S), name, until)


def _address(name: str, until: float) -> str:
    return _tried(lambda: socket.gethostbyname(name), name, until)


def _tried[T](attempt: Callable[[], T], name: str, until: float) -> T:
    """Try again until a host is there: one that starts may be known by name later than it runs."""
    while True:
        try:
            return attempt()
        except OSError as error:
            if time.monotonic() > until:
                raise LostHost(f"{name} did not come in time: {error}.") from error
            time.sleep(0.1)


def _unpacked(packed: bytes) -> list[bytes]:
    found, start = [], 0
    while start < len(packed):
        (size,) = struct.unpack_from("!Q", packed, start)
        found.append(packed[start + 8 : start + 8 + size])
        start += 8 + size
    return found
