"""Seattle's temperature of 2010, hour by hour, as the package vega-datasets ships it.

A row of a forecast must hold what is known when it is asked for: here the hours before.
"""

from __future__ import annotations

import csv

from examples.places import as_csv, shipped

LAGS = (1, 2, 3, 24, 25, 48, 168)
"""Hours back: the last ones, the same hour of yesterday, of the day before and of a week ago."""


def table() -> str:
    """A row for each hour that has a week before it: the temperature (°F) to forecast, and those before."""
    with shipped("vega_datasets/_data/seattle-temps.csv").open(newline="", encoding="utf-8") as file:
        hours = [
            (row["date"].replace("/", "-").replace(" ", "T"), float(row["temp"]))
            for row in csv.DictReader(file)
        ]
    temperatures = [temperature for _, temperature in hours]
    rows = [
        (at, *(temperatures[place - lag] for lag in LAGS), temperatures[place])
        for place, (at, _) in enumerate(hours)
        if place >= max(LAGS)
    ]
    return as_csv(("time", *(f"hours_ago_{lag}" for lag in LAGS), "temperature"), rows)
