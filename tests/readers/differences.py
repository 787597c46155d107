"""Where dropforge differs from readers that agree, and means to: the table of docs/how-to/data.md.

The list is the one source of the table and of what the test lets pass. What each reader makes of an example
is not written down but read when the table is made, and when the test compares it.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dropforge.domain.row_rules import MISSING_SPELLINGS, finite_number
from dropforge.domain.values import BLANKS, PLACEHOLDERS
from tests.readers.dialects import Written, csv_of, json_of, parquet_of
from tests.readers.four_readers import REFUSED, VERSIONS, Value, others, ours

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "data.md"
BEGIN, END = "<!-- make readers -->", "<!-- end -->"


@dataclass(frozen=True)
class Cell:
    """A value that dropforge reads otherwise than two others or more, which agree.

    Attributes:
        format: of the file.
        column: all values of its column as they are written.
        written: how it is written.
        ours, theirs: what it is read as.
    """

    format: str
    column: list[Any]
    written: Any
    ours: Value
    theirs: Value

    @property
    def text(self) -> str:
        """What is written as text, without the blanks around it; empty where it is no text."""
        return self.written.strip(BLANKS) if isinstance(self.written, str) else ""

    def kinds(self) -> tuple[str | None, str | None]:
        """What kind of value either is, None for a missing one."""
        return self.ours and self.ours[0], self.theirs and self.theirs[0]


@dataclass(frozen=True)
class Difference:
    """One intended difference.

    Attributes:
        written: what is written, in words.
        why: dropforge reads it its way.
        example: a table of one column whose first value shows it.
        covers: whether a cell's difference is this one.
    """

    written: str
    why: str
    example: Written
    covers: Callable[[Cell], bool]


def _csv(name: str, *texts: str) -> Written:
    # With a second column, because a blank line is no row to some.
    return csv_of({name: list(texts), "z": ["z"] * len(texts)})


def _is_large(cell: Cell) -> bool:
    number = finite_number(str(cell.written))
    return number is not None and abs(number) >= 2**63


NAMES = Difference(
    "a column's name between spaces",
    "Names are typed into contracts and requests, where nobody sees a space.",
    _csv(" a ", "x"),
    lambda _: False,
)
"""The one that is not about values."""

DIFFERENCES = (
    NAMES,
    Difference(
        "a text between spaces or tabs",
        "In a request the same category would be another one.",
        _csv("a", " Private"),
        lambda cell: cell.kinds() == ("text", "text") and cell.ours == ("text", cell.text) != cell.theirs,
    ),
    Difference(
        "`NA`, `null`, `None` and such in CSV",
        "Files come from pandas and R, which write missing values so; `missing` in the contract decides.",
        _csv("a", "null", "x"),
        lambda cell: cell.format == "csv" and cell.ours is None and cell.text in MISSING_SPELLINGS,
    ),
    Difference(
        "an empty text in JSON or Parquet, or one of blanks",
        "CSV can't tell it from a missing value, and what a value means doesn't depend on the format.",
        json_of({"a": ["", "x"]}),
        lambda cell: cell.ours is None and isinstance(cell.written, str) and not cell.text,
    ),
    Difference(
        "placeholders among numbers or dates",
        "The column would be text, and useless.",
        _csv("a", "?", "1", "2.5"),
        lambda cell: cell.ours is None and cell.text in PLACEHOLDERS,
    ),
    Difference(
        "numbers among placeholders or missing words",
        "As above.",
        _csv("a", "1", "?", "2.5"),
        lambda cell: (
            cell.kinds() == ("number", "text")
            and finite_number(cell.text) is not None
            and cell.format == "csv"
            and any(each.strip(BLANKS) in PLACEHOLDERS | MISSING_SPELLINGS for each in cell.column)
        ),
    ),
    Difference(
        "amounts: currencies, percent, thousands, decimal commas",
        "People export them so, and a model learns from the number.",
        _csv("a", "$1,273.95", "$25.00"),
        lambda cell: cell.kinds() == ("number", "text") and finite_number(cell.text) is None,
    ),
    Difference(
        "numbers, booleans and dates as text in JSON or Parquet",
        "The column means the same as in CSV, where all is text.",
        parquet_of("a", pa.array(["12", "7"])),
        lambda cell: (
            cell.format != "csv"
            and isinstance(cell.written, str)
            and cell.kinds() in (("number", "text"), ("truth", "text"), ("time", "text"))
        ),
    ),
    Difference(
        "dates with slashes, where the day and the month could be either",
        "The month comes first unless another column says otherwise; the contract's `note` tells, and its "
        "`format` changes it.",
        _csv("a", "03/04/2024", "05/04/2024"),
        lambda cell: cell.kinds() == ("time", "time") and "/" in cell.text,
    ),
    Difference(
        "dates with the month first",
        "As people in the United States write them.",
        _csv("a", "03/31/2024", "04/01/2024"),
        lambda cell: cell.kinds() == ("time", "text") and cell.format == "csv" and cell.text[:1].isdigit(),
    ),
    Difference(
        "seconds since 1970 under a name such as `created_at`",
        "Drift and features need the time; the name and the values have to say so.",
        _csv("created_at", "1700000000"),
        lambda cell: cell.kinds() == ("time", "number"),
    ),
    Difference(
        "integers beyond 64 bits",
        "They are identifiers, and digits would be lost.",
        _csv("a", "18446744073709551616"),
        lambda cell: cell.kinds() == ("text", "number") and any(_is_large(_of(cell, v)) for v in cell.column),
    ),
    Difference(
        "integers with leading zeros",
        "They are codes: 007 is not 7.",
        _csv("a", "007", "042"),
        lambda cell: (
            cell.kinds() == ("text", "number") and any(str(v).strip()[:1] == "0" for v in cell.column)
        ),
    ),
    Difference(
        "numbers with a plus sign",
        "A sign makes no text of a number.",
        _csv("a", "+3", "4"),
        lambda cell: (
            cell.kinds() == ("number", "text")
            and finite_number(cell.text) is not None
            and any(str(each).strip(BLANKS)[:1] == "+" for each in cell.column)
        ),
    ),
    Difference(
        "times of day without a date",
        "They are no point in time; a model learns from them as from any category.",
        _csv("a", "10:30:00", "23:15:00"),
        lambda cell: cell.kinds() == ("text", "clock"),
    ),
    Difference(
        "`inf` among numbers",
        "A column of categories may hold the word, and no model takes the number.",
        _csv("a", "inf", "1.5"),
        lambda cell: cell.theirs is not None and cell.theirs[0] == "number" and _has_endless(cell.column),
    ),
    Difference(
        "NaN in Parquet",
        "pandas writes missing values so, and no model learns from it.",
        parquet_of("a", pa.array([float("nan"), 1.5])),
        lambda cell: cell.ours is None and cell.theirs == ("number", "NaN"),
    ),
    Difference(
        "32-bit floats in Parquet",
        "0.1 means 0.1 in training, requests and drift alike.",
        parquet_of("a", pa.array([0.1], pa.float32())),
        lambda cell: (
            cell.format == "parquet"
            and isinstance(cell.written, float)
            and cell.theirs == ("number", float(np.float32(cell.written)))
        ),
    ),
    Difference(
        "nanoseconds",
        "A microsecond is the least that counts in a date; as ids moments keep them.",
        parquet_of("a", pa.array([1], pa.timestamp("ns"))),
        lambda cell: (
            cell.ours is not None
            and cell.theirs is not None
            and cell.kinds() == ("time", "time")
            and cell.theirs[1] // 1000 * 1000 == cell.ours[1]
        ),
    ),
)


def _of(cell: Cell, written: Any) -> Cell:
    return Cell(cell.format, cell.column, written, cell.ours, cell.theirs)


def _has_endless(column: Iterable[Any]) -> bool:
    return any(str(each).strip(BLANKS).lstrip("+-").lower() in ("inf", "infinity") for each in column)


class Unexplained(AssertionError):
    """dropforge differs, and no intended difference covers it."""


def compared(table: Written, folder: Path) -> Iterator[Difference | None]:
    """Read the table by all, and yield for each value why dropforge differs; None where it doesn't.

    It differs where two others or more agree on something else.

    Raises:
        Unexplained: it does, and no difference of the list covers that.
    """
    file = table.file(folder)
    theirs = others(file)
    if len(theirs) < 2:
        return
    found = ours(file)
    shapes = {reader: (tuple(each), len(next(iter(each.values())))) for reader, each in theirs.items()}
    agreed = _agreed(shapes.values(), (tuple(found), len(next(iter(found.values())))))
    for names, rows in agreed:
        if [name.strip(BLANKS) for name in names] != list(found) or rows != len(next(iter(found.values()))):
            raise Unexplained(f"{list(found)} with {rows} rows, and {shapes}: {table.content!r}")
        yield NAMES
    for mine, (name, column) in zip(found.values(), table.columns.items(), strict=True):
        each = [columns.get(name, columns.get(name.strip(BLANKS), [])) for columns in theirs.values()]
        each = [values for values in each if len(values) == len(mine)]
        for place, value in enumerate(mine):
            yield _why(table, column, place, value, [values[place] for values in each])


def _agreed(theirs: Iterable[Any], mine: Any) -> list[Any]:
    """What two others or more agree on, unless it is ours."""
    return [each for each, count in Counter(theirs).items() if count >= 2 and each != mine]


def _why(
    table: Written, column: list[Any], place: int, mine: Value, theirs: list[Value]
) -> Difference | None:
    agreed = _agreed(theirs, mine)
    if not agreed:
        return None
    written = column[place] if place < len(column) else None
    cell = Cell(table.file_name.split(".")[1], column, written, mine, agreed[0])
    for difference in DIFFERENCES:
        if difference.covers(cell):
            return difference
    raise Unexplained(f"{written!r} in {column!r} ({cell.format}) is {mine} here, and {theirs}")


def rendered() -> str:
    """The list as a table of Markdown, with what each reader makes of the examples now."""
    heads = ["what is written", "here", *(f"{name} {version}" for name, version in VERSIONS.items()), "why"]
    lines = [heads, ["---"] * len(heads)]
    with tempfile.TemporaryDirectory() as folder:
        for difference in DIFFERENCES:
            file = difference.example.file(Path(folder))
            (mine, *_), theirs = ours(file).items(), others(file)
            shown = [
                mine,
                *(next(iter(theirs[name].items()), None) if name in theirs else None for name in VERSIONS),
            ]
            cells = [
                "refuses"
                if each is None
                else _shown(("name", each[0]) if difference is NAMES else each[1][0])
                for each in shown
            ]
            what = f"{difference.written}: {_example(difference)}"
            lines.append([what, *cells, difference.why])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _example(difference: Difference) -> str:
    (name, values), *_ = difference.example.columns.items()
    shown = name if difference is NAMES else str(values[0])
    if isinstance(values[0], datetime):
        shown = "1 ns after 1970"
    shown = shown or '""'
    beside = [str(each) for each in values[1:]] if difference is not NAMES else []
    return f"`{shown}`" + (f" beside {', '.join(f'`{each}`' for each in beside)}" if beside else "")


def _shown(value: Value) -> str:
    if value is None:
        return "missing"
    kind, what = value
    if value == REFUSED:
        return "rejected"
    if kind in ("text", "name"):
        return f'`"{what}"`'
    if kind == "time":
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=what // 1000)
        rest = f" and {what % 1000} ns" if what % 1000 else ""
        return f"{moment:%Y-%m-%d %H:%M:%S}".removesuffix(" 00:00:00") + rest
    return str(what).lower() if kind == "truth" else str(what)


def written_page(page: str) -> str:
    """The page with the table as it is now."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{rendered()}\n{END}{rest.partition(END)[2]}"
