#!/usr/bin/env bash
# polars 2.1.0: a CSV column of digits of another script is inferred as Int128 and then can't be read.
#
# Expected: a text column, as pandas, DuckDB and Arrow make it. Seen: read_csv raises ComputeError "could not parse
# `...` as dtype `i128`" for Arabic-Indic and for full-width digits. Its advice, a larger infer_schema_length, can't
# help: every row is looked at already. Superscripts and fractions are read as text. Naming the column a String helps.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0 duckdb==2.0.1 pyarrow==26.0.1
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.csv

assert (pl.__version__, duckdb.__version__) == ("2.1.0", "2.0.1")
COLUMNS = {
    "Arabic-Indic": ["\u0661", "\u0662", "\u0663"],
    "full width": ["\uff11", "\uff12", "\uff13"],
    "superscript": ["\u00b2", "\u00b3", "\u00b9"],
    "fractions": ["\u00bd", "\u00bc", "\u00be"],
}
for name, values in COLUMNS.items():
    Path("digits.csv").write_text("k,x\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values)))
    try:
        found = pl.read_csv("digits.csv", infer_schema_length=None)["x"].to_list()
    except pl.exceptions.ComputeError as error:
        found = str(error).partition("\n")[0]
    print(f"{name}: {found}")
    if name in ("Arabic-Indic", "full width"):
        assert "as dtype `i128`" in found, found
    else:
        assert found == values
    assert pl.read_csv("digits.csv", schema_overrides={"x": pl.String})["x"].to_list() == values
    assert [row[1] for row in duckdb.sql("from read_csv('digits.csv')").fetchall()] == values
    assert pyarrow.csv.read_csv("digits.csv")["x"].to_pylist() == values
print("as recorded")
PYTHON
