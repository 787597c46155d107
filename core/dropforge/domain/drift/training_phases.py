"""What the training rows were like in each phase, where their timestamps tell: ``training_phases.json``.

The training job counts the rows that it learns from by the hour and the kind of day of the contract's time
column, and the hold-out's predictions likewise. A timestamp without a zone is taken for UTC, as everywhere.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.drift.baseline import ColumnBaseline, column_of
from dropforge.domain.drift.cells import Cells, Counts, cells_of
from dropforge.domain.drift.features import Values, encoded, present_numbers
from dropforge.domain.drift.phases import DAYS_NEEDED, MONTH_END, WINDOWS_NEEDED, Key, Phase, Shares
from dropforge.domain.errors import InvalidProfile
from dropforge.domain.profile import CategoricalProfile, NumericProfile

FORMAT: Final = 1
TRAINING_PHASES: Final = "training_phases.json"
"""Lies beside the model's judgement and prediction profile."""
MOST_COLUMNS: Final = 500
"""Of more no phases are kept: the file would have tens of megabytes."""
LEAST_ROWS: Final = 200
_DAY = timedelta(days=1)
_EPOCH = date(1970, 1, 1)
_DAY_US, _HOUR_US = 86_400_000_000, 3_600_000_000


@dataclass(frozen=True)
class TrainingPhases:
    """Rows by phase.

    Attributes:
        days: on how many different days there were rows, by kind of column, hour and kind of day.
        dates_only: whether the times have no hours, so that only whole days can be told apart.
        cells, counts: of each column; its counts by hour and kind of day.
    """

    days: Mapping[str, Mapping[tuple[int, str], int]]
    dates_only: bool
    cells: Mapping[Key, Cells]
    counts: Mapping[Key, Mapping[tuple[int, str], Counts]]

    @classmethod
    def from_json(cls, text: bytes | str) -> TrainingPhases:
        """Read ``training_phases.json``.

        Raises:
            InvalidProfile: the text is no such file.
        """
        try:
            content = json.loads(text)
            content = {FORMAT: content}[content["format"]]
            cells, counts = {}, {}
            for each in content["columns"]:
                key = each["kind"], each["name"]
                bounds = each["bounds"]
                cells[key] = Cells(
                    None if bounds is None else np.array(bounds, dtype=np.float64), tuple(each["labels"])
                )
                counts[key] = {
                    _phase(name): np.array(c, dtype=np.int64) for name, c in each["counts"].items()
                }
            days = {
                kind: {_phase(name): int(count) for name, count in found.items()}
                for kind, found in content["days"].items()
            }
            return cls(days, bool(content["dates_only"]), cells, counts)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidProfile(
                f"{TRAINING_PHASES} can't be used ({error!r}); train again, which writes a new one."
            ) from error

    def shares(
        self, phase: Phase, length: timedelta, baselines: Mapping[Key, ColumnBaseline]
    ) -> dict[Key, Shares]:
        """Return what a phase was like in training, of the columns of which enough rows tell it.

        Three month ends are needed, or four days of the weekday. Without them a month end is taken for the
        weekday that it is, and a weekday for any.
        """
        if self.dates_only and length < _DAY:
            return {}
        hours = {(phase.hour + hour) % 24 for hour in range(max(1, round(length / timedelta(hours=1))))}
        found = {}
        for key in baselines.keys() & self.cells.keys():
            counts, days = self.counts[key], self.days.get(key[0], {})
            for coarseness, (kinds, needed) in enumerate(
                (
                    ({phase.day}, WINDOWS_NEEDED[phase.day]),
                    ({phase.weekday}, WINDOWS_NEEDED[phase.weekday]),
                    (set(WINDOWS_NEEDED) - {MONTH_END}, DAYS_NEEDED),
                )
            ):
                seen = sum(max((days.get((hour, kind), 0) for hour in hours), default=0) for kind in kinds)
                rows = [each for (hour, kind), each in counts.items() if hour in hours and kind in kinds]
                if rows and seen >= needed and (pool := np.sum(rows, axis=0)).sum() >= LEAST_ROWS:
                    found[key] = Shares(self.cells[key], pool, None, windows=seen, coarseness=coarseness)
                    break
        return found


def training_phases(
    rows: Mapping[str, tuple[NDArray[np.int64], Mapping[str, tuple[str, Values]]]],
) -> dict[str, Any]:
    """Return ``training_phases.json``.

    Args:
        rows: by kind of column the times of its rows, int64 (n,) in microseconds since 1970, and by name the
            type and the values of each column.
    """
    columns: list[dict[str, Any]] = []
    days: dict[str, dict[str, int]] = {}
    dates_only = True
    for kind, (times, values) in rows.items():
        day = times // _DAY_US
        hour = times % _DAY_US // _HOUR_US
        dates_only = dates_only and not bool((times % _DAY_US).any())
        places = defaultdict(list)
        seen, at = np.unique(day * 24 + hour, return_inverse=True)
        for number, each in enumerate(seen.tolist()):
            phase = Phase.at(each % 24, _EPOCH + each // 24 * _DAY)
            places[f"{phase.hour:02} {phase.day}"].append(number)
        days[kind] = {name: len(numbers) for name, numbers in places.items()}
        names = list(places)
        phase_of_slot = np.empty(len(seen), dtype=np.int64)
        for number, slots in enumerate(places.values()):
            phase_of_slot[slots] = number
        phases = phase_of_slot[at]
        for name, (type_, column) in values.items():
            cells = _cells(type_, column, len(values))
            levels = cells.places(column)
            table = np.bincount(phases * cells.size + levels, minlength=len(names) * cells.size)
            counts = dict(zip(names, table.reshape(len(names), cells.size).tolist(), strict=True))
            columns.append(
                {
                    "kind": kind, "name": name, "labels": list(cells.labels),
                    "bounds": None if cells.bounds is None else cells.bounds.tolist(), "counts": counts,
                }
            )  # fmt: skip
    return {"format": FORMAT, "dates_only": dates_only, "days": days, "columns": columns}


def _cells(type_: str, column: Values, columns: int) -> Cells:
    """Lay cells of about equal shares of these rows."""
    if type_ == "category":
        texts = encoded(column)
        profile: Any = CategoricalProfile.of(texts.counted(), int((texts.codes < 0).sum()))
    else:
        present = present_numbers(column)
        profile = NumericProfile.of(present, len(column) - len(present))
    return cells_of(column_of({"name": "", "type": type_, **profile.to_dict()}), columns)


def _phase(name: str) -> tuple[int, str]:
    hour, day = name.split(" ")
    return int(hour), day
