"""The metric over versions, with intervals, and the live one marked."""

from __future__ import annotations

from typing import Any, Final

from nicegui import html

from dropforge.domain.figures import told_apart
from dropforge_ops.console.components.charts import SERIES, axis, chart, colour
from dropforge_ops.console.components.curves import ERROR_BAR
from dropforge_ops.console.reading.history import History

_TOOLTIP: Final = """found => {
  const [version, value, low, high, approval] = found.data.shown;
  return `Version ${version}, ${approval}<br>${value}${low ? ` (${low} to ${high})` : ''}`;
}"""


def history_chart(found: History) -> None:
    """A line over the versions; nothing in it is a comparison on the same rows, which the caption says."""
    names = [f"v{each.version}" for each in found.points]
    tint = SERIES[0]
    measured = [
        {"value": [place, each.span.value], "shown": _shown(found, place)}
        for place, each in enumerate(found.points)
    ]
    bars = [
        [place, each.span.low, each.span.high]
        for place, each in enumerate(found.points)
        if each.span.low is not None and each.span.high is not None
    ]
    series: list[dict[str, Any]] = [
        {
            "type": "custom",
            "name": "95 % interval",
            ":renderItem": ERROR_BAR,
            "data": bars,
            "itemStyle": {":color": tint},
            "encode": {"x": 0, "y": [1, 2]},
            "silent": True,
            "tooltip": {"show": False},
        },
        {
            "type": "line",
            "name": found.title,
            "data": measured,
            "symbolSize": 6,
            "lineStyle": {":color": tint, "width": 1.5},
            "itemStyle": {":color": tint},
        },
    ]
    if found.threshold is not None:
        series[1]["markLine"] = {
            "silent": True,
            "symbol": "none",
            "data": [{"yAxis": found.threshold}],
            "label": {
                "show": True,
                "formatter": "threshold",
                "position": "insideStartTop",
                ":color": colour("ink-2"),
            },
            "lineStyle": {":color": colour("ink-2"), "type": "dashed"},
        }
    series += [
        {
            "type": "scatter",
            "name": "live",
            "data": [measured[place]],
            "symbolSize": 13,
            "itemStyle": {":color": colour("ok")},
            "label": {
                "show": True,
                "formatter": "live",
                "position": "top",
                ":color": colour("ok"),
                "fontWeight": 600,
            },
        }
        for place, each in enumerate(found.points)
        if each.version == found.live
    ]
    chart(
        {
            "xAxis": axis(data=names, boundaryGap=True),
            "yAxis": axis(found.title, type="value", scale=True, nameGap=44),
            "grid": {"left": 64, "right": 16, "top": 32, "bottom": 28},
            "tooltip": {"trigger": "item", ":formatter": _TOOLTIP},
            "series": series,
        },
        label=found.in_words,
        height=220,
    )
    html.p(f"Each version on the hold-out of its own run. {found.note}".strip()).classes("dim")


def _shown(found: History, place: int) -> list[str]:
    """The texts of a point's tooltip."""
    each = found.points[place]
    value, low, high = told_apart(each.span.value, each.span.low, each.span.high)
    return [str(each.version), value, "" if each.span.low is None else low, high, each.approval]
