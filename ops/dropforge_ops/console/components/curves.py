"""Charts of how a model errs: ROC, calibration, confusion, residuals, and what it goes by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nicegui import html

from dropforge.domain.diagnostics import unhelpful
from dropforge.domain.figures import figure, percent
from dropforge_ops.console.components.charts import LEGEND, SERIES, axis, chart, colour
from dropforge_ops.console.components.intervals import share_bar
from dropforge_ops.console.reading.wording import signed

# Draws a vertical line from low to high at x, with the series' own colour.
ERROR_BAR: Final = """(params, api) => {
  const top = api.coord([api.value(0), api.value(2)]), bottom = api.coord([api.value(0), api.value(1)]);
  return {type: 'line', shape: {x1: top[0], y1: top[1], x2: bottom[0], y2: bottom[1]},
          style: {stroke: api.visual('color'), lineWidth: 1.5, opacity: 0.55}};
}"""
_SHARE_AXIS: Final = {"type": "value", "min": 0, "max": 1}
_SHOWN_FEATURES: Final = 12
_CELLS: Final = 16


def roc_chart(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """True against false positive rate by model; where there are several classes, the candidate's alone."""
    names = list(curves)
    several = len(curves[names[0]]) > 1
    series = []
    for position, name in enumerate(names[:1] if several else names):
        for number_, curve in enumerate(curves[name]):
            points = zip(curve["false_positive_rate"], curve["true_positive_rate"], strict=True)
            series.append(
                line(
                    str(curve["class"]) if several else name,
                    [list(point) for point in points],
                    SERIES[(number_ if several else position) % len(SERIES)],
                )
            )
    what = (
        "each class against the rest"
        if several
        else f"class {curves[names[0]][0]['class']!r} against the rest"
    )
    options = plane("false positive rate", "true positive rate", [_diagonal("guessing", 0, 1), *series])
    if several:
        options["legend"] = {**LEGEND, "type": "scroll", "left": 0}
    chart(
        options,
        label=f"ROC curves, {what}: {', '.join(str(each['name']) for each in series)}",
        height=300,
    )


def calibration_chart(points: Mapping[str, Sequence[Mapping[str, Any]]], *, is_regression: bool) -> None:
    """What came true against what was predicted, in bins; on the diagonal the model says what is so."""
    everything = [each for model in points.values() for each in model]
    low = min(min(each["predicted"], each["low"]) for each in everything)
    high = max(max(each["predicted"], each["high"]) for each in everything)
    series: list[dict[str, Any]] = [
        _diagonal("perfect", low, high) if is_regression else _diagonal("perfect", 0, 1)
    ]
    for position, (name, model) in enumerate(points.items()):
        tint = SERIES[position % len(SERIES)]
        bars = [[each["predicted"], each["low"], each["high"]] for each in model]
        series.append(
            {
                "type": "custom",
                "name": name,
                ":renderItem": ERROR_BAR,
                "data": bars,
                "itemStyle": {":color": tint},
                "encode": {"x": 0, "y": [1, 2]},
                "silent": True,
                "tooltip": {"show": False},
            }
        )
        seen = line(name, [[each["predicted"], each["observed"]] for each in model], tint)
        series.append({**seen, "showSymbol": True, "symbolSize": 6})
    options = plane("predicted", "came true", series, free=is_regression)
    chart(options, label=f"Calibration of {', '.join(points)} in bins of equal counts", height=300)


def confusion_table(name: str, confusion: Mapping[str, Any]) -> None:
    """Counts, rows being the truth and columns the prediction; the shade is the share of the row."""
    labels, counts = confusion["labels"], confusion["counts"]
    with html.div().classes("table-wrap").props("tabindex=0 role=region") as wrap:
        wrap.props["aria-label"] = f"Confusion of {name}"
        with html.table().classes("confusion"):
            with html.thead(), html.tr():
                html.th("truth", scope="col").classes("dim")
                for label in labels:
                    html.th(str(label), scope="col")
            with html.tbody():
                for label, row in zip(labels, counts, strict=True):
                    total = sum(row)
                    with html.tr():
                        html.th(str(label), scope="row")
                        for place, count in zip(labels, row, strict=True):
                            share = count / total if total else 0.0
                            kind = "right" if place == label else "wrong"
                            cell = html.td().classes(f"cell {kind}")
                            cell.style(f"--share: {share:.3f}")
                            with cell:
                                html.span(f"{count:,}")
                                if len(labels) <= _CELLS:
                                    html.span(percent(share)).classes("cell-share")


def residual_charts(residuals: Mapping[str, Mapping[str, Any]]) -> None:
    """Residuals (truth less prediction) against the prediction, and how they are spread."""
    points = [
        {
            "type": "scatter",
            "name": name,
            "symbolSize": 5,
            "data": each["points"],
            "itemStyle": {":color": SERIES[position], "opacity": 0.55},
        }
        for position, (name, each) in enumerate(residuals.items())
    ]
    zero = {"silent": True, "symbol": "none", "data": [{"yAxis": 0}], "label": {"show": False}}
    zero["lineStyle"] = {":color": colour("ink-2"), "type": "dashed"}
    points[0]["markLine"] = zero
    chart(
        {
            "xAxis": axis("predicted", type="value", scale=True),
            "yAxis": axis("truth − prediction", type="value", nameGap=44),
            "tooltip": {"trigger": "item"},
            "grid": _GRID,
            "series": points,
        },
        label="Residuals against predictions: any shape but a cloud around 0 is something the model missed",
        height=300,
    )
    outlines = [
        {
            "type": "line",
            "name": name,
            # Each bar from its left end on; the last one needs a right end.
            "step": "end",
            "symbol": "none",
            "data": list(zip(each["edges"], [*each["counts"], each["counts"][-1]], strict=True)),
            "lineStyle": {":color": SERIES[position], "width": 1.5},
            "itemStyle": {":color": SERIES[position]},
            "areaStyle": {":color": SERIES[position], "opacity": 0.2},
        }
        for position, (name, each) in enumerate(residuals.items())
    ]
    chart(
        {
            "xAxis": axis("truth − prediction", type="value", scale=True),
            "yAxis": axis("rows", type="value"),
            "grid": _GRID,
            "series": outlines,
        },
        label="How many rows have which residual",
        height=220,
    )
    for name, each in residuals.items():
        html.p(
            f"{name}: off by {signed(each['mean'])} on average, give or take {figure(each['deviation'])}."
        ).classes("dim")


def importance_table(importance: Mapping[str, Any]) -> None:
    """What shuffling each feature costs, the most important first; the long tail is folded."""
    features = importance["features"]
    if not features:
        html.p("The training report names no features.").classes("dim")
        return
    reach = max((each["mean"] for each in features), default=0.0)
    with html.div().classes("bars"):
        for each in features[:_SHOWN_FEATURES]:
            _importance_row(each, reach)
    if len(features) > _SHOWN_FEATURES:
        with html.details():
            html.summary(f"{len(features) - _SHOWN_FEATURES} more")
            with html.div().classes("bars"):
                for each in features[_SHOWN_FEATURES:]:
                    _importance_row(each, reach)

    if useless := unhelpful(importance):
        shown = ", ".join(useless[:_SHOWN_FEATURES])
        more = f" and {len(useless) - _SHOWN_FEATURES} more" if len(useless) > _SHOWN_FEATURES else ""
        html.p(f"Nothing shows that these help: {shown}{more}.").classes("dim")


def _importance_row(feature: Mapping[str, Any], reach: float) -> None:
    learned = feature.get("learned") or ()
    kinds = dict.fromkeys(str(each).partition(":")[0] for each in learned)
    html.span(f"{feature['name']} ({', '.join(kinds)})" if kinds else str(feature["name"])).classes(
        "bars-name"
    )
    share_bar(feature["mean"] / reach if reach > 0 else 0.0)
    html.span(f"{signed(feature['mean'])} ± {figure(feature['deviation'])}").classes("bars-value")


_GRID: Final = {"left": 56, "right": 16, "top": 32, "bottom": 44}


def plane(x: str, y: str, series: list[dict[str, Any]], *, free: bool = False) -> dict[str, Any]:
    """ECharts' options of shares against shares; ``free`` lets the axes go where the values are."""
    bounds: dict[str, Any] = {"type": "value", "scale": True} if free else dict(_SHARE_AXIS)
    return {
        "xAxis": axis(x, **bounds),
        "yAxis": axis(y, nameGap=40, **bounds),
        "tooltip": {
            "trigger": "item",
            ":valueFormatter": "value => typeof value === 'number' ? value.toFixed(3) : value",
        },
        "grid": _GRID,
        "series": series,
    }


def line(name: str, points: list[list[float]], tint: str) -> dict[str, Any]:
    """A series of ECharts: a line through points (x, y) in one of the console's colours."""
    return {
        "type": "line",
        "name": name,
        "showSymbol": False,
        "data": points,
        "lineStyle": {":color": tint, "width": 2},
        "itemStyle": {":color": tint},
    }


def _diagonal(name: str, low: float, high: float) -> dict[str, Any]:
    return {
        "type": "line",
        "name": name,
        "showSymbol": False,
        "silent": True,
        "data": [[low, low], [high, high]],
        "lineStyle": {":color": colour("ink-2"), "width": 1, "type": "dashed"},
        "itemStyle": {":color": colour("ink-2")},
    }
