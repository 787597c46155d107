"""Delivers the outbox: events in order, at least once, each after the change that it tells of."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from dropforge_local.sagemaker.store import Store

logger = logging.getLogger(__name__)

_ATTEMPTS = 10
_PAUSE_S = 0.05


class Outbox:
    """A thread that hands committed events to the host."""

    def __init__(self, store: Store, emit: Callable[[str, dict[str, Any], list[str]], None]) -> None:
        self._store = store
        self._emit = emit
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sagemaker-events", daemon=True)
        store.on_emitted = self._wake.set

    def start(self) -> None:
        """Start delivering, beginning with what an earlier process left."""
        self._wake.set()
        self._thread.start()

    def stop(self) -> None:
        """Stop; what is not delivered yet stays for the next start."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            while not self._stopping.is_set() and (event := self._store.first_event()) is not None:
                event_id, detail_type, detail, resources = event
                if self._deliver(detail_type, detail, resources):
                    self._store.forget_event(event_id)

    def _deliver(self, detail_type: str, detail: dict[str, Any], resources: list[str]) -> bool:
        for attempt in range(_ATTEMPTS):
            try:
                self._emit(detail_type, detail, resources)
            except Exception:
                logger.warning("EventBridge took no event %s", detail_type, exc_info=True)
                if self._stopping.wait(min(_PAUSE_S * 2**attempt, 5.0)):
                    return False
            else:
                return True
        logger.error("gave up on an event %s of %s after %d attempts", detail_type, resources, _ATTEMPTS)
        return True


def milliseconds(document: Any) -> Any:
    """A document with its times (members that end in ``Time`` or ``Timestamp``) in epoch milliseconds.

    That is how SageMaker's events and Step Functions' ``.sync`` results show them.
    """
    if isinstance(document, dict):
        return {
            key: int(value * 1000)
            if isinstance(value, int | float) and key.endswith(("Time", "Timestamp"))
            else milliseconds(value)
            for key, value in document.items()
        }
    return [milliseconds(item) for item in document] if isinstance(document, list) else document


def iso_time(epoch_s: float) -> str:
    """``2026-11-21T01:00:00Z``, as model package events show times."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
