"""What the hold-out's rows are called at any decision threshold, from the counts that the judge kept."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Point:
    """One threshold, and the confusion that it makes."""

    threshold: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> float | None:
        """Share of the rows that are called positive which are; None where none is called so."""
        called = self.true_positives + self.false_positives
        return self.true_positives / called if called else None

    @property
    def recall(self) -> float | None:
        """Share of the positives that are called so; None where there are none."""
        positives = self.true_positives + self.false_negatives
        return self.true_positives / positives if positives else None

    @property
    def rows(self) -> int:
        return self.true_positives + self.false_positives + self.false_negatives + self.true_negatives

    def cost_per_1000(self, false_positive: float, false_negative: float) -> float:
        """Return what 1,000 rows would cost by errors of these costs."""
        cost = false_positive * self.false_positives + false_negative * self.false_negatives
        return 1000 * cost / max(self.rows, 1)


@dataclass(frozen=True)
class OperatingPoints:
    """The thresholds of one model, rising; ``own`` is the place of its own, None where it has none."""

    points: Sequence[Point]
    own: int | None

    @classmethod
    def of(cls, curves: Mapping[str, Any] | None) -> Self | None:
        """Read them from ``diagnostics.json``; other tasks and earlier releases have none: None."""
        found = (curves or {}).get("operating")
        if not found:
            return None
        counts = zip(found["thresholds"], found["true_positives"], found["false_positives"], strict=True)
        points = [
            Point(threshold, hits, wrong, found["positives"] - hits, found["negatives"] - wrong)
            for threshold, hits, wrong in counts
        ]
        own = found.get("threshold")
        return cls(points, None if own is None else bisect_left(found["thresholds"], own))

    @property
    def likelier(self) -> int:
        """The place of 0.5, where the label is the likelier class."""
        return min(bisect_left([each.threshold for each in self.points], 0.5), len(self.points) - 1)

    @property
    def curve(self) -> list[list[float]]:
        """Recall and precision of each threshold at which a row is called positive, recall rising."""
        return [
            [each.recall, each.precision]
            for each in reversed(self.points)
            if each.recall is not None and each.precision is not None
        ]
