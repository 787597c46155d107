"""Watch: compare a window of the prediction log with what the live model was trained on, and report."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dropforge.application.phase_past import PhasePast
from dropforge.domain.cloudwatch_metrics import (
    DRIFT_ALARM,
    ESTIMATE_ALARM,
    LIVE_QUALITY,
    MISSING_DATA,
    QUALITY_ALARM,
    Metric,
)
from dropforge.domain.contract import SLICED_TYPES, Column, Contract
from dropforge.domain.drift.alarm import Alarm, PastWindow, chance_of_alarm, decide
from dropforge.domain.drift.assessment import (
    DRIFTED,
    FEATURE,
    NOT_ENOUGH_DATA,
    PREDICTION,
    SILENCED,
    Assessed,
    Assessment,
    assess,
)
from dropforge.domain.drift.baseline import Baseline, ColumnBaseline, hashed
from dropforge.domain.drift.column_effects import read_by
from dropforge.domain.drift.estimation import ESTIMATION, Calibration, Estimate, estimate
from dropforge.domain.drift.failing import (
    MOST_ROWS,
    MOST_SLICES,
    Errors,
    Failing,
    SlicedColumn,
    find_failing,
    most_in_words,
)
from dropforge.domain.drift.features import Values
from dropforge.domain.drift.phases import Key, PhaseReference, phase_day, phase_of
from dropforge.domain.drift.policy import WatchPolicy
from dropforge.domain.drift.quality import DEGRADED, STEADY, Quality, SliceQuality, measure_quality
from dropforge.domain.drift.scores import (
    PREDICTION_PROFILE,
    columns_of_scores,
    labels_of_outputs,
    scores_of_outputs,
)
from dropforge.domain.drift.silences import NAME as SILENCES
from dropforge.domain.drift.silences import Silence, as_told, silenced_at, silences_of
from dropforge.domain.drift.training_phases import TRAINING_PHASES, TrainingPhases
from dropforge.domain.errors import InvalidEvent
from dropforge.domain.guarded_slices import GUARDED_SLICES
from dropforge.domain.intervals import Interval, finite_or_none
from dropforge.domain.ledger import Ledger
from dropforge.domain.metric_registry import metric_named
from dropforge.domain.moments import from_iso, iso
from dropforge.domain.ports import ObjectStore
from dropforge.domain.predictions import PredictionLog, Window, pseudonym
from dropforge.domain.records import Live
from dropforge.domain.services import Workflows
from dropforge.domain.serving import read_live_contract
from dropforge.domain.slicing import Slicing
from dropforge.domain.triggers import AlarmKind, RaisedAlarm
from dropforge.domain.values import ColumnReader, WrongValue

FORMAT = 1
NO_LIVE_MODEL = "no_live_model"
DRIFT: Final = "drift"
QUALITY: Final = "quality"
ESTIMATE: Final = "estimate"
MAXIMUM_DRIFT = 16.0
"""Where a column's logged drift ends: beyond it p-values are rounding errors."""
MOST_DETAILED = 200
"""Columns of which a report has every number and the log a line: of more, those farthest from chance. One
takes some 2 kB of a report, and the console holds a month of reports."""
MOST_NAMED = 100
"""Drifted columns that a line of the log names: an event of CloudWatch Logs takes 256 kB."""
_SEARCHED: Final = ("feature", "guarded")
"""Roles of the columns whose slices are searched for errors."""
MAXIMUM_PAST_REPORTS = 200
"""Earlier reports that are read: more than a week of hourly windows."""


@dataclass(frozen=True, slots=True)
class WatchedFiles:
    """Scored files that make a window.

    Attributes:
        digest: of their rows, so that what was scored twice is one window.
        files: ``key``, ``batch_id`` and ``rows`` of each.
        rows: of all of them; the window may be a sample.
    """

    digest: str
    files: tuple[Mapping[str, Any], ...]
    rows: int


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """Which window to watch.

    Attributes:
        start, end: predictions with ``start <= at < end``; aware, see `last_full_window`.
        data_uri: the data bucket, ``s3://bucket``; reports go under ``<data_uri>/monitoring/``.
        policy: what the window is held to.
        training_machine_arn: the state machine that answers alarms.
        files: what was scored, where the window is one of files.
        at_once: whether somebody asked for this window, instead of the schedule.
        length: of the schedule's windows; None where this is one of them.
        salt: the key of pseudonyms, for columns with ``privacy: hash``; None leaves their values uncompared.
    """

    start: datetime
    end: datetime
    data_uri: str
    policy: WatchPolicy
    training_machine_arn: str
    at_once: bool = False
    files: WatchedFiles | None = None
    salt: bytes | None = field(default=None, repr=False)
    length: timedelta | None = None

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None or self.start >= self.end:
            raise InvalidEvent(
                f"watch_model: the window from {self.start} to {self.end} must go forward, in zoned times."
            )

    @property
    def report_uri(self) -> str:
        if self.files is not None:
            moment = self.start.astimezone(UTC)
            name = f"report-{moment:%M%S}-batch-{self.files.digest}.json"
            return f"{self.data_uri}/monitoring/{moment:%Y/%m/%d/%H}/{name}"
        return report_uri(self.data_uri, self.start, self.end if self.at_once else None)


@dataclass(frozen=True)
class WatchReport:
    """What was found in one window. `assessment` is None while no model is live."""

    start: datetime
    end: datetime
    policy: WatchPolicy
    live: Live | None
    assessment: Assessment | None = None
    quality: Quality | None = None
    slices: tuple[SliceQuality, ...] = ()
    failing: Failing | None = None
    alarms: Mapping[AlarmKind, Alarm] = field(default_factory=dict)
    silenced: Mapping[str, Silence] = field(default_factory=dict)
    is_sample: bool = False
    files: WatchedFiles | None = None
    phase: PhaseReference | None = None
    estimate: Estimate | None = None

    @property
    def verdict(self) -> str:
        """quiet, drifted, not_enough_data, or no_live_model."""
        return NO_LIVE_MODEL if self.assessment is None else self.assessment.verdict

    @cached_property
    def detailed(self) -> list[Assessed]:
        """The columns that are told in full, in their order: all, or of very many those farthest from chance
        and the predictions."""
        columns = () if self.assessment is None else self.assessment.columns
        nearest = sorted(columns, key=lambda each: (each.kind == FEATURE, each.adjusted_p_value))
        kept = {id(each) for each in nearest[:MOST_DETAILED]}
        return [each for each in columns if id(each) in kept]

    def to_dict(self) -> dict[str, Any]:
        """Return ``report.json``: a function of the window and the model, so it holds no time of its own."""
        live, found = self.live, self.assessment
        told = {each.drift.name for each in self.detailed}
        return {
            "format": FORMAT,
            "window": {"start": iso(self.start), "end": iso(self.end)},
            "verdict": self.verdict,
            "model": None
            if live is None
            else {"version": live.version, "run_id": live.run_id, "profile_uri": live.profile_uri},
            "rows": 0 if found is None else found.rows,
            "is_sample": self.is_sample,
            "batch": None
            if self.files is None
            else {"digest": self.files.digest, "rows": self.files.rows, "files": list(self.files.files)},
            "drifted": [] if found is None else found.drifted,
            "columns": [column.to_dict() for column in self.detailed],
            "further_columns": {
                each.drift.name: each.adjusted_p_value
                for each in (() if found is None else found.columns)
                if each.drift.name not in told
            },
            "domain_classifier": None
            if found is None or found.classifier is None
            else {**asdict(found.classifier), "adjusted_p_value": found.classifier_adjusted},
            "unwatched": {} if found is None else dict(found.unwatched),
            "phase": None if self.phase is None else self.phase.to_dict(),
            "silenced": as_told(self.silenced),
            "quality": None if self.quality is None else self.quality.to_dict(),
            "estimate": None if self.estimate is None else self.estimate.to_dict(),
            **({} if not self.slices else {"slices": [each.to_dict() for each in self.slices]}),
            "failing": None if self.failing is None else self.failing.to_dict(),
            "alarms": {kind: alarm.to_dict() for kind, alarm in self.alarms.items()},
            "policy": {name: getattr(self.policy, name) for name in self.policy.__slots__},
        }


@dataclass(frozen=True)
class Watched:
    """The report, where it was written, the metrics to emit and the lines to log, a message with its fields.

    What alarms look at is a metric. All else is a log line, since CloudWatch bills every custom metric.
    """

    report: WatchReport
    report_uri: str | None
    metrics: tuple[Metric, ...]
    lines: tuple[tuple[str, Mapping[str, Any]], ...]


def last_full_window(now: datetime, length: timedelta) -> tuple[datetime, datetime]:
    """Return the last window of that length that has ended, counted from 1970.

    >>> [t.hour for t in last_full_window(datetime(2026, 1, 2, 3, 4, tzinfo=UTC), timedelta(hours=1))]
    [2, 3]
    """
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    end = epoch + (now - epoch) // length * length
    return end - length, end


def window_at_once(
    now: datetime, length: timedelta, data_uri: str, ledger: Ledger, store: ObjectStore
) -> tuple[datetime, datetime]:
    """Return the window of at most that length that ends now and holds nothing that was judged before.

    It begins with the promotion of the live model, or where the last judged window ended, so that windows
    that are watched at once follow each other as those of the schedule do. At least a second.
    """
    end = now.astimezone(UTC).replace(microsecond=0)
    live = ledger.live()
    starts = [end - length]
    if live is not None:
        starts.append(from_iso(live.promoted_at))
        for content in _reports(data_uri, end - 2 * length, end, store):
            judged = from_iso(content["window"]["end"])
            if content["verdict"] != NOT_ENOUGH_DATA and judged <= end:
                starts.append(judged)
    start = max(starts).astimezone(UTC).replace(microsecond=0)
    return min(start, end - timedelta(seconds=1)), end


def report_uri(data_uri: str, start: datetime, until: datetime | None = None) -> str:
    """Return where the report of the window that begins at `start` lies.

    Args:
        until: the end of a window that was watched at once, which may begin with one of the schedule's.

    >>> report_uri("s3://data", datetime(2026, 1, 2, 3, tzinfo=UTC))
    's3://data/monitoring/2026/01/02/03/report.json'
    """
    moment = start.astimezone(UTC)
    name = "report" if not (moment.minute or moment.second or until) else f"report-{moment:%M%S}"
    end = "" if until is None else f"-{until.astimezone(UTC):%d%H%M%S}"
    return f"{data_uri}/monitoring/{moment:%Y/%m/%d/%H}/{name}{end}.json"


def watch_model(
    request: WatchRequest, ledger: Ledger, log: PredictionLog, store: ObjectStore, workflows: Workflows
) -> Watched:
    """Watch the live model over one window, write the report, and start what answers its alarms.

    Effect: ``monitoring/<yyyy>/<mm>/<dd>/<hh>/report.json`` exists, and of each alarm that it raises an
    execution of the training machine, named after the alarm. A rerun of the same window, with the same
    model live and no new outcomes, writes the same bytes and starts nothing anew: only reports of earlier
    windows are looked at.

    Raises:
        InvalidProfile, InvalidContract: what the live pointer names can't be used.
        ObjectMissing: the live model's profile or contract is gone.
        ArtifactChanged: its contract is not the one that it was trained on.
    """
    live = ledger.live()
    if live is None:
        report = WatchReport(request.start, request.end, request.policy, None)
        return Watched(report, None, (), (("watched", _summary(report)),))
    contract = read_live_contract(live, store.read)
    at_most = request.policy.rows_of(len(contract.features))
    window = log.window(request.start, request.end, model_version=live.version, at_most=at_most)
    labelled = _outcomes(request, live, log, at_most)
    return judge_window(request, live, contract, window, labelled, store, workflows)


def judge_window(
    request: WatchRequest,
    live: Live,
    contract: Contract,
    window: Window,
    labelled: Window,
    store: ObjectStore,
    workflows: Workflows,
) -> Watched:
    """Judge predictions of the live model, write the report, and start what answers the alarms.

    Args:
        window: what is compared with the model's profiles.
        labelled: whose outcomes, as far as they are known, make the live quality.
    """
    predicted = _prediction_baseline(live, store)
    silenced = _silenced(request, store)
    assessment, phase = _assess(request, contract, live, window, predicted, store, silenced)
    quality = _quality(request, contract, live, predicted, labelled)
    slices = _slices(request, contract, live, labelled, store)
    failing = _failing(request, contract, labelled)
    estimated = _estimate(request, contract, live, window, assessment, store)
    past = _past(request, live.version, store)
    found: dict[AlarmKind, bool | None] = {
        DRIFT: None if assessment.verdict == NOT_ENOUGH_DATA else assessment.verdict == DRIFTED,
        QUALITY: _is_degraded(quality.verdict),
        ESTIMATE: _is_degraded(estimated.verdict),
    }
    probable = {DRIFT: assessment.least_probable, QUALITY: quality.p_value, ESTIMATE: estimated.p_value}
    alarms: dict[AlarmKind, Alarm] = {
        kind: decide(
            found[kind],
            start=request.start,
            end=request.end,
            model_version=live.version,
            promoted_at=from_iso(live.promoted_at),
            past=past[kind],
            policy=request.policy,
            is_batch=request.files is not None,
            # Files may come months apart: one as improbable as enough windows raises the alarm alone.
            is_decisive=request.files is not None and probable[kind] <= chance_of_alarm(request.policy),
        )
        for kind in found
    }
    where = None if failing is None else most_in_words(failing.to_dict())
    if alarms[QUALITY].raised and where is not None:
        alarms[QUALITY] = replace(alarms[QUALITY], reason=f"{alarms[QUALITY].reason}. {where}")
    report = WatchReport(
        request.start,
        request.end,
        request.policy,
        live,
        assessment,
        quality,
        slices,
        failing,
        alarms,
        silenced,
        is_sample=window.is_sample,
        files=request.files,
        phase=phase,
        estimate=estimated,
    )
    uri = request.report_uri
    text = json.dumps(report.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    store.write(uri, text.encode(), "application/json")
    if request.files is not None:
        moment = f"{request.end.astimezone(UTC):%Y%m%dT%H%M%S}"
        index = f"{batches_uri(request.data_uri, live.version)}windows/{moment}-{request.files.digest}.json"
        store.write(index, json.dumps({"report_uri": uri}).encode(), "application/json")
    _answer_alarms(report, uri, request.training_machine_arn, workflows)
    return Watched(report, uri, tuple(_metrics(report, past)), tuple(log_lines(report)))


def log_lines(report: WatchReport) -> list[tuple[str, Mapping[str, Any]]]:
    """Return what is logged of a window: messages with their fields."""
    return [("watched", _summary(report)), *(("column drift", each) for each in _drifts(report))]


def _answer_alarms(report: WatchReport, uri: str, training_machine_arn: str, workflows: Workflows) -> None:
    """Start an execution for each alarm that was raised: admission decides what follows.

    CloudWatch's alarm on the metric tells people. It changes its state only once however long the metric says
    1, so what it says starts nothing.
    """
    for kind, alarm in report.alarms.items():
        if alarm.raised and report.live is not None:
            told = RaisedAlarm.of_window(
                kind, at=report.end, version=report.live.version, report_uri=uri, reason=alarm.reason
            )
            workflows.start(training_machine_arn, name=told.run_id, payload=told.to_event())


def _silenced(request: WatchRequest, store: ObjectStore) -> dict[str, Silence]:
    uri = f"{request.data_uri}/monitoring/{SILENCES}"
    return silenced_at(silences_of(store.read(uri)), request.end) if store.exists(uri) else {}


def _assess(
    request: WatchRequest,
    contract: Contract,
    live: Live,
    window: Window,
    predicted: Baseline | None,
    store: ObjectStore,
    silenced: Collection[str],
) -> tuple[Assessment, PhaseReference | None]:
    profile = Baseline.from_json(store.read(live.profile_uri))
    salt = request.salt
    pseudonyms: Callable[[str], str | None] | None = None if salt is None else lambda v: pseudonym(v, salt)
    baselines: dict[Key, ColumnBaseline] = {}
    for column in contract.features:
        baseline = profile.columns.get(column.name)
        if baseline is not None:
            baselines[FEATURE, column.name] = (
                hashed(baseline, pseudonyms) if column.privacy == "hash" else baseline
            )
    features = list(baselines.values())
    scores = scores_of_outputs(contract.classes, window.outputs)
    predictions = columns_of_scores(contract.task, contract.classes, scores)
    if predicted is not None:
        baselines |= {
            (PREDICTION, name): predicted.columns[name] for name in predictions if name in predicted.columns
        }
    columns: dict[str, Mapping[str, Values]] = {FEATURE: window.columns, PREDICTION: predictions}
    private = {column.name for column in contract.features if column.privacy}
    phase = _phase(request, live, len(window), columns, baselines, store, private)
    return assess(
        window.columns,
        features,
        rows=len(window),
        policy=request.policy,
        predictions=predictions,
        prediction_baseline=predicted,
        silenced=silenced,
        phase=phase,
    ), phase


def _phase(
    request: WatchRequest,
    live: Live,
    rows: int,
    columns: Mapping[str, Mapping[str, Values]],
    baselines: Mapping[Key, ColumnBaseline],
    store: ObjectStore,
    private: Collection[str],
) -> PhaseReference | None:
    """What the window's phase was like before; the window is noted for those that come after it.

    Files have no phase: they are scored whenever they come. Windows that were watched at once teach nothing,
    because the schedule's hold their rows as well.

    Args:
        private: columns that the log holds otherwise than the training rows.
    """
    length = request.length or request.end - request.start
    phase = None if request.files is not None else phase_of(request.start, request.end, length)
    if phase is None or rows < request.policy.minimum_rows:
        return None
    day = phase_day(request.start, request.end, length)
    uri = f"{live.smoke_uri.rpartition('/')[0]}/{TRAINING_PHASES}"
    training = TrainingPhases.from_json(store.read(uri)) if store.exists(uri) else None
    past = PhasePast(store, request.data_uri, live.version)
    found = past.reference(phase, length, day, baselines, training, private)
    if not request.at_once:
        past.keep(phase, day, rows, columns, baselines, request.policy.seed)
    return found


def _prediction_baseline(live: Live, store: ObjectStore) -> Baseline | None:
    uri = f"{live.smoke_uri.rpartition('/')[0]}/{PREDICTION_PROFILE}"
    return Baseline.from_json(store.read(uri)) if store.exists(uri) else None


def _outcomes(request: WatchRequest, live: Live, log: PredictionLog, at_most: int) -> Window:
    """The predictions whose outcomes count, which come late: it looks back farther than the window."""
    start = min(request.start, request.end - timedelta(seconds=request.policy.quality_window_s))
    return log.window(start, request.end, model_version=live.version, at_most=at_most)


def _quality(
    request: WatchRequest, contract: Contract, live: Live, predicted: Baseline | None, window: Window
) -> Quality:
    rows = 0 if predicted is None else predicted.rows
    return _measured(request, contract, window.outputs, window.outcomes, live.metric, rows, 1)


def _is_degraded(verdict: str | None) -> bool | None:
    """Whether quality is called worse; None where nothing is said."""
    return verdict == DEGRADED if verdict in (STEADY, DEGRADED) else None


def _estimate(
    request: WatchRequest,
    contract: Contract,
    live: Live,
    window: Window,
    assessment: Assessment,
    store: ObjectStore,
) -> Estimate:
    """Estimate the metric that the model was judged by, before outcomes are known."""
    judged, policy = live.metric, request.policy
    metric = metric_named(contract.task, str(judged["name"]))
    uri = f"{live.smoke_uri.rpartition('/')[0]}/{ESTIMATION}"
    if not store.exists(uri):
        return Estimate.none(
            metric.name, len(window), "the live model was judged before quality was estimated"
        )
    if len(window) < policy.minimum_rows:
        reason = f"there are {len(window)} predictions, {policy.minimum_rows} are needed"
        return Estimate.none(metric.name, len(window), reason)
    calibration = Calibration.from_json(store.read(uri))
    classes = contract.classes
    codes = {label: code for code, label in enumerate(classes or ())}
    by_name = {column.name: column for column in contract.columns}
    found = estimate(
        calibration,
        metric.name,
        scores_of_outputs(classes, window.outputs),
        outcomes=[
            None if outcome is None else float(outcome) if classes is None else codes.get(str(outcome))
            for outcome in window.outcomes
        ],
        labels=labels_of_outputs(classes, window.outputs),
        columns={
            name: _logged(by_name[name], contract.reader(name), window.columns[name])
            for name in read_by(calibration.effects)
            if name in window.columns
        },
        outside={
            each.drift.name: rate.value
            for each in assessment.columns
            if each.kind == FEATURE and (rate := each.drift.statistic("out_of_domain_rate")) is not None
        },
        apart=0.5 if assessment.classifier is None else assessment.classifier.auc,
        positive_code=0 if classes is not None and judged.get("positive_class") == classes[0] else 1,
        minimum_rows=policy.minimum_rows,
        rate=policy.false_alarm_rate,
        seed=policy.seed,
    )
    limits = (judged.get(name) for name in ("value", "low", "high"))
    return found.against(
        Interval(*(math.nan if each is None else float(each) for each in limits)),
        greater_is_better=metric.greater_is_better,
        tolerance=policy.quality_tolerance,
        rate=policy.false_alarm_rate,
    )


def _slices(
    request: WatchRequest, contract: Contract, live: Live, window: Window, store: ObjectStore
) -> tuple[SliceQuality, ...]:
    """Quality in the slices that the live model was judged in, of columns that predictions come with."""
    uri = f"{live.smoke_uri.rpartition('/')[0]}/{GUARDED_SLICES}"
    if not contract.guarded or not store.exists(uri):
        return ()
    document = json.loads(store.read(uri))
    found = [
        (column["name"], held, rows)
        for column in document["columns"]
        if column["name"] in window.columns
        for held, rows in _rows_of_slices(column, window.columns[column["name"]], contract)
    ]
    return tuple(
        SliceQuality(
            name,
            held["label"],
            _measured(
                request,
                contract,
                [window.outputs[row] for row in rows],
                [window.outcomes[row] for row in rows],
                {**live.metric, **held},
                held["rows"],
                len(found),
            ),
        )
        for name, held, rows in found
    )


def _rows_of_slices(
    column: Mapping[str, Any], logged: Sequence[Any], contract: Contract
) -> Iterator[tuple[Mapping[str, Any], NDArray[np.intp]]]:
    """Yield each slice of the hold-out, and its rows among the logged values."""
    slicing, reader = Slicing.from_dict(column), contract.reader(column["name"])
    codes = slicing.codes(_read(reader, value) for value in logged)
    for held in column["slices"]:
        rows = np.flatnonzero(codes == slicing.labels.index(held["label"]))
        if len(rows):
            yield held, rows


def _failing(request: WatchRequest, contract: Contract, window: Window) -> Failing | None:
    """Where errors concentrate among the predictions with an outcome; None of too few.

    A class that the model doesn't know is no error of any slice: live quality leaves it out as well.
    """
    known = _known_outcomes(contract, window)
    if len(known) < request.policy.minimum_rows:
        return None
    if len(known) > MOST_ROWS:
        drawn = np.random.default_rng([request.policy.seed, len(known)])
        known = np.sort(drawn.choice(known, MOST_ROWS, replace=False))
    rows = known.tolist()
    outputs = [window.outputs[row] for row in rows]
    scores = scores_of_outputs(contract.classes, outputs)
    truth = [window.outcomes[row] for row in rows]
    if contract.classes is None:
        errors = Errors.of_values(np.array(truth, dtype=np.float64), scores)
    else:
        target = np.array([contract.classes.index(str(each)) for each in truth], dtype=np.int64)
        labels = labels_of_outputs(contract.classes, outputs)
        errors = Errors.of_labels(target, scores, labels)
    columns = (
        _sliced(column, contract.reader(column.name), [window.columns[column.name][row] for row in rows])
        for column in contract.columns
        if column.name in window.columns and column.type in SLICED_TYPES and column.role in _SEARCHED
    )
    ids = [window.ids[row] for row in rows]
    policy = request.policy
    return find_failing(columns, errors, ids, rate=policy.false_alarm_rate, minimum_rows=policy.minimum_rows)


def _known_outcomes(contract: Contract, window: Window) -> NDArray[np.intp]:
    """The places of the predictions whose outcome is known, and one of the model's classes."""
    classes = None if contract.classes is None else frozenset(contract.classes)
    return np.array(
        [
            row
            for row, outcome in enumerate(window.outcomes)
            if outcome is not None and (classes is None or str(outcome) in classes)
        ],
        dtype=np.intp,
    )


def _sliced(column: Column, reader: ColumnReader, logged: Sequence[Any]) -> SlicedColumn:
    """Slice a column by what was logged of it. Equal values have equal pseudonyms: these are categories."""
    if column.privacy is not None:
        return SlicedColumn.of(column.name, "category", np.array(logged, dtype=object), is_private=True)
    return SlicedColumn.of(column.name, column.type, _logged(column, reader, logged))


def _logged(column: Column, reader: ColumnReader, logged: Sequence[Any]) -> NDArray[Any]:
    """Return what was logged of a column, as objects of a category, else float64; (n,)."""
    read = [_read(reader, value) for value in logged]
    if column.type == "category":
        return np.array(read, dtype=object)
    return np.array([math.nan if each is None else float(each) for each in read], dtype=np.float64)


def _read(reader: ColumnReader, logged: Any) -> Any:
    """What a logged value means. Nobody checks what callers send of a column that isn't learned from."""
    try:
        return reader.read(logged)
    except WrongValue:
        return None


def _measured(
    request: WatchRequest,
    contract: Contract,
    outputs: Sequence[Mapping[str, Any]],
    outcomes: Sequence[Any],
    judged: Mapping[str, Any],
    holdout_rows: int,
    tests: int,
) -> Quality:
    """Measure quality at the window's rate of false alarms, of which each of so many tests gets its part."""
    policy = request.policy
    return measure_quality(
        contract.task,
        contract.classes,
        scores_of_outputs(contract.classes, outputs),
        outcomes,
        judged,
        holdout_rows=holdout_rows,
        rate=policy.false_alarm_rate / tests,
        tolerance=policy.quality_tolerance,
        minimum_rows=policy.minimum_rows,
        resamples=policy.resamples,
        seed=policy.seed,
        labels=labels_of_outputs(contract.classes, outputs),
    )


def batches_uri(data_uri: str, version: int) -> str:
    """Where is noted which files were watched for a version, a folder."""
    return f"{data_uri}/monitoring/batches/v{version}/"


def _past(request: WatchRequest, version: int, store: ObjectStore) -> dict[AlarmKind, list[PastWindow]]:
    """Read the reports of the windows before, as far back as they can matter."""
    policy = request.policy
    length = request.end - request.start
    # Windows without enough data are passed over, so look back twice as many windows as are considered.
    reach = max(timedelta(seconds=policy.cooldown_s) + length, 2 * policy.windows_considered * length)
    past: dict[AlarmKind, list[PastWindow]] = {DRIFT: [], QUALITY: [], ESTIMATE: []}
    contents = list(
        _reports(request.data_uri, request.start - reach, request.start, store, request.report_uri)
    )
    if request.files is not None:
        known = {_identity(each) for each in contents}
        older = _reports_of_files(request, version, store)
        contents += [each for each in older if _identity(each) not in known]
    for content in contents:
        found = {DRIFT: None if content["verdict"] == NOT_ENOUGH_DATA else content["verdict"] == DRIFTED}
        for kind in (QUALITY, ESTIMATE):
            found[kind] = _is_degraded((content.get(kind) or {}).get("verdict"))
        for kind, windows in past.items():
            windows.append(
                PastWindow(
                    from_iso(content["window"]["end"]),
                    content["model"]["version"],
                    found[kind],
                    # Reports of earlier releases know no estimate.
                    kind in content["alarms"] and content["alarms"][kind]["raised"],
                    bool(content.get("batch")),
                )
            )
    return past


def _identity(content: Mapping[str, Any]) -> tuple[str, str]:
    return content["window"]["end"], (content.get("batch") or {}).get("digest", "")


def _reports_of_files(request: WatchRequest, version: int, store: ObjectStore) -> Iterator[dict[str, Any]]:
    """Reports of the last windows of files, however long ago they were."""
    noted = sorted(ref.uri for ref in store.list(f"{batches_uri(request.data_uri, version)}windows/"))
    for uri in noted[-request.policy.windows_considered - 1 :]:
        report = json.loads(store.read(uri))["report_uri"]
        if report != request.report_uri and store.exists(report):
            yield json.loads(store.read(report))


def _reports(
    data_uri: str, first: datetime, last: datetime, store: ObjectStore, but: str = ""
) -> Iterator[dict[str, Any]]:
    """Reports of windows that begin from the day of one time until another, the oldest first, except one's
    own; of very many the newest."""
    uris: list[str] = []
    day = first.astimezone(UTC).date()
    while day <= last.astimezone(UTC).date():
        listed = store.list(f"{data_uri}/monitoring/{day:%Y/%m/%d}/")
        uris += [ref.uri for ref in listed if ref.key.rpartition("/")[2].startswith("report")]
        day += timedelta(days=1)
    latest = _order(report_uri(data_uri, last))
    earlier = [uri for uri in uris if uri != but and _order(uri) <= latest]
    for uri in sorted(earlier, key=_order)[-MAXIMUM_PAST_REPORTS:]:
        content = json.loads(store.read(uri))
        if content.get("format") == FORMAT and content["model"] is not None:
            yield content


def _order(uri: str) -> tuple[str, str]:
    """Sort by the window's start, in minutes and seconds: ``report.json`` is the hour's first."""
    folder, _, name = uri.rpartition("/")
    return folder, name.removeprefix("report").removeprefix("-").removesuffix(".json")[:4] or "0000"


def _metrics(report: WatchReport, past: Mapping[AlarmKind, Sequence[PastWindow]]) -> list[Metric]:
    """What alarms look at.

    CloudWatch bills the hours of which there is a datum, so nothing is said of a window without predictions
    (for quality, without outcomes), unless an alarm was raised before: the zero is what ends it.
    """
    assessment, quality = report.assessment, report.quality
    if assessment is None or quality is None:
        return []
    raised = {kind: any(window.raised for window in windows) for kind, windows in past.items()}
    metrics = []
    if assessment.rows or raised[DRIFT]:
        metrics.append(Metric(DRIFT_ALARM, float(report.alarms[DRIFT].raised)))
    if quality.labelled or raised[QUALITY]:
        metrics.append(Metric(QUALITY_ALARM, float(report.alarms[QUALITY].raised)))
    if (report.estimate is not None and report.estimate.refused is None) or raised[ESTIMATE]:
        metrics.append(Metric(ESTIMATE_ALARM, float(report.alarms[ESTIMATE].raised)))
    if assessment.verdict != NOT_ENOUGH_DATA:
        metrics.append(Metric(MISSING_DATA, float(_has_more_missing(assessment))))
    if math.isfinite(quality.live.value):
        metrics.append(Metric(LIVE_QUALITY, quality.live.value, unit="None"))
    return metrics


def _has_more_missing(assessment: Assessment) -> bool:
    """Whether any column misses significantly more values than in training."""
    missing = [
        each.drift.statistic("missing_rate") for each in assessment.columns if each.verdict != SILENCED
    ]
    return any(
        each.value >= each.threshold and each.value > (each.baseline or 0.0)
        for each in missing
        if each is not None
    )


def _summary(report: WatchReport) -> dict[str, Any]:
    assessment, quality = report.assessment, report.quality
    line: dict[str, Any] = {
        "window_start": iso(report.start),
        "window_end": iso(report.end),
        "verdict": report.verdict,
    }
    if report.live is None or assessment is None or quality is None:
        return line
    return {
        **line,
        "model_version": report.live.version,
        "rows": assessment.rows,
        "drifted_columns": assessment.drifted[:MOST_NAMED],
        "drifted_count": len(assessment.drifted),
        "silenced_columns": sorted(report.silenced),
        "phase": None if report.phase is None else report.phase.phase.in_words(report.phase.length),
        "compared_with": None if report.phase is None else report.phase.source,
        "domain_classifier_auc": None if assessment.classifier is None else assessment.classifier.auc,
        "label_completeness": quality.completeness,
        "quality_verdict": quality.verdict,
        "quality_metric": quality.metric,
        **(
            {
                "degraded_slices": [
                    f"{each.column} is {each.label!r}"
                    for each in report.slices
                    if each.quality.verdict == DEGRADED
                ]
            }
            if report.slices
            else {}
        ),
        **_failing_told(report),
        "live_quality": quality.live.value if math.isfinite(quality.live.value) else None,
        "estimated_quality": None
        if report.estimate is None
        else finite_or_none(report.estimate.interval.value),
        "estimate_verdict": None if report.estimate is None else report.estimate.verdict,
        **{f"{kind}_alarm": alarm.to_dict() for kind, alarm in report.alarms.items()},
    }


def _failing_told(report: WatchReport) -> dict[str, Any]:
    where = None if report.failing is None else most_in_words(report.failing.to_dict(), MOST_SLICES)
    return {} if where is None else {"failing": where}


def _drifts(report: WatchReport) -> list[dict[str, Any]]:
    """Of each column minus the decimal logarithm of its corrected p-value, so 2 is the border at 1 %."""
    assessment = report.assessment
    if assessment is None or assessment.verdict == NOT_ENOUGH_DATA:
        return []
    return [
        {
            "column": each.drift.name,
            "drift": min(MAXIMUM_DRIFT, -math.log10(max(each.adjusted_p_value, 1e-300))),
        }
        for each in report.detailed
        if each.verdict != SILENCED
    ]
