"""The metric over versions, as far as one chart can show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dropforge.domain.figures import figure
from dropforge.domain.metric_registry import metric_title
from dropforge.domain.records import ModelVersion
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.console.reading.models import Span

SHOWN: Final = 60
"""Versions that a chart shows, the newest ones: more would not be told apart."""

_OVERVIEW: Final = 20


@dataclass(frozen=True)
class Point:
    """A version and what it was measured at."""

    version: int
    span: Span
    approval: str


@dataclass(frozen=True)
class History:
    """The newest versions that were judged by one metric, the oldest first.

    Attributes:
        title: of the metric that the newest version was judged by.
        live: the live version, where it is among the points.
        threshold: that the newest version had to meet.
        earlier: versions before these.
        otherwise: versions among the newest that were judged by another metric, or for another class.
    """

    title: str
    points: tuple[Point, ...]
    live: int | None
    threshold: float | None
    earlier: int
    otherwise: int

    @property
    def in_words(self) -> str:
        """What the chart shows, for those who don't see it."""
        first, last = self.points[0], self.points[-1]
        said = (
            f"{self.title} of {len(self.points)} versions with 95 % intervals: version {first.version} "
            f"{figure(first.span.value)}, version {last.version} {figure(last.span.value)}"
        )
        found = next((each for each in self.points if each.version == self.live), None)
        return (
            said if found is None else f"{said}; live is version {found.version}, {figure(found.span.value)}"
        )

    @property
    def note(self) -> str:
        """What is not in the chart; empty where all is."""
        said = []
        if self.earlier:
            said.append(f"{self.earlier:,} earlier {_versions(self.earlier)} not shown.")
        if self.otherwise:
            said.append(
                f"{self.otherwise:,} {_versions(self.otherwise)} not shown: judged by another metric."
            )
        return " ".join(said)


def history_of(models: Sequence[ModelVersion], live: int | None, shown: int = SHOWN) -> History | None:
    """Put versions in order for the chart; None where fewer than two can be compared.

    Args:
        models: the newest first.
        live: the live version.
    """
    if not models:
        return None
    newest = models[0].metric
    wanted = _measure(models[0])
    recent = models[:shown]
    alike = [each for each in recent if _measure(each) == wanted and each.metric.get("value") is not None]
    if len(alike) < 2:
        return None
    points = tuple(
        Point(each.version, Span.of(each.metric) or Span(None), str(each.approval))
        for each in reversed(alike)
    )
    return History(
        title=metric_title(str(newest.get("name", "metric")), newest.get("positive_class")),
        points=points,
        live=live if any(each.version == live for each in points) else None,
        threshold=newest.get("threshold"),
        earlier=len(models) - len(recent),
        otherwise=len(recent) - len(alike),
    )


def read_history(ledger: LedgerReader) -> History | None:
    """The newest versions for the overview; two requests to DynamoDB, however many there are."""
    live = ledger.live()
    return history_of(ledger.list_models(_OVERVIEW), None if live is None else live.version)


def _measure(model: ModelVersion) -> tuple[str, str]:
    metric = model.metric
    name = str(metric.get("name", "metric"))
    return name, metric_title(name, metric.get("positive_class"))


def _versions(count: int) -> str:
    return "version is" if count == 1 else "versions are"
