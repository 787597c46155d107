"""Saves the services' state while the host runs: promptly, whole files only, and only what changed.

MiniStack saves at a clean shutdown; a kill would lose everything since the start.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.seams import app, persistence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dropforge_local.glue import Installed
    from dropforge_local.settings import HostSettings

_log = logging.getLogger("dropforge.snapshots")

# A burst of requests is saved once. Saving takes the interpreter, so each service may use a tenth of the time
# at most: logs of many megabytes are saved seldom, and hold up nothing else.
_DEBOUNCE_S = 0.05
_DUTY = 10
_AFTER_FAILURE_S = 1.0
# Services whose state other services change in passing: logs and metrics of every call.
_BY_THE_WAY = frozenset({"cloudwatch_logs", "cloudwatch"})
# What comes by itself all the time is saved at its service's pace; a resource that somebody made is there.
_DATA = ("CreateLog", "DeleteMessage", "PutEvents", "PutLog", "PutMetricData", "UpdateItem")
_RESOURCES = ("Create", "Delete", "Put", "Set", "Subscribe", "Tag", "Unsubscribe", "Untag", "Update")
_READS = ("Get", "List", "Describe", "Head", "BatchGet", "Query", "Scan", "Filter", "Lookup", "Validate")


class Snapshots:
    """A thread that saves what requests have marked as changed.

    Whoever is named for a service in ``saved`` is told what is on the disk, even after a power cut.
    """

    def __init__(
        self, folder: Path, app: Any, persistence: Any, saved: Mapping[str, Callable[[Any], None]]
    ) -> None:
        self._app, self._persistence, self._saved = app, persistence, saved
        self._folder = folder
        self._digests: dict[str, bytes] = {}
        self._changed: set[str] = set()
        self._ready_at: dict[str, float] = {}
        self._wake = threading.Condition()
        self._saving = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="dropforge-snapshots", daemon=True)

    def start(self) -> None:
        """Start saving; everything counts as changed at first."""
        self.mark(None)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and save everything a last time."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()
        self.save(None)

    def mark(self, service: str | None) -> None:
        """Note that a service (None for all) may have changed."""
        marked = self._app._build_persistence_save_dict() if service is None else {service, *_BY_THE_WAY}
        with self._wake:
            self._changed.update(marked)
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._closing or (self._changed and self._pause() <= 0)):
                    self._wake.wait(self._pause() if self._changed else None)
                self._wake.wait_for(lambda: self._closing, _DEBOUNCE_S)
                if self._closing:
                    return
                now = time.monotonic()
                ready = {each for each in self._changed if self._ready_at.get(each, 0) <= now}
                self._changed -= ready
            self.save(ready)

    def _pause(self) -> float:
        """How long until the first of what has changed may be saved."""
        return min(self._ready_at.get(each, 0) for each in self._changed) - time.monotonic()

    def save(self, services: set[str] | None) -> None:
        """Write the state of these services (None for all) where it differs from what was written last."""
        with self._saving:
            for name, get_state in self._app._build_persistence_save_dict().items():
                if services is not None and name not in services:
                    continue
                started, pause = time.monotonic(), 0.0
                try:
                    self._save_one(name, self._stable(get_state))
                except Exception:
                    _log.exception("the state of %s was not saved and is tried again", name)
                    pause = _AFTER_FAILURE_S
                    with self._wake:
                        self._changed.add(name)
                ended = time.monotonic()
                self._ready_at[name] = ended + max(pause, (ended - started) * _DUTY)

    @staticmethod
    def _stable(get_state: Any) -> Any:
        """The state, read again where another thread changed it meanwhile."""
        for _ in range(20):
            try:
                return get_state()
            except RuntimeError:  # dictionary changed size during iteration
                time.sleep(0.002)
        return get_state()

    def _save_one(self, name: str, state: Any) -> None:
        if state is None:
            return
        document = {"__ministack_format__": self._persistence._state_format_version(name), "payload": state}
        text = json.dumps(document, default=self._persistence._json_default).encode()
        digest = hashlib.blake2b(text).digest()
        if self._digests.get(name) == digest:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        scratch = self._folder / f".{name}.tmp"
        tell = self._saved.get(name)
        with scratch.open("wb") as file:
            file.write(text)
            if tell is not None:
                os.fsync(file.fileno())
        scratch.replace(self._folder / f"{name}.json")
        self._digests[name] = digest
        if tell is not None:
            tell(state)


def install(settings: HostSettings, installed: Installed) -> None:
    """Save continuously, and instead of MiniStack's own saving at shutdown; not what is temporary."""

    if settings.temporary:
        app.save_all = lambda services: None
        return
    snapshots = Snapshots(settings.state_dir / "services", app, persistence, installed.saved)
    state_keys = {
        service: entry.get("state_key", entry["module"]) for service, entry in app.SERVICE_REGISTRY.items()
    }

    deploying = False

    def watched(service: str, handle: Any) -> Any:
        key = state_keys.get(service)

        async def call(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
            answer = await handle(method, path, headers, body, query)
            if key is not None and _changes(service, method, headers, body, query):
                if answer[0] < 400 and _makes_resource(_operation(headers, body, query)):
                    # Whoever has the answer may rely on it, even if the host is killed next.
                    await asyncio.to_thread(snapshots.save, {key})
                else:
                    snapshots.mark(key)
            return answer

        async def call_cloudformation(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
            """A deployment touches any service, and goes on after its request was answered."""
            nonlocal deploying
            answer = await handle(method, path, headers, body, query)
            if not _tells_of_completion(answer):
                deploying = True
                snapshots.mark(None)
            elif deploying:
                # Whoever reads that a deployment is complete may rely on it, even if the host is killed next.
                deploying = False
                await asyncio.to_thread(snapshots.save, None)
            return answer

        return call_cloudformation if service == "cloudformation" else call

    for service, handle in list(app.SERVICE_HANDLERS.items()):
        app.SERVICE_HANDLERS[service] = watched(service, handle)
    app.save_all = lambda services: snapshots.save(None)
    installed.starting.append(snapshots.start)
    installed.closing.append(snapshots.close)


def _tells_of_completion(answer: Any) -> bool:
    body = answer[2]
    text = body if isinstance(body, bytes) else str(body).encode()
    return b"<DescribeStacksResult>" in text and b"_COMPLETE<" in text and b"_IN_PROGRESS<" not in text


def _changes(service: str, method: str, headers: Any, body: bytes, query: Any) -> bool:
    """Whether a request may change state, by its operation's name or its method."""
    operation = _operation(headers, body, query)
    if service in {"dynamodb", "states"}:  # in the journal; tables and machines change with deployments
        return _makes_resource(operation) and "Item" not in operation
    if operation:
        return not operation.startswith(_READS)
    return method not in {"GET", "HEAD", "OPTIONS"}


def _makes_resource(operation: str) -> bool:
    return operation.startswith(_RESOURCES) and not operation.startswith(_DATA)


def _operation(headers: Any, body: bytes, query: Any) -> str:
    """The operation that a request names; empty where it is a path and a method."""
    target: str = headers.get("x-amz-target", "").rpartition(".")[2]
    if not target:
        action = query.get("Action") if query else None
        target = (action[0] if isinstance(action, list) else action) or ""
        if not target and body.startswith(b"Action="):
            target = body[7:40].decode("latin-1").partition("&")[0]
    return target
