"""What windows leave for later ones of their phase, in the data bucket.

Each window is one object that is written once, ``monitoring/phases/v<version>/<hour>/<day>/<date>.json``: at
most four per weekday and hour, and three per hour of month ends. Beside them ``all/<date>.json`` adds up what
was there before that date. Nothing that is there changes, so a window that is watched again finds the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import Final

from dropforge.domain.drift.baseline import ColumnBaseline
from dropforge.domain.drift.features import Values
from dropforge.domain.drift.phases import (
    WINDOWS_NEEDED,
    Key,
    Phase,
    PhaseReference,
    PhaseWindow,
    Totals,
    known_past,
    phase_reference,
)
from dropforge.domain.drift.training_phases import TrainingPhases
from dropforge.domain.ports import ObjectStore

_JSON: Final = "application/json"
_ALL: Final = "all"


class PhasePast:
    """The past of one version of the model."""

    def __init__(self, store: ObjectStore, data_uri: str, version: int) -> None:
        self._store = store
        self._folder = f"{data_uri}/monitoring/phases/v{version}/"

    def reference(
        self,
        phase: Phase,
        length: timedelta,
        day: date,
        baselines: Mapping[Key, ColumnBaseline],
        training: TrainingPhases | None,
        private: Collection[str] = (),
    ) -> PhaseReference:
        """Return what a window of that day is compared with, given what was there before the day.

        Args:
            private: columns of which the window holds other values than the training rows.

        Effect: what all windows before that day add up to is noted, once.
        """
        noted = [each for each in self._noted(f"{phase.hour:02}/") if each[1] < day]
        past = [self._window(*each) for each in known_past(phase, noted)]
        comparable = {key: each for key, each in baselines.items() if key[1] not in private}
        trained = {} if training is None else training.shares(phase, length, comparable)
        totals = self._totals(day) if past else Totals()
        return phase_reference(phase, length, baselines, past, totals, trained)

    def keep(
        self,
        phase: Phase,
        day: date,
        rows: int,
        columns: Mapping[str, Mapping[str, Values]],
        baselines: Mapping[Key, ColumnBaseline],
        seed: int,
    ) -> None:
        """Note a window, unless its phase has been taught by enough others or by one of that day."""
        noted = [each for each in self._noted(f"{phase.hour:02}/{phase.day}/") if each[1] < day]
        if len(noted) < WINDOWS_NEEDED[phase.day]:
            content = PhaseWindow.of(day, rows, columns, baselines, seed).to_json()
            self._store.write_if_absent(self._uri(phase, day), content, _JSON)

    def _totals(self, day: date) -> Totals:
        """All windows before that day."""
        written = [date.fromisoformat(ref.key[-15:-5]) for ref in self._store.list(f"{self._folder}{_ALL}/")]
        last = max((each for each in written if each <= day), default=None)
        totals = Totals() if last is None else Totals.from_json(self._store.read(self._total_uri(last)))
        noted = [each for each in self._noted("") if each[1] < day]
        new = [each for each in noted if last is None or each[1] >= last]
        for phase, at in new:
            before = [
                each for of, each in noted if (of.hour, of.day) == (phase.hour, phase.day) and each < at
            ]
            totals.add(phase, self._window(phase, at), [self._window(phase, each) for each in before])
        if new:
            self._store.write_if_absent(self._total_uri(day), totals.to_json(), _JSON)
        return totals

    def _noted(self, under: str) -> list[tuple[Phase, date]]:
        """Which windows were noted, the oldest first."""
        found = []
        for ref in self._store.list(f"{self._folder}{under}"):
            hour, *_, name = ref.uri.removeprefix(self._folder).split("/")
            if hour != _ALL:
                day = date.fromisoformat(name.removesuffix(".json"))
                found.append((Phase.at(int(hour), day), day))
        return sorted(found, key=lambda each: (each[1], each[0]))

    def _window(self, phase: Phase, day: date) -> PhaseWindow:
        return PhaseWindow.from_json(self._store.read(self._uri(phase, day)))

    def _uri(self, phase: Phase, day: date) -> str:
        return f"{self._folder}{phase.hour:02}/{phase.day}/{day.isoformat()}.json"

    def _total_uri(self, day: date) -> str:
        return f"{self._folder}{_ALL}/{day.isoformat()}.json"
