"""Files that lie elsewhere and are scored as they come: what is new under a prefix, and what became of each.

A file is one content of one object, named by its ETag; written anew with another content it is new again.
What is known of each is in the ledger, so that none is scored twice however long its results are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from dropforge.domain.errors import InvalidSettings, NoLiveModel
from dropforge.domain.moments import from_iso, iso
from dropforge.domain.ports import ObjectRef
from dropforge.domain.run_endings import is_transient
from dropforge.domain.triggers import Drop

TRIGGER: Final = "source"
"""The ``trigger`` of an execution of the batch machine that scores a file of the source."""
MOST_TRIES: Final = 3
"""How often a file is tried that fails for a reason that may pass; then somebody has to look."""
OWN_PREFIXES: Final = (
    "batch/", "code/", "contract/", "incoming/", "models/", "monitoring/", "registered/", "runs/", "scratch/",
)  # fmt: skip
"""What lies there in the stack's bucket is the stack's own."""


class FileState(StrEnum):
    """How a file of the source stands; one that nobody has looked at yet is not recorded."""

    SCORING = "scoring"
    SCORED = "scored"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True)
class BatchSource:
    """Where files come from: objects of `bucket` whose keys begin with `prefix`."""

    bucket: str
    prefix: str

    @classmethod
    def of_stack(cls, prefix: str, bucket: str | None, data_bucket: str) -> BatchSource:
        """As a stack's parameters name it; without a bucket of its own it is a prefix of the data bucket.

        Raises:
            InvalidSettings: what the stack itself writes would be scored.
        """
        source = cls(bucket or data_bucket, prefix)
        overlaps = [own for own in OWN_PREFIXES if own.startswith(prefix) or prefix.startswith(own)]
        if source.bucket == data_bucket and overlaps:
            raise InvalidSettings(
                f"BatchSource {prefix!r} would take what the stack itself keeps under {', '.join(overlaps)}. "
                "Name another prefix of its bucket, such as exports/, or another bucket by BatchSourceBucket."
            )
        return source

    @classmethod
    def from_uri(cls, uri: str) -> BatchSource:
        """Read `uri` again."""
        ref = ObjectRef.from_uri(uri)
        return cls(ref.bucket, ref.key)

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


@dataclass(frozen=True)
class SourceFile:
    """A file of the source and what became of it.

    Attributes:
        etag, size, written_at: of the content that was looked at last; ISO 8601 in UTC.
        attempt: counts the executions that were started for this object, from 1.
        tries_left: how often it may still be tried.
        error: ``class`` and ``message`` of what it failed with last; None where it didn't.
        changed_at: since when it stands so.
    """

    bucket: str
    key: str
    etag: str
    size: int
    written_at: str
    state: FileState
    attempt: int
    tries_left: int
    execution_arn: str
    changed_at: str
    error: Mapping[str, str] | None = None

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def drop(self) -> Drop:
        """What the batch machine scores. Each attempt is one of its own, a later one newer."""
        written_ms = round(from_iso(self.written_at).timestamp() * 1000)
        sequencer = f"{written_ms:013X}{self.attempt:04X}"
        return Drop(self.bucket, self.key, None, self.etag, sequencer, self.size, self.written_at)

    @property
    def event(self) -> dict[str, Any]:
        """The input of the execution."""
        return {"trigger": TRIGGER, "drop": asdict(self.drop), "tries_left": self.tries_left}

    def ended(self, error: Mapping[str, str] | None, now: str) -> SourceFile:
        """The execution is over: the file is scored, waits to be tried again, or has failed for good."""
        if error is None:
            return replace(self, state=FileState.SCORED, error=None, changed_at=now)
        again = is_tried_again(error, self.tries_left)
        state = FileState.WAITING if again else FileState.FAILED
        return replace(self, state=state, error=dict(error), changed_at=now)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "state": str(self.state)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> SourceFile:
        """Read what `to_dict` wrote; further fields are ignored."""
        error = fields.get("error")
        return cls(
            **{name: str(fields[name]) for name in ("bucket", "key", "etag", "written_at", "changed_at")},
            size=int(fields["size"]),
            state=FileState(fields["state"]),
            attempt=int(fields["attempt"]),
            tries_left=int(fields["tries_left"]),
            execution_arn=str(fields["execution_arn"]),
            error=None if error is None else dict(error),
        )


def is_tried_again(error: Mapping[str, str], tries_left: int) -> bool:
    """Whether the next run of the schedule tries a file again that failed so.

    >>> is_tried_again({"class": "UnscorableBatch", "message": "no column age"}, 2)
    False
    """
    return tries_left > 0 and (is_transient(error) or error["class"] == NoLiveModel.__name__)


def next_attempt(known: SourceFile | None, found: ObjectRef, written_at: str, now: datetime) -> SourceFile:
    """The file as it is scored next, given what is known of its object; its execution is not named yet."""
    is_same = known is not None and known.etag == found.etag
    tries = known.tries_left if known is not None and is_same else MOST_TRIES
    return SourceFile(
        bucket=found.bucket,
        key=found.key,
        etag=found.etag or "",
        size=found.size or 0,
        written_at=written_at,
        state=FileState.SCORING,
        attempt=1 if known is None else known.attempt + 1,
        tries_left=tries - 1,
        execution_arn="",
        changed_at=iso(now),
    )


def drop_of_source(event: Mapping[str, Any]) -> Drop | None:
    """The file that an execution of the batch machine was started for by the schedule; None for any other."""
    return Drop.from_dict(event["drop"]) if event.get("trigger") == TRIGGER else None
