"""One model server behind an endpoint: started, watched, restarted, ended."""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path

from dropforge_local.sagemaker.container import Container, Root
from dropforge_local.sagemaker.context import Context
from dropforge_local.sagemaker.logs import LogPump

logger = logging.getLogger(__name__)

_SERVER = Path(__file__).with_name("model_server.py")
_BACKLOG = 2048


def server_command(listening: int, *, isolated: bool) -> list[str]:
    """What a container runs to serve on a socket that listens already; `isolated` if it has no network."""
    return ["python3", "-P", str(_SERVER), str(listening), *(["--isolated"] if isolated else [])]


class Instance:
    """One model server: its container, its socket, and how many requests it is answering.

    The host listens, the server accepts. So a request that arrives while the server starts anew waits for it.
    """

    def __init__(
        self,
        context: Context,
        root: Root,
        environment: dict[str, str],
        *,
        isolated: bool,
        write_log: Callable[[str, list[tuple[int, str]]], None],
        health_check_s: float,
        changed: threading.Condition,
    ) -> None:
        self.id = f"i-{uuid.uuid4().hex[:17]}"
        self.in_flight = 0
        self.served = 0
        self.ready = False
        self.failed = False
        self._context = context
        self._root = root
        self._environment = environment
        self._isolated = isolated
        self._write_log = write_log
        self._health_check_s = health_check_s
        self._changed = changed
        self._stopping = threading.Event()
        self._container: Container | None = None
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(_BACKLOG)
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._run, name=f"sagemaker-{self.id}", daemon=True)

    def start(self) -> None:
        """Start the server; ``ready`` or ``failed`` tells later what became of it."""
        self._thread.start()

    def stop(self) -> None:
        """End the server at once; drain it first."""
        self._stopping.set()
        with self._changed:
            container = self._container
        if container is not None:
            container.kill()
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()  # again, for an instance that was never started

    def _run(self) -> None:
        """Keep a server running: a few attempts until the first health check, bounded restarts after."""
        limits = self._context.limits
        deadline = time.monotonic() + self._health_check_s
        crashes: deque[float] = deque()
        boots, was_healthy = 0, False
        try:
            while not self._stopping.is_set():
                boots += 1
                healthy = self._serve(deadline)
                was_healthy = was_healthy or healthy
                if self._stopping.is_set():
                    break
                now = time.monotonic()
                if not was_healthy and (boots >= limits.boot_attempts or now >= deadline):
                    break
                if was_healthy:
                    crashes.append(now)
                    while crashes and crashes[0] < now - limits.crash_window_s:
                        crashes.popleft()
                    if len(crashes) > limits.crash_restarts:
                        logger.error("model server %s crashed %d times; given up", self.id, len(crashes))
                        break
                    deadline = now + self._health_check_s
                self._stopping.wait(limits.restart_backoff_s * 2 ** min(max(boots, len(crashes)), 5))
        except Exception:
            logger.exception("model server %s broke inside the host", self.id)
        finally:
            self._set(ready=False, failed=not self._stopping.is_set())
            # Nobody will accept any more: requests in the socket's queue are refused, not kept waiting.
            self._socket.close()

    def _serve(self, deadline: float) -> bool:
        """Run one server to its end; returns whether it was healthy at some time."""
        container = Container(
            self._context.image,
            self._root,
            server_command(self._socket.fileno(), isolated=self._isolated),
            self._environment,
            network=not self._isolated,
            keep=(self._socket.fileno(),),
        )
        pump = LogPump(
            container.output,
            lambda lines: self._write_log(self.id, lines),
            clock=self._context.clock,
            flush_s=self._context.limits.log_flush_s,
        )
        pump.start()
        with self._changed:
            self._container = container
        try:
            if self._stopping.is_set():
                return False
            healthy = self._await_health(container, deadline)
            if healthy:
                self._set(ready=True)
                container.wait()
                self._set(ready=False)
            return healthy
        finally:
            container.kill()
            pump.join()
            container.close()

    def _await_health(self, container: Container, deadline: float) -> bool:
        limits = self._context.limits
        while not self._stopping.is_set() and time.monotonic() < deadline:
            if container.wait(0) is not None:
                return False
            if self._ping(min(limits.ping_timeout_s, max(deadline - time.monotonic(), 0.01)), container):
                return True
            self._stopping.wait(limits.ping_interval_s)
        return False

    def _ping(self, timeout_s: float, container: Container) -> bool:
        # The kernel accepts for a server that isn't there yet, and the answer comes once it is; a short wait
        # per try notices a server that ended instead.
        started = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("GET", "/ping")
            answering = connection.sock
            while time.monotonic() - started < timeout_s:
                if container.wait(0) is not None or self._stopping.is_set():
                    return False
                answering.settimeout(0.1)
                with contextlib.suppress(TimeoutError):
                    answering.recv(1, socket.MSG_PEEK)
                    answering.settimeout(timeout_s)
                    return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return False

    def _set(self, *, ready: bool, failed: bool = False) -> None:
        with self._changed:
            self.ready = ready
            self.failed = self.failed or failed
            self._changed.notify_all()


def drain(instances: list[Instance], changed: threading.Condition, timeout_s: float) -> None:
    """Block until the instances have answered what they were asked, at most ``timeout_s`` seconds."""
    deadline = time.monotonic() + timeout_s
    with changed:
        while any(instance.in_flight for instance in instances):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return
            changed.wait(remaining)


def stop_all(instances: list[Instance]) -> None:
    """Stop instances, several at a time."""
    threads = [threading.Thread(target=instance.stop) for instance in instances]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
