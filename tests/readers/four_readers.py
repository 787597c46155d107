"""Four readers of one file, each value in a form in which they can be compared.

Nobody is told more than a first look at the file says: the separator, and that every row counts for types.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl

from dropforge.adapters.tables.checking.contract_check import check_columns, reading_hints
from dropforge.adapters.tables.checking.passes import survey_table
from dropforge.adapters.tables.reading.formats import open_table
from dropforge.domain.contract import Column, Contract
from dropforge.domain.formats import Locale, reading_of
from tests.in_memory_store import InMemoryObjectStore

Value = tuple[str, Any] | None
"""None where a value is missing, otherwise its kind (number, truth, time, clock, text, refused) and what it
is; a time in nanoseconds since 1970-01-01 UTC."""

Columns = Mapping[str, list[Value]]
REFUSED: Value = ("refused", None)
"""A value that breaks its column's rule, so that its row is rejected."""

_NAN: Value = ("number", "NaN")

TOLERATED = 0.05
_NOT_READ = Column("\0", "number", "target")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NotRead(Exception):
    """A reader refuses the file."""


@dataclass(frozen=True)
class File:
    """A file to read.

    Attributes:
        path: with the name by which readers know its format.
        separator: of CSV.
    """

    path: Path
    separator: str = ","

    @property
    def format(self) -> str:
        """``csv``, ``jsonl`` or ``parquet``."""
        return next(each for each in ("csv", "jsonl", "parquet") if f".{each}" in self.path.name)


def ours(file: File) -> Columns:
    """What preparation makes of it as a first drop, whatever it learns from."""
    uri = f"s3://data/{file.path.name}"
    store = InMemoryObjectStore({uri: file.path.read_bytes()})
    ref = store.pinned(uri)
    try:
        with open_table(store, ref, 1 << 20) as table:
            survey = survey_table(table, uri, 1).seen
        locale, columns = Locale.of(survey), []
        for name, seen in survey.columns.items():
            reading = reading_of(name, seen, TOLERATED, locale)
            columns.append(
                Column(name, reading.kind, nullable=True, format=reading.format, missing=reading.missing)
            )
        contract = Contract(_NOT_READ.name, None, "regression", None, (*columns, _NOT_READ))
        found: dict[str, list[Value]] = {column.name: [] for column in columns}
        with open_table(store, ref, 1 << 20) as table:
            for block in table.blocks(list(found), reading_hints(contract)):
                checked = check_columns(block, columns, contract)
                for column in columns:
                    values = [_ours(value) for value in checked.typed[column.name].to_pylist()]
                    for group in checked.rejects:
                        if group.column == column.name:
                            for position in group.positions.tolist():
                                values[position] = REFUSED
                    found[column.name] += values
    except Exception as error:
        raise NotRead(f"{type(error).__name__}: {error}") from error
    return found


def pandas_reader(file: File) -> Columns:
    """pandas with its defaults, and exact numbers."""
    if file.format == "parquet":
        frame = pd.read_parquet(file.path)
    elif file.format == "jsonl":
        frame = pd.read_json(file.path, lines=True, convert_dates=False, precise_float=True)
    else:
        frame = pd.read_csv(file.path, sep=file.separator, float_precision="round_trip", low_memory=False)
    # NaN is how pandas says that a value is missing.
    return {
        str(name): [None if found == _NAN else found for found in map(_plain, frame[name].tolist())]
        for name in frame.columns
    }


def polars_reader(file: File) -> Columns:
    """polars, with dates."""
    if file.format == "parquet":
        frame = pl.read_parquet(file.path)
    elif file.format == "jsonl":
        frame = pl.read_ndjson(file.path, infer_schema_length=None)
    else:
        frame = pl.read_csv(
            file.path, separator=file.separator, infer_schema_length=None, try_parse_dates=True
        )
    return {name: _of_polars(frame[name]) for name in frame.columns}


def _of_polars(series: pl.Series) -> list[Value]:
    kind = series.dtype
    if isinstance(kind, pl.Datetime):
        scale = {"ms": 10**6, "us": 1000, "ns": 1}[kind.time_unit]
        return [None if v is None else ("time", v * scale) for v in series.to_physical().to_list()]
    return [_plain(value) for value in series.to_list()]


def duckdb_reader(file: File) -> Columns:
    """DuckDB with its sniffer."""
    connection = _duckdb()
    if file.format == "parquet":
        relation = connection.read_parquet(str(file.path))
    elif file.format == "jsonl":
        relation = connection.read_json(
            str(file.path), format="newline_delimited", sample_size=-1, maximum_object_size=1 << 24
        )
    else:
        relation = connection.read_csv(str(file.path), delimiter=file.separator, header=True, sample_size=-1)
    selected = []
    for name, kind in zip(relation.columns, map(str, relation.types), strict=True):
        quoted = '"' + name.replace('"', '""') + '"'
        if kind == "TIMESTAMP_NS":
            quoted = f"epoch_ns({quoted})"
        elif kind.startswith(("TIMESTAMP", "DATE")):
            quoted = f"epoch_us({quoted})::HUGEINT * 1000"
        selected.append(quoted)
    rows = relation.project(", ".join(selected)).fetchall()
    columns = {}
    for place, (name, kind) in enumerate(zip(relation.columns, map(str, relation.types), strict=True)):
        is_time = kind.startswith(("TIMESTAMP", "DATE"))
        values = [row[place] for row in rows]
        columns[name] = [("time", v) if is_time and v is not None else _plain(v) for v in values]
    return columns


@cache
def _duckdb() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET threads = 1; SET TimeZone = 'UTC'; SET enable_external_file_cache = false")
    return connection


OTHERS: Mapping[str, Callable[[File], Columns]] = {
    "pandas": pandas_reader,
    "polars": polars_reader,
    "DuckDB": duckdb_reader,
}
VERSIONS = {"pandas": pd.__version__, "polars": pl.__version__, "DuckDB": duckdb.__version__}


def others(file: File) -> dict[str, Columns]:
    """What each of the others makes of the file; those that refuse it are left out."""
    found = {}
    for name, read in OTHERS.items():
        try:
            found[name] = read(file)
        except Exception:  # noqa: S112 - whatever it is, it has refused the file
            continue
    return found


def _ours(value: Any) -> Value:
    return ("text", value) if isinstance(value, str) else _plain(value)


def _plain(value: Any) -> Value:
    """A Python value in the form in which values are compared."""
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, bool | np.bool_):
        return ("truth", bool(value))
    if isinstance(value, int | np.integer):
        return ("number", int(value))
    if isinstance(value, float | np.floating):
        return _number(float(value))
    if isinstance(value, Decimal):
        return ("number", int(value)) if value == value.to_integral_value() else ("number", float(value))
    if isinstance(value, pd.Timestamp):
        return ("time", value.value)
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return ("time", (moment - _EPOCH) // timedelta(microseconds=1) * 1000)
    if isinstance(value, date):
        return ("time", (value - _EPOCH.date()).days * 86_400 * 10**9)
    if isinstance(value, time):
        return ("clock", value.isoformat())
    return ("text", str(value))


def _number(value: float) -> Value:
    if math.isnan(value):
        return _NAN
    return ("number", int(value)) if math.isfinite(value) and value.is_integer() else ("number", value)
