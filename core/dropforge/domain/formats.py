"""How the values of a column are written, by the evidence of the whole first drop.

Where two readings fit (``1,234``; ``03/04/2024``), other columns decide, and the note says which was taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dropforge.domain.format_words import format_in_words
from dropforge.domain.row_rules import MISSING_SPELLINGS
from dropforge.domain.survey import ColumnSurvey, TableSurvey
from dropforge.domain.values import CODE, DATE_SAMPLES, EPOCH_UNITS, NUMBER_SAMPLES, NumberFormat

MEASURED_DISTINCT = 32
_OWN_VALUES = 20
"""Different values up to which a column is a category, even if every row has its own."""

_TIME_NAME = re.compile(
    r"(^|_)(ts|time|timestamp|epoch|unixtime|unix_time|created|updated)(_(at|on|s|ms|us|ns|utc))?$",
    re.IGNORECASE,
)
_CAMEL_TIME_NAME = re.compile(r"[a-z](At|Time|Timestamp|Epoch)$")
_PLAUSIBLE_SECONDS = (631_152_000, 4_102_444_800)
"""The years 1990 to 2100."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a column is read.

    Attributes:
        kind: a type of the contract.
        format, missing, note: as of the contract's column.
        strays: values that are none of this kind.
        placeholders: values that mean a missing one.
    """

    kind: str
    format: str | None = None
    missing: tuple[str, ...] | None = None
    note: str | None = None
    strays: int = 0
    placeholders: int = 0


@dataclass(frozen=True, slots=True)
class Locale:
    """What columns that can be read in one way only say of the table; None where they don't or disagree."""

    point: str | None = None
    day_first: bool | None = None

    @classmethod
    def of(cls, survey: TableSurvey) -> Locale:
        """Look at every column."""
        points, day_first = set(), set()
        for seen in survey.columns.values():
            fitting = {NumberFormat.of(sample).point for sample in _fitting_numbers(seen)}
            if len(fitting) == 1 and _number_total(seen):
                points |= fitting
            dates = {sample.startswith("dd") for sample in _fitting_dates(seen) if sample[:4] != "yyyy"}
            if len(dates) == 1:
                day_first |= dates
        return cls(
            points.pop() if len(points) == 1 else None, day_first.pop() if len(day_first) == 1 else None
        )


def reading_of(name: str, seen: ColumnSurvey, tolerated: float, locale: Locale) -> Reading:
    """Decide how a column is read, whatever its role.

    Args:
        tolerated: the share of rows that may be rejected.
    """
    missing = _missing_of(seen)
    if not (seen.leading_zeros or (seen.huge_integers and not seen.fractions)):
        if seen.boolean_words and seen.boolean_words + seen.boolean_digits == seen.values:
            return Reading("boolean", missing=None)
        found = _Measured(name, seen, tolerated, locale).read()
        if found is not None:
            return found
    distinct = seen.distinct_texts
    own_values = distinct > _OWN_VALUES and distinct * 2 > seen.values
    if seen.texts is None or own_values:
        return Reading("text", note=_why_unread(seen), format=code_format(seen), missing=missing)
    return Reading("category", format=code_format(seen), missing=missing)


def code_format(seen: ColumnSurvey) -> str | None:
    """The format of a column whose digits have leading zeros; None for any other."""
    if not seen.leading_zeros:
        return None
    is_fixed = len(seen.widths) == 1 and seen.integers + seen.huge_integers == seen.values
    return "0" * int(next(iter(seen.widths))) if is_fixed else CODE


@dataclass(frozen=True, slots=True)
class _Measured:
    """The evidence about a column that may hold numbers or points in time."""

    name: str
    seen: ColumnSurvey
    tolerated: float
    locale: Locale

    @property
    def placeholders(self) -> int:
        return sum(self.seen.placeholders.values())

    @property
    def total(self) -> int:
        return self.seen.values - self.placeholders

    def is_mostly(self, matching: int) -> bool:
        """Whether so many values are all, or all but stray ones."""
        if matching == self.total:
            return matching > 0
        enough = matching >= self.total * (1 - self.tolerated)
        return enough and self.seen.distinct_texts - (self.seen.values - matching) > MEASURED_DISTINCT

    def reading(
        self, kind: str, matching: int, sample: str | None = None, note: str | None = None
    ) -> Reading:
        seen = self.seen
        is_unusual = bool(seen.placeholders.keys() - MISSING_SPELLINGS)
        missing = tuple(sorted({"", *seen.spellings, *seen.placeholders})) if is_unusual else None
        return Reading(kind, sample, missing, note, self.total - matching, self.placeholders)

    def read(self) -> Reading | None:
        """Read the column as numbers or points in time; None where its values are neither."""
        seen = self.seen
        if self.is_mostly(seen.numbers):
            return self._plain_numbers()
        if self.is_mostly(seen.timestamps):
            return self.reading("timestamp", seen.timestamps)
        return self._amounts() or self._dates()

    def _plain_numbers(self) -> Reading:
        seen, formats = self.seen, self.seen.formats
        epoch = _epoch_unit(self.name, seen) if seen.numbers == self.total else None
        if epoch is not None:
            note = f"taken for {epoch}, by its name and its values"
            return self.reading("timestamp", seen.numbers, epoch, note)
        is_grouped = formats.get("1.234,5") == self.total > formats.get("1234,5", 0)
        if self.locale.point == "," and is_grouped:
            note = "its points are taken for those between thousands, as other columns have decimal commas"
            return self.reading("integer", seen.numbers, "1.234,5", note)
        return self.reading("integer" if seen.integers == seen.numbers else "number", seen.numbers)

    def _amounts(self) -> Reading | None:
        seen, formats = self.seen, self.seen.formats
        best = max(formats.get(sample, 0) for sample in NUMBER_SAMPLES)
        unit, count = next(iter(seen.units.items()), ("", 0))
        if not self.is_mostly(best) or len(seen.units) > 1 or (unit == "%" and not self.is_mostly(count)):
            return None
        fitting = [sample for sample in NUMBER_SAMPLES if formats.get(sample) == best]
        points = {NumberFormat.of(sample).point for sample in fitting}
        preferred = self.locale.point if self.locale.point in points else None
        taken = next(s for s in fitting if preferred in (None, NumberFormat.of(s).point))
        ungrouped = "1234" + NumberFormat.of(taken).point + "5"
        if ungrouped in fitting:
            taken = ungrouped
        written = (
            f"{taken}%" if unit == "%" else f"{unit} {taken}" if unit[:1].isalpha() else f"{unit}{taken}"
        )
        note = f"read as {written}"
        if len(points) > 1 and "1234.5" not in fitting:
            other = next(s for s in fitting if NumberFormat.of(s).point != NumberFormat.of(taken).point)
            note += _doubt(other, decided=preferred is not None)
        return self.reading("number", best, written, note)

    def _dates(self) -> Reading | None:
        seen, formats = self.seen, self.seen.formats
        best = max((formats.get(sample, 0) for sample in DATE_SAMPLES), default=0)
        if not best or not self.is_mostly(best + seen.timestamps):
            return None
        fitting = [sample for sample in DATE_SAMPLES if formats.get(sample) == best]
        # With a slash both orders are usual, and the American one is what most tools assume.
        day_first = self.locale.day_first if self.locale.day_first is not None else "/" not in fitting[0]
        taken = next((s for s in fitting if s.startswith("dd") == day_first), fitting[0])
        note = f"read as {taken}"
        if len(fitting) > 1:
            other = next(sample for sample in fitting if sample != taken)
            note += _doubt(other, decided=self.locale.day_first is not None)
        return self.reading("timestamp", best + seen.timestamps, taken, note)


def _doubt(other: str, *, decided: bool) -> str:
    why = "as other columns say" if decided else "as nothing says otherwise"
    return f", {why}; {other} fits as well: change the format if that is what it means"


def _missing_of(seen: ColumnSurvey) -> tuple[str, ...] | None:
    """What means a missing category: nothing, where formats said so that can say it otherwise."""
    return None if seen.spelled else ()


def _epoch_unit(name: str, seen: ColumnSurvey) -> str | None:
    values = seen.identifiers.first
    if seen.integers != seen.numbers or not (_TIME_NAME.search(name) or _CAMEL_TIME_NAME.search(name)):
        return None
    if not len(values):
        return None
    least, greatest = int(values.min()), int(values.max())
    for unit, scale in zip(EPOCH_UNITS, (1, 10**3, 10**6, 10**9), strict=True):
        if _PLAUSIBLE_SECONDS[0] * scale <= least and greatest <= _PLAUSIBLE_SECONDS[1] * scale:
            return unit
    return None


def _why_unread(seen: ColumnSurvey) -> str | None:
    """Say what kept a column of amounts or dates from being read as such."""
    if len(seen.units) > 1 and seen.amounts * 2 > seen.values:
        units = ", ".join(f"{unit} ({count})" for unit, count in sorted(seen.units.items())[:5])
        return f"its amounts have several units: {units}"
    total = seen.values - sum(seen.placeholders.values())
    for kind, samples in (("number", NUMBER_SAMPLES), ("timestamp", DATE_SAMPLES)):
        sample = max(samples, key=lambda each: seen.formats.get(each, 0))
        fitting = seen.formats.get(sample, 0)
        if fitting < seen.values and fitting * 2 > seen.values > seen.numbers * 2:
            looks = format_in_words(kind, sample)
            return f"it looks like {looks}, but {total - fitting} of its {total} values are none"
    return None


def _number_total(seen: ColumnSurvey) -> int:
    return seen.amounts and seen.values - sum(seen.placeholders.values())


def _fitting_numbers(seen: ColumnSurvey) -> Iterable[str]:
    total = _number_total(seen)
    if seen.numbers * 2 >= seen.values:
        return []  # A stray value or two say nothing of the table.
    return [s for s in NUMBER_SAMPLES if total and seen.formats.get(s) == total]


def _fitting_dates(seen: ColumnSurvey) -> Iterable[str]:
    total = seen.values - sum(seen.placeholders.values())
    return [s for s in DATE_SAMPLES if s in seen.formats and seen.formats[s] + seen.timestamps == total]
