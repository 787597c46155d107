#!/usr/bin/env bash
# JSON lines with a member that stands twice: four readers, three answers.
#
# Expected: the last one counts, as in Python's json, or an error. Seen for {"a":1,"a":2}: pandas 3.1.1 reads 2,
# polars 2.1.0 reads 1 (the first), pyarrow 26.0.1 and DuckDB 2.0.1 refuse the file. In a file where only a later line
# repeats the member, the answers are the same.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0 duckdb==2.0.1 pyarrow==26.0.1 pandas==3.1.1
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.json

assert (pl.__version__, duckdb.__version__, pa.__version__, pd.__version__) == (
    "2.1.0", "2.0.1", "26.0.1", "3.1.1",
)


def values(read):
    try:
        return read()
    except Exception as error:  # noqa: BLE001 - which class it is, is what is recorded
        return type(error).__name__


for lines, place in ((['{"a":1,"a":2}', '{"a":3}'], 0), (['{"a":3}', '{"a":1,"a":2}'], 1)):
    Path("x.json").write_text("\n".join(lines) + "\n")
    found = {
        "pandas": values(lambda: pd.read_json("x.json", lines=True)["a"].tolist()),
        "polars": values(lambda: pl.read_ndjson("x.json")["a"].to_list()),
        "pyarrow": values(lambda: pa.json.read_json("x.json")["a"].to_pylist()),
        "duckdb": values(lambda: duckdb.sql("select a from read_json('x.json')").fetchall()),
    }
    print(lines, found)
    assert found["pandas"][place] == 2
    assert found["polars"][place] == 1
    assert found["pyarrow"] == "ArrowInvalid"
    assert found["duckdb"] == "InvalidInputException"
print("as recorded")
PYTHON
