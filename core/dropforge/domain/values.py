"""What a value means, one by one: the reference that every way in is held to.

The rules stand in ``docs/how-to/data.md``. Requests, outcomes and the endpoint's CSV are read by this module;
drops and batches by ``dropforge.adapters.tables.checking.conversion``, which reads whole columns and must
come to the same (``tests/unit/values``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from dropforge.domain.row_rules import (
    FALSE_SPELLINGS,
    LEADING_ZERO_PATTERN,
    MISSING_SPELLINGS,
    TRUE_SPELLINGS,
    finite_number,
    label_of,
    whole_number,
)

if TYPE_CHECKING:
    from dropforge.domain.contract import Column

Value = float | int | bool | str | None
"""number: float; integer: int; boolean: bool; category, text: str; timestamp: int, in microseconds since
1970-01-01 UTC; missing: None."""

READING = 3
"""Raise it whenever a value comes to mean something else, so that rows hash otherwise. Models hold it in
their archive; 1 and 2 are known by what archives of then lack, see
`adapters/tables/checking/earlier_reading.py`."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
EPOCH_UNITS: dict[str, Decimal] = {
    "epoch seconds": Decimal(1_000_000),
    "epoch milliseconds": Decimal(1000),
    "epoch microseconds": Decimal(1),
    "epoch nanoseconds": Decimal("0.001"),
}
"""Microseconds per unit."""

CODE = "code"
"""A format of categories: digits are a name and no number."""

BLANKS = " \t"
_ANY_SPACE = " \t\u00a0\u202f"
_SPACES = {" ": " \u00a0\u202f", "'": "'’"}
_SAMPLE = re.compile(
    r"(?P<before>[^0-9]*)(?P<number>1(?P<group>[,. ']?)234(?P<point>[.,])5)(?P<after>[^0-9]*)"
)
_DATE_ORDER = re.compile(r"(?P<a>dd|mm|yyyy)(?P<mark>[/.-])(?P<b>dd|mm)(?P=mark)(?P<c>dd|mm|yyyy)")
_CLOCK = (
    r"(?:[ T]+(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?"
    r"(?: ?(?P<half>[AaPp][Mm]))?(?P<zone> ?UTC|Z|[+-]\d\d(?::?\d\d)?)?)?"
)
_ISO = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[ T](?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?"
    r"(?P<zone> ?UTC|Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)


CURRENCIES = (
    *(
        "AED",
        "ARS",
        "AUD",
        "BGN",
        "BRL",
        "CAD",
        "CHF",
        "CLP",
        "CNY",
        "COP",
        "CZK",
        "DKK",
        "EGP",
        "EUR",
        "GBP",
    ),
    *(
        "HKD",
        "HUF",
        "IDR",
        "ILS",
        "INR",
        "JPY",
        "KES",
        "KRW",
        "MXN",
        "MYR",
        "NGN",
        "NOK",
        "NZD",
        "PEN",
        "PHP",
    ),
    *(
        "PKR",
        "PLN",
        "QAR",
        "RON",
        "RSD",
        "RUB",
        "SAR",
        "SEK",
        "SGD",
        "THB",
        "TRY",
        "TWD",
        "UAH",
        "USD",
        "VND",
    ),
    *("ZAR", "kr", "zł", "Kč", "Ft", "Rs", "Fr"),
)
"""Codes of ISO 4217 that stand beside amounts often, and signs that are letters."""

_UNIT = "(?:[A-Z]{0,2}\\p{Sc}|%|" + "|".join(CURRENCIES) + ")"
_SPACE = f"[{_ANY_SPACE}]*"
AMOUNT_PATTERN = (
    f"^(?:(?P<open>[(]){_SPACE})?(?:(?P<sign>[+\u2212-]){_SPACE})?(?:(?P<before>{_UNIT}){_SPACE})?"
    "(?P<inner>[+\u2212-])?(?P<number>[.,]?[0-9](?:[0-9.,'’ \u00a0\u202f]*[0-9.,])?)"
    f"(?:{_SPACE}(?P<after>{_UNIT}))?(?:{_SPACE}(?P<close>[)]))?$"
)
"""In RE2: a number as people export it, with what may stand around it. A unit stands on one side, and a sign
or both parentheses: see `NumberFormat`."""

NUMBER_SAMPLES = ("1,234.5", "1.234,5", "1234.5", "1 234,5", "1 234.5", "1'234.5", "1234,5")
"""The formats that are looked for; the earlier one is taken where two fit."""

PLACEHOLDERS = frozenset(
    {
        *("?", "-", "--", "---", ".", "..", "*", "#", "\\N", "N.A.", "n.a.", "na", "nil"),
        *("#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"),  # as spreadsheets export errors
    }
)
"""Texts that mean a missing value where the other values are numbers or dates."""

DATE_SAMPLES = tuple(
    mark.join(order)
    for order in (("dd", "mm", "yyyy"), ("mm", "dd", "yyyy"), ("yyyy", "mm", "dd"))
    for mark in "/.-"
    if mark.join(order) != "yyyy-mm-dd"
)


_MONTH, _YEAR = "(?:0?[1-9]|1[0-2])", "[0-9]{4}"
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DAYS_OF_MONTHS = (
    ("(?:0?[1-9]|1[0-9]|2[0-8])", _MONTH, _YEAR),
    ("(?:29|30)", "(?:0?[13-9]|1[0-2])", _YEAR),
    ("31", "(?:0?[13578]|1[02])", _YEAR),
    ("29", "0?2", _LEAP_YEAR),
)
_MINUTES = ":[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{1,9})?)?"
_TIME_OF_DAY = (
    f"(?:[ T]+(?:(?:[01]?[0-9]|2[0-3]){_MINUTES}|(?:0?[1-9]|1[0-2]){_MINUTES} ?[AaPp][Mm])"
    "(?: ?UTC|Z|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)?)?"
)


def date_pattern(sample: str) -> str:
    """Return what in RE2 a date of this format looks like, with a time of day or not: see `DateFormat`."""

    def written(day: str, month: str, year: str) -> str:
        parts = {"dd": day, "mm": month, "yyyy": year}
        return re.sub("dd|mm|yyyy|[.]", lambda part: parts.get(part[0], "[.]"), sample)

    return f"^(?:{'|'.join(written(*parts) for parts in _DAYS_OF_MONTHS)}){_TIME_OF_DAY}$"


def number_pattern(sample: str) -> str:
    """Return what in RE2 a number of this format looks like, without sign and unit."""
    written = NumberFormat.of(sample)
    spaces = {" ": "[ \u00a0\u202f]", "'": "['’]", ".": "[.]"}
    group, point = spaces.get(written.group, written.group), spaces.get(written.point, written.point)
    groups = f"|[1-9][0-9]{{0,2}}({group}[0-9]{{3}})+" if group else ""
    return f"^([0-9]+{groups})({point}[0-9]*)?$|^{point}[0-9]+$"


class WrongValue(ValueError):
    """A value that its column can't hold; the text says what it must be."""


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How numbers are written, as a sample such as ``1.234,5 €`` shows it.

    The unit may be left out, spaces around it don't count, and parentheses mean a negative number. A percent
    sign is a unit like any other: 12.5% is 12.5.
    """

    group: str
    point: str
    unit: str

    @classmethod
    def of(cls, sample: str) -> NumberFormat:
        """Read a format.

        Raises:
            ValueError: it is no such sample.
        """
        found = _SAMPLE.fullmatch(sample)
        if found is None or found["group"] == found["point"] or (found["before"] and found["after"]):
            raise ValueError("it must be a sample such as 1,234.5 or 1.234,5 €")
        return cls(found["group"], found["point"], (found["before"] or found["after"]).strip())

    def plain(self, text: str) -> str | None:
        """Return the number that `text` writes in this format as it is written plainly, or None."""
        text = text.replace("\u2212", "-")
        sign = ""
        if text[:1] == "(" and text[-1:] == ")":
            sign, text = "-", text[1:-1].strip(_ANY_SPACE)
            if text[:1] in ("+", "-"):
                return None
        elif text[:1] in ("+", "-"):
            sign, text = text[0], text[1:].strip(_ANY_SPACE)
        if self.unit and text.startswith(self.unit):
            text = text[len(self.unit) :].strip(_ANY_SPACE)
        elif self.unit and text.endswith(self.unit):
            text = text[: -len(self.unit)].strip(_ANY_SPACE)
        if not sign and text[:1] in ("+", "-"):
            sign, text = text[0], text[1:]
        matched = _number_pattern(self.group, self.point).fullmatch(text)
        if matched is None or not (matched["whole"] or matched["fraction"]):
            return None
        whole = re.sub(r"[^0-9]", "", matched["whole"])
        fraction = "" if matched["fraction"] is None else f".{matched['fraction']}"
        return f"{'-' if sign == '-' else ''}{whole}{fraction}{matched['power'] or ''}"

    def write(self, number: str) -> str:
        """Return a plainly written number in this format, so that it is read as itself."""
        return number.replace(".", self.point)


@cache
def _number_pattern(group: str, point: str) -> re.Pattern[str]:
    groups = rf"|[1-9][0-9]{{0,2}}(?:[{_SPACES.get(group, group)}][0-9]{{3}})+" if group else ""
    return re.compile(
        rf"(?P<whole>[0-9]*{groups})(?:{re.escape(point)}(?P<fraction>[0-9]*))?(?P<power>[eE][+-]?[0-9]+)?"
    )


@dataclass(frozen=True, slots=True)
class DateFormat:
    """In which order day, month and year are written, as ``dd/mm/yyyy`` says; a time of day may follow.

    ISO 8601 is read under every format.
    """

    order: tuple[str, str, str]
    mark: str

    @classmethod
    def of(cls, sample: str) -> DateFormat:
        """Read a format.

        Raises:
            ValueError: it is no such format.
        """
        found = _DATE_ORDER.fullmatch(sample)
        if found is None or {found["a"], found["b"], found["c"]} != {"dd", "mm", "yyyy"}:
            raise ValueError("it must be one such as dd/mm/yyyy, yyyy/mm/dd or epoch seconds")
        return cls((found["a"], found["b"], found["c"]), found["mark"])

    def match(self, text: str) -> re.Match[str] | None:
        return _date_pattern(self.order, self.mark).fullmatch(text)


@cache
def _date_pattern(order: tuple[str, str, str], mark: str) -> re.Pattern[str]:
    parts = {"dd": r"(?P<day>\d{1,2})", "mm": r"(?P<month>\d{1,2})", "yyyy": r"(?P<year>\d{4})"}
    return re.compile(re.escape(mark).join(parts[part] for part in order) + _CLOCK, re.ASCII)


def format_problem(kind: str, sample: str) -> str | None:
    """Say why a column of this type can't have this format; None if it can."""
    try:
        if kind in ("number", "integer"):
            NumberFormat.of(sample)
        elif kind == "timestamp":
            if sample not in EPOCH_UNITS:
                DateFormat.of(sample)
        elif kind not in ("category", "text"):
            return f"a {kind} column has no format"
        elif sample != CODE and set(sample) != {"0"}:
            return f"format {sample!r} must be {CODE!r}, or as many zeros as its codes have digits"
    except ValueError as error:
        return f"format {sample!r} is none for a {kind} column: {error}"
    return None


class ColumnReader:
    """Reads the values of one column, whichever way they come in.

    Args:
        column: of the contract.
        classes: of the target.
    """

    def __init__(self, column: Column, classes: Sequence[str] | None = None) -> None:
        self.column = column
        usual = MISSING_SPELLINGS if column.missing is None else frozenset(column.missing)
        known = {*(column.categories or ()), *((classes or ()) if column.role == "target" else ())}
        self.missing = (usual - known) | {""}
        """The texts that mean a missing value."""
        numbers = [finite_number(text) for text in self.missing if column.type in ("number", "integer")]
        self._takes_floats = column.type == "number"
        self.missing_numbers = frozenset(number for number in numbers if number is not None)
        """The numbers among them, which mean it however they are written."""
        self._text = {
            "number": self._number,
            "integer": self._integer,
            "boolean": self._boolean,
            "timestamp": self._timestamp,
        }.get(column.type, self._category)
        self._format: NumberFormat | DateFormat | None = None
        if column.format is not None and column.type in ("number", "integer"):
            self._format = NumberFormat.of(column.format)
        elif column.format is not None and column.type == "timestamp" and not self.is_epoch:
            self._format = DateFormat.of(column.format)

    @property
    def is_epoch(self) -> bool:
        """Whether points in time are numbers."""
        return self.column.format in EPOCH_UNITS

    @property
    def is_code(self) -> bool:
        """Whether digits are a name and no number."""
        return self.column.format is not None and self.column.type in ("category", "text")

    @property
    def reads_usual_spellings(self) -> bool:
        """Whether the usual texts mean a missing value, no more and no less."""
        return self.missing == MISSING_SPELLINGS

    def read(self, written: Any) -> Value:
        """Return what a value means.

        Args:
            written: a text as it stands in a file; or a value of JSON.

        Raises:
            WrongValue: the column can't hold it. Hard rules are not looked at, nor whether it may be missing.
        """
        if written is None:
            return None
        # Most values of most requests: what the rest of this would give.
        if type(written) is float and self._takes_floats and math.isfinite(written):
            return None if written in self.missing_numbers else written
        value: Value
        if isinstance(written, str):
            text = written.strip(BLANKS)
            value = None if text in self.missing else self._text(text)
        elif isinstance(written, bool):
            value = self._of_boolean(written)
        elif isinstance(written, int | float):
            value = self._of_number(written)
        else:
            raise WrongValue(f"must be {self._wanted}, not {kind_of(written)}")
        return None if value in self.missing_numbers else value

    # --- values of JSON -------------------------------------------------------------------------------

    def _of_boolean(self, written: bool) -> Value:
        if self.column.type == "boolean":
            return written
        if self.column.type in ("category", "text"):
            return "true" if written else "false"
        raise WrongValue(f"must be {self._wanted}, not a boolean")

    def _of_number(self, written: float) -> Value:
        kind = self.column.type
        if isinstance(written, float) and math.isnan(written):
            return None
        if kind == "number":
            return _finite(written)
        if kind == "integer":
            if isinstance(written, float) and not written.is_integer():
                raise WrongValue(f"must be an integer, not {written!r}")
            return _in_64_bits(int(written))
        if kind == "boolean" and written in (0, 1):
            return bool(written)
        if kind in ("category", "text") and not self.is_code:
            return label_of(written)
        if kind == "timestamp" and self.is_epoch:
            return _of_epoch(Decimal(str(written)), self.column.format or "")
        raise WrongValue(f"must be {self._wanted}, not a number")

    # --- texts ----------------------------------------------------------------------------------------

    def _plain(self, text: str) -> str:
        if not isinstance(self._format, NumberFormat):
            return text
        return self._format.plain(text) or ""

    def _number(self, text: str) -> float:
        number = finite_number(self._plain(text))
        if number is None:
            raise self._unreadable(text)
        return number

    def _integer(self, text: str) -> int:
        plain = self._plain(text)
        number = whole_number(plain)
        if number is None:
            raise self._unreadable(text)
        if re.match(LEADING_ZERO_PATTERN, plain):
            raise WrongValue(f"{self._unreadable(text)}: its zeros say that it is a code")
        return number

    def _boolean(self, text: str) -> bool:
        if text in TRUE_SPELLINGS or text == "1":
            return True
        if text in FALSE_SPELLINGS or text == "0":
            return False
        raise self._unreadable(text)

    def _category(self, text: str) -> str:
        width = len(self.column.format or "") if self.is_code and self.column.format != CODE else None
        if width not in (None, len(text)) and text.isascii() and text.isdigit():
            raise self._unreadable(text)
        return text

    def _timestamp(self, text: str) -> int:
        matched = _ISO.fullmatch(text)
        if matched is None and self.is_epoch:
            number = finite_number(text)
            if number is None:
                raise self._unreadable(text)
            return _of_epoch(Decimal(text), self.column.format or "")
        if matched is None and isinstance(self._format, DateFormat):
            matched = self._format.match(text)
        moment = None if matched is None else _moment(matched)
        if moment is None:
            raise self._unreadable(text)
        return moment

    # --- words ----------------------------------------------------------------------------------------

    @property
    def _wanted(self) -> str:
        kind = self.column.type
        if kind in ("category", "text") and self.is_code:
            return "a string, because its digits are a code"
        wanted = {
            "number": "a number",
            "integer": "an integer",
            "boolean": "true or false",
            "timestamp": "a timestamp in ISO 8601",
        }.get(kind, "a string")
        return wanted if self.column.format is None else f"{wanted} or written as {self.column.format}"

    def _unreadable(self, text: str) -> WrongValue:
        return WrongValue(f"must be {self._wanted}, not the string {shortened(text)}")


def json_of(column: Column, value: Value) -> Any:
    """Return the JSON form of a value that was read, such that reading it gives the value back."""
    if value is None:
        return None
    if column.type == "timestamp":
        return (EPOCH + MICROSECOND * int(value)).isoformat().replace("+00:00", "Z")
    return value


def class_of(value: Value) -> str | None:
    """Return the class that a value of the target stands for; None where it is missing."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if value is None or isinstance(value, str) else label_of(value)


def kind_of(value: Any) -> str:
    """Name the kind of a JSON value for messages."""
    if isinstance(value, str):
        return f"the string {shortened(value)}"
    names = {bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "null")


def shortened(text: str) -> str:
    """Return a text as messages show it."""
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _finite(number: float) -> float:
    try:
        found = float(number)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise WrongValue("must be a finite number")
    return found


def _in_64_bits(number: int) -> int:
    if not -(2**63) <= number < 2**63:
        raise WrongValue("must be a 64-bit integer")
    return number


_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Microseconds of the years 1 to 9999."""


def _of_epoch(number: Decimal, unit: str) -> int:
    scaled = number * EPOCH_UNITS[unit] if number.is_finite() else Decimal(_LAST + 1)
    if not _FIRST <= scaled <= _LAST:
        raise WrongValue(f"must be {unit} within the years 1 to 9999")
    return math.floor(scaled)


def _moment(matched: re.Match[str]) -> int | None:
    """Return the microseconds of a date and time; None if no calendar or clock has it."""
    part = matched.groupdict()
    hour = int(part["hour"] or 0)
    half = (part.get("half") or "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (half == "pm")
    microsecond = int((part["fraction"] or "").ljust(6, "0")[:6])
    try:
        moment = datetime(
            int(part["year"]),
            int(part["month"]),
            int(part["day"]),
            hour,
            int(part["minute"] or 0),
            int(part["second"] or 0),
            microsecond,
            tzinfo=_zone(part["zone"]),
        )
        return (moment - EPOCH) // MICROSECOND
    except (ValueError, OverflowError):
        return None


def _zone(text: str | None) -> timezone:
    if not text or text[-1] in "ZC":
        return UTC
    digits = text[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    if int(digits[2:] or 0) > 59:
        raise ValueError("an hour has 60 minutes")
    return timezone(-offset if text[0] == "-" else offset)
