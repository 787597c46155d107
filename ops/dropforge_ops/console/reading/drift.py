"""What watching found over time, and how the alarms stand."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from threading import Lock
from typing import Any, Final

from dropforge.domain.moments import from_iso
from dropforge_ops.errors import NotFound
from dropforge_ops.stack.documents import Documents
from dropforge_ops.stack.watch_reports import (
    FORMAT,
    PREFIX,
    compared_in_words,
    estimate_in_words,
    phase_in_words,
)

MOST_WINDOWS: Final = 750
"""Reports that are read for one page: a month of hourly windows. Of more, the newest are."""

FARTHEST: Final = 16.0
"""Where a column's distance from chance ends: beyond it p-values are rounding errors."""

_HOUR: Final = timedelta(hours=1)

# As many as boto3's connection pool holds.
_READERS: Final = 10
# Twice what a page shows, so that those which fall out of the span make room, not those that are shown.
_KEPT_REPORTS: Final = 2 * MOST_WINDOWS

SPANS: Final[Mapping[str, timedelta]] = {
    "24 hours": timedelta(days=1),
    "7 days": timedelta(days=7),
    "30 days": timedelta(days=30),
}
"""How far back a page can look."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """One test of a column: its value, and the threshold that chance reaches as rarely as is allowed."""

    name: str
    value: float
    baseline: float | None
    threshold: float
    p_value: float
    decides: bool


@dataclass(frozen=True, slots=True)
class ColumnWindow:
    """One column in one window."""

    name: str
    kind: str
    drifted: bool
    adjusted_p_value: float
    rows: int
    missing: int
    statistics: tuple[Statistic, ...]

    @property
    def distance(self) -> float:
        """How far from chance: minus the decimal logarithm of the corrected p-value, at most FARTHEST."""
        return min(FARTHEST, -math.log10(max(self.adjusted_p_value, 10**-FARTHEST)))


@dataclass(frozen=True)
class Quality:
    """The live metric on predictions whose outcome is known, against what it was on the hold-out."""

    metric: str
    verdict: str
    predictions: int
    labelled: int
    live: float | None
    low: float | None
    high: float | None
    holdout: float | None
    threshold: float | None
    is_biased: bool = False


@dataclass(frozen=True)
class Estimated:
    """The metric as it is estimated before outcomes are known; without a value `words` say why."""

    metric: str
    verdict: str
    value: float | None
    low: float | None
    high: float | None
    words: str


@dataclass(frozen=True)
class SliceQuality:
    """The same in one guarded slice."""

    column: str
    label: str
    quality: Quality


@dataclass(frozen=True)
class FailingSlice:
    """A slice in which errors concentrate, and what they are elsewhere; ``expected`` by the model itself."""

    where: str
    rows: int
    error: float
    elsewhere: float
    expected: float | None
    p_value: float
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Failing:
    """Where the live model fails. ``measure`` says what an error is; ``rows`` had an outcome."""

    measure: str
    rows: int
    searched: int
    slices: tuple[FailingSlice, ...]


@dataclass(frozen=True)
class AlarmWord:
    """What a window's report says of one kind of alarm."""

    raised: bool
    reason: str
    cooldown_until: str | None


@dataclass(frozen=True)
class Window:
    """What watching found in one window. ``further`` names the columns of which it tells no numbers."""

    uri: str
    start: datetime
    end: datetime
    verdict: str
    version: int | None
    rows: int
    columns: tuple[ColumnWindow, ...]
    together: ColumnWindow | None
    unwatched: Mapping[str, str]
    quality: Quality | None
    slices: tuple[SliceQuality, ...]
    alarms: Mapping[str, AlarmWord]
    policy: Mapping[str, Any]
    failing: Failing | None = None
    further: frozenset[str] = frozenset()
    all_drifted: tuple[str, ...] = ()
    phase: str | None = None
    compared_with: str | None = None
    estimated: Estimated | None = None

    @property
    def drifted(self) -> list[str]:
        """Names of the columns that drifted, the least probable first."""
        return list(self.all_drifted)

    @property
    def watched(self) -> int:
        """How many columns were compared."""
        return len(self.columns) + len(self.further)

    @property
    def border(self) -> float:
        """The distance from chance at which a column has drifted."""
        return -math.log10(float(self.policy.get("false_alarm_rate", 0.01)))

    @property
    def has_raised(self) -> bool:
        """Whether it raised an alarm of any kind."""
        return any(each.raised for each in self.alarms.values())


@dataclass(frozen=True)
class History:
    """The windows that begin in a span of time, the oldest first.

    ``left_out`` counts older ones that were not read. Histories are equal if their windows are, although the
    span moves on with the clock.
    """

    start: datetime = field(compare=False)
    end: datetime = field(compare=False)
    windows: tuple[Window, ...]
    left_out: int = 0

    @property
    def latest(self) -> Window | None:
        """The newest window in which there was something to compare."""
        return next((each for each in reversed(self.windows) if each.columns), None)

    @property
    def scheduled_hours(self) -> float | None:
        """How long the newest of the schedule's windows is, in hours; None where there is none.

        Those of files and those that were watched at once aren't of whole hours.
        """
        lengths = ((each.end - each.start) / _HOUR for each in reversed(self.windows))
        return next((hours for hours in lengths if hours >= 1 and hours.is_integer()), None)

    def names(self) -> list[str]:
        """Every column that was watched: those that drifted in the newest window first, then by name."""
        latest = self.latest
        order = {} if latest is None else {each.name: -each.distance for each in latest.columns}
        return sorted(self._by_name, key=lambda name: (order.get(name, 0.0), name))

    def strip(self, name: str, cells: int) -> list[float | None]:
        """The column's greatest distance from chance in each of so many equal parts of the span.

        None where it was not compared. Where a window tells no numbers of it, it counts as just drifted or as
        quiet.
        """
        found: list[float | None] = [None] * cells
        for window, distance in self.distances(name):
            cell = int((window.start - self.start) / (self.end - self.start) * cells)
            found[cell] = max(found[cell] or 0.0, distance)
        return found

    def distances(self, name: str) -> list[tuple[Window, float]]:
        """How far from chance the column was, in every window that compared it; in no order."""
        known = [(window, column.distance) for window, column in self.series(name)]
        known += [
            (window, window.border if name in window.all_drifted else 0.0)
            for window in self.windows
            if name in window.further
        ]
        return known

    def series(self, name: str) -> list[tuple[Window, ColumnWindow]]:
        """One column's windows that tell its numbers, the oldest first."""
        return self._by_name.get(name, [])

    @cached_property
    def _by_name(self) -> Mapping[str, list[tuple[Window, ColumnWindow]]]:
        found: dict[str, list[tuple[Window, ColumnWindow]]] = {}
        for window in self.windows:
            for column in window.columns:
                found.setdefault(column.name, []).append((window, column))
        return found


@dataclass(frozen=True)
class AlarmState:
    """One of the stack's CloudWatch alarms. ``state`` is OK, ALARM or INSUFFICIENT_DATA."""

    name: str
    description: str
    state: str
    reason: str
    since: str | None


class WatchHistory:
    """Reads reports of windows, from any thread; what was read is kept while S3 has the same object."""

    def __init__(self, s3: Any, bucket: str, documents: Documents) -> None:
        self._s3, self._bucket, self._documents = s3, bucket, documents
        self._read: dict[tuple[str, str], Window | None] = {}
        self._changing = Lock()

    def between(self, start: datetime, end: datetime) -> History:
        """The windows that begin in ``[start, end)``."""
        days = [start.date() + timedelta(days=day) for day in range((end.date() - start.date()).days + 1)]
        with ThreadPoolExecutor(_READERS) as readers:
            prefixes = [f"{PREFIX}{day:%Y/%m/%d}/" for day in days]
            listed = [each for page in readers.map(self._listed, prefixes) for each in page]
            listed.sort(key=lambda each: _order(each[0]))
            # A day more than asked for is listed at most, so the bound is applied to what counts.
            wanted = [each for each in listed if start <= _hour_of(each[0]) + _HOUR]
            left_out = max(0, len(wanted) - MOST_WINDOWS)
            windows = list(readers.map(self._window, wanted[left_out:]))
        found = [each for each in windows if each is not None and start <= each.start < end]
        return History(start, end, tuple(found), left_out)

    def distribution(self, window: Window, column: str) -> Mapping[str, Any] | None:
        """The column's counts in both, as `dropforge.domain.drift.display` makes them, or None.

        Raises:
            NotFound: the report is gone.
        """
        report = self._documents.find(window.uri)
        if report is None:
            raise NotFound(f"{window.uri} is gone.")
        for each in report.content.get("columns") or []:
            if each["name"] == column:
                found: Mapping[str, Any] | None = each.get("distribution")
                return found
        return None

    def _listed(self, prefix: str) -> list[tuple[str, str]]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        return [
            (each["Key"], each["ETag"])
            for page in pages
            for each in page.get("Contents", [])
            if each["Key"].rpartition("/")[2].startswith("report")
        ]

    def _window(self, listed: tuple[str, str]) -> Window | None:
        with self._changing:
            if listed in self._read:
                return self._read[listed]
        uri = f"s3://{self._bucket}/{listed[0]}"
        document = self._documents.find(uri)
        found = None if document is None else window_of(uri, document.content)
        with self._changing:
            while len(self._read) >= _KEPT_REPORTS:
                self._read.pop(next(iter(self._read)))
            self._read[listed] = found
        return found


def window_of(uri: str, report: Mapping[str, Any]) -> Window | None:
    """Read a report; None where it is of another format or nothing was live."""
    model = report.get("model")
    if report.get("format") != FORMAT or model is None:
        return None
    classifier = report.get("domain_classifier")
    return Window(
        uri=uri,
        start=from_iso(report["window"]["start"]),
        end=from_iso(report["window"]["end"]),
        verdict=str(report["verdict"]),
        version=model.get("version"),
        rows=int(report.get("rows") or 0),
        columns=tuple(_column(each) for each in report.get("columns") or []),
        together=None if classifier is None else _classifier(classifier, report["policy"]),
        unwatched=dict(report.get("unwatched") or {}),
        quality=None if report.get("quality") is None else _quality(report["quality"]),
        slices=tuple(
            SliceQuality(each["slice"], each["label"], _quality(each)) for each in report.get("slices") or []
        ),
        alarms={
            kind: AlarmWord(bool(each["raised"]), str(each["reason"]), each.get("cooldown_until"))
            for kind, each in (report.get("alarms") or {}).items()
        },
        policy=dict(report.get("policy") or {}),
        failing=None if report.get("failing") is None else _failing(report["failing"]),
        further=frozenset(map(sys.intern, report.get("further_columns") or {})),
        all_drifted=tuple(report.get("drifted") or ()),
        phase=phase_in_words(report.get("phase")),
        compared_with=None if report.get("phase") is None else compared_in_words(report["phase"]),
        estimated=None if report.get("estimate") is None else _estimated(report["estimate"]),
    )


def read_alarms(cloudformation: Any, cloudwatch: Any, stack: str) -> list[AlarmState]:
    """How the stack's alarms stand, those that ring first."""
    resources = [
        each
        for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack)
        for each in page["StackResourceSummaries"]
        if each["ResourceType"] == "AWS::CloudWatch::Alarm"
    ]
    names = {each["PhysicalResourceId"]: each["LogicalResourceId"] for each in resources}
    if not names:
        return []
    # A template has at most 500 resources; DescribeAlarms takes 100 names.
    found: list[AlarmState] = []
    for start in range(0, len(names), 100):
        wanted = list(names)[start : start + 100]
        described = cloudwatch.describe_alarms(AlarmNames=wanted, MaxRecords=100)
        found += [_alarm(names, each) for each in described["MetricAlarms"]]
    order = {"ALARM": 0, "INSUFFICIENT_DATA": 1, "OK": 2}
    return sorted(found, key=lambda each: (order.get(each.state, 1), each.name))


def false_alarm_windows(rate: float, needed: int, considered: int) -> float:
    """Windows between two alarms by chance alone, if windows were independent and none had drifted.

    An alarm needs a window that drifts, and ``needed`` - 1 of the ``considered`` - 1 before it.

    >>> round(false_alarm_windows(0.01, 2, 3))
    5025
    """
    before = considered - 1
    enough = sum(
        math.comb(before, k) * rate**k * (1 - rate) ** (before - k) for k in range(needed - 1, before + 1)
    )
    return 1 / (rate * enough)


def _alarm(names: Mapping[str, str], raw: Mapping[str, Any]) -> AlarmState:
    since = raw.get("StateUpdatedTimestamp")
    return AlarmState(
        name=names[raw["AlarmName"]],
        description=str(raw.get("AlarmDescription") or ""),
        state=str(raw["StateValue"]),
        reason=str(raw.get("StateReason") or ""),
        since=None if since is None else since.isoformat(),
    )


def _column(raw: Mapping[str, Any]) -> ColumnWindow:
    return ColumnWindow(
        # Hundreds of windows name the same columns and tests: each name is held once.
        name=sys.intern(str(raw["name"])),
        kind=sys.intern(str(raw["kind"])),
        drifted=raw["verdict"] == "drifted",
        adjusted_p_value=float(raw["adjusted_p_value"]),
        rows=int(raw["rows"]),
        missing=int(raw["missing"]),
        statistics=tuple(_statistics(raw["statistics"])),
    )


def _statistics(raw: Iterable[Mapping[str, Any]]) -> Iterable[Statistic]:
    for each in raw:
        yield Statistic(
            sys.intern(str(each["name"])),
            float(each["value"]),
            each.get("baseline"),
            float(each["threshold"]),
            float(each["p_value"]),
            float(each["share"]) > 0,
        )


def _classifier(raw: Mapping[str, Any], policy: Mapping[str, Any]) -> ColumnWindow:
    auc = Statistic("auc", float(raw["auc"]), 0.5, float(raw["threshold"]), float(raw["p_value"]), True)
    adjusted = float(raw["adjusted_p_value"])
    drifted = adjusted <= float(policy.get("false_alarm_rate", 0.01))
    return ColumnWindow("all columns together", "classifier", drifted, adjusted, 0, 0, (auc,))


def _quality(raw: Mapping[str, Any]) -> Quality:
    live, holdout = raw.get("live") or {}, raw.get("holdout") or {}
    return Quality(
        str(raw["metric"]),
        str(raw["verdict"]),
        int(raw["predictions"]),
        int(raw["labelled"]),
        live.get("value"),
        live.get("low"),
        live.get("high"),
        holdout.get("value"),
        raw.get("threshold"),
        bool(raw.get("is_biased")),
    )


def _estimated(raw: Mapping[str, Any]) -> Estimated:
    value, low, high = (raw["estimate"].get(name) for name in ("value", "low", "high"))
    return Estimated(str(raw["metric"]), str(raw["verdict"]), value, low, high, estimate_in_words(raw))


def _failing(raw: Mapping[str, Any]) -> Failing:
    slices = (
        FailingSlice(
            " and ".join(str(where["says"]) for where in each["where"]),
            int(each["rows"]),
            float(each["error"]),
            float(each["elsewhere"]),
            each["expected"],
            float(each["p_value"]),
            tuple(each["examples"]),
        )
        for each in raw["slices"]
    )
    return Failing(str(raw["measure"]), int(raw["rows"]), int(raw["searched"]), tuple(slices))


def _order(key: str) -> str:
    """Sort by the window's start: ``report.json`` is the hour's first."""
    return key.replace("report.json", "report-0000.json")


def _hour_of(key: str) -> datetime:
    year, month, day, hour = key.split("/")[1:5]
    return from_iso(f"{year}-{month}-{day}T{hour}:00:00+00:00")
