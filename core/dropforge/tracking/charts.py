"""Charts of how a model errs, as SVG: trackers show pictures, and functions carry no library that draws."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from dropforge.domain.figures import figure

Json = Mapping[str, Any]
Point = tuple[float, float]

_WIDTH, _HEIGHT = 640, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 20, 56, 56
_INK, _QUIET, _GRID = "#1f2933", "#52606d", "#d9e2ec"
_TINTS: Final = ("#1f6feb", "#c2570c", "#2f855a", "#8e44ad", "#b83280", "#4a5568")
_TICKS = 5
_FEATURES = 20
_NAMED_CELLS = 12
_LONGEST_NAME = 28


def charts_of(diagnostics: Json) -> dict[str, bytes]:
    """Draw what ``diagnostics.json`` has: SVG by file name; nothing where nothing was measured."""
    models = {name: diagnostics[name] for name in ("candidate", "champion") if diagnostics.get(name)}
    importance = diagnostics.get("importance") or {}
    drawn = {
        "roc.svg": _roc(_having(models, "roc")),
        "calibration.svg": _calibration(_having(models, "calibration"), diagnostics.get("task")),
        "residuals.svg": _residuals(_having(models, "residuals")),
        "importance.svg": _importance(importance) if importance.get("features") else None,
        **{
            f"confusion-{name}.svg": _confusion(name, each)
            for name, each in _having(models, "confusion").items()
        },
    }
    return {name: picture.encode() for name, picture in drawn.items() if picture is not None}


def _having(models: Mapping[str, Json], part: str) -> dict[str, Any]:
    return {name: each[part] for name, each in models.items() if each.get(part)}


def _roc(curves: Mapping[str, Sequence[Json]]) -> str | None:
    """True against false positive rate by model; where there are several classes, the candidate's alone."""
    if not curves:
        return None
    first = next(iter(curves))
    several = len(curves[first]) > 1
    plane = _Plane("ROC on the hold-out", "false positive rate", "true positive rate", (0, 1), (0, 1))
    plane.line([(0, 0), (1, 1)], None)
    for name in [first] if several else curves:
        for each in curves[name]:
            points = zip(each["false_positive_rate"], each["true_positive_rate"], strict=True)
            plane.line(list(points), str(each["class"]) if several else name)
    return plane.drawn()


def _calibration(points: Mapping[str, Sequence[Json]], task: object) -> str | None:
    """What came true against what was predicted, in bins; on the diagonal the model says what is so."""
    if not points:
        return None
    ends = (0.0, 1.0)
    if task == "regression":
        seen = [
            each[name] for bins in points.values() for each in bins for name in ("predicted", "low", "high")
        ]
        ends = _widened(min(seen), max(seen))
    plane = _Plane("Calibration on the hold-out", "predicted", "came true", ends, ends)
    plane.line([(ends[0], ends[0]), (ends[1], ends[1])], None)
    for name, bins in points.items():
        plane.line([(each["predicted"], each["observed"]) for each in bins], name, marked=True)
        for each in bins:
            plane.line([(each["predicted"], each["low"]), (each["predicted"], each["high"])], name, thin=True)
    return plane.drawn()


def _residuals(residuals: Mapping[str, Json]) -> str | None:
    """Residuals against the prediction: any shape but a cloud around 0 is something the model missed."""
    points = {name: [(each[0], each[1]) for each in found["points"]] for name, found in residuals.items()}
    everything = [point for each in points.values() for point in each]
    if not everything:
        return None
    across = _widened(*_ends(x for x, _ in everything))
    up = _widened(*_ends([0.0, *(y for _, y in everything)]))
    plane = _Plane("Residuals on the hold-out", "predicted", "truth - prediction", across, up)
    plane.line([(across[0], 0.0), (across[1], 0.0)], None)
    for name, each in points.items():
        plane.dots(each, name)
    return plane.drawn()


def _importance(importance: Json) -> str:
    """What shuffling each feature costs of the metric, the most important first."""
    features = importance["features"][:_FEATURES]
    left, row = 220, 22
    height = _TOP + row * len(features) + 24
    reach = (
        max([each["mean"] + each["deviation"] for each in features if each["mean"] > 0], default=1.0) or 1.0
    )
    scale = (_WIDTH - left - 130) / reach
    parts = []
    for position, each in enumerate(features):
        y = _TOP + row * position
        width = max(0.0, each["mean"]) * scale
        parts.append(_text(left - 8, y + 14, _shortened(each["name"]), anchor="end"))
        parts.append(f'<rect x="{left}" y="{y + 3}" width="{width:.1f}" height="14" fill="{_TINTS[0]}"/>')
        told = f"{figure(each['mean'])} ± {figure(each['deviation'])}"
        parts.append(_text(left + width + 8, y + 14, told, tint=_QUIET))
    more = len(importance["features"]) - len(features)
    title = f"Importance: loss of {importance.get('metric') or 'the metric'} where a feature is shuffled"
    if more > 0:
        title += f" ({more} more features)"
    return _picture(title, parts, height=height)


def _confusion(name: str, confusion: Json) -> str:
    """Counts, rows being the truth and columns the prediction; the shade is the share of the row."""
    labels, counts = confusion["labels"], confusion["counts"]
    left, top, size = 180, _TOP + 72, max(28, min(72, 460 // max(1, len(labels))))
    parts = [
        _text(left + size * len(labels) / 2, _TOP + 4, "predicted", anchor="middle", tint=_QUIET),
        _text(8, top - 8, "truth", tint=_QUIET),
    ]
    for place, (label, row) in enumerate(zip(labels, counts, strict=True)):
        total = sum(row) or 1
        y = top + size * place
        parts.append(_text(left - 8, y + size / 2 + 4, _shortened(label), anchor="end"))
        x = left + size * place + size / 2
        parts.append(_text(x, top - 8, _shortened(label), turned=len(labels) > 3))
        for across, count in enumerate(row):
            tint = _TINTS[2] if across == place else _TINTS[1]
            at = left + size * across
            parts.append(
                f'<rect x="{at}" y="{y}" width="{size - 2}" height="{size - 2}" fill="{tint}" '
                f'fill-opacity="{0.08 + 0.72 * count / total:.3f}"/>'
            )
            if len(labels) <= _NAMED_CELLS:
                parts.append(_text(at + size / 2, y + size / 2 + 4, f"{count:,}", anchor="middle"))
    side = size * len(labels)
    return _picture(
        f"Confusion of the {name} on the hold-out",
        parts,
        width=max(_WIDTH, left + side + 40),
        height=top + side + 20,
    )


@dataclass
class _Plane:
    """A plane with axes from the ends of what it shows; names of series stand above it."""

    title: str
    x_title: str
    y_title: str
    x_ends: tuple[float, float]
    y_ends: tuple[float, float]
    _names: list[str] = field(default_factory=list)
    _parts: list[str] = field(default_factory=list)

    def line(
        self, points: Sequence[Point], name: str | None, *, marked: bool = False, thin: bool = False
    ) -> None:
        """Draw a line; without a name it is one to compare with."""
        tint = _QUIET if name is None else self._tint(name)
        look = 'stroke-width="1" stroke-dasharray="4 4"' if name is None else 'stroke-width="2"'
        if thin:
            look = 'stroke-width="1.5" stroke-opacity="0.5"'
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self._place, points))
        self._parts.append(f'<polyline points="{path}" fill="none" stroke="{tint}" {look}/>')
        if marked:
            self.dots(points, name or "", size=4)

    def dots(self, points: Iterable[Point], name: str, size: float = 2.5) -> None:
        tint = self._tint(name)
        self._parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="{tint}" fill-opacity="0.7"/>'
            for x, y in map(self._place, points)
        ]

    def drawn(self) -> str:
        return _picture(self.title, [*self._frame(), *self._legend(), *self._parts])

    def _tint(self, name: str) -> str:
        if name not in self._names:
            self._names.append(name)
        return _TINTS[self._names.index(name) % len(_TINTS)]

    def _place(self, point: Point) -> Point:
        across = (point[0] - self.x_ends[0]) / (self.x_ends[1] - self.x_ends[0])
        up = (point[1] - self.y_ends[0]) / (self.y_ends[1] - self.y_ends[0])
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    def _frame(self) -> Iterator[str]:
        for part in range(_TICKS + 1):
            x = self.x_ends[0] + (self.x_ends[1] - self.x_ends[0]) * part / _TICKS
            y = self.y_ends[0] + (self.y_ends[1] - self.y_ends[0]) * part / _TICKS
            at_x, at_y = self._place((x, y))
            lines = f"M{at_x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}M{_LEFT} {at_y:.1f}H{_WIDTH - _RIGHT}"
            yield f'<path d="{lines}" stroke="{_GRID}"/>'
            yield _text(at_x, _HEIGHT - _BOTTOM + 18, figure(x), anchor="middle", tint=_QUIET)
            yield _text(_LEFT - 8, at_y + 4, figure(y), anchor="end", tint=_QUIET)
        yield _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, self.x_title, anchor="middle", tint=_QUIET)
        yield _text(8, _TOP - 10, self.y_title, tint=_QUIET)

    def _legend(self) -> Iterator[str]:
        """Names beside each other above the plane; where they are many, one below the other in it."""
        shown = [(self._tint(name), _shortened(name)) for name in self._names]
        widths = [7 * len(text) + 26 for _, text in shown]
        fits = sum(widths) < _WIDTH - _LEFT - _RIGHT - 120
        for place, (tint, text) in enumerate(shown):
            if fits:
                x, y = _WIDTH - _RIGHT - sum(widths[place:]), _TOP - 20
            else:
                x = _WIDTH - _RIGHT - max(widths)
                y = _HEIGHT - _BOTTOM - 18 * (len(shown) - place) - 4
            yield f'<rect x="{x}" y="{y}" width="12" height="12" fill="{tint}"/>'
            yield _text(x + 17, y + 10, text)


def _picture(title: str, parts: Iterable[str], width: int = _WIDTH, height: int = _HEIGHT) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" role="img" '
            f"aria-label={quoteattr(title)}>",
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            f'<text x="8" y="22" font-size="15" font-weight="bold" fill="{_INK}">{escape(title)}</text>',
            *parts,
            "</svg>\n",
        ]
    )


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", tint: str = _INK, turned: bool = False
) -> str:
    turn = f' transform="rotate(-40 {x:.1f} {y:.1f})"' if turned else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{tint}"{turn}>{escape(text)}</text>'


def _shortened(name: Any) -> str:
    """A name without what XML can't hold, cut to what fits."""
    text = "".join(each if each.isprintable() else " " for each in str(name))
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…"


def _ends(values: Iterable[float]) -> tuple[float, float]:
    found = list(values)
    return min(found), max(found)


def _widened(low: float, high: float) -> tuple[float, float]:
    """Ends with some room; a single value gets a span of its own."""
    room = (high - low) * 0.04 or max(1.0, abs(low)) * 0.5
    return low - room, high + room
