"""The service's state: resources, tags and undelivered events in one SQLite file.

Every change of state is one transaction, written ahead (WAL), so that a killed process leaves the state as
it was before or after a change, never between. Events that belong to a change are committed with it
(an outbox) and delivered afterwards, at least once and in order.
"""

from __future__ import annotations

import base64
import binascii
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dropforge_local.sagemaker.errors import validation
from dropforge_local.sagemaker.validation import timestamp

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resources (
    kind TEXT NOT NULL, name TEXT NOT NULL COLLATE NOCASE, parent TEXT NOT NULL DEFAULT '',
    arn TEXT NOT NULL, status TEXT NOT NULL DEFAULT '', created REAL NOT NULL, modified REAL NOT NULL,
    version INTEGER NOT NULL DEFAULT 0, document TEXT NOT NULL,
    PRIMARY KEY (kind, name)
);
CREATE INDEX IF NOT EXISTS resources_by_creation ON resources (kind, parent, created);
CREATE UNIQUE INDEX IF NOT EXISTS resources_by_arn ON resources (arn);
CREATE TABLE IF NOT EXISTS tags (
    arn TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (arn, key)
);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, detail_type TEXT NOT NULL, detail TEXT NOT NULL,
    resources TEXT NOT NULL
);
"""

#: What a list can be sorted by, and the column that holds it.
SORT_COLUMNS = {
    "Name": "name",
    "CreationTime": "created",
    "LastModifiedTime": "modified",
    "Status": "status",
    "Version": "version",
}


@dataclass(frozen=True)
class Resource:
    """One stored resource. ``document`` is what Describe answers, plus members of the service's own."""

    kind: str
    name: str
    arn: str
    document: dict[str, Any]


@dataclass(frozen=True)
class Query:
    """One page of a list: filters, order, and where the last page ended."""

    kind: str
    parent: str | None = None
    status: str | None = None
    name_contains: str | None = None
    created_after: float | None = None
    created_before: float | None = None
    modified_after: float | None = None
    modified_before: float | None = None
    members: dict[str, Any] = field(default_factory=dict)
    sort_by: str = "CreationTime"
    descending: bool = True
    limit: int = 100
    next_token: str | None = None

    @classmethod
    def requested(cls, kind: str, request: Mapping[str, Any], *, order: str = "Descending") -> Query:
        """What a List operation asks for, by the names that its filters have in all of them.

        ``order`` is the operation's default, Ascending or Descending.
        """
        return cls(
            kind,
            status=request.get("StatusEquals"),
            name_contains=request.get("NameContains"),
            created_after=timestamp(request.get("CreationTimeAfter")),
            created_before=timestamp(request.get("CreationTimeBefore")),
            modified_after=timestamp(request.get("LastModifiedTimeAfter")),
            modified_before=timestamp(request.get("LastModifiedTimeBefore")),
            sort_by=request.get("SortBy", "CreationTime"),
            descending=request.get("SortOrder", order) == "Descending",
            limit=request.get("MaxResults", 10),
            next_token=request.get("NextToken"),
        )


class Transaction:
    """Reads and writes that take effect together."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.emitted = False

    def get(self, kind: str, name: str) -> Resource | None:
        """The resource of that name (SageMaker compares names case-insensitively), or None."""
        row = self._connection.execute(
            "SELECT kind, name, arn, document FROM resources WHERE kind = ? AND name = ?", (kind, name)
        ).fetchone()
        return _resource(row)

    def put(
        self,
        resource: Resource,
        *,
        created: float,
        modified: float,
        status: str = "",
        parent: str = "",
        version: int = 0,
    ) -> None:
        """Insert or replace a resource."""
        self._connection.execute(
            "INSERT OR REPLACE INTO resources (kind, name, parent, arn, status, created, modified, version,"
            " document) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                resource.kind,
                resource.name,
                parent,
                resource.arn,
                status,
                created,
                modified,
                version,
                json.dumps(resource.document),
            ),
        )

    def delete(self, kind: str, name: str) -> None:
        """Remove a resource and its tags; nothing happens when it isn't there."""
        resource = self.get(kind, name)
        if resource is not None:
            self._connection.execute("DELETE FROM tags WHERE arn = ?", (resource.arn,))
            self._connection.execute("DELETE FROM resources WHERE kind = ? AND name = ?", (kind, name))

    def all(self, kind: str) -> list[Resource]:
        """Every resource of a kind, oldest first."""
        rows = self._connection.execute(
            "SELECT kind, name, arn, document FROM resources WHERE kind = ? ORDER BY created, name", (kind,)
        )
        return [resource for row in rows if (resource := _resource(row)) is not None]

    def page(self, query: Query) -> tuple[list[Resource], str | None]:
        """The resources of one page and the token of the next page (None at the end).

        Raises:
            ServiceError: the token is none of ours.
        """
        column = SORT_COLUMNS[query.sort_by]
        conditions, values = _conditions(query)
        if query.next_token is not None:
            last_value, last_name = _read_token(query.next_token, query)
            compare = "<" if query.descending else ">"
            conditions.append(f"({column}, name) {compare} (?, ?)")
            values += [last_value, last_name]
        direction = "DESC" if query.descending else "ASC"
        rows = self._connection.execute(
            f"SELECT kind, name, arn, document, {column} FROM resources WHERE {' AND '.join(conditions)}"  # noqa: S608 - columns come from the tables above, values are bound
            f" ORDER BY {column} {direction}, name {direction} LIMIT ?",
            (*values, query.limit + 1),
        ).fetchall()
        page = [resource for row in rows[: query.limit] if (resource := _resource(row[:4])) is not None]
        token = None
        if len(rows) > query.limit:
            last = rows[query.limit - 1]
            token = _write_token(last[4], last[1], query)
        return page, token

    def next_number(self, name: str) -> int:
        """The next value of a counter that never goes back: 1, 2, 3, …"""
        row = self._connection.execute(
            "INSERT INTO counters (name, value) VALUES (?, 1) "
            "ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
            (name,),
        ).fetchone()
        return int(row[0])

    def tags(self, arn: str) -> dict[str, str]:
        """The tags of a resource, sorted by key."""
        rows = self._connection.execute("SELECT key, value FROM tags WHERE arn = ? ORDER BY key", (arn,))
        return dict(rows.fetchall())

    def set_tags(self, arn: str, tags: dict[str, str]) -> None:
        """Add tags to a resource or change their values."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO tags (arn, key, value) VALUES (?, ?, ?)",
            [(arn, key, value) for key, value in tags.items()],
        )

    def remove_tags(self, arn: str, keys: list[str]) -> None:
        """Remove tags from a resource; keys that it doesn't have are ignored."""
        self._connection.executemany(
            "DELETE FROM tags WHERE arn = ? AND key = ?", [(arn, key) for key in keys]
        )

    def emit(self, detail_type: str, detail: dict[str, Any], resources: list[str]) -> None:
        """Put an event into the outbox; it is delivered after the transaction is committed."""
        self._connection.execute(
            "INSERT INTO outbox (detail_type, detail, resources) VALUES (?, ?, ?)",
            (detail_type, json.dumps(detail), json.dumps(resources)),
        )
        self.emitted = True


class Store:
    """Opens the file and hands out transactions, one at a time. Safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing under NORMAL; only a power cut could take the last transactions.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)
        self._transaction = Transaction(self._connection)
        self.changed = threading.Condition(self._lock)
        self.on_emitted: Callable[[], None] = lambda: None

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction: committed at the end of the block, undone when the block raises.

        A block inside another joins it. Threads that wait on ``changed`` are woken after the commit.
        """
        with self._lock:
            if self._depth:
                self._depth += 1
                try:
                    yield self._transaction
                finally:
                    self._depth -= 1
                return
            transaction = self._transaction = Transaction(self._connection)
            before = self._connection.total_changes
            self._connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield transaction
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            else:
                self._connection.execute("COMMIT")
                if self._connection.total_changes != before:
                    self.changed.notify_all()
            finally:
                self._depth = 0
        if transaction.emitted:
            self.on_emitted()

    def first_event(self) -> tuple[int, str, dict[str, Any], list[str]] | None:
        """The oldest undelivered event, or None."""
        with self._lock:
            row = self._connection.execute(
                "SELECT id, detail_type, detail, resources FROM outbox ORDER BY id LIMIT 1"
            ).fetchone()
        return None if row is None else (row[0], row[1], json.loads(row[2]), json.loads(row[3]))

    def forget_event(self, event_id: int) -> None:
        """Remove a delivered event from the outbox."""
        with self._lock:
            self._connection.execute("DELETE FROM outbox WHERE id = ?", (event_id,))

    def close(self) -> None:
        """Close the file. The store can't be used afterwards."""
        with self._lock:
            self._connection.close()


def _resource(row: Any) -> Resource | None:
    return None if row is None else Resource(row[0], row[1], row[2], json.loads(row[3]))


def _conditions(query: Query) -> tuple[list[str], list[Any]]:
    conditions = ["kind = ?"]
    values: list[Any] = [query.kind]
    bounds: list[tuple[str, Any]] = [
        ("parent = ?", query.parent),
        ("status = ?", query.status),
        ("created > ?", query.created_after),
        ("created < ?", query.created_before),
        ("modified > ?", query.modified_after),
        ("modified < ?", query.modified_before),
    ]
    for condition, value in bounds:
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if query.name_contains is not None:
        conditions.append("instr(lower(name), lower(?)) > 0")
        values.append(query.name_contains)
    for path, value in query.members.items():
        conditions.append("json_extract(document, ?) = ?")
        values += [f"$.{path}", value]
    return conditions, values


def _write_token(value: Any, name: str, query: Query) -> str:
    text = json.dumps([query.kind, query.sort_by, query.descending, value, name])
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read_token(token: str, query: Query) -> tuple[Any, str]:
    try:
        kind, sort_by, descending, value, name = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (binascii.Error, UnicodeError, ValueError, TypeError) as error:
        raise validation(f"The pagination token is invalid: {token}") from error
    if (kind, sort_by, descending) != (query.kind, query.sort_by, query.descending):
        raise validation("The pagination token belongs to a list with other parameters.")
    return value, name
