"""How hyperparameters were searched: trials over time, how each went fold by fold, and what mattered."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final

from nicegui import html

from dropforge.domain.figures import figure, percent
from dropforge_ops.console.components.charts import LEGEND, SERIES, chart, colour
from dropforge_ops.console.components.curves import line, plane
from dropforge_ops.console.components.intervals import share_bar

_SHOWN_CURVES: Final = 200
_STOPPED: Final = {
    "trials": "",
    "minutes": " TuningMinutes ended the search.",
    "nothing to search": " Everything that could be searched is set by hand.",
}


def draw_tuning(tuning: Mapping[str, Any]) -> None:
    """Draw the entry ``tuning`` of ``diagnostics.json``."""
    html.p(told(tuning)).classes("dim")
    whole = [each for each in tuning["trials"] if each["value"] is not None]
    if not whole:
        return
    complete = [[each["number"], each["value"]] for each in whole if each["state"] == "complete"]
    pruned = [[each["number"], each["value"]] for each in whole if each["state"] == "pruned"]
    metric = tuning["metric"]
    points = [("trials", complete, SERIES[0]), ("dropped early", pruned, colour("ink-2"))]
    series: list[dict[str, Any]] = [
        {"type": "scatter", "name": name, "data": data, "symbolSize": 6, "itemStyle": {":color": tint}}
        for name, data, tint in points
        if data
    ]
    series.append({**line("best so far", _best_so_far(tuning, complete), SERIES[1]), "step": "end"})
    if tuning["default"] is not None:
        before = line(
            "before", [[0, tuning["default"]], [whole[-1]["number"], tuning["default"]]], colour("ink-2")
        )
        before["lineStyle"] |= {"width": 1, "type": "dashed"}
        series.append(before)
    chart(
        {**_counted("trial", metric, series), "legend": LEGEND},
        label=f"{metric} of each trial, in their order, the best so far, and before the search",
        height=220,
    )
    curves = []
    for each in whole[:_SHOWN_CURVES]:
        is_best = each["number"] == tuning["best"]
        curve = line(f"trial {each['number']}", _curve(each), SERIES[1] if is_best else colour("ink-2"))
        curve["lineStyle"] |= {"opacity": 1 if is_best else 0.4}
        curves.append(curve)
    chart(
        {**_counted("folds measured", f"{metric} so far", curves), "legend": {"show": False}},
        label=f"{metric} of each trial after each fold; those behind the median are dropped",
        height=220,
    )
    shares = tuning["importance"]
    if shares:
        html.h3("What mattered to the search")
        reach = max(shares.values())
        with html.div().classes("bars"):
            for name, share in sorted(shares.items(), key=lambda each: -each[1]):
                html.span(name).classes("bars-name")
                share_bar(share / reach if reach > 0 else 0.0)
                html.span(percent(share)).classes("bars-value")


def told(tuning: Mapping[str, Any]) -> str:
    """Say in words what the search came to."""
    done, asked, metric = tuning["done"], tuning["asked"], tuning["metric"]
    before = "undefined" if tuning["default"] is None else figure(tuning["default"])
    text = f"{done} of {asked} trials.{_STOPPED.get(tuning['stopped_by'], '')} {metric} was {before} before"
    best = next((each for each in tuning["trials"] if each["number"] == tuning["best"]), None)
    if best is None:
        return f"{text}, and no trial is better."
    chosen = ", ".join(f"{name}={_value(value)}" for name, value in sorted(tuning["parameters"].items()))
    return f"{text}, and is {figure(best['value'])} in trial {best['number']}: {chosen}."


def _counted(x: str, y: str, series: list[dict[str, Any]]) -> dict[str, Any]:
    """A plane whose x counts, so that no half trial or fold is written at it."""
    options = plane(x, y, series, free=True)
    options["xAxis"]["minInterval"] = 1
    return options


def _best_so_far(tuning: Mapping[str, Any], complete: list[list[float]]) -> list[list[float]]:
    better = max if tuning["greater_is_better"] else min
    values = accumulate((value for _, value in complete), better)
    return [[number, best] for (number, _), best in zip(complete, values, strict=True)]


def _curve(trial: Mapping[str, Any]) -> list[list[float]]:
    folds = [each for each in trial["folds"] if each is not None]
    return [[count, total / count] for count, total in enumerate(accumulate(folds), 1)]


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
