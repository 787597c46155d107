"""A churn table as people export it: money, percent, dates, a long id, referrers, comments, an index."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import io
import random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 7_000
REFERRERS = 3_000
TARGET = "churned"
MONEY, PERCENT, DATE = ("monthly_charges", "balance"), "discount", "joined"

_WORDS = (
    "asked",
    "about",
    "the",
    "bill",
    "router",
    "was",
    "slow",
    "again",
    "called",
    "twice",
    "will",
    "leave",
)


def churn_rows(seed: int = 7, rows: int = ROWS) -> list[dict[str, Any]]:
    """Rows of texts as a spreadsheet writes them; the id is a decimal, the index an integer.

    Who pays much, has little discount and came lately leaves more often. Every hundredth discount is ``n/a``.
    """
    draw = random.Random(seed)  # noqa: S311 - no secret
    made = []
    for number in range(rows):
        charges = draw.uniform(20, 2_400)
        balance = draw.randrange(100, 60_000)
        discount = draw.randrange(0, 61) / 2
        days = draw.randrange(0, 3_000)
        referrer = number if number < REFERRERS else draw.randrange(REFERRERS)
        risk = charges / 2_400 + (30 - discount) / 30 + days / 3_000
        made.append(
            {
                "": number,
                "customer_id": decimal.Decimal(10**37 + draw.randrange(10**20)),
                "joined": (dt.date(2016, 1, 1) + dt.timedelta(days=days)).strftime("%d/%m/%Y"),
                "monthly_charges": f"{charges:,.2f}",
                "balance": f"${balance:,}",
                "discount": "n/a" if number % 100 == 99 else f"{discount:.1f}%",
                "plan": draw.choice(("basic", "family", "business")),
                "referrer": f"partner-{referrer}",
                "comment": f"{' '.join(draw.choices(_WORDS, k=30))} ({number})",
                TARGET: "yes" if risk + draw.gauss(0, 0.25) > 1.7 else "no",
            }
        )
    return made


def churn_csv(seed: int = 7, rows: int = ROWS) -> bytes:
    """The table as CSV; the index's name is empty, as pandas writes it."""
    made = churn_rows(seed, rows)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(made[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(made)
    return out.getvalue().encode()


def churn_parquet(seed: int = 7, rows: int = ROWS) -> bytes:
    """The table as Parquet: the id is a decimal128, the index stands last, as pandas writes it."""
    made = churn_rows(seed, rows)
    columns = {name: [row[name] for row in made] for name in (*list(made[0])[1:], "")}
    columns["__index_level_0__"] = columns.pop("")
    table = pa.table(
        {
            name: pa.array(values, pa.decimal128(38, 0) if name == "customer_id" else None)
            for name, values in columns.items()
        }
    )
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()
