"""Charts of what watching found: a column over time, its distributions, and quality as outcomes arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from nicegui import html

from dropforge.domain.figures import figure
from dropforge_ops.console.components.charts import LEGEND, SERIES, axis, chart, colour
from dropforge_ops.console.reading.drift import ColumnWindow, Quality, Window
from dropforge_ops.console.reading.wording import STATISTICS

_TIME: Final[Mapping[str, Any]] = {"type": "time", "splitNumber": 6}
_GRID: Final = {"left": 52, "right": 16, "top": 32, "bottom": 32}
# Above the border of chance colours are drawn from here, so that what drifted is never taken for quiet.
_FIRST_DRIFTED_TONE: Final = 40.0


def strip(distances: Sequence[float | None], border: float, farthest: float, *, label: str) -> None:
    """A column's distance from chance over time as a strip of tones: grey is quiet, orange has drifted."""
    width = 100 / len(distances)
    tones = [_tone(each, border, farthest) for each in distances]
    stops = ", ".join(
        f"{tone} {position * width:.2f}% {(position + 1) * width:.2f}%" for position, tone in enumerate(tones)
    )
    made = html.div().classes("strip").props("role=img")
    made.props["aria-label"] = label
    made.style(f"background-image: linear-gradient(90deg, {stops})")


def _tone(distance: float | None, border: float, farthest: float) -> str:
    if distance is None:
        return "transparent"
    if distance < border:
        return f"color-mix(in srgb, var(--ink-2) {8 + 20 * distance / border:.0f}%, transparent)"
    beyond = min(1.0, (distance - border) / (farthest - border))
    share = _FIRST_DRIFTED_TONE + (100 - _FIRST_DRIFTED_TONE) * beyond
    return f"color-mix(in srgb, var(--series-2) {share:.0f}%, var(--surface))"


def distance_chart(name: str, series: Sequence[tuple[Window, ColumnWindow]], border: float) -> None:
    """How far from chance a column was in each window; above the border it has drifted."""
    data = [[_ms(window), column.distance] for window, column in series]
    chart(
        {
            "xAxis": axis(**_TIME),
            "yAxis": axis("distance from chance", type="value", min=0, nameGap=34),
            "grid": _GRID,
            "legend": {"show": False},
            "tooltip": _tooltip(1),
            "series": [
                {
                    **_line(name, data, SERIES[0], symbols=len(data) <= 60),
                    "markLine": _mark([{"yAxis": border, "name": "border"}], "drifted above"),
                }
            ],
        },
        label=f"{name}: distance from chance by window; above {border:.2g} it has drifted",
        height=220,
    )


def tests_chart(name: str, series: Sequence[tuple[Window, ColumnWindow]]) -> None:
    """Each deciding test's value as a share of its own threshold; at 1 the test alone would say drifted."""
    lines: dict[str, list[list[float]]] = {}
    for window, column in series:
        for each in column.statistics:
            if each.decides and each.threshold > 0:
                lines.setdefault(each.name, []).append([_ms(window), round(each.value / each.threshold, 4)])
    chart(
        {
            "xAxis": axis(**_TIME),
            "yAxis": axis("value ÷ threshold", type="value", min=0, nameGap=34),
            # The names of the tests take two lines.
            "grid": {**_GRID, "top": 56},
            "tooltip": _tooltip(2),
            "series": [
                {
                    **_line(
                        STATISTICS.get(test, test),
                        points,
                        SERIES[position % len(SERIES)],
                        symbols=len(points) <= 60,
                    ),
                    **({"markLine": _mark([{"yAxis": 1}], "threshold")} if position == 0 else {}),
                }
                for position, (test, points) in enumerate(lines.items())
            ],
        },
        label=f"{name}: each test's value as a share of its threshold, by window",
        height=220,
    )


def distribution_chart(name: str, spread: Mapping[str, Any]) -> None:
    """Shares of the baseline and of the window over the same bars."""
    labels = spread.get("labels")
    shares = {kind: _shares(spread[kind]) for kind in ("baseline", "window")}
    titles = {"baseline": "training", "window": "this window"}
    if labels is not None:
        axes = {
            "xAxis": axis(type="category", data=list(labels), axisTick={"show": False}),
            "yAxis": axis("share of rows", type="value", nameGap=40),
        }
        data: dict[str, list[Any]] = shares
        extra: dict[str, Any] = {"barMaxWidth": 28}
    else:
        edges = spread["edges"]
        middles = [(low + high) / 2 for low, high in pairwise(edges)]
        names = [_bar_name(low, high) for low, high in pairwise(edges)]
        axes = {
            "xAxis": axis(type="category", data=[figure(each, digits=3) for each in middles]),
            "yAxis": axis("share of rows", type="value", nameGap=40),
        }
        data = {
            kind: [{"value": share, "name": bar} for share, bar in zip(shares[kind], names, strict=True)]
            for kind in shares
        }
        extra = {"barCategoryGap": "4%", "barGap": "-100%"}
    chart(
        {
            **axes,
            "grid": {**_GRID, "left": 60, "bottom": 40},
            "tooltip": {"trigger": "axis", ":valueFormatter": "value => (100 * value).toFixed(1) + ' %'"},
            "series": [
                {
                    "type": "bar",
                    "name": titles[kind],
                    "data": data[kind],
                    "itemStyle": {":color": SERIES[position], "opacity": 0.62},
                    **extra,
                }
                for position, kind in enumerate(("baseline", "window"))
            ],
        },
        label=f"{name}: shares of rows in training and in this window",
        height=260,
    )


def quality_chart(series: Sequence[tuple[Window, Quality]]) -> None:
    """The live metric with its interval, beside the hold-out's and the border of what counts as a loss."""
    metric = series[-1][1].metric
    known = [(window, each) for window, each in series if each.live is not None]
    low = [[_ms(window), each.low] for window, each in known]
    width = [[_ms(window), (each.high or 0) - (each.low or 0)] for window, each in known]
    band = {
        "type": "line",
        "stack": "interval",
        "symbol": "none",
        "silent": True,
        "lineStyle": {"opacity": 0},
    }
    chart(
        {
            "xAxis": axis(**_TIME),
            "yAxis": axis(metric, type="value", scale=True, nameGap=40),
            "grid": {**_GRID, "left": 60},
            "legend": {**LEGEND, "data": ["live", "hold-out", "degraded beyond"]},
            "tooltip": _tooltip(3),
            "series": [
                {**band, "name": "low", "data": low, "tooltip": {"show": False}},
                {
                    **band,
                    "name": "interval",
                    "data": width,
                    "areaStyle": {":color": SERIES[0], "opacity": 0.16},
                    "tooltip": {"show": False},
                },
                _line(
                    "live",
                    [[_ms(window), each.live] for window, each in known],
                    SERIES[0],
                    symbols=len(known) <= 60,
                ),
                _flat("hold-out", [[_ms(window), each.holdout] for window, each in known], SERIES[2]),
                _flat(
                    "degraded beyond",
                    [[_ms(window), each.threshold] for window, each in known],
                    colour("bad"),
                ),
            ],
        },
        label=f"Live {metric} by window, beside the hold-out's",
        height=240,
    )


def _bar_name(low: float, high: float) -> str:
    return f"{figure(low, digits=3)} to {figure(high, digits=3)}"


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [round(count / total, 5) if total else 0.0 for count in counts]


def _ms(window: Window) -> float:
    return window.start.timestamp() * 1000


def _line(name: str, data: Sequence[Any], tint: str, *, symbols: bool) -> dict[str, Any]:
    return {
        "type": "line",
        "name": name,
        "data": list(data),
        "showSymbol": symbols,
        "symbolSize": 5,
        "lineStyle": {":color": tint, "width": 2},
        "itemStyle": {":color": tint},
    }


def _flat(name: str, data: Sequence[Any], tint: str) -> dict[str, Any]:
    made = _line(name, data, tint, symbols=False)
    made["lineStyle"] = {":color": tint, "width": 1, "type": "dashed"}
    return made


def _mark(lines: list[dict[str, Any]], text: str) -> dict[str, Any]:
    return {
        "silent": True,
        "symbol": "none",
        "data": lines,
        "lineStyle": {":color": colour("bad"), "type": "dashed"},
        "label": {"formatter": text, "position": "insideEndTop", ":color": colour("bad")},
    }


def _tooltip(digits: int) -> dict[str, Any]:
    return {
        "trigger": "axis",
        ":valueFormatter": f"value => typeof value === 'number' ? value.toFixed({digits}) : '–'",
    }
