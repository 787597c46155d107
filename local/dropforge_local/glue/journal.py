"""What must survive a SIGKILL at once: executions, pending asynchronous invocations, DynamoDB's writes.

One SQLite file in WAL mode: a commit is in the operating system's cache when it returns, and that outlives
the process. (A power cut may lose the last commits, as ``synchronous=OFF`` leaves them to the system.)
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS executions (arn TEXT PRIMARY KEY, account TEXT, region TEXT, record TEXT);
CREATE TABLE IF NOT EXISTS history (arn TEXT, id INTEGER, event TEXT, PRIMARY KEY (arn, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS invocations (id INTEGER PRIMARY KEY AUTOINCREMENT, function TEXT, event TEXT);
CREATE TABLE IF NOT EXISTS writes
  (id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT, region TEXT, operation TEXT, request TEXT);
"""


class Journal:
    """A small append-mostly store, safe to use from every thread of the host process."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file; later calls are ignored, since daemon threads may still run while the host ends."""
        with self._lock:
            self._db.close()

    def _run(self, statement: str, *values: Any) -> int:
        with self._lock:
            try:
                return self._db.execute(statement, values).lastrowid or 0
            except sqlite3.ProgrammingError:  # closed
                return 0

    def _rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(statement, values).fetchall()

    # --- executions ----------------------------------------------------------------------------------

    def save_execution(self, arn: str, account: str, region: str, record: dict[str, Any]) -> None:
        """Store the execution's record without its history."""
        text = json.dumps({key: value for key, value in record.items() if key != "events"})
        self._run("INSERT OR REPLACE INTO executions VALUES (?, ?, ?, ?)", arn, account, region, text)

    def save_event(self, arn: str, event: dict[str, Any]) -> None:
        """Append to an execution's history."""
        self._run("INSERT OR REPLACE INTO history VALUES (?, ?, ?)", arn, event["id"], json.dumps(event))

    def executions(self) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
        """Every execution: its ARN, account, region, and record with its history under ``events``."""
        for arn, account, region, text in self._rows("SELECT * FROM executions"):
            record = json.loads(text)
            events = self._rows("SELECT event FROM history WHERE arn = ? ORDER BY id", arn)
            record["events"] = [json.loads(event) for (event,) in events]
            yield arn, account, region, record

    def forget_execution(self, arn: str) -> None:
        """Remove an execution whose state machine was deleted."""
        self._run("DELETE FROM executions WHERE arn = ?", arn)
        self._run("DELETE FROM history WHERE arn = ?", arn)

    # --- asynchronous invocations --------------------------------------------------------------------

    def begin_invocation(self, function: str, event: Any) -> int:
        """Note that ``event`` still has to reach ``function`` (a qualified ARN); returns the note's id."""
        return self._run(
            "INSERT INTO invocations (function, event) VALUES (?, ?)", function, json.dumps(event)
        )

    def end_invocation(self, number: int) -> None:
        """Forget a note whose invocation ended, however it ended."""
        self._run("DELETE FROM invocations WHERE id = ?", number)

    def invocations(self) -> list[tuple[int, str, Any]]:
        """What an earlier process left undone: (id, function, event)."""
        rows = self._rows("SELECT id, function, event FROM invocations ORDER BY id")
        return [(number, function, json.loads(event)) for number, function, event in rows]

    # --- DynamoDB's writes ---------------------------------------------------------------------------

    def log_write(self, account: str, region: str, operation: str, request: dict[str, Any]) -> int:
        """Append a write request; returns its number."""
        return self._run(
            "INSERT INTO writes (account, region, operation, request) VALUES (?, ?, ?, ?)",
            account,
            region,
            operation,
            json.dumps(request),
        )

    def writes_after(self, number: int) -> list[tuple[int, str, str, str, dict[str, Any]]]:
        """The writes that a snapshot taken at ``number`` doesn't hold."""
        rows = self._rows("SELECT * FROM writes WHERE id > ? ORDER BY id", number)
        return [(*row[:4], json.loads(row[4])) for row in rows]

    def forget_writes(self, number: int) -> None:
        """Remove the writes that a snapshot taken at ``number`` holds; numbers count on."""
        self._run("DELETE FROM writes WHERE id <= ?", number)


class EmptyJournal(Journal):
    """Keeps nothing, for a host of which nothing is ever restored."""

    def __init__(self) -> None:
        super().__init__(Path(":memory:"))

    def save_execution(self, arn: str, account: str, region: str, record: dict[str, Any]) -> None:
        """Does nothing."""

    def save_event(self, arn: str, event: dict[str, Any]) -> None:
        """Does nothing."""

    def begin_invocation(self, function: str, event: Any) -> int:
        """The id of a note that isn't there."""
        return 0

    def log_write(self, account: str, region: str, operation: str, request: dict[str, Any]) -> int:
        """The number of a write that isn't there."""
        return 0
