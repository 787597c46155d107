"""The life of a drop: one small state machine, whose every transition is a function here.

    waiting ──taken──▶ in run ──▶ trained
      ▲  ▲               │  └────▶ set aside (by name: the file is bad by itself)
      │  └──given back───┘             │
      └─────────brought back───────────┘

A drop that waits, that is set aside or that a failed run gives back is superseded by a newer version of its
object. One that was trained on is set aside where it no longer fits a contract that was changed since, and
superseded is the end. A transition that doesn't apply changes nothing, so that whoever was
interrupted does all of it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from dropforge.domain.moments import iso
from dropforge.domain.triggers import Drop

RETRY_AFTER: Final = (timedelta(minutes=15), timedelta(hours=1), timedelta(hours=4))
"""How long after its first, second and third failed run a drop starts another by itself: a throttled service
has recovered by then, and a night without anybody is bridged."""
NEVER: Final = "9999"
"""Greater than every time: the drop starts no run by itself, and goes along with whichever starts next."""


class DropState(StrEnum):
    """Where a drop stands; always in exactly one of these."""

    WAITING = "waiting"
    IN_RUN = "in_run"
    TRAINED = "trained"
    SET_ASIDE = "set_aside"
    SUPERSEDED = "superseded"


@dataclass(frozen=True)
class RecordedDrop:
    """A drop as the ledger knows it. Times are ISO 8601 in UTC.

    Attributes:
        run_id: the run that holds it, or the last one that did.
        version: the model version that was trained on it; None also where the gate said no.
        reason: why it is set aside, ``{"class", "message"}``.
        superseded_by: the newer version's drop id.
        due_at: from when it starts a run by itself while it waits.
        waits_for: the key of the marker that completes its folder; it is not taken before `due_at`.
        failures: how many runs that held it have failed.
        duplicates: how often its event was delivered again.
    """

    drop: Drop
    received_at: str
    received_by: str
    run_id: str | None = None
    duplicates: int = 0
    state: DropState = DropState.WAITING
    version: int | None = None
    reason: dict[str, Any] | None = None
    superseded_by: str | None = None
    due_at: str = ""
    waits_for: str | None = None
    failures: int = 0

    @property
    def drop_id(self) -> str:
        return self.drop.drop_id

    @property
    def written_at(self) -> str:
        """When the object was written; of drops that were recorded without it, when they were received."""
        return self.drop.written_at or self.received_at

    @property
    def order(self) -> tuple[str, str, str]:
        """What puts drops in the order in which their rows count: time, then key; within a key S3's own."""
        return self.written_at, self.drop.key, self.drop.sequence

    def is_held(self, now: datetime) -> bool:
        """Whether it waits for the rest of its folder, so that no run may take it yet."""
        return self.waits_for is not None and self.due_at > iso(now)

    def to_dict(self) -> dict[str, Any]:
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "drop"}
        return {**asdict(self.drop), **own, "state": str(self.state)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RecordedDrop:
        """Read an item; one from before drops had a state was claimed by its run for good, or waits."""
        names = {each.name for each in fields(cls)} - {"drop", "state"}
        state = values.get("state") or ("in_run" if values.get("run_id") else "waiting")
        given = {name: values[name] for name in names if values.get(name) is not None}
        return cls(drop=Drop.from_dict(values), state=DropState(state), **given)


@dataclass(frozen=True)
class Ending:
    """How a run let go of the drops that it held.

    Attributes:
        trained: whether it was trained on them; `version` names the model, where there is one.
        is_transient: whether the same run may succeed later.
        set_aside: why files are bad by themselves, by drop id.
    """

    run_id: str
    trained: bool
    version: int | None
    is_transient: bool
    set_aside: Mapping[str, dict[str, Any]]


def taken(recorded: RecordedDrop, run_id: str) -> RecordedDrop:
    """A run takes a drop that waits."""
    if recorded.state is not DropState.WAITING:
        return recorded
    return replace(recorded, state=DropState.IN_RUN, run_id=run_id)


def let_go(recorded: RecordedDrop, ending: Ending, newest: str | None, now: datetime) -> RecordedDrop:
    """The run that holds the drop has ended.

    Args:
        newest: the drop id of the newest known version of its object.
    """
    reason = ending.set_aside.get(recorded.drop_id)
    if recorded.state is DropState.TRAINED and reason is not None:
        return replace(recorded, state=DropState.SET_ASIDE, reason=dict(reason))
    if recorded.state is not DropState.IN_RUN or recorded.run_id != ending.run_id:
        return recorded
    if reason is None and ending.trained:
        return replace(recorded, state=DropState.TRAINED, version=ending.version)
    if newest not in (None, recorded.drop_id):
        return replace(recorded, state=DropState.SUPERSEDED, superseded_by=newest)
    if reason is not None:
        return replace(recorded, state=DropState.SET_ASIDE, reason=dict(reason))
    failures = recorded.failures + 1
    again = ending.is_transient and failures <= len(RETRY_AFTER)
    due_at = iso(now + RETRY_AFTER[failures - 1]) if again else NEVER
    return replace(recorded, state=DropState.WAITING, failures=failures, due_at=due_at, waits_for=None)


def brought_back(recorded: RecordedDrop, newest: str | None, now: datetime) -> RecordedDrop:
    """Somebody wants it to be tried (again), now: one that is set aside, or that waits for whatever."""
    if recorded.state not in (DropState.SET_ASIDE, DropState.WAITING):
        return recorded
    if newest not in (None, recorded.drop_id):
        return replace(recorded, state=DropState.SUPERSEDED, superseded_by=newest)
    fresh = {"due_at": iso(now), "waits_for": None, "failures": 0, "reason": None}
    return replace(recorded, state=DropState.WAITING, **fresh)  # type: ignore[arg-type]


def completed(recorded: RecordedDrop, now: datetime) -> RecordedDrop:
    """The marker that it waits for has come."""
    if recorded.state is not DropState.WAITING or recorded.waits_for is None:
        return recorded
    return replace(recorded, due_at=iso(now), waits_for=None)


def superseded(recorded: RecordedDrop, by: str) -> RecordedDrop:
    """A newer version of its object is there."""
    if recorded.state not in (DropState.WAITING, DropState.SET_ASIDE):
        return recorded
    return replace(recorded, state=DropState.SUPERSEDED, superseded_by=by)


def newest_of_each_key(drops: Iterable[RecordedDrop]) -> dict[str, RecordedDrop]:
    """The newest version of each object among the drops, by S3's sequencer."""
    newest: dict[str, RecordedDrop] = {}
    for each in drops:
        known = newest.get(each.drop.key)
        if known is None or known.drop.sequence < each.drop.sequence:
            newest[each.drop.key] = each
    return newest
