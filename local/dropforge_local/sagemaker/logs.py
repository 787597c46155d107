"""The output of a container on its way to CloudWatch Logs, and the metrics found in it."""

from __future__ import annotations

import logging
import os
import re
import selectors
import threading
import time
from collections.abc import Callable
from typing import IO, Any

logger = logging.getLogger(__name__)

# CloudWatch Logs refuses an event above 1 MiB and a batch above 10,000 events; longer lines are cut.
_MAX_LINE_BYTES = 256 * 1024
_MAX_BATCH = 1_000
# What is kept while CloudWatch Logs can't be reached; beyond it the oldest lines are dropped.
_MAX_BACKLOG = 20_000


class Metrics:
    """The last value of each metric definition of a training job, read from its log."""

    def __init__(self, definitions: list[dict[str, str]]) -> None:
        self._patterns = [(item["Name"], re.compile(item["Regex"])) for item in definitions]
        self._last: dict[str, tuple[float, float]] = {}

    def read(self, line: str, now: float) -> None:
        """Search one line; group 1 of a definition's expression is the value."""
        for name, pattern in self._patterns:
            match = pattern.search(line)
            if match is None or pattern.groups < 1:
                continue
            try:
                self._last[name] = (float(match.group(1)), now)
            except (TypeError, ValueError):
                continue

    def final(self) -> list[dict[str, Any]]:
        """``FinalMetricDataList``."""
        return [
            {"MetricName": name, "Value": value, "Timestamp": when}
            for name, (value, when) in self._last.items()
        ]


class LogPump(threading.Thread):
    """Reads a container's output until its end and appends the lines to a log stream as they come."""

    def __init__(
        self,
        output: IO[bytes],
        write: Callable[[list[tuple[int, str]]], None],
        *,
        clock: Callable[[], float],
        flush_s: float,
        on_line: Callable[[str, float], None] = lambda _line, _now: None,
    ) -> None:
        super().__init__(name="sagemaker-log", daemon=True)
        self._output = output
        self._write = write
        self._clock = clock
        self._flush_s = flush_s
        self._on_line = on_line
        self._pending: list[tuple[int, str]] = []
        self._partial = b""

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            self._read(selector)
        if self._partial:
            self._line(self._partial)
        for attempt in range(5):
            self._flush()
            if not self._pending:
                break
            time.sleep(0.1 * 2**attempt)

    def _read(self, selector: selectors.BaseSelector) -> None:
        descriptor = self._output.fileno()
        last_flush = time.monotonic()
        while True:
            wait = max(0.0, last_flush + self._flush_s - time.monotonic()) if self._pending else None
            if selector.select(wait):
                chunk = os.read(descriptor, 65536)
                if not chunk:
                    return
                self._take(chunk)
            if self._pending and time.monotonic() - last_flush >= self._flush_s:
                self._flush()
                last_flush = time.monotonic()

    def _take(self, chunk: bytes) -> None:
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        for line in lines:
            self._line(line)
        while len(self._partial) > _MAX_LINE_BYTES:
            self._line(self._partial[:_MAX_LINE_BYTES])
            self._partial = self._partial[_MAX_LINE_BYTES:]

    def _line(self, raw: bytes) -> None:
        now = self._clock()
        text = raw.rstrip(b"\r").decode("utf-8", "replace")
        self._on_line(text, now)
        if text:
            self._pending.append((int(now * 1000), text))
            del self._pending[:-_MAX_BACKLOG]

    def _flush(self) -> None:
        """Write what is pending; lines that can't be written now are tried again with the next ones."""
        while self._pending:
            batch = self._pending[:_MAX_BATCH]
            try:
                self._write(batch)
            except Exception:
                logger.warning("CloudWatch Logs took no lines; they are tried again", exc_info=True)
                return
            del self._pending[: len(batch)]
