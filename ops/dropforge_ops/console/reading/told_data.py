"""What became of a run's data, with how the values of its columns are spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from dropforge.domain.data_report import ColumnReport, DataReport
from dropforge.domain.drift.baseline import column_of
from dropforge.domain.drift.display import bars_of
from dropforge.domain.errors import InvalidProfile
from dropforge.domain.figures import figure, percent
from dropforge.domain.profile import median_of
from dropforge.domain.values import EPOCH, MICROSECOND
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.stack.data_reports import read_data_report
from dropforge_ops.stack.documents import Documents


@dataclass(frozen=True)
class Rejected:
    """Rows that the contract turned away for one reason, with examples as ``value (row 3)``."""

    column: str
    rule: str
    count: int
    examples: str


@dataclass(frozen=True)
class ToldColumn:
    """One column: ``spread`` says in words what its values are like, ``bars`` has the rows in each bar."""

    report: ColumnReport
    spread: str = ""
    bars: tuple[int, ...] = ()


@dataclass(frozen=True)
class ToldData:
    """What became of the data of a run."""

    report: DataReport
    columns: tuple[ToldColumn, ...]
    rejected: tuple[Rejected, ...]


def read_told_data(run_id: str, bucket: str, ledger: LedgerReader, documents: Documents) -> ToldData | None:
    """What became of the data of a run, beside the live version's; None where it was not looked at (yet)."""
    content = cache(documents.content)
    report = read_data_report(run_id, bucket, ledger, content)
    if report is None:
        return None
    folder = f"s3://{bucket}/runs/{run_id}/"
    profile = content(f"{folder}profile.json") or {}
    profiled = {str(each.get("name")): each for each in profile.get("columns") or []}
    rejects = (content(f"{folder}report.json") or {}).get("rejects") or []
    return ToldData(
        report,
        tuple(_column(each, profiled.get(each.name)) for each in report.columns),
        tuple(map(_rejected, rejects)),
    )


def _column(report: ColumnReport, profiled: Mapping[str, Any] | None) -> ToldColumn:
    if profiled is None:
        return ToldColumn(report)
    try:
        bars = bars_of(column_of(profiled))
    except InvalidProfile:
        bars = ()
    return ToldColumn(report, _spread(profiled, int(profiled.get("count") or 0)), bars)


def _rejected(raw: Mapping[str, Any]) -> Rejected:
    examples = [f"{each.get('value')!r} (row {each.get('row')})" for each in raw.get("examples") or []]
    return Rejected(
        str(raw.get("column") or "–"),
        str(raw.get("rule")).replace("_", " "),
        int(raw.get("count") or 0),
        ", ".join(examples),
    )


def _spread(raw: Mapping[str, Any], count: int) -> str:
    if not count:
        return "no values"
    categories: Sequence[Mapping[str, Any]] = raw.get("categories") or []
    if categories:
        shown = [f"{each['value']} {percent(each['count'] / count)}" for each in categories[:3]]
        more = int(raw.get("distinct") or 0) - len(shown)
        return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")
    if raw.get("minimum") is None or raw.get("mean") is None:
        return ""
    if raw.get("type") == "timestamp":
        first, last = (EPOCH + raw[name] * MICROSECOND for name in ("minimum", "maximum"))
        return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    middle = median_of(raw)
    return f"{figure(raw['minimum'])} to {figure(raw['maximum'])}" + (
        "" if middle is None else f", median {figure(middle)}"
    )
