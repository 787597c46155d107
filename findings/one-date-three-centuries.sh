#!/usr/bin/env bash
# polars 2.1.0 and DuckDB 2.0.1 read 01/02/24 as dates of the years 24 and 2001, without a word.
#
# Expected: text, or the first of February or the second of January 2024. Seen, in files where every date fits:
#   01/02/24 03/04/24       polars: 0024-02-01, 0024-04-03 (day, month, year 24)   DuckDB: 2001-02-24, 2003-04-24
#                           (year, month, day)
#   01/02/2024 03/04/2024   both: 1 February and 3 April, although month first fits as well
# And the order that DuckDB takes for a column depends on its neighbours: to the right of a column that only fits month
# first the very same 01/02/2024 is 2 January, to the left of it 1 February. polars decides by column and leaves
# month-first columns as text. pandas 3.1.1 leaves all of them as text unless it is asked to parse.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0 duckdb==2.0.1 pandas==3.1.1
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
from datetime import date
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl

assert (pl.__version__, duckdb.__version__, pd.__version__) == ("2.1.0", "2.0.1", "3.1.1")


def read(column, **columns):
    names = list(columns)
    rows = "".join(",".join(map(str, row)) + "\n" for row in zip(*columns.values(), strict=True))
    Path("dates.csv").write_text(",".join(names) + "\n" + rows)
    found = (
        pl.read_csv("dates.csv", try_parse_dates=True)[column].to_list(),
        [row[names.index(column)] for row in duckdb.sql("from read_csv('dates.csv')").fetchall()],
        pd.read_csv("dates.csv")[column].tolist(),
    )
    print(column, "of", columns, *(f"\n    {each}" for each in found))
    return found


short, long, month_first = ["01/02/24", "03/04/24"], ["01/02/2024", "03/04/2024"], ["02/13/2024", "02/14/2024"]
assert read("day", day=short) == ([date(24, 2, 1), date(24, 4, 3)], [date(2001, 2, 24), date(2003, 4, 24)], short)
day_first = [date(2024, 2, 1), date(2024, 4, 3)]
assert read("day", day=long) == (day_first, day_first, long)
assert read("day", day=long, other=month_first) == (day_first, day_first, long)
assert read("day", other=month_first, day=long) == (day_first, [date(2024, 1, 2), date(2024, 3, 4)], long)
assert read("day", day=["02/13/2024", "01/02/2024"])[:2] == (
    ["02/13/2024", "01/02/2024"],
    [date(2024, 2, 13), date(2024, 1, 2)],
)
print("as recorded")
PYTHON
