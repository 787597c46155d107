"""Tables as people write them: strategies of hypothesis for their columns and for the dialect of the file."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from tests.readers.four_readers import File

MAXIMUM_ROWS = 6


@dataclass(frozen=True)
class Written:
    """A table before it is a file.

    Attributes:
        columns: the values by name, as they are written: texts in CSV, values of JSON, of Python for Parquet.
        content: of the file.
        file_name: by which readers know its format.
        separator: of CSV.
    """

    columns: dict[str, list[Any]]
    content: bytes
    file_name: str
    separator: str = ","

    def file(self, folder: Path) -> File:
        """Write it."""
        path = folder / self.file_name
        path.write_bytes(self.content)
        return File(path, self.separator)


NAMES = ("a", "b c", "Größe", "x.y", "created_at", " padded ", 'quo"te', "no", "1st")

_WORDS = (
    "x",
    "Private",
    "HS grad",
    "é",
    "日本",
    "it's",
    "5 apples",
    "v1.2",
    "a/b",
    "#1",
    "nothing",
    "inf",
    "Yes",
)
_plain_texts = st.sampled_from(_WORDS)
_times = st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)).map(lambda t: t.replace(microsecond=0))  # noqa: DTZ001


def _dates(pattern: str) -> st.SearchStrategy[str]:
    return st.dates(date(1900, 1, 1), date(2100, 1, 1)).map(lambda day: day.strftime(pattern))


FAMILIES: dict[str, st.SearchStrategy[str]] = {
    "integers": st.integers(-(10**12), 10**12).map(str),
    "large integers": st.integers(-(2**63), 2**63 - 1).map(str),
    "huge integers": st.integers(2**63, 10**22).map(str),
    "signed": st.integers(0, 99).map("+{}".format),
    "codes": st.integers(0, 999).map("{:05}".format),
    "floats": st.floats(allow_nan=False, allow_infinity=False).map(repr),
    "decimals": st.decimals(-(10**6), 10**6, places=2).map(str),
    "loose numbers": st.sampled_from(("5.", ".5", "1e3", "1E-3", "-0", "05.30", "1_000", "0x1F")),
    "truth": st.sampled_from(("true", "false")),
    "Truth": st.sampled_from(("True", "False", "TRUE", "FALSE")),
    "yes or no": st.sampled_from(("yes", "no", "T", "F")),
    "texts": _plain_texts,
    "padded texts": st.tuples(st.sampled_from(("", " ", "\t")), _plain_texts).map("".join),
    "padded numbers": st.tuples(st.sampled_from(("", " ")), st.integers(0, 99).map(str)).map("".join),
    "hard texts": st.text(st.sampled_from('a,;|\t"\n\r é'), min_size=1, max_size=5),
    "missing words": st.sampled_from(("NA", "x", "None", "null", "n/a", "y")),
    "numbers and missing words": st.sampled_from(("1", "2.5", "NA", "null", "nan", "NULL")),
    "numbers and marks": st.sampled_from(("1", "2.5", "?", "-", "\\N")),
    "numbers and spreadsheet errors": st.sampled_from(("1.5", "2", "#N/A", "#DIV/0!", "#REF!")),
    "numbers and words": st.sampled_from(("1", "2", "three")),
    "endless": st.sampled_from(("1.5", "inf", "-inf", "Infinity")),
    "amounts": st.decimals(1000, 10**6, places=2).map("${:,}".format),
    "thousands": st.integers(10**3, 10**9).map("{:,}".format),
    "decimal commas": st.decimals(1, 10**3, places=2).map(lambda d: str(d).replace(".", ",")),
    "percents": st.integers(0, 100).map("{}%".format),
    "ISO dates": _dates("%Y-%m-%d"),
    "ISO times": _times.map(lambda t: t.isoformat()),
    "spaced times": _times.map(lambda t: t.isoformat(" ")),
    "zoned times": _times.map(lambda t: t.isoformat() + "+02:00"),
    "Zulu times": _times.map(lambda t: t.isoformat() + "Z"),
    "fractions of seconds": st.integers(0, 10**9 - 1).map("2024-01-05T10:00:00.{:09}".format),
    "days first": _dates("%d/%m/%Y"),
    "months first": _dates("%m/%d/%Y"),
    "years first": _dates("%Y/%m/%d"),
    "points": _dates("%d.%m.%Y"),
    "seconds": st.integers(10**9, 2 * 10**9).map(str),
    "clock times": st.times().map(lambda t: t.strftime("%H:%M:%S")),
}
"""What a column of CSV holds, by name."""

_column = st.sampled_from(sorted(FAMILIES)).flatmap(
    lambda name: st.tuples(st.just(FAMILIES[name]), st.booleans())
)


@st.composite
def csv_tables(draw: st.DrawFn) -> Written:
    """CSV: separators, quotes, line ends, a byte order mark, gzip."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=3, unique=True))
    rows = draw(st.integers(1, MAXIMUM_ROWS))
    columns = {}
    for name in names:
        family, nullable = draw(_column)
        cell = st.one_of(family, st.just("")) if nullable else family
        columns[name] = draw(st.lists(cell, min_size=rows, max_size=rows))
    return csv_of(
        columns,
        separator=draw(st.sampled_from(",;\t|")),
        quotes_all=draw(st.booleans()),
        line_end=draw(st.sampled_from(("\n", "\r\n"))),
        mark=draw(st.booleans()),
        is_ended=draw(st.booleans()),
        compressed=draw(st.booleans()),
    )


def csv_of(
    columns: dict[str, list[str]],
    *,
    separator: str = ",",
    quotes_all: bool = False,
    line_end: str = "\n",
    mark: bool = False,
    is_ended: bool = True,
    compressed: bool = False,
) -> Written:
    """Write texts as CSV; an empty one is never quoted."""

    def field(text: str) -> str:
        special = any(each in text for each in (separator, '"', "\n", "\r"))
        return '"' + text.replace('"', '""') + '"' if special or (quotes_all and text) else text

    lines = [columns.keys(), *zip(*columns.values(), strict=True)]
    text = line_end.join(separator.join(map(field, line)) for line in lines) + line_end * is_ended
    content = ("\ufeff" * mark + text).encode()
    name = "table.csv"
    return Written(
        columns, gzip.compress(content) if compressed else content, name + ".gz" * compressed, separator
    )


_json_columns: tuple[st.SearchStrategy[Any], ...] = (
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-99, 99),
    st.one_of(st.integers(-99, 99), st.floats(-100, 100)),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(2**63, 10**22),
    st.booleans(),
    _plain_texts,
    st.sampled_from((" x", "x ", "\ty", "é", "\u00e9", "a\nb", '"', "\\", "\u2028", "")),
    st.sampled_from(("NA", "None", "null", "x")),
    st.integers(0, 99).map(str),
    st.integers(0, 99).map("{:03}".format),
    _dates("%Y-%m-%d"),
    _times.map(lambda t: t.isoformat() + "Z"),
    st.sampled_from(("true", "false")),
    st.decimals(1000, 10**6, places=2).map("${:,}".format),
)


@st.composite
def json_tables(draw: st.DrawFn) -> Written:
    """JSON lines: spaces, escapes, members left out, null, the order of members, blank lines at the end."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    rows = draw(st.integers(1, MAXIMUM_ROWS))
    columns = {}
    for name in names:
        family = draw(st.sampled_from(_json_columns))
        cell = st.one_of(family, st.none()) if draw(st.booleans()) else family
        columns[name] = draw(st.lists(cell, min_size=rows, max_size=rows))
    leaves_out, shuffled, escaped = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    records = []
    for number, row in enumerate(zip(*columns.values(), strict=True)):
        members = list(zip(names, row, strict=True))
        # The first line names every column: who looks at it alone knows them all.
        if leaves_out and number:
            members = [member for member in members if member[1] is not None] or members
        if shuffled and number % 2:
            members.reverse()
        records.append(dict(members))
    return json_of(
        columns,
        records,
        spaced=draw(st.booleans()),
        escaped=escaped,
        line_end=draw(st.sampled_from(("\n", "\r\n"))),
    )


def json_of(
    columns: dict[str, list[Any]],
    records: Sequence[dict[str, Any]] | None = None,
    *,
    spaced: bool = False,
    escaped: bool = True,
    line_end: str = "\n",
) -> Written:
    """Write values as JSON lines."""
    if records is None:
        records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    marks = (" , ", " : ") if spaced else (",", ":")
    lines = [json.dumps(each, ensure_ascii=escaped, separators=marks) + line_end for each in records]
    return Written(columns, "".join(lines).encode(), "table.jsonl")


_numbers = st.integers(-99, 99)
_decimals = st.decimals(-(10**6), 10**6, places=2)
_PARQUET: tuple[tuple[pa.DataType, st.SearchStrategy[Any]], ...] = (
    *((kind, _numbers) for kind in (pa.int8(), pa.int16(), pa.int32())),
    *((kind, st.integers(0, 99)) for kind in (pa.uint8(), pa.uint16(), pa.uint32())),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float32(), st.sampled_from((0.1, 0.5, 1.0, -2.25, 3.3))),
    (pa.float64(), st.floats(allow_infinity=False, width=64)),
    (pa.decimal128(12, 2), _decimals),
    (pa.decimal128(30, 0), st.integers(0, 10**22).map(Decimal)),
    (pa.bool_(), st.booleans()),
    (pa.string(), _plain_texts),
    (pa.large_string(), st.sampled_from((" x", "y", "NA", "", "a\nb"))),
    (pa.dictionary(pa.int32(), pa.string()), _plain_texts),
    (pa.string(), st.integers(0, 99).map(str)),
    (pa.string(), _dates("%Y-%m-%d")),
    (pa.string(), st.sampled_from(("true", "false"))),
    (pa.date32(), st.dates(date(1700, 1, 1), date(2200, 1, 1))),
    *((pa.timestamp(unit), _times) for unit in ("s", "ms", "us")),
    (pa.timestamp("us", "UTC"), _times.map(lambda t: t.replace(tzinfo=UTC))),
    (pa.timestamp("us", "Europe/Berlin"), _times.map(lambda t: t.replace(tzinfo=UTC))),
    (pa.timestamp("ns"), st.integers(0, 2 * 10**18)),
)


@st.composite
def parquet_tables(draw: st.DrawFn) -> Written:
    """Parquet: types, row groups, compression, pages and dictionaries, written by Arrow, polars or DuckDB."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    rows = draw(st.integers(1, MAXIMUM_ROWS))
    arrays, columns = {}, {}
    for name in names:
        kind, family = draw(st.sampled_from(_PARQUET))
        cell = st.one_of(family, st.none()) if draw(st.booleans()) else family
        columns[name] = draw(st.lists(cell, min_size=rows, max_size=rows))
        arrays[name] = pa.array(columns[name], kind)
    writer = draw(st.sampled_from((*(_by_arrow,) * 3, _by_polars, _by_duckdb)))
    return Written(columns, writer(pa.table(arrays), draw), "table.parquet")


def parquet_of(name: str, array: pa.Array) -> Written:
    """Write one column as Arrow does by default."""
    sink = io.BytesIO()
    pq.write_table(pa.table({name: array}), sink)
    return Written({name: array.to_pylist()}, sink.getvalue(), "table.parquet")


def _by_arrow(table: pa.Table, draw: st.DrawFn) -> bytes:
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        compression=draw(st.sampled_from(("none", "snappy", "gzip", "zstd", "lz4"))),
        row_group_size=draw(st.sampled_from((1, 2, 100))),
        data_page_version=draw(st.sampled_from(("1.0", "2.0"))),
        use_dictionary=draw(st.booleans()),
        write_statistics=draw(st.booleans()),
    )
    return sink.getvalue()


def _by_polars(table: pa.Table, draw: st.DrawFn) -> bytes:
    sink = io.BytesIO()
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    frame.write_parquet(sink, compression=draw(st.sampled_from(("uncompressed", "zstd", "snappy"))))
    return sink.getvalue()


def _by_duckdb(table: pa.Table, draw: st.DrawFn) -> bytes:
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        duckdb.from_arrow(table).write_parquet(
            file.name, compression=draw(st.sampled_from(("snappy", "zstd")))
        )
        return Path(file.name).read_bytes()


DIALECTS: dict[str, Callable[[], st.SearchStrategy[Written]]] = {
    "csv": csv_tables,
    "jsonl": json_tables,
    "parquet": parquet_tables,
}
