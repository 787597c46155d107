"""Columns that somebody has silenced for a time: they are still compared, and raise nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from dropforge.domain.errors import InvalidSettings
from dropforge.domain.moments import from_iso, iso

FORMAT: Final = 1
NAME: Final = "silenced.json"
"""Lies in ``monitoring/``, beside the years of the reports."""
KEPT: Final = timedelta(days=90)
"""How long a silence stays on record after its end."""


@dataclass(frozen=True, slots=True)
class Silence:
    """One column is silenced in the windows that end after `since` and by `until`, ISO 8601 in UTC.

    Which windows that are is told by their ends alone, so that watching one again decides alike.
    """

    column: str
    since: str
    until: str
    by: str
    reason: str

    def covers(self, end: datetime) -> bool:
        """Whether the column is silenced in the window that ends then."""
        return from_iso(self.since) < end <= from_iso(self.until)


def silences_of(text: bytes | str) -> tuple[Silence, ...]:
    """Read ``silenced.json``.

    Raises:
        InvalidSettings: the text is no such file.
    """
    try:
        content = json.loads(text)
        known = {FORMAT: content["silences"]}[content["format"]]
        found = tuple(Silence(**{name: str(each[name]) for name in Silence.__slots__}) for each in known)
        for each in found:
            from_iso(each.since), from_iso(each.until)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidSettings(
            f"monitoring/{NAME} can't be read ({error!r}): delete it, and silence columns anew with "
            "'dropforge watch silence'."
        ) from error
    return found


def to_json(silences: Iterable[Silence]) -> bytes:
    """Return ``silenced.json``."""
    content = {"format": FORMAT, "silences": [asdict(each) for each in silences]}
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def silenced_at(silences: Iterable[Silence], end: datetime) -> dict[str, Silence]:
    """Return the silences that hold in the window that ends then, by column; of several the longest."""
    holding = sorted((each for each in silences if each.covers(end)), key=lambda each: from_iso(each.until))
    return {each.column: each for each in holding}


def with_silence(silences: Iterable[Silence], new: Silence) -> tuple[Silence, ...]:
    """Add a silence; what the same column had still before it ends with it."""
    return (*ended(silences, new.column, from_iso(new.since)), new)


def ended(silences: Iterable[Silence], column: str, now: datetime) -> tuple[Silence, ...]:
    """End what silences the column now; silences that ended long ago are forgotten."""
    kept = [each for each in silences if from_iso(each.until) > now - KEPT]
    return tuple(
        Silence(each.column, each.since, min(each.until, iso(now)), each.by, each.reason)
        if each.column == column
        else each
        for each in kept
    )


def as_told(silences: Mapping[str, Silence]) -> dict[str, Any]:
    """Return what a report says of them, by column."""
    return {
        name: {"since": each.since, "until": each.until, "by": each.by, "reason": each.reason}
        for name, each in silences.items()
    }
