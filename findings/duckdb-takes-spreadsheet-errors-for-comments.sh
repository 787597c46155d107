#!/usr/bin/env bash
# DuckDB 2.0.1, read_csv: rows whose first cell is a spreadsheet's #N/A or #DIV/0! are gone, without a word.
#
# Expected: '#' marks comments where whole lines at the top are some, and in a column of numbers #N/A is a text or a
# missing value. Seen: where all other values of the first column are numbers, '#' is sniffed as the mark of comments,
# whatever share of the lines begins with it and however many fields they have: of 1,000 rows with #N/A in 900, 100 are
# left, and the column is DOUBLE. The same value in the second column, in quotes, or beside one word in the first column
# costs nothing (VARCHAR). comment='' reads all rows. pandas 3.1.1 and polars 2.1.0 read every row.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0 duckdb==2.0.1 pandas==3.1.1
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl

assert (duckdb.__version__, pl.__version__, pd.__version__) == ("2.0.1", "2.1.0", "3.1.1")
FILES = {
    "one in a thousand": (["#N/A" if i == 500 else f"{i}.5" for i in range(1000)], 999),
    "nine in ten": (["#N/A" if i % 10 else f"{i}.5" for i in range(1000)], 100),
    "division by zero": (["1.5", "#DIV/0!", "2.5"], 2),
    "beside a word": (["1.5", "#N/A", "unknown"], 3),
    "in quotes": (["1.5", '"#N/A"', "2.5"], 3),
}
for name, (prices, expected) in FILES.items():
    Path("t.csv").write_text("price,region\n" + "".join(f"{price},north\n" for price in prices))
    read = duckdb.read_csv("t.csv", header=True, sample_size=-1)
    duck = len(read.fetchall())
    all_of_it = len(duckdb.read_csv("t.csv", header=True, sample_size=-1, comment="").fetchall())
    others = (len(pd.read_csv("t.csv")), len(pl.read_csv("t.csv", infer_schema_length=None)))
    print(f"{name:18} {len(prices):5} rows: DuckDB {duck:5} ({read.types[0]}), with comment='' {all_of_it}, others {others}")
    assert duck == expected, (name, duck)
    assert {all_of_it, *others} == {len(prices)}, (name, all_of_it, others)

Path("t.csv").write_text("region,price\nnorth,1.5\nsouth,#N/A\nwest,2.5\n")
assert len(duckdb.read_csv("t.csv", header=True, sample_size=-1).fetchall()) == 3
PYTHON
