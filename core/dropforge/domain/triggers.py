"""What may start a run, and the identity that makes a start exactly-once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, get_args

from dropforge.domain.cloudwatch_metrics import DRIFT_ALARM, ESTIMATE_ALARM, QUALITY_ALARM
from dropforge.domain.drop_names import completes_folder
from dropforge.domain.errors import InvalidEvent
from dropforge.domain.moments import iso

TriggerKind = Literal["drop", "schedule", "manual", "follow-up", "replay", "alarm"]
AlarmKind = Literal["drift", "quality", "estimate"]
DataChoice = Literal["new", "all", "last-run"]

# The metrics whose alarms are answered.
_ALARM_KINDS: Final[Mapping[str, AlarmKind]] = {
    DRIFT_ALARM: "drift", QUALITY_ALARM: "quality", ESTIMATE_ALARM: "estimate"
}  # fmt: skip

_SLUG_CHARACTERS = 20
_DIGEST_CHARACTERS = 12
_SEQUENCE_CHARACTERS = 64


@dataclass(frozen=True)
class Drop:
    """One version of one object that somebody put under ``incoming/``.

    ``written_at`` is the time of S3's event, ISO 8601 in UTC; None where nobody noted it.
    """

    bucket: str
    key: str
    version_id: str | None
    etag: str
    sequencer: str
    size: int
    written_at: str | None = None

    @property
    def sequence(self) -> str:
        """What text order puts in the order of the writes of one key.

        S3's sequencers are compared as text once the shorter is padded with zeros on its right.
        https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html

        >>> Drop("b", "k", "v", "e", "0055aed6dcd90281e51", 9).sequence.rstrip("0")
        '0055AED6DCD90281E51'
        """
        return self.sequencer.upper().ljust(_SEQUENCE_CHARACTERS, "0")

    @property
    def drop_id(self) -> str:
        """The drop's identity: the same for every delivery of the same event, another for a new version.

        EventBridge delivers at least once, and S3's sequencer orders events of one key, so bucket, key,
        version (the ETag where the bucket has no versions) and sequencer name one write and no other.
        """
        parts = (self.bucket, self.key, self.version_id or self.etag, self.sequencer)
        return hashlib.sha256("\x00".join(parts).encode()).hexdigest()

    @property
    def run_id(self) -> str:
        """A name for the run that this drop starts: readable, unique, and derived from the drop alone.

        >>> Drop("b", "incoming/Breast Cancer.csv", "v1", "e", "01", 9).run_id.rsplit("-", 1)[0]
        'breast-cancer'
        """
        return f"{_slug(self.key)}-{self.drop_id[:_DIGEST_CHARACTERS]}"

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Drop:
        return cls(
            bucket=fields["bucket"],
            key=fields["key"],
            version_id=fields.get("version_id"),
            etag=fields["etag"],
            sequencer=fields["sequencer"],
            size=int(fields["size"]),
            written_at=fields.get("written_at"),
        )


@dataclass(frozen=True)
class RaisedAlarm:
    """An alarm about the live model, as the watch raises it or as CloudWatch once told of it.

    Attributes:
        kind: what the alarm is about.
        name: what people call it.
        state: OK, ALARM or INSUFFICIENT_DATA; the watch tells of raised ones only.
        at: the end of the window that raised it; of CloudWatch's, when its state changed.
        reason: why, in words.
        version: the version that the window was about; None of CloudWatch's.
        report_uri: the window's report; None of CloudWatch's.
    """

    kind: AlarmKind
    name: str
    state: str
    at: datetime
    reason: str
    version: int | None = None
    report_uri: str | None = None

    @classmethod
    def of_window(
        cls, kind: AlarmKind, *, at: datetime, version: int, report_uri: str, reason: str
    ) -> RaisedAlarm:
        return cls(kind, f"{kind} alarm", "ALARM", at, reason, version, report_uri)

    @property
    def identity(self) -> str:
        """The same however often it is told of, another for the next; 12 hexadecimal digits."""
        text = f"{self.name}\x00{self.at.isoformat()}"
        if self.report_uri is not None:
            text = f"{self.kind}\x00{self.report_uri}\x00{self.version}"
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]

    @property
    def run_id(self) -> str:
        """A name for the run that answers this alarm."""
        return f"{self.kind}-{self.identity}"

    @property
    def answer_uri(self) -> str | None:
        """Where it is recorded what became of the alarm: beside its window's report.

        >>> at = datetime.fromisoformat("2026-01-02T04:00Z")
        >>> uri = "s3://data/monitoring/2026/01/02/03/report.json"
        >>> RaisedAlarm.of_window("drift", at=at, version=1, report_uri=uri, reason="").answer_uri
        's3://data/monitoring/2026/01/02/03/answer-drift-1.json'
        """
        if self.report_uri is None:
            return None
        folder, _, name = self.report_uri.rpartition("/")
        window = name.removeprefix("report").removesuffix(".json")
        return f"{folder}/answer{window}-{self.kind}-{self.version}.json"

    def to_event(self) -> dict[str, Any]:
        """What the training machine is started with."""
        return {
            "trigger": "alarm",
            "alarm": {
                "kind": self.kind,
                "at": iso(self.at),
                "version": self.version,
                "report_uri": self.report_uri,
                "reason": self.reason,
            },
        }


@dataclass(frozen=True)
class Trigger:
    """Why an execution was started.

    ``drop`` and ``alarm`` are there only for the kinds of these names; ``data``, ``bring_back`` (the keys of
    objects to be tried again) and ``hyperparameters`` only where somebody starts a run by hand.
    """

    kind: TriggerKind
    drop: Drop | None = None
    alarm: RaisedAlarm | None = None
    requested_by: str | None = None
    replay_of: str | None = None
    data: DataChoice | None = None
    bring_back: tuple[str, ...] = ()
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)


def parse_trigger(event: Mapping[str, Any]) -> Trigger:
    """Read the input of the training state machine.

    Accepts S3's ``Object Created`` event as EventBridge delivers it (keys are not URL-encoded there, and
    ``version-id`` is absent for an unversioned bucket), or ``{"trigger": "schedule" | "manual" |
    "follow-up" | "replay" | "alarm", …}``. While a stack is upgraded, rules of the release before may still
    deliver CloudWatch's ``CloudWatch Alarm State Change`` of the drift or the quality alarm.

    Raises:
        InvalidEvent: the input has none of these shapes.
    """
    if event.get("source") == "aws.s3":
        return Trigger(kind="drop", drop=_drop_from_s3_event(event))
    if event.get("source") == "aws.cloudwatch":
        alarm = _alarm_from_event(event)
        return Trigger(kind="alarm", alarm=alarm, requested_by=alarm.name)
    kind = event.get("trigger")
    if kind == "alarm":
        alarm = _alarm_of_window(event)
        return Trigger(kind="alarm", alarm=alarm, requested_by=alarm.name)
    if kind in ("schedule", "follow-up"):
        return Trigger(kind=kind, requested_by=_optional_text(event, "requested_by"))
    if kind == "manual":
        return _manual(event)
    if kind == "replay":
        run_id = event.get("run_id")
        if not isinstance(run_id, str) or not run_id:
            raise InvalidEvent("A replay must name the run: {'trigger': 'replay', 'run_id': '…'}.")
        return Trigger(kind="replay", requested_by=_optional_text(event, "requested_by"), replay_of=run_id)
    raise InvalidEvent(
        "The run's input is neither an S3 'Object Created' event from EventBridge nor "
        "{'trigger': 'schedule' | 'manual' | 'follow-up' | 'replay' | 'alarm'}; "
        f"it has the fields {sorted(event)}."
    )


def _manual(event: Mapping[str, Any]) -> Trigger:
    data, keys = event.get("data"), event.get("bring_back") or []
    if data not in (None, *get_args(DataChoice)):
        raise InvalidEvent(f"'data' is {data!r}; it is one of {', '.join(get_args(DataChoice))}.")
    if not isinstance(keys, list) or not all(isinstance(each, str) for each in keys):
        raise InvalidEvent("'bring_back' must be a list of keys under incoming/.")
    chosen = event.get("hyperparameters") or {}
    if not isinstance(chosen, dict):
        raise InvalidEvent("'hyperparameters' must be an object of names and values.")
    by = _optional_text(event, "requested_by")
    return Trigger(kind="manual", requested_by=by, data=data, bring_back=tuple(keys), hyperparameters=chosen)


def run_id_of_execution(kind: TriggerKind, execution_name: str) -> str:
    """The id of a run that no single drop started: derived from the execution, so that a retry finds it."""
    digest = hashlib.sha256(execution_name.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{kind}-{digest}"


def _drop_from_s3_event(event: Mapping[str, Any]) -> Drop:
    try:
        bucket = event["detail"]["bucket"]["name"]
        s3_object = event["detail"]["object"]
        return Drop(
            bucket=bucket,
            key=s3_object["key"],
            version_id=s3_object.get("version-id"),
            etag=s3_object["etag"],
            sequencer=s3_object["sequencer"],
            size=int(s3_object["size"]),
            written_at=iso(datetime.fromisoformat(event["time"])) if event.get("time") else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidEvent(
            f"The S3 event lacks a field or has it malformed: {error!s}. Expected detail.bucket.name and "
            "detail.object.{key, etag, sequencer, size}, as EventBridge delivers 'Object Created'."
        ) from error


def _alarm_of_window(event: Mapping[str, Any]) -> RaisedAlarm:
    try:
        told = event["alarm"]
        return RaisedAlarm.of_window(
            {kind: kind for kind in _ALARM_KINDS.values()}[told["kind"]],
            at=datetime.fromisoformat(told["at"]),
            version=int(told["version"]),
            report_uri=str(told["report_uri"]),
            reason=str(told.get("reason", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidEvent(
            f"The alarm lacks a field or has it malformed: {error!s}. Expected alarm.{{kind, at, version, "
            f"report_uri, reason}}, kind being {' or '.join(get_args(AlarmKind))}, as the watch tells it."
        ) from error


def _alarm_from_event(event: Mapping[str, Any]) -> RaisedAlarm:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html"""
    try:
        detail = event["detail"]
        metrics = detail["configuration"]["metrics"]
        names = {each["metricStat"]["metric"]["name"] for each in metrics if "metricStat" in each}
        state = detail["state"]
        kinds = [kind for metric, kind in _ALARM_KINDS.items() if metric in names]
        if len(kinds) == 1:
            return RaisedAlarm(
                kind=kinds[0],
                name=detail["alarmName"],
                state=state["value"],
                # "2026-11-21T09:00:00.000+0000"; Python reads a zone without the colon as well.
                at=datetime.fromisoformat(state["timestamp"]),
                reason=state.get("reason", ""),
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidEvent(
            f"The alarm event lacks a field or has it malformed: {error!s}. Expected detail.alarmName, "
            "detail.configuration.metrics[].metricStat.metric.name and detail.state.{value, timestamp}, as "
            "EventBridge delivers 'CloudWatch Alarm State Change'."
        ) from error
    raise InvalidEvent(
        f"Alarm {detail['alarmName']!r} is on {', '.join(sorted(names)) or 'no metric'}; a run is only "
        f"started by alarms on {' or '.join(_ALARM_KINDS)}."
    )


def _optional_text(event: Mapping[str, Any], name: str) -> str | None:
    value = event.get(name)
    if value is None or isinstance(value, str):
        return value
    raise InvalidEvent(f"'{name}' must be a string, but is {type(value).__name__}.")


def _slug(key: str) -> str:
    """The file's stem in the characters that SageMaker allows in a job name."""
    folder, _, name = key.rpartition("/")
    if completes_folder(key):
        name = folder.rpartition("/")[2]
    stem = name.split(".", 1)[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:_SLUG_CHARACTERS].strip("-") or "drop"
