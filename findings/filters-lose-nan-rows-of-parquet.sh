#!/usr/bin/env bash
# Three readers answer one question about NaN in two ways, by whether a Parquet file has statistics.
#
# Minimum and maximum of a row group leave NaN out, so they say nothing about NaN. Expected: a reader whose comparison
# is true for NaN doesn't skip such a group. Seen, for x = 1, 2, NaN:
#   DuckDB 2.0.1       x > 5 is true for NaN in a table, and in a Parquet file that it wrote itself; in pyarrow's file of
#                      the same rows it is false, even in the list of what is selected, and count(*) filter (...) is 1.
#   pyarrow 26.0.1     not (x <= 5) keeps NaN in a table; a dataset over the file drops it.
#   deltalake 1.6.6    its SQL gives true for NaN and x > 5, and drops the row where the same comparison is the filter.
#   polars 2.1.0       keeps the row in all four: read or scanned, from Parquet or Delta.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.1 pyarrow==26.0.1 deltalake==1.6.6 polars==2.1.0
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import deltalake
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

versions = (duckdb.__version__, pa.__version__, deltalake.__version__, pl.__version__)
assert versions == ("2.0.1", "26.0.1", "1.6.6", "2.1.0"), versions
rows = pa.table({"id": [1, 2, 3], "x": [1.0, 2.0, float("nan")]})
pq.write_table(rows, "rows.parquet")

duck = duckdb.connect()
duck.execute("create table kept as select * from 'rows.parquet'")
duck.execute("copy kept to 'own.parquet'")
asked = {
    "a table": "select id from kept where x > 5",
    "its own file": "select id from 'own.parquet' where x > 5",
    "pyarrow's file": "select id from 'rows.parquet' where x > 5",
    "pyarrow's file, selected": "select id from (select id, x > 5 as large from 'rows.parquet') where large",
}
seen = {where: [row[0] for row in duck.execute(question).fetchall()] for where, question in asked.items()}
counted = duck.execute("select count(*) filter (where x > 5) from 'rows.parquet'").fetchone()[0]
print(f"DuckDB, x > 5: {seen}, counted {counted}")
assert seen == {"a table": [3], "its own file": [3], "pyarrow's file": [], "pyarrow's file, selected": []}
assert counted == 1

not_small = ~(ds.field("x") <= 5)
of_table = pq.read_table("rows.parquet").filter(not_small)["id"].to_pylist()
of_dataset = ds.dataset("rows.parquet").to_table(filter=not_small)["id"].to_pylist()
print(f"pyarrow, not (x <= 5): table {of_table}, dataset {of_dataset}")
assert (of_table, of_dataset) == ([3], [])

deltalake.write_deltalake("delta", rows)
engine = deltalake.QueryBuilder().register("kept", deltalake.DeltaTable("delta"))
large = pa.table(engine.execute("select id, x > 5 as large from kept order by id").read_all())["large"].to_pylist()
filtered = pa.table(engine.execute("select id from kept where x > 5").read_all())
print(f"deltalake: x > 5 is {large}, rows where x > 5: {filtered.num_rows}")
assert large == [False, False, True] and filtered.num_rows == 0

four = [
    frame.lazy().filter(pl.col("x") > 5).collect()["id"].to_list()
    for frame in (pl.read_parquet("rows.parquet"), pl.scan_parquet("rows.parquet"), pl.read_delta("delta"), pl.scan_delta("delta"))
]
print(f"polars: {four}")
assert four == [[3]] * 4
print("as recorded")
PYTHON
