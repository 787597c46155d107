"""Compares the preparation with a slow and obvious one: Python's csv module and one row after another.

The environment variable DROPFORGE_EXAMPLES says how many tables to try.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from datetime import UTC, datetime
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.preparation.dropping import prepare

from dropforge.domain.contract import Column, Contract

MISSING = [
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
    *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
]

HOSTILE = [
    *("", " ", "NA", " nan ", "None", "1", "-0", "0.0", "-0.0", "007", "+2", " 3 ", "5.0", "5.", ".5", "1e3"),
    *("1e400", "-1e400", "1e-400", "inf", "-Infinity", "NAN", "0x1F", "0X1", "1_000", "1,000", "1;5", "٣"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "123456789012345678901"),
    *("true", "FALSE", "True", "T", "yes", "no", "maybe", "a", " a", "a\t", "é", "🙂", "\u00a01", "a\u2028b"),
    *('"', '""', 'a"b', '5" pipe', "line\nbreak", "cr\rhere", "crlf\r\n", "tab\there", "a,b", "x" * 300),
    *("2024-01-01", "2024-02-30", "2024-01-01T10:00:00Z", "2024-01-01 10:00:00.5+02:00", "2024-1-1"),
    *("0001-01-01", "2024-01-01T25:00", "2024-01-01T10:00:60"),
]

COLUMNS = ["k", "x", "i", "c", "b", "t", "note", "y"]


def contract(key: bool) -> Contract:
    return Contract(
        "y",
        "k" if key else None,
        "binary",
        ("no", "yes"),
        (
            Column("k", "text", "key") if key else Column("k", "text", "ignored", True),
            Column("x", "number", nullable=True),
            Column("i", "integer", nullable=True, minimum=-100, maximum=10**12),
            Column("c", "category", nullable=True, categories=("a", "a b", "é", "line\nbreak")),
            Column("b", "boolean", nullable=True),
            Column("t", "timestamp", nullable=True),
            Column("note", "text", "ignored", nullable=True),
            Column("y", "category", "target"),
        ),
    )


GOOD_ROWS = [
    [f"good{n}", f"{n}.5", str(n), "a", "true", "2024-01-01", "free", "yes" if n * 7 % 5 < 2 else "no"]
    for n in range(80)
]


def parse(text: str, column: Column) -> Any:
    """The value, None for missing; raises ValueError for what doesn't fit the type."""
    text = text.strip(" \t")
    if text in MISSING:
        return None
    if column.type == "number":
        if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII):
            raise ValueError
        if not math.isfinite(float(text)):
            raise ValueError
        return float(text)
    if column.type == "integer":
        if not re.fullmatch(r"[+-]?(0|[1-9]\d*)(\.0*)?", text, re.ASCII):
            raise ValueError
        value = int(text.partition(".")[0])
        if not -(2**63) <= value < 2**63:
            raise ValueError
        return value
    if column.type == "boolean":
        lowered = {"true": True, "1": True, "false": False, "0": False}
        if text not in ("true", "True", "TRUE", "false", "False", "FALSE", "0", "1"):
            raise ValueError
        return lowered[text.lower()]
    if column.type == "timestamp":
        if not re.fullmatch(
            r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?", text, re.ASCII
        ):
            raise ValueError
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return text


def broken_rules(column: Column, text: str, classes: tuple[str, ...]) -> tuple[Any, list[str]]:
    try:
        value = parse(text, column)
    except ValueError:
        return None, ["type"]
    if value is None:
        return None, [] if column.nullable else ["missing"]
    rules = []
    low, high = column.minimum, column.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        rules.append("range")
    if column.categories is not None and value not in column.categories:
        rules.append("categories")
    if column.role == "target" and value not in classes:
        rules.append("class")
    return value, rules


def reference(files: list[str], rules: Contract) -> tuple[list[dict[str, Any]], list[tuple], int, int]:
    """Return kept rows, rejects (file, row, column, rule), and how many duplicates and unlabelled rows.

    Without a key all rows count: the files are too different to be exports of the same data.
    """
    rejects, latest, good, unlabelled = [], {}, 0, 0
    for number, text in reversed(list(enumerate(files))):
        records = [record for record in csv.reader(io.StringIO(text, newline="")) if record]
        for row, record in enumerate(records[1:], 1):
            if len(record) != len(COLUMNS):
                rejects.append((number, row, None, "number of fields"))
                continue
            values, problems = {}, []
            for column, cell in zip(rules.columns, record, strict=True):
                if column.role == "ignored":
                    stripped = cell.strip(" \t")
                    values[column.name] = None if stripped in MISSING else stripped
                    continue
                values[column.name], broken = broken_rules(column, cell, rules.classes or ())
                problems += [(number, row, column.name, rule) for rule in broken]
            if (number, row, "y", "missing") in problems:
                unlabelled += 1
                continue
            rejects += problems
            if not problems:
                good += 1
                latest[values["k"] if rules.key else good] = values
    kept = [{c.name: values[c.name] for c in rules.prepared} for values in latest.values()]
    return kept, rejects, good - len(kept), unlabelled


@st.composite
def written_file(draw, good: int = 60) -> str:
    """A CSV text with `good` rows or some more, hostile rows, ragged rows, any quoting and any line ends."""
    plain = st.sampled_from(["a", "yes", "no", "1", "2", "good3"])
    broken_over_lines = st.sampled_from(["line\nbreak", "cr\rhere", "crlf\r\n", '"\n"', 'a"\n'])
    cell = st.one_of(st.sampled_from(HOSTILE), broken_over_lines, plain)
    lines = [",".join(COLUMNS)]
    rows = [*GOOD_ROWS[: draw(st.integers(good, good + 20))]]
    for _ in range(draw(st.integers(0, 25))):
        base = list(draw(st.sampled_from(GOOD_ROWS)))
        for position in draw(st.lists(st.integers(0, len(COLUMNS) - 1), max_size=3)):
            base[position] = draw(cell)
        if draw(st.integers(0, 9)) == 0:
            base = base[: draw(st.integers(1, 7))] + draw(st.lists(cell, max_size=3))
        rows.insert(draw(st.integers(good * 2 // 3, len(rows))), base)
    ends = ["\n"]
    for row in rows:
        # A row's draws in one, which takes a tenth of the time of one for each of its fields.
        *quoting, end = draw(st.binary(min_size=len(row) + 1, max_size=len(row) + 1))
        fields = []
        for value, chance in zip(row, quoting, strict=True):
            special = any(mark in value for mark in ',\n\r"') or not value
            raw_quote = '"' in value and not value.startswith('"') and not re.search(r"[,\n\r]", value)
            if raw_quote and draw(st.booleans()):
                fields.append(value)
            elif special or chance >= 0xE0:
                fields.append('"' + value.replace('"', '""') + '"')
            else:
                fields.append(value)
        lines.append(",".join(fields))
        ends.append(["\n", "\n", "\n", "\r\n", "\r", "\n\n"][end % 6])
    if draw(st.booleans()):
        ends[-1] = ""
    return "".join(line + end for line, end in zip(lines, ends, strict=True))


def comparable(rows: list[dict[str, Any]]) -> list[str]:
    def plain(value: Any) -> Any:
        return value.isoformat() if isinstance(value, datetime) else value

    return sorted(repr({name: plain(row[name]) for name in sorted(row)}) for row in rows)


EXAMPLE = "\n".join(
    [
        ",".join(COLUMNS),
        *map(",".join, GOOD_ROWS),
        'g,1e400,1,"line\nbreak",true,2024-01-01,"crlf\r\n",yes',
        'h,inf,0x1F,a,1,2024-02-30,5" pipe,yes',
    ]
)


#: One file with rows enough for a split, and others that change some of them.
written_files = st.builds(
    lambda first, others: [first, *others], written_file(), st.lists(written_file(good=12), max_size=2)
)


@settings(max_examples=int(os.environ.get("DROPFORGE_EXAMPLES", "25")))
@given(
    files=written_files,
    key=st.booleans(),
    block_bytes=st.sampled_from([50, 300, 1024, 5000, 1 << 24]),
    workers=st.integers(1, 3),
)
@example(files=[EXAMPLE], key=True, block_bytes=1, workers=2)
@example(files=[EXAMPLE, EXAMPLE], key=True, block_bytes=1 << 24, workers=1)
def test_agrees_with_the_reference_on_hostile_tables(files, key, block_bytes, workers):
    rules = contract(key)
    store = InMemoryObjectStore({"s3://data/contract/schema.json": rules.to_json().encode()})
    outcome = prepare(
        *[(f"{number}.csv", text.encode()) for number, text in enumerate(files)],
        store=store,
        key="k" if key else None,
        block_bytes=block_bytes,
        workers=workers,
        maximum_reject_rate=0.99,
        minimum_rows=1,
    )
    kept, rejects, duplicates, unlabelled = reference(files, rules)
    recurring = {each["source"] for each in outcome.report["recurrences"]}
    assume(not recurring)
    found = [
        (int(r["source"].rpartition("/")[2][0]), r["row"], r["column"], r["rule"]) for r in outcome.rejected()
    ]
    assert sorted(map(str, found)) == sorted(map(str, rejects))
    assert comparable(outcome.kept()) == comparable(kept)
    assert outcome.prepared.duplicates == duplicates
    assert outcome.prepared.unlabelled == unlabelled
    assert outcome.prepared.rejected == len({(file, row) for file, row, _, _ in rejects})
