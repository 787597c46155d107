#!/usr/bin/env bash
# polars 2.1.0 reads long ids as Int128, and writes them to Parquet as a type of its own, without a word.
#
# Expected: write_parquet refuses what the format lacks, or writes a decimal. Seen: polars infers Int128 for integers
# beyond 64 bits in CSV, writes them as 16 raw bytes, and reads them back. pyarrow 26.0.1 refuses to open the file,
# all of it, whichever column is asked for; DuckDB 2.0.1 reads it and gives the ids as BLOBs; polars' own to_arrow and
# to_pandas fail as well. Cast such columns to String before writing.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0 duckdb==2.0.1 pyarrow==26.0.1 pandas==3.1.1
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

assert (pl.__version__, duckdb.__version__, pa.__version__) == ("2.1.0", "2.0.1", "26.0.1")
Path("ids.csv").write_text("id,amount\n123456789012345678901,1\n123456789012345678902,2\n")
frame = pl.read_csv("ids.csv")
assert frame.schema == {"id": pl.Int128, "amount": pl.Int64}
frame.write_parquet("ids.parquet")
assert pl.read_parquet("ids.parquet").equals(frame)


def failure_of(call):
    try:
        call()
    except Exception as error:  # noqa: BLE001 - which class it is, is what is recorded
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return None


arrow = failure_of(lambda: pq.read_table("ids.parquet", columns=["amount"]))
blobs = duckdb.sql("describe from 'ids.parquet'").fetchall()[0][1]
own = [failure_of(frame.to_arrow), failure_of(frame.to_pandas)]
print(f"pyarrow: {arrow}\nDuckDB: {blobs}\nto_arrow, to_pandas: {own}")
assert arrow is not None and "more than 64 bits" in arrow
assert blobs == "BLOB"
assert all(each is not None and "_pli128" in each for each in own)
print("as recorded")
PYTHON
