#!/usr/bin/env bash
# DuckDB 2.0.1: one "-0" in JSON lines makes an id column HUGEINT, and a Parquet file made of it holds doubles.
#
# Expected: -0 is the integer 0, or at worst makes its column DOUBLE where it stands. Seen: read_json infers HUGEINT
# for a column with -0 anywhere, SQL still shows every id exactly, and COPY ... TO writes HUGEINT to Parquet as
# DOUBLE: 9007199254740993 comes back as 9007199254740992, 9007199254740995 as 9007199254740996. Without the -0 the
# same column is BIGINT and exact in the Parquet file.
# The same happens to ids of 20 digits in CSV, which are HUGEINT from the start: three ids in SQL, one in Parquet.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.1
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import duckdb

assert duckdb.__version__ == "2.0.1"
IDS = (9007199254740993, 9007199254740995)


def exported(name, content, reader):
    Path(name).write_text(content)
    kind = duckdb.sql(f"describe from {reader}('{name}')").fetchall()[0][1]
    before = [row[0] for row in duckdb.sql(f"select id from {reader}('{name}')").fetchall()]
    duckdb.sql(f"copy (from {reader}('{name}')) to '{name}.parquet'")
    stored = duckdb.sql(f"describe from '{name}.parquet'").fetchall()[0][1]
    after = [row[0] for row in duckdb.sql(f"select id from '{name}.parquet'").fetchall()]
    print(f"{name}: {kind} {before} -> Parquet {stored} {after}")
    return kind, before, stored, after


lines = "".join(f'{{"id":{each}}}\n' for each in IDS)
assert exported("plain.json", lines, "read_json") == ("BIGINT", [*IDS], "BIGINT", [*IDS])
kind, before, stored, after = exported("zero.json", lines + '{"id":-0}\n', "read_json")
assert (kind, before, stored) == ("HUGEINT", [*IDS, 0], "DOUBLE")
assert after == [9007199254740992.0, 9007199254740996.0, 0.0]

long = [12345678901234567890, 12345678901234567891, 12345678901234567893]
kind, before, stored, after = exported("long.csv", "id\n" + "".join(f"{each}\n" for each in long), "read_csv")
assert (kind, before, stored) == ("HUGEINT", long, "DOUBLE")
assert len(set(after)) == 1
print("as recorded")
PYTHON
