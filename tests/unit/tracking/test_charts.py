"""Charts for trackers are pictures that any XML parser reads, with every value inside the frame."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.unit.judging.test_diagnostics import multiclass
from tests.unit.judging.test_gate import binary, regression

from dropforge.domain.diagnostics import diagnostics
from dropforge.tracking.charts import charts_of

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = {
    f"<b>&\"'\x00 {'long ' * 20}{number}": {"mean": 0.1 - number, "deviation": 0.01} for number in range(30)
}


@pytest.mark.parametrize(
    ("holdout", "names"),
    [
        (binary(champion_quality=1.0), {"roc", "calibration", "confusion-candidate", "confusion-champion"}),
        (binary(n=24), {"roc", "calibration", "confusion-candidate"}),
        (multiclass(classes=60), {"roc", "calibration", "confusion-candidate"}),
        (regression(), {"calibration", "residuals"}),
    ],
)
def test_each_task_has_its_charts(holdout: Any, names: set[str]) -> None:
    drawn = charts_of(diagnostics(holdout, {"importance": HOSTILE, "metric": "auc"}))
    assert {name.removesuffix(".svg") for name in drawn} >= names | {"importance"}
    for picture in drawn.values():
        root = parsed(picture)
        width, height = float(root.get("width", "")), float(root.get("height", ""))
        for x, y in places_of(root):
            assert -0.1 <= x <= width + 0.1
            assert -0.1 <= y <= height + 0.1


def parsed(picture: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(picture)  # noqa: S314 - our own


def places_of(root: ElementTree.Element) -> list[tuple[float, float]]:
    found = [
        tuple(map(float, pair.split(",")))
        for each in root.iter(f"{SVG}polyline")
        for pair in each.get("points", "").split()
    ]
    found += [(float(each.get("cx", "")), float(each.get("cy", ""))) for each in root.iter(f"{SVG}circle")]
    for each in root.iter(f"{SVG}rect"):
        x, y = float(each.get("x", 0)), float(each.get("y", 0))
        found += [(x, y), (x + float(each.get("width", "")), y + float(each.get("height", "")))]
    return found  # type: ignore[return-value]


def test_a_chart_says_every_name_as_text() -> None:
    drawn = charts_of(diagnostics(binary(), {"importance": HOSTILE, "metric": "auc"}))["importance.svg"]
    texts = [each.text or "" for each in parsed(drawn).iter(f"{SVG}text")]
    assert sum(text.startswith("<b>&\"'") for text in texts) == 20
    assert re.search(r"auc .* \(10 more features\)", texts[0])


def test_nothing_measured_draws_nothing() -> None:
    assert charts_of({"task": "binary", "candidate": None, "champion": None, "importance": None}) == {}
