"""Runs in an environment of its own: the preparation of bench/mixed_table.py's CSV with polars.

Told in advance which columns hold values of another type, so that only those are read as text. `streaming`
does the same lazily with the streaming engine, through one Parquet file of checked rows. Rows keep their
order; for the eager engine that is the faster way, too.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
from bench.measured import report
from bench.peers.mixed_columns import PLANS, RANGES, profile_numbers

from dropforge.domain.row_rules import MISSING_SPELLINGS

WRITTEN: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "statistics": False}
SCHEMA = {
    **{"customer_id": pl.Int64, "age": pl.Int64, "balance": pl.String, "score": pl.Float64},
    **{"visits": pl.String, "latitude": pl.Float64, "longitude": pl.Float64, "plan": pl.String},
    **{"city": pl.String, "active": pl.Boolean, "joined": pl.String, "churned": pl.String},
}
TYPED = [
    pl.col("balance").cast(pl.Float64, strict=False),
    pl.col("visits").cast(pl.Int64, strict=False),
    pl.col("joined").str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False, time_unit="us", time_zone="UTC"),
]


def rules() -> dict[tuple[str, str], pl.Expr]:
    """Per rule and column, which rows break it; `raw_` columns hold the text."""
    found = {
        ("type", name): pl.col(name).is_null() & pl.col(f"raw_{name}").is_not_null()
        for name in ("balance", "visits", "joined")
    }
    for name, (low, high) in RANGES.items():
        outside = pl.col(name) < low
        found["range", name] = outside if high is None else outside | (pl.col(name) > high)
    found["categories", "plan"] = pl.col("plan").is_not_null() & ~pl.col("plan").is_in(PLANS)
    found["class", "churned"] = pl.col("churned").is_null() | ~pl.col("churned").is_in(["no", "yes"])
    return {key: broken.fill_null(False) for key, broken in found.items()}


def checked(raw: pl.LazyFrame) -> pl.LazyFrame:
    texts = [pl.col(name).alias(f"raw_{name}") for name in ("balance", "visits", "joined")]
    frame = raw.with_columns(*texts, *TYPED)
    return frame.with_columns(pl.any_horizontal(*rules().values()).alias("bad"))


def rejects_of(bad: pl.DataFrame) -> pl.DataFrame:
    found = []
    for (rule, name), broken in rules().items():
        text = f"raw_{name}" if f"raw_{name}" in bad.columns else name
        found.append(
            bad.filter(broken).select(
                pl.col("row") + 1, pl.lit(name).alias("column"), pl.col(text).cast(pl.String).alias("value"),
                pl.lit(rule).alias("rule"),
            )
        )  # fmt: skip
    return pl.concat(found)


def split_code() -> pl.Expr:
    hashed = pl.col("customer_id").hash(7)
    return (hashed >= 2**64 // 10 * 8).cast(pl.Int8) + (hashed >= 2**64 // 10 * 9).cast(pl.Int8)


def eager(csv: Path, folder: Path) -> dict[str, int]:
    raw = pl.read_csv(csv, schema=SCHEMA, null_values=sorted(MISSING_SPELLINGS), row_index_name="row")
    frame = checked(raw.lazy()).collect()
    bad = frame.filter(pl.col("bad"))
    rejects_of(bad).write_parquet(folder / "rejected.parquet", **WRITTEN)
    good = frame.filter(~pl.col("bad")).select(list(SCHEMA))
    kept = good.unique("customer_id", keep="last", maintain_order=True)
    codes = kept.select(split_code()).to_series()
    for code, split in enumerate(("train", "validation", "test")):
        kept.filter(codes == code).write_parquet(folder / f"{split}.parquet", **WRITTEN)
    for name in list(SCHEMA)[1:]:
        profile(kept[name])
    return {"kept": len(kept), "rejected": len(bad), "duplicates": len(good) - len(kept)}


def streaming(csv: Path, folder: Path) -> dict[str, int]:
    frame = checked(
        pl.scan_csv(csv, schema=SCHEMA, null_values=sorted(MISSING_SPELLINGS), row_index_name="row")
    )
    frame.sink_parquet(folder / "checked.parquet", compression="lz4")
    stored = pl.scan_parquet(folder / "checked.parquet")
    bad = stored.filter(pl.col("bad")).collect(engine="streaming")
    rejects_of(bad).write_parquet(folder / "rejected.parquet", **WRITTEN)
    good = stored.filter(~pl.col("bad")).select("row", *SCHEMA)
    last = good.group_by("customer_id").agg(pl.col("row").max()).select("row").collect(engine="streaming")
    kept = good.join(last.lazy(), on="row", how="semi", maintain_order="left").select(list(SCHEMA))
    kept.with_columns(split_code().alias("split")).sink_parquet(folder / "kept.parquet", compression="lz4")
    written = pl.scan_parquet(folder / "kept.parquet")
    for code, split in enumerate(("train", "validation", "test")):
        written.filter(pl.col("split") == code).drop("split").sink_parquet(
            folder / f"{split}.parquet", **WRITTEN
        )
    for name in list(SCHEMA)[1:]:
        profile(written.select(name).collect(engine="streaming").to_series())
    rows = stored.select(pl.len()).collect().item()
    return {"kept": len(last), "rejected": len(bad), "duplicates": rows - len(bad) - len(last)}


def profile(column: pl.Series) -> dict[str, object]:
    """Numbers by numpy, which sorts faster than polars on one core."""
    missing = column.null_count()
    if column.dtype in (pl.String, pl.Boolean):
        return {"missing": missing, "counts": column.value_counts().rows()}
    if column.dtype == pl.Datetime:
        column = column.dt.epoch("us")
    values = column.drop_nulls().cast(pl.Float64).to_numpy()
    return {"missing": missing, **profile_numbers(values)}


if __name__ == "__main__":
    started = time.perf_counter(), time.process_time()
    work = {"eager": eager, "streaming": streaming}[sys.argv[3]]
    report(started, work(Path(sys.argv[1]), Path(sys.argv[2])))
