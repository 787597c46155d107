"""A CSV of twelve mixed columns, the same bytes for the same seed, and the contract it is held to.

Some cells are missing; some break their column's type, range or categories; some keys come twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dropforge.domain.contract import Column, Contract

BLOCK_ROWS = 100_000
MISSING, BROKEN, REPEATED = 0.02, 0.0002, 0.01
"""Shares of cells without a value, of cells that break a rule, and of rows whose key stands further up."""

BROKEN_VALUES = {
    **{"age": "200", "score": "1.5", "latitude": "-91.25"},
    **{"balance": "n.a.", "visits": "often", "joined": "yesterday", "plan": "gold", "churned": "maybe"},
}
"""Out of range, of another type, not among the categories, no class."""

CITIES = tuple(f"city {number:03d}" if number % 10 else f"city {number:03d}, upper" for number in range(200))
"""One in ten holds a comma, so that its fields are quoted."""
PLANS = ("basic", "plus", "pro", "team", "enterprise")
CLASSES = ("no", "yes")

CONTRACT = Contract(
    "churned",
    "customer_id",
    "binary",
    CLASSES,
    (
        Column("customer_id", "integer", "key"),
        Column("age", "integer", nullable=True, minimum=0, maximum=120),
        Column("balance", "number", nullable=True),
        Column("score", "number", nullable=True, minimum=0.0, maximum=1.0),
        Column("visits", "integer", nullable=True, minimum=0),
        Column("latitude", "number", nullable=True, minimum=-90.0, maximum=90.0),
        Column("longitude", "number", nullable=True, minimum=-180.0, maximum=180.0),
        Column("plan", "category", nullable=True, categories=PLANS),
        Column("city", "category", nullable=True),
        Column("active", "boolean", nullable=True),
        Column("joined", "timestamp", nullable=True),
        Column("churned", "category", "target"),
    ),
)


def write_csv(path: Path, size_bytes: int, seed: int = 1) -> int:
    """Write at least `size_bytes`; returns the number of rows."""
    rows = 0
    with path.open("wb") as file:
        file.write(",".join(column.name for column in CONTRACT.columns).encode() + b"\n")
        while file.tell() < size_bytes:
            file.write(_lines(np.random.default_rng([seed, rows]), rows))
            rows += BLOCK_ROWS
    return rows


def _lines(rng: np.random.Generator, start: int) -> bytes:
    n = BLOCK_ROWS
    key = np.arange(start, start + n)
    repeated = rng.random(n) < REPEATED
    key[repeated] = rng.integers(0, start + n, repeated.sum())
    texts = {
        "customer_id": _text(key),
        "age": _text(rng.integers(18, 95, n)),
        "balance": _text(np.round(rng.lognormal(7, 1.2, n), 2)),
        "score": _text(np.round(rng.random(n), 6)),
        "visits": _text(rng.poisson(12, n)),
        "latitude": _text(np.round(rng.normal(48, 4, n), 5)),
        "longitude": _text(np.round(rng.normal(9, 6, n), 5)),
        "plan": _chosen(rng, PLANS, n),
        "city": _chosen(rng, [f'"{city}"' if "," in city else city for city in CITIES], n),
        "active": _chosen(rng, ("true", "false"), n),
        "joined": _moments(rng.integers(1_500_000_000, 1_700_000_000, n)),
        "churned": _chosen(rng, CLASSES, n),
    }
    arrays = []
    for name, values in texts.items():
        kept = values
        if CONTRACT.column(name).nullable:
            kept = pc.if_else(pa.array(rng.random(n) < MISSING), "", kept)
        if name in BROKEN_VALUES:
            kept = pc.if_else(pa.array(rng.random(n) < BROKEN), BROKEN_VALUES[name], kept)
        arrays.append(kept)
    arrays[-1] = pc.binary_join_element_wise(arrays[-1], "", "\n")
    return bytes(pc.binary_join_element_wise(*arrays, ",").buffers()[2])


def _text(values: np.ndarray) -> pa.Array:
    return pa.array(values).cast(pa.string())


def _chosen(rng: np.random.Generator, values: Sequence[str], rows: int) -> pa.Array:
    return pa.array(list(values)).take(pa.array(rng.integers(0, len(values), rows)))


def _moments(seconds: np.ndarray) -> pa.Array:
    return pc.strftime(pa.array(seconds, pa.timestamp("s")), format="%Y-%m-%dT%H:%M:%S")
