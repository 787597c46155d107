"""What the watch is held to."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dropforge.domain.errors import InvalidSettings

MOST_VALUES = 5_000_000
MINIMUM_SAMPLE = 1000
"""Rows that are looked at however many columns they have."""


@dataclass(frozen=True, slots=True)
class WatchPolicy:
    """When a window has drifted, and when that raises an alarm.

    Attributes:
        false_alarm_rate: chance that a window without any drift is called drifted, over the whole model.
        minimum_rows: predictions (and, for quality, outcomes) below which a window decides nothing.
        maximum_rows: of more predictions a random sample of about so many is looked at, which bounds memory
            and cost; with that many a difference that matters to a model is found with certainty.
        windows_to_alarm: of the last `windows_considered` windows of the same model, so many must have
            drifted. 2 of 3 turns a rate of 1 % per window into about one false alarm in 5,000 windows.
        windows_considered: at least `windows_to_alarm`.
        cooldown_s: seconds after a promotion, and after an alarm, in which no alarm is raised: a retrain
            needs its time, and the new model's first windows deserve to be seen.
        quality_window_s: seconds before the window's end in which predictions with an outcome count.
        quality_tolerance: how much worse than on the hold-out the live metric may be, in its own units.
        resamples: of the bootstrap behind the live metric's interval.
        seed: of every simulation.
    """

    false_alarm_rate: float = 0.01
    minimum_rows: int = 50
    maximum_rows: int = 50_000
    windows_to_alarm: int = 2
    windows_considered: int = 3
    cooldown_s: int = 6 * 3600
    quality_window_s: int = 24 * 3600
    quality_tolerance: float = 0.0
    resamples: int = 500
    seed: int = 0

    def rows_of(self, columns: int) -> int:
        """How many rows of so many columns are looked at, at most: a window's values stay within 5 million,
        which as Python's objects take some 500 MB.

        >>> WatchPolicy().rows_of(20), WatchPolicy().rows_of(2000)
        (50000, 2500)
        """
        return min(self.maximum_rows, max(MINIMUM_SAMPLE, MOST_VALUES // max(columns, 1)))

    def __post_init__(self) -> None:
        problems = []
        if not 0 < self.false_alarm_rate <= 0.2:
            problems.append(
                f"false_alarm_rate must be above 0 and at most 0.2, not {self.false_alarm_rate!r}"
            )
        if not math.isfinite(self.quality_tolerance) or self.quality_tolerance < 0:
            problems.append(f"quality_tolerance must be at least 0, not {self.quality_tolerance!r}")
        # The p-values of counts hold from about 30 rows on; see the benchmark of false alarms.
        lowest = {
            "minimum_rows": 30,
            "maximum_rows": 1000,
            "windows_to_alarm": 1,
            "cooldown_s": 0,
            "quality_window_s": 1,
            "resamples": 100,
            "seed": 0,
        }
        problems += [
            f"{name} must be at least {least}, not {getattr(self, name)!r}"
            for name, least in lowest.items()
            if getattr(self, name) < least
        ]
        if not self.windows_to_alarm <= self.windows_considered <= 100:
            problems.append(
                "windows_considered must be between windows_to_alarm and 100, "
                f"not {self.windows_considered!r}"
            )
        if problems:
            raise InvalidSettings(f"watch policy: {'; '.join(problems)}.")
