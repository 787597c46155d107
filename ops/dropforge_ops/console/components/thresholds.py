"""How a model of two classes does at any decision threshold: curve, scores by class, and a slider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nicegui import html, ui
from nicegui.events import GenericEventArguments

from dropforge.domain.figures import figure
from dropforge_ops.console.components.charts import SERIES, chart, colour
from dropforge_ops.console.components.curves import confusion_table, line, plane
from dropforge_ops.console.components.text import chip, facts
from dropforge_ops.console.reading.thresholds import OperatingPoints, Point

_MARK: Final = "mark"


class Explorer:
    """The threshold that is looked at, and everything that follows it: the charts' marks and the figures.

    Args:
        found: of the candidate.
        classes: the negative and the positive class.
        costs: of a false positive and a false negative, to begin with.
    """

    def __init__(self, found: OperatingPoints, classes: tuple[str, str], costs: tuple[float, float]) -> None:
        self._found, self._classes, self._costs = found, classes, list(costs)
        self._place = found.likelier if found.own is None else found.own
        self._charts: list[tuple[ui.echart, Any]] = []

    @property
    def _point(self) -> Point:
        return self._found.points[self._place]

    def draw_curve(self, models: Mapping[str, OperatingPoints]) -> None:
        """Precision against recall by model; guessing has the share of positives as its precision."""
        share = self._found.points[0].precision or 0.0
        guessing = line("guessing", [[0, share], [1, share]], colour("ink-2"))
        guessing["lineStyle"] |= {"width": 1, "type": "dashed"}
        curves = [
            line(name, each.curve, SERIES[place % len(SERIES)])
            for place, (name, each) in enumerate(models.items())
        ]
        dot = {
            "type": "scatter",
            "id": _MARK,
            "name": "threshold",
            "symbolSize": 11,
            "data": self._on_curve(),
            "itemStyle": {":color": colour("ink")},
            "z": 5,
        }
        made = chart(
            plane("recall", "precision", [{**guessing, "silent": True}, *curves, dot]),
            label=f"Precision against recall of {', '.join(models)} for class {self._classes[1]!r}",
            height=300,
        )
        self._charts.append((made, self._on_curve))

    def draw_scores(self, scores: Mapping[str, Any]) -> None:
        """How the probabilities of either class's rows are spread, each as shares of its class."""
        series: list[dict[str, Any]] = []
        counted = (scores["negatives"], scores["positives"])
        for name, counts, tint in zip(self._classes, counted, (SERIES[1], SERIES[0]), strict=True):
            shares = [count / max(sum(counts), 1) for count in counts]
            # Each bar from its left end on; the last one needs a right end.
            outline = [list(point) for point in zip(scores["edges"], [*shares, shares[-1]], strict=True)]
            area = {"step": "end", "areaStyle": {":color": tint, "opacity": 0.2}}
            series.append({**line(name, outline, tint), **area})
        across = {**line("threshold", self._across(), colour("ink")), "id": _MARK, "silent": True}
        across["lineStyle"] |= {"width": 1.5, "type": "dashed"}
        made = chart(
            plane(f"probability of {self._classes[1]}", "share of the class", [*series, across]),
            label=f"How probabilities are spread among rows of {self._classes[0]!r} and {self._classes[1]!r}",
            height=300,
        )
        self._charts.append((made, self._across))

    def draw_slider(self) -> None:
        """The slider, the costs to reckon with, and what both come to."""
        last = len(self._found.points) - 1
        slider = html.input_().classes("threshold-slider")
        slider.props(f'type=range min=0 max={last} value={self._place} aria-label="Decision threshold"')
        with html.div().classes("inline"):
            titles = ("A false alarm costs", "A miss costs")
            inputs = [
                ui.number(title, value=cost, min=0).props("outlined dense").classes("field")
                for title, cost in zip(titles, self._costs, strict=True)
            ]
        self._told = html.div().props("aria-live=polite")
        self._tell()

        def reckon() -> None:
            self._costs = [float(each.value or 0) for each in inputs]
            self._tell()

        def move(event: GenericEventArguments) -> None:
            self._place = max(0, min(int(event.args), last))
            self._tell()
            for made, data in self._charts:
                made.run_chart_method("setOption", {"series": [{"id": _MARK, "data": data()}]})

        slider.on("input", move, throttle=0.05, js_handler="(event) => emit(event.target.value)")
        for each in inputs:
            each.on_value_change(reckon)

    def _on_curve(self) -> list[list[float]]:
        point = self._point
        return [] if point.recall is None or point.precision is None else [[point.recall, point.precision]]

    def _across(self) -> list[list[float]]:
        return [[self._point.threshold, 0], [self._point.threshold, 1]]

    def _tell(self) -> None:
        point, (false_positive, false_negative) = self._point, self._costs
        negative, positive = self._classes
        self._told.clear()
        with self._told:
            with html.div().classes("inline"):
                html.span(f"{positive} from {figure(point.threshold)} on").classes("strong")
                if self._place == self._found.own:
                    chip("the model's own", "run")
                elif self._place == self._found.likelier:
                    chip("the likelier class", "mute")
            with html.div().classes("beside"):
                with html.div():
                    counts = [
                        [point.true_negatives, point.false_positives],
                        [point.false_negatives, point.true_positives],
                    ]
                    confusion_table("this threshold", {"labels": [negative, positive], "counts": counts})
                facts(
                    {
                        "precision": figure(point.precision),
                        "recall": figure(point.recall),
                        "called so, per 1,000 rows": figure(
                            1000 * (point.true_positives + point.false_positives) / max(point.rows, 1)
                        ),
                        "cost per 1,000 rows": figure(point.cost_per_1000(false_positive, false_negative)),
                    }
                )
