"""Charts in the console's own colours, in both themes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nicegui import html, ui

# Evaluated by the browser, which knows the theme: see static/console.js.
_INK: Final = "dropforge.colour('--ink-2')"
_LINE: Final = "dropforge.colour('--line')"
SERIES: Final = tuple(f"dropforge.colour('--series-{number}')" for number in range(1, 7))
"""Expressions for ECharts' dynamic properties: ``{":color": SERIES[0]}``."""


LEGEND: Final[Mapping[str, Any]] = {"top": 0, "right": 0, "itemHeight": 8, "textStyle": {":color": _INK}}
"""How series are named; to be added to where a chart has many."""


def colour(name: str) -> str:
    """The expression for one of the theme's colours, such as ``bad``, for a dynamic property."""
    return f"dropforge.colour('--{name}')"


def axis(title: str = "", **settings: Any) -> dict[str, Any]:
    """An axis with its title, quiet lines, and ECharts' own settings on top."""
    return {
        "name": title,
        "nameLocation": "middle",
        "nameGap": 28,
        "nameTextStyle": {":color": _INK},
        "axisLine": {"lineStyle": {":color": _LINE}},
        "axisTick": {"show": False},
        "axisLabel": {":color": _INK, "hideOverlap": True},
        "splitLine": {"lineStyle": {":color": _LINE}},
        **settings,
    }


def chart(options: Mapping[str, Any], *, label: str, height: int = 220) -> ui.echart:
    """Draw ECharts options (https://echarts.apache.org/en/option.html).

    ``label`` says in words what the chart shows, for those who don't see it; ``height`` is in pixels.
    """
    settings: dict[str, Any] = {
        "animation": False,
        ":color": f"[{', '.join(SERIES)}]",
        "textStyle": {":fontFamily": "dropforge.font()", "fontSize": 12},
        "grid": {"left": 48, "right": 16, "top": 28, "bottom": 40},
        "tooltip": {
            "trigger": "axis",
            "confine": True,
            ":backgroundColor": colour("surface"),
            ":borderColor": _LINE,
            "textStyle": {":color": colour("ink"), "fontSize": 12},
        },
        "legend": LEGEND,
        **options,
    }
    with html.div().classes("chart").props("role=img") as frame:
        frame.props["aria-label"] = label
        made = ui.echart(settings, renderer="svg")
        made.style(f"height: {height}px")
    return made
