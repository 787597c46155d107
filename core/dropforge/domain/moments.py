"""Moments as text: ISO 8601 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds, so that text order is time order.

    >>> iso(datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))
    '2026-01-02T03:04:05.678Z'
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_iso(text: str) -> datetime:
    return datetime.fromisoformat(text)


def readable(text: str) -> str:
    """A moment as people read it.

    >>> readable("2026-01-02T03:04:05.678Z")
    '2026-01-02 03:04 UTC'
    """
    return from_iso(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
