"""Runs in an environment of its own: the preparation of bench/mixed_table.py's CSV with DuckDB.

Told in advance which columns hold values of another type, so that only those are read as text.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import duckdb
from bench.measured import report
from bench.peers.mixed_columns import profile_numbers

from dropforge.domain.row_rules import MISSING_SPELLINGS

WRITTEN = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1"
COLUMNS = {
    **{"customer_id": "BIGINT", "age": "BIGINT", "balance": "VARCHAR", "score": "DOUBLE"},
    **{"visits": "VARCHAR", "latitude": "DOUBLE", "longitude": "DOUBLE", "plan": "VARCHAR"},
    **{"city": "VARCHAR", "active": "BOOLEAN", "joined": "VARCHAR", "churned": "VARCHAR"},
}
TYPES = {"balance": "DOUBLE", "visits": "BIGINT", "joined": "TIMESTAMP"}
PLANS = "('basic', 'plus', 'pro', 'team', 'enterprise')"
RULES = {
    ("type", "balance"): "balance IS NULL AND raw_balance IS NOT NULL",
    ("type", "visits"): "visits IS NULL AND raw_visits IS NOT NULL",
    ("type", "joined"): "joined IS NULL AND raw_joined IS NOT NULL",
    ("range", "age"): "age NOT BETWEEN 0 AND 120",
    ("range", "score"): "score NOT BETWEEN 0 AND 1",
    ("range", "visits"): "visits < 0",
    ("range", "latitude"): "latitude NOT BETWEEN -90 AND 90",
    ("range", "longitude"): "longitude NOT BETWEEN -180 AND 180",
    ("categories", "plan"): f"plan NOT IN {PLANS}",
    ("class", "churned"): "churned IS NULL OR churned NOT IN ('no', 'yes')",
}


def main(csv: Path, folder: Path) -> dict[str, int]:
    connection = duckdb.connect(str(folder / "scratch.duckdb"))
    connection.execute(
        f"SET threads = {sys.argv[3]}; SET memory_limit = '2GB'; SET preserve_insertion_order = true"
    )

    def one(query: str) -> int:
        row = connection.execute(query).fetchone()
        return 0 if row is None else int(row[0])

    kinds = ", ".join(f"'{name}': '{kind}'" for name, kind in COLUMNS.items())
    typed = [f"TRY_CAST({name} AS {TYPES[name]}) AS {name}" if name in TYPES else name for name in COLUMNS]
    raws = [f"{name} AS raw_{name}" for name in TYPES]
    broken = " OR ".join(f"coalesce({rule}, false)" for rule in RULES.values())
    connection.execute(
        f"CREATE TABLE checked AS SELECT *, {broken} AS bad FROM (SELECT row_number() OVER () AS row, "
        f"{', '.join([*typed, *raws])} FROM read_csv('{csv}', header = true, "
        f"nullstr = {sorted(MISSING_SPELLINGS)}, columns = {{{kinds}}}))"
    )
    reasons = " UNION ALL ".join(
        f"SELECT row, '{name}' AS \"column\", {f'raw_{name}' if name in TYPES else f'{name}::VARCHAR'} AS "
        f"value, '{rule}' AS rule FROM checked WHERE bad AND coalesce({test}, false)"
        for (rule, name), test in RULES.items()
    )
    connection.execute(f"COPY ({reasons}) TO '{folder}/rejected.parquet' ({WRITTEN})")
    connection.execute(
        f"CREATE TABLE kept AS SELECT {', '.join(COLUMNS)}, hash(customer_id) AS hashed FROM checked "
        "WHERE row IN (SELECT max(row) FROM checked WHERE NOT bad GROUP BY customer_id)"
    )
    low, high = 2**64 // 10 * 8, 2**64 // 10 * 9
    tests = {
        "train": f"hashed < {low}",
        "validation": f"hashed >= {low} AND hashed < {high}",
        "test": f"hashed >= {high}",
    }
    for split, test in tests.items():
        connection.execute(
            f"COPY (SELECT * EXCLUDE (hashed) FROM kept WHERE {test}) TO '{folder}/{split}.parquet' "
            f"({WRITTEN})"
        )
    for name in list(COLUMNS)[1:]:
        kind = TYPES.get(name, COLUMNS[name])
        if kind in ("VARCHAR", "BOOLEAN"):
            connection.execute(f"SELECT {name}, count(*) FROM kept GROUP BY {name}").fetchall()
            continue
        value = f"epoch_us({name})::DOUBLE" if kind == "TIMESTAMP" else f"{name}::DOUBLE"
        query = f"SELECT {value} AS v FROM kept WHERE {name} IS NOT NULL"
        profile_numbers(connection.execute(query).fetchnumpy()["v"])
    rejected = one("SELECT count(*) FROM checked WHERE bad")
    kept = one("SELECT count(*) FROM kept")
    return {
        "kept": kept,
        "rejected": rejected,
        "duplicates": one("SELECT count(*) FROM checked") - rejected - kept,
    }


if __name__ == "__main__":
    started = time.perf_counter(), time.process_time()
    report(started, main(Path(sys.argv[1]), Path(sys.argv[2])))
