"""Runs in an environment of its own: the preparation of bench/mixed_table.py's CSV with pandas' C engine.

Told in advance which columns hold values of another type, so that only those are read as text.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bench.measured import report
from bench.peers.mixed_columns import PLANS, RANGES, profile_numbers

WRITTEN: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "write_statistics": False}
NUMBERS = ["age", "balance", "score", "visits", "latitude", "longitude"]
DICTIONARIES = ("plan", "city", "churned")
TEXTS = {"plan": "category", "city": "category", "active": "category", "churned": "category"}


def main(csv: Path, folder: Path) -> dict[str, int]:
    # What is missing is spelled as pandas does by default.
    raw = pd.read_csv(csv, engine="c", dtype={**TEXTS, "balance": str, "visits": str, "joined": str})
    bad = np.zeros(len(raw), dtype=bool)
    rejects = []

    def reject(rule: str, column: str, rows: np.ndarray) -> None:
        rows = np.asarray(rows, dtype=bool)
        bad[rows] = True
        index = np.flatnonzero(rows)
        values = raw[column].iloc[index].astype(str).to_numpy()
        rejects.append(pd.DataFrame({"row": index + 1, "column": column, "value": values, "rule": rule}))

    typed = {"customer_id": raw["customer_id"]}
    for name in NUMBERS:
        values = pd.to_numeric(raw[name], errors="coerce") if raw[name].dtype == object else raw[name]
        values = pd.to_numeric(raw[name], errors="coerce") if values.dtype.kind not in "if" else values
        if name in ("balance", "visits"):
            reject("type", name, values.isna() & raw[name].notna())
        low, high = RANGES.get(name, (None, None))
        if low is not None:
            reject("range", name, values < low)
        if high is not None:
            reject("range", name, values > high)
        typed[name] = values
    moments = pd.to_datetime(
        raw["joined"], format="%Y-%m-%dT%H:%M:%S", errors="coerce", utc=True, cache=False
    )
    reject("type", "joined", moments.isna() & raw["joined"].notna())
    reject("categories", "plan", raw["plan"].notna() & ~raw["plan"].isin(PLANS))
    reject("class", "churned", ~raw["churned"].isin(["no", "yes"]))
    for name in ("plan", "city", "churned"):
        typed[name] = raw[name]
    typed["active"] = raw["active"].map({"true": True, "false": False}).astype("boolean")
    typed["joined"] = moments
    table = pd.DataFrame(typed)
    good = table[~bad]
    kept = good.drop_duplicates("customer_id", keep="last")
    pd.concat(rejects).to_parquet(folder / "rejected.parquet", **WRITTEN)
    hashes = pd.util.hash_array(kept["customer_id"].to_numpy())
    codes = (hashes >= 2**64 // 10 * 8).astype(int) + (hashes >= 2**64 // 10 * 9)
    for code, split in enumerate(("train", "validation", "test")):
        kept[codes == code].to_parquet(
            folder / f"{split}.parquet", **WRITTEN, index=False, use_dictionary=list(DICTIONARIES)
        )
    for name in kept.columns[1:]:
        profile(kept[name])
    return {"kept": len(kept), "rejected": int(bad.sum()), "duplicates": len(good) - len(kept)}


def profile(column: pd.Series) -> dict[str, object]:
    if column.dtype.name in ("category", "boolean"):
        counts = column.value_counts()
        return {"missing": int(column.isna().sum()), "counts": counts[counts > 0].to_dict()}
    if column.dtype.kind == "M":
        column = column.astype("int64").where(column.notna())
    values = column.dropna().to_numpy(dtype=np.float64)
    return {"missing": len(column) - len(values), **profile_numbers(values)}


if __name__ == "__main__":
    started = time.perf_counter(), time.process_time()
    report(started, main(Path(sys.argv[1]), Path(sys.argv[2])))
