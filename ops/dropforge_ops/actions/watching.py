"""Watching by hand: a window at once, columns that are silenced for a time, and what became of alarms."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from botocore.exceptions import ClientError

from dropforge.domain.drift.silences import NAME, Silence, ended, silences_of, to_json, with_silence
from dropforge.domain.errors import InvalidSettings
from dropforge.domain.moments import from_iso, iso
from dropforge.domain.records import Run
from dropforge.domain.triggers import RaisedAlarm
from dropforge_ops.errors import NotFound, OperationFailed, UsageError, code_of
from dropforge_ops.stack.documents import Document, Documents
from dropforge_ops.stack.target import Target
from dropforge_ops.stack.watch_reports import PREFIX, WatchReports

_KEY: Final = f"{PREFIX}{NAME}"
_MISSING: Final = frozenset({"NoSuchKey", "404", "NotFound"})
_LOST: Final = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})
_WINDOWS_SEARCHED: Final = 24
LONGEST_SILENCE: Final = timedelta(days=366)


def watch_at_once(target: Target, now: datetime) -> Mapping[str, Any]:
    """Have the stack watch what was not judged yet, and return what it answers: verdict, report_uri, alarms.

    Raises:
        OperationFailed: the function broke.
    """
    answer = target.client("lambda").invoke(
        FunctionName=target.resource("WatchModelFunction"),
        Payload=json.dumps({"time": iso(now), "at_once": True}).encode(),
    )
    found: Mapping[str, Any] = json.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        raise OperationFailed(
            f"The watch broke with {found.get('errorType')}: {found.get('errorMessage')} 'dropforge logs' "
            "shows its log."
        )
    return found


class Silences:
    """Which columns of one stack are silenced."""

    def __init__(self, s3: Any, bucket: str) -> None:
        self._s3, self._bucket = s3, bucket

    def all(self) -> tuple[Silence, ...]:
        """Those that hold, and those that ended lately, in the order of their beginning.

        Raises:
            OperationFailed: the list is damaged.
        """
        return self._read()[0]

    def holding(self, now: datetime) -> list[Silence]:
        """Those that hold now."""
        return [each for each in self.all() if from_iso(each.since) <= now < from_iso(each.until)]

    def silence(self, column: str, *, length: timedelta, by: str, reason: str, now: datetime) -> Silence:
        """Silence a column from now on; what it had before ends.

        Raises:
            UsageError: the time is no time, or the reason is missing.
            OperationFailed: somebody else changes the list in this moment.
        """
        if not timedelta() < length <= LONGEST_SILENCE:
            raise UsageError(f"A column is silenced for up to {LONGEST_SILENCE.days} days, not for {length}.")
        if not reason.strip():
            raise UsageError("Say why: whoever finds the column silent will ask.")
        new = Silence(column, iso(now), iso(now + length), by, reason.strip())
        self._change(lambda known: with_silence(known, new))
        return new

    def end(self, column: str, now: datetime) -> Silence:
        """Watch a silenced column again from now on, and return the silence that it had.

        Raises:
            NotFound: the column is not silenced.
            OperationFailed: somebody else changes the list in this moment.
        """
        holding = [each for each in self.holding(now) if each.column == column]
        if not holding:
            raise NotFound(f"{column!r} is not silenced; 'dropforge watch silences' lists what is.")
        self._change(lambda known: ended(known, column, now))
        return holding[-1]

    def _change(self, change: Callable[[Iterable[Silence]], tuple[Silence, ...]]) -> None:
        known, etag = self._read()
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        try:
            self._s3.put_object(
                Bucket=self._bucket,
                Key=_KEY,
                Body=to_json(change(known)),
                ContentType="application/json",
                **condition,
            )
        except ClientError as error:
            if code_of(error) in _LOST | _MISSING:
                raise OperationFailed(
                    f"s3://{self._bucket}/{_KEY} was changed by somebody else in this moment; nothing was "
                    "changed. Try again."
                ) from error
            raise

    def _read(self) -> tuple[tuple[Silence, ...], str | None]:
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=_KEY)
        except ClientError as error:
            if code_of(error) in _MISSING:
                return (), None
            raise
        try:
            return silences_of(answer["Body"].read()), answer["ETag"]
        except InvalidSettings as error:
            raise OperationFailed(f"s3://{self._bucket}/: {error}") from error


def watched_columns(reports: WatchReports) -> list[str]:
    """The columns of the newest window that was judged; empty where none was."""
    for each in reports.newest(_WINDOWS_SEARCHED):
        if each.content["columns"]:
            return sorted({column["name"] for column in each.content["columns"]})
    return []


@dataclass(frozen=True)
class AnsweredAlarm:
    """An alarm that a window raised, and what became of it.

    ``outcome`` is what admission said (admitted, coalesced, not-answered, nothing-new, too-expensive or
    refused), None where it has said nothing yet; ``run_status`` is that of the run which answers it.
    """

    kind: str
    window_start: str
    window_end: str
    version: int
    reason: str
    report_uri: str
    outcome: str | None = None
    message: str | None = None
    run_id: str | None = None
    run_status: str | None = None

    @property
    def in_words(self) -> str:
        if self.outcome is None:
            return "not answered yet"
        if self.run_id is None:
            return self.message or self.outcome
        return f"run {self.run_id}: {(self.run_status or 'gone').replace('_', ' ')}"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "in_words": self.in_words}


def answered_alarms(
    windows: Iterable[Document], documents: Documents, run: Callable[[str], Run | None]
) -> list[AnsweredAlarm]:
    """The alarms that these windows raised, in the windows' order, each with what became of it."""
    found = []
    for window in windows:
        content = window.content
        for kind, alarm in (content.get("alarms") or {}).items():
            if alarm["raised"]:
                found.append(_answered(window.uri, content, kind, alarm, documents, run))
    return found


def _answered(
    uri: str,
    content: Mapping[str, Any],
    kind: Any,
    alarm: Mapping[str, Any],
    documents: Documents,
    run: Callable[[str], Run | None],
) -> AnsweredAlarm:
    bounds, version = content["window"], content["model"]["version"]
    raised = RaisedAlarm.of_window(
        kind, at=from_iso(bounds["end"]), version=version, report_uri=uri, reason=alarm["reason"]
    )
    answer = documents.find(raised.answer_uri)
    told = {} if answer is None else answer.content
    run_id = told.get("run_id")
    record = None if run_id is None else run(run_id)
    return AnsweredAlarm(
        kind=kind,
        window_start=bounds["start"],
        window_end=bounds["end"],
        version=version,
        reason=alarm["reason"],
        report_uri=uri,
        outcome=told.get("outcome"),
        message=told.get("message"),
        run_id=run_id,
        run_status=None if record is None else str(record.status),
    )
