"""The phase that a window is in, hour by weekday or month end, and what a column's rows are like there.

The reference of a phase is the training profile, reweighted cell by cell by how the phase's shares differ
from those of all phases: training * phase / all. So what recurs is taken out, and what has moved since
training in all phases alike is not: neither a lasting shift nor a slow drift is learned away, as long as it
doesn't tell the phases apart. Phase and all come from the training rows where their timestamps tell, else
from the first windows that the model itself served.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import numpy as np

from dropforge.domain.drift.baseline import CategoricalBaseline, Codes, ColumnBaseline, packed
from dropforge.domain.drift.cells import Cells, Counts, Floats, cells_of, reweighted
from dropforge.domain.drift.classifier import codes_at, drawn_columns, usable
from dropforge.domain.drift.features import Values

FORMAT: Final = 1
MONTH_END: Final = "month_end"
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
WINDOWS_NEEDED: Final = {**dict.fromkeys(WEEKDAYS, 4), MONTH_END: 3}
"""Windows on so many different days teach a phase: four weeks, three month ends. Later ones teach nothing."""
KNOWN_FROM: Final = 3
"""Windows from which on a phase is known: of four weeks' windows of a weekday one may be a month end."""
DAYS_NEEDED: Final = 4
"""Days of any weekday that teach an hour, until its weekday is known."""
TRAINING, TRAINING_PHASE, PAST = "training", "training_phase", "past"
SAMPLED_ROWS: Final = 250
POOLED_ROWS: Final = 2000
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Twelve days of 365.25 end a month.
_SHARE = {**dict.fromkeys(WEEKDAYS, (1 - 12 / 365.25) / 7), MONTH_END: 12 / 365.25}
_SMOOTHING = 0.5
# Of the noise between windows only what lies so many standard errors above chance counts.
_ERRORS = 3.0

Key = tuple[str, str]
"""Kind and name of a column: a prediction may be called like a feature."""


@dataclass(frozen=True, slots=True, order=True)
class Phase:
    """An hour of the day, at which windows begin, on a kind of day: a weekday, or the last of a month, which
    is some weekday as well. UTC."""

    hour: int
    day: str
    weekday: str

    @classmethod
    def at(cls, hour: int, day: date) -> Phase:
        return cls(
            hour, MONTH_END if (day + _DAY).day == 1 else WEEKDAYS[day.weekday()], WEEKDAYS[day.weekday()]
        )

    def in_words(self, length: timedelta) -> str:
        """As people say it.

        >>> Phase.at(9, date(2026, 11, 23)).in_words(timedelta(hours=1))
        'Mondays 09:00 to 10:00 UTC'
        >>> Phase.at(0, date(2026, 11, 30)).in_words(timedelta(days=1))
        'month ends'
        """
        day = "month ends" if self.day == MONTH_END else f"{self.day.capitalize()}s"
        if length >= _DAY:
            return day
        until = (self.hour + max(1, round(length.total_seconds() / 3600))) % 24 or 24
        return f"{day} {self.hour:02}:00 to {until:02}:00 UTC"


def phase_of(start: datetime, end: datetime, length: timedelta) -> Phase | None:
    """Return the phase of a window; None where the schedule's windows have more than a day.

    A window that was watched at once has the phase of the scheduled one that holds its middle.
    """
    if length > _DAY:
        return None
    slot = _slot(start, end, length)
    return Phase.at(slot.hour, slot.date())


def phase_day(start: datetime, end: datetime, length: timedelta) -> date:
    """Return the day of a window by which its phase is told."""
    return _slot(start, end, length).date()


def _slot(start: datetime, end: datetime, length: timedelta) -> datetime:
    """When the schedule's window began that holds the middle of this one."""
    middle = start + (end - start) / 2
    return _EPOCH + (middle - _EPOCH) // length * length


@dataclass(frozen=True)
class PhaseWindow:
    """What a window leaves for those that come after it in its phase.

    Attributes:
        day: it was on.
        rows: that it had.
        counts: of each column over its cells (`cells_of` the profile).
        sample: levels of sampled rows, by feature, uint8 (rows,) each; of columns that have a sample.
    """

    day: date
    rows: int
    counts: Mapping[Key, Counts]
    sample: Mapping[str, Codes] = field(default_factory=dict)

    @classmethod
    def of(
        cls, day: date, rows: int, columns: Mapping[str, Mapping[str, Values]],
        baselines: Mapping[Key, ColumnBaseline], seed: int,
    ) -> PhaseWindow:  # fmt: skip
        """Count a window.

        Args:
            columns: values by kind and name, `rows` of each.
            baselines: of the columns; those that the window doesn't hold are left out.
        """
        known = {key: each for key, each in baselines.items() if key[1] in columns.get(key[0], {})}
        counts = {
            (kind, name): cells_of(each, len(baselines)).counts(columns[kind][name])
            for (kind, name), each in known.items()
        }
        rng = np.random.default_rng([seed, 4])
        drawn = np.sort(rng.choice(rows, min(rows, SAMPLED_ROWS), replace=False))
        features = [(name, each) for (kind, name), each in known.items() if kind == "feature"]
        seen = drawn_columns([usable(each) for _, each in features], seed)
        sample = {
            name: codes_at(each, columns["feature"][name], drawn)
            for (name, each), is_seen in zip(features, seen, strict=True)
            if is_seen
        }
        return cls(day, rows, counts, sample)

    def to_json(self) -> bytes:
        content = {
            "format": FORMAT,
            "day": self.day.isoformat(),
            "rows": self.rows,
            "columns": [[*key, counts.tolist()] for key, counts in self.counts.items()],
            "sample": {name: packed(codes) for name, codes in self.sample.items()},
        }
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, text: bytes) -> PhaseWindow:
        content = json.loads(text)
        return cls(
            date.fromisoformat(content["day"]),
            content["rows"],
            {(kind, name): np.array(counts, dtype=np.int64) for kind, name, counts in content["columns"]},
            {
                name: np.frombuffer(base64.b64decode(codes), dtype=np.uint8)
                for name, codes in content["sample"].items()
            },
        )


@dataclass
class Totals:
    """All windows that taught something, and how much windows of one phase differ beyond chance.

    Attributes:
        days: of each kind of day, those that are in.
        counts: of each kind of day by column.
        excess: by column float64 (size,): at each point of its distribution function the sum of the squared
            differences between a window and those before it in its phase, in variances of chance; less one
            each.
        windows: how many windows were compared so.
        scale: the sum of what one unit of variance between windows adds to these differences, by column.
    """

    days: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, dict[Key, Counts]] = field(default_factory=dict)
    excess: dict[Key, Floats] = field(default_factory=dict)
    scale: dict[Key, float] = field(default_factory=dict)
    windows: dict[Key, int] = field(default_factory=dict)

    def add(self, phase: Phase, window: PhaseWindow, before: Sequence[PhaseWindow]) -> None:
        """Add a window, given those before it in its phase."""
        kind, day = phase.day, window.day.isoformat()
        days = self.days.setdefault(kind, [])
        if day not in days:
            days.append(day)
        sums = self.counts.setdefault(kind, {})
        for key, counts in window.counts.items():
            sums[key] = sums[key] + counts if key in sums else counts
            earlier = [each.counts[key] for each in before if key in each.counts]
            if earlier:
                self._differ(key, counts, np.sum(earlier, axis=0), len(earlier))

    def _differ(self, key: Key, counts: Counts, pool: Counts, windows: int) -> None:
        n, m = int(counts.sum()), int(pool.sum())
        share, other = np.cumsum(counts) / n, np.cumsum(pool) / m
        both = np.cumsum(counts + pool) / (n + m)
        spread = 1 / n + 1 / m
        variance = both * (1 - both) * spread
        inside = np.minimum(both, 1 - both) * min(n, m) >= 5
        excess = np.where(inside, (share - other) ** 2 / np.where(inside, variance, 1.0) - 1, 0.0)
        self.excess[key] = self.excess.get(key, np.zeros(len(counts))) + excess
        self.scale[key] = self.scale.get(key, 0.0) + (1 + 1 / windows) / spread
        self.windows[key] = self.windows.get(key, 0) + 1

    def all(self, key: Key) -> Floats | None:
        """The column's counts over all phases, each kind of day with the share that it has of a year."""
        found = [
            (_SHARE[kind] / len(self.days[kind]), sums[key])
            for kind, sums in self.counts.items()
            if key in sums
        ]
        if not found:
            return None
        weighted = np.sum([share * counts for share, counts in found], axis=0)
        rows = sum(int(counts.sum()) for _, counts in found)
        result: Floats = weighted / max(weighted.sum(), 1e-300) * rows
        return result

    def variance(self, key: Key) -> float:
        """How much windows of one phase vary beyond chance, as a share of one row's variance; 0 where no
        more than chance explains is seen."""
        windows = self.windows.get(key, 0)
        if windows < 2 or not self.scale[key]:
            return 0.0
        most = float(self.excess[key].max())
        return most / self.scale[key] if most > _ERRORS * math.sqrt(2 * windows) else 0.0

    def to_json(self) -> bytes:
        content = {
            "format": FORMAT,
            "days": self.days,
            "counts": {
                kind: [[*key, counts.tolist()] for key, counts in sums.items()]
                for kind, sums in self.counts.items()
            },
            "noise": [
                [*key, [round(each, 3) for each in excess.tolist()], self.scale[key], self.windows[key]]
                for key, excess in self.excess.items()
            ],
        }
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Totals:
        content = json.loads(text)
        found = cls(content["days"])
        for kind, sums in content["counts"].items():
            found.counts[kind] = {(k, name): np.array(c, dtype=np.int64) for k, name, c in sums}
        for k, name, excess, scale, windows in content["noise"]:
            found.excess[k, name] = np.array(excess, dtype=np.float64)
            found.scale[k, name], found.windows[k, name] = scale, windows
        return found


@dataclass(frozen=True)
class PhaseReference:
    """What a window is compared with instead of the whole of the training rows.

    Attributes:
        phase, length: of the window; `length` as scheduled.
        source: of the most columns: `training_phase` or `past`; `training` where no phase is known yet.
        why: the same in a sentence.
        windows: past windows that speak for the phase.
        baselines: by column, with how they vary between windows (`Totals.variance`) and how many windows
            they are the mean of; columns that aren't in it are compared with the whole of training.
        sample: of the domain classifier, by feature; None as long as there is none of this phase.
        hides: the column whose reference lies farthest from its training profile, and how far: the greatest
            distance of the two distribution functions, or half of the sum of the shares' differences. Drift
            that the comparison may hide is no greater.
    """

    phase: Phase
    length: timedelta
    source: str
    why: str
    windows: int = 0
    baselines: Mapping[Key, tuple[ColumnBaseline, float, int]] = field(default_factory=dict)
    sources: Mapping[Key, str] = field(default_factory=dict)
    sample: Mapping[str, Codes] | None = None
    hides: tuple[str, float] | None = None

    def baseline(self, kind: str, whole: ColumnBaseline) -> ColumnBaseline:
        found = self.baselines.get((kind, whole.name))
        return whole if found is None else found[0]

    def design_effect(self, kind: str, name: str, rows: int) -> float:
        """By how much the difference of a window of so many rows varies more than rows drawn at random."""
        found = self.baselines.get((kind, name))
        if found is None or not found[1] or not rows:
            return 1.0
        baseline, variance, windows = found
        pooled = max(baseline.count + baseline.missing, 1)
        return 1 + variance * (1 + 1 / windows) / (1 / rows + 1 / pooled)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.phase.in_words(self.length), "hour": self.phase.hour, "day": self.phase.day,
            "compared_with": self.source, "why": self.why, "windows": self.windows,
            "may_hide": None
            if self.hides is None
            else {"column": self.hides[0], "distance": self.hides[1]},
        }  # fmt: skip


@dataclass(frozen=True)
class Shares:
    """Rows of a phase and of all phases over a column's cells.

    Attributes:
        all: None where the baseline itself is of exactly these rows.
        coarseness: 0 for rows of the very phase, 1 for those of the weekday that a month end is, 2 for those
            of any weekday.
    """

    cells: Cells
    phase: Counts
    all: Floats | None
    variance: float = 0.0
    windows: int = 1
    coarseness: int = 0


def reference_of(baseline: ColumnBaseline, shares: Shares) -> ColumnBaseline:
    """Return the column's training profile as it would be in the phase.

    It counts as so many rows as would vary as much: each of the three shares that it is made of varies by
    chance, and what it varies by is averaged over the cells (Rao and Scott 1981, first order).
    """
    base = shares.cells.of_baseline(baseline)
    phase = shares.phase.astype(np.float64)
    every = base.astype(np.float64) if shares.all is None else shares.all
    p, h, a = (each / max(each.sum(), 1.0) for each in (base, phase, every))
    if shares.all is None:
        p = h
        varied = 1 / (phase + _SMOOTHING)
    else:
        p = np.where(a > 0, p * h / np.where(a > 0, a, 1.0), p)
        varied = 1 / (base + _SMOOTHING) + 1 / (phase + _SMOOTHING) + 1 / (every + _SMOOTHING)
    if p.sum() <= 0:
        return baseline
    p = p / p.sum()
    cells = int(np.count_nonzero(p))
    rows = max(cells, 1) / float((p * varied).sum())
    return reweighted(baseline, shares.cells, p * rows)


def distance(baseline: ColumnBaseline, reference: ColumnBaseline, cells: Cells) -> float:
    """How far the reference lies from the whole of training, in [0, 1]."""
    counts = [cells.of_baseline(each).astype(np.float64) for each in (baseline, reference)]
    first, second = (each / max(each.sum(), 1.0) for each in counts)
    if isinstance(baseline, CategoricalBaseline):
        return float(np.abs(first - second).sum() / 2)
    return float(np.abs(np.cumsum(first) - np.cumsum(second)).max())


def pooled_sample(windows: Sequence[PhaseWindow]) -> dict[str, Codes] | None:
    """Return sampled rows of the windows, about as many of each; None where they don't hold the same."""
    names = set(windows[0].sample) if windows else set()
    if not names or any(set(each.sample) != names for each in windows):
        return None
    each_gives = max(1, POOLED_ROWS // len(windows))
    return {
        name: np.concatenate([each.sample[name][:each_gives] for each in windows])
        for name in windows[0].sample
    }


def shares_of_past(
    baselines: Mapping[Key, ColumnBaseline], windows: Sequence[PhaseWindow], totals: Totals
) -> dict[Key, Shares]:
    """Return what past windows of a phase say of each column that all of them hold."""
    found = {}
    for key, baseline in baselines.items():
        counts = [each.counts[key] for each in windows if key in each.counts]
        every, cells = totals.all(key), cells_of(baseline, len(baselines))
        if len(counts) == len(windows) and every is not None and len(every) == cells.size:
            phase: Counts = np.sum(counts, axis=0)
            found[key] = Shares(cells, phase, every, totals.variance(key), len(windows))
    return found


def known_past(phase: Phase, noted: Sequence[tuple[Phase, date]]) -> list[tuple[Phase, date]]:
    """Return which of the windows of the same hour speak for a phase; none before there are enough.

    Those of the same kind of day; before there are enough of them, a month end is taken for the weekday that
    it is, and a weekday for any.
    """
    ordered = sorted(noted, key=lambda each: each[1])
    for day in (phase.day, phase.weekday):
        same = [each for each in ordered if each[0].day == day]
        if len(same) >= KNOWN_FROM:
            return same[: WINDOWS_NEEDED[day]]
    weekdays = [each for each in ordered if each[0].day != MONTH_END]
    return weekdays if len(weekdays) >= DAYS_NEEDED else []


def phase_reference(
    phase: Phase,
    length: timedelta,
    baselines: Mapping[Key, ColumnBaseline],
    windows: Sequence[PhaseWindow],
    totals: Totals,
    training: Mapping[Key, Shares] | None = None,
) -> PhaseReference:
    """Return what a window is compared with, column by column: its phase in training, else in the past, else
    the whole of training. The past goes first where it tells the very phase and training a coarser one.

    Args:
        baselines: of every column.
        windows: that speak for the phase, see `known_past`.
        totals: of all phases.
        training: of columns whose phase in training is known.
    """
    past = shares_of_past(baselines, windows, totals) if windows else {}
    days = {each.day for each in windows}
    kinds = {Phase.at(phase.hour, each).day for each in days}
    coarseness = 0 if kinds == {phase.day} else 1 if kinds == {phase.weekday} else 2
    trained = {
        key: each
        for key, each in (training or {}).items()
        if key not in past or each.coarseness <= coarseness
    }
    shares = {**past, **trained}
    if not shares:
        needed = WINDOWS_NEEDED[phase.day]
        why = (
            f"no phase yet: the training rows don't tell it, and fewer than {needed} windows of it "
            "were seen since the promotion"
        )
        return PhaseReference(phase, length, TRAINING, why)
    found, sources = {}, {}
    apart: dict[str, float] = {}
    for key, each in shares.items():
        baseline = baselines[key]
        reference = reference_of(baseline, each)
        variance = past[key].variance if key in past else 0.0
        found[key] = reference, variance, each.windows
        sources[key] = TRAINING_PHASE if key in trained else PAST
        apart[key[1]] = distance(baseline, reference, each.cells)
    farthest = max(apart, key=apart.__getitem__)
    source = TRAINING_PHASE if trained else PAST
    of_past = (
        f"{len(windows)} windows of the model's own past, {min(days).isoformat()} to {max(days).isoformat()}"
        if days
        else ""
    )
    if trained:
        rows = max(int(each.phase.sum()) for each in trained.values())
        told = (
            "tell this phase",
            "hold too few month ends, so it is taken for the weekday that it is",
            "hold too few rows of its weekday at this hour, so all weekdays are taken",
        )[min(each.coarseness for each in trained.values())]
        why = f"the timestamps of training {told} ({rows} rows)"
    elif coarseness == 0:
        why = f"the training rows don't tell this phase; {of_past} do"
    elif coarseness == 1:
        why = f"month ends aren't known yet, so it is taken for the weekday that it is; {of_past}"
    else:
        why = f"its weekday isn't known yet, so all weekdays at this hour are taken; {of_past}"
    return PhaseReference(
        phase,
        length,
        source,
        why,
        len(windows),
        found,
        sources,
        pooled_sample(windows),
        (farthest, apart[farthest]),
    )
