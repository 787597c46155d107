"""How values look in text: times, durations, sizes, numbers, metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from dropforge.domain.decision_words import decision_in_words
from dropforge.domain.drop_life import NEVER, DropState, RecordedDrop
from dropforge.domain.figures import UNDEFINED, figure, told_apart
from dropforge.domain.metric_registry import metric_title
from dropforge.domain.moments import from_iso
from dropforge.domain.records import Approval, Run, RunStatus
from dropforge.domain.slice_words import WHAT_HELPS

_STATUS_STYLE = {
    RunStatus.SUCCEEDED: "green",
    RunStatus.REPLAYED: "green",
    RunStatus.FAILED: "bold red",
    RunStatus.AWAITING_APPROVAL: "yellow",
    RunStatus.RUNNING: "cyan",
    RunStatus.DEPLOYING: "cyan",
}
_WHY_CHARACTERS = 90
_APPROVAL_STYLE = {
    Approval.APPROVED: "green",
    Approval.PENDING: "yellow",
    Approval.REJECTED: "red",
}


def duration(seconds: float) -> str:
    """
    >>> duration(0.42), duration(65), duration(3 * 3600 + 120)
    ('0.42 s', '1 min 05 s', '3 h 02 min')
    """
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: int) -> str:
    """
    >>> size(512), size(1536), size(5 * 1024**3)
    ('512 B', '1.5 KiB', '5.0 GiB')
    """
    value, units = float(count), ("B", "KiB", "MiB", "GiB", "TiB")
    for unit in units:
        if value < 1024 or unit == units[-1]:
            break
        value /= 1024
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"


def moment(text: str | None) -> str:
    """A ledger's time in the reader's own time zone; empty for none."""
    return "" if not text else from_iso(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def number(value: Any) -> str:
    """
    >>> number(0.99312345), number(None), number(12), number("a")
    ('0.9931', '–', '12', 'a')
    """
    if value is None:
        return "–"
    return figure(value) if isinstance(value, float) else str(value)


def metric(values: Mapping[str, Any] | None) -> str:
    """
    >>> metric({"name": "auc", "value": 0.9931, "low": 0.98, "high": 1.0})
    'auc 0.9931'
    """
    return "" if not values else f"{title(values)} {number(values.get('value'))}"


def title(values: Mapping[str, Any]) -> str:
    """
    >>> title({"name": "f1", "positive_class": "fraud"}), title({"name": "auc", "positive_class": "fraud"})
    ("f1 of 'fraud'", 'auc')
    """
    return metric_title(str(values.get("name", "metric")), values.get("positive_class"))


def interval(values: Mapping[str, Any] | None, *, signed: bool = False) -> str:
    """
    >>> interval({"value": 0.9931, "low": 0.98, "high": 1.0})
    '0.9931 [0.98, 1]'
    >>> interval({"value": 0.01, "low": -0.002, "high": 0.03}, signed=True)
    '+0.01 [-0.002, +0.03]'
    >>> interval({"value": None, "untold": "no row is 'yes'"})
    "undefined: no row is 'yes'"
    """
    why = (values or {}).get("untold")
    if not values or values.get("value") is None:
        return f"undefined: {why}" if why else "undefined"
    beside = values.get("threshold")
    text, low, high, _ = told_apart(
        values["value"], values.get("low"), values.get("high"), beside, signed=signed
    )
    if UNDEFINED in (low, high):
        return f"{text} (no interval: {why})" if why else text
    return f"{text} [{low}, {high}]"


def judged(content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What a judgement was reached by, as `facts`: the deciding metric beside threshold and live model."""
    values, champion = content.get("metric") or {}, content.get("champion") or {}
    difference = content.get("difference")
    _, threshold = told_apart(values.get("value"), values.get("threshold"))
    return [
        (title(values), interval(values) if values else None),
        ("threshold", threshold if "threshold" in values else None),
        ("live model", interval(champion["metric"]) if champion.get("metric") else None),
        ("difference", interval(difference, signed=True) if difference else None),
        ("hold-out rows", content.get("rows")),
        ("decision", " ".join(decision_in_words(content["decision"])) if "decision" in content else None),
    ]


DISPARITY: Final[Mapping[str, str]] = {
    "demographic_parity_difference": "parity difference",
    "demographic_parity_ratio": "parity ratio",
    "equalized_odds_difference": "odds difference",
    "equalized_odds_ratio": "odds ratio",
}
"""How a judgement's measures of disparity are titled where people read them."""

NO_DISPARITY: Final = "it takes two slices with enough rows"

_SLICE_VERDICTS: Final[Mapping[str | None, str]] = {"cant_say": "can't say", None: ""}


def show_slices(content: Mapping[str, Any], console: Console) -> None:
    """Print how a judgement found the slices of the hold-out, the guarded ones first; nothing without any."""
    slices = content.get("slices") or []
    if not slices:
        return
    name = (content.get("metric") or {}).get("name", "metric")
    rows = [
        [
            f"{each['slice']} = {each['label']}",
            f"{each['rows']:,}",
            interval(each),
            "" if each.get("difference") is None else interval(each["difference"], signed=True),
            _held(each) if each.get("guarded") else "",
        ]
        for each in slices
    ]
    console.print(table(["slice", "rows", name, "gain", "guarded" if content.get("guarded") else ""], rows))
    if any(each.get("untold") or each.get("verdict") == "cant_say" for each in slices):
        say(console, f"About slices without a figure or a verdict: {WHAT_HELPS}")
    for column in (content.get("guarded") or {}).get("columns", ()):
        for model, values in column["disparity"].items():
            if values is not None:
                told = ", ".join(f"{title} {number(values[each])}" for each, title in DISPARITY.items())
                if not any(each is not None for each in values.values()):
                    told = NO_DISPARITY
                say(console, f"disparity by {column['name']}, {model}: {told}")


def _held(entry: Mapping[str, Any]) -> str:
    """What the gate held of a guarded slice. Beside a value that is missing it is told why already."""
    verdict = entry.get("verdict")
    said = _SLICE_VERDICTS.get(verdict, str(verdict))
    has_why = verdict == "cant_say" and entry.get("shortage") and entry.get("value") is not None
    return f"{said}: {entry['shortage']}" if has_why else said


def status(value: RunStatus) -> Text:
    """A run's status in its colour."""
    return Text(value.replace("_", " "), style=_STATUS_STYLE.get(value, ""))


def approval(value: Approval) -> Text:
    """An approval in its colour."""
    return Text(str(value), style=_APPROVAL_STYLE.get(value, ""))


def run_seconds(run: Run, now: datetime | None = None) -> float:
    """How long a run took, or has taken until now."""
    end = from_iso(run.ended_at) if run.ended_at else (now or datetime.now(UTC))
    return max(0.0, (end - from_iso(run.started_at)).total_seconds())


@dataclass(frozen=True)
class FittingTable:
    """A plain table that breaks no word, whatever room it has.

    Where the columns have not enough of it, those that ``spare`` names go, the first of them first, and a
    line says so. If that isn't enough either, each row is a paragraph.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Text]]
    spare: Sequence[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        left_out: list[str] = []
        shown = list(range(len(self.columns)))
        while (widths := self._widths(shown, options.max_width)) is None and len(left_out) < len(self.spare):
            left_out.append(self.spare[len(left_out)])
            shown = [each for each in shown if self.columns[each] not in left_out]
        if widths is None:
            yield from self._paragraphs()
            return
        made = Table(box=None, pad_edge=False, header_style="bold")
        for each, width in zip(shown, widths, strict=True):
            made.add_column(self.columns[each], width=width, overflow="fold")
        for row in self.rows:
            made.add_row(*(row[each] for each in shown))
        yield made
        if left_out:
            yield Text(f"The window is too narrow for: {', '.join(left_out)}.", style="dim")

    def _widths(self, shown: Sequence[int], room: int) -> list[int] | None:
        """How many characters each column gets; None where a word would have to be broken."""
        cells = [[Text(self.columns[each]), *(row[each] for row in self.rows)] for each in shown]
        widest = [max(cell.cell_len for cell in column) for column in cells]
        least = [
            max(len(word) for cell in column for word in (cell.plain.split() or [""])) for column in cells
        ]
        for place, index in enumerate(shown):
            if self.columns[index] in self.spare:
                least[place] = max(least[place], min(widest[place], _READABLE))
        room -= _GAP * len(shown)
        if sum(least) > room:
            return None
        # What is widest is narrowed first, so that short columns stay in a line.
        for most in range(max(widest), 0, -1):
            widths = [max(low, min(high, most)) for low, high in zip(least, widest, strict=True)]
            if sum(widths) <= room:
                return widths
        return least

    def _paragraphs(self) -> Iterator[Table | Text]:
        for row in self.rows:
            made = Table.grid(padding=(0, _GAP, 0, 0))
            made.add_column(style="dim", no_wrap=True)
            made.add_column(overflow="fold")
            for name, cell in zip(self.columns, row, strict=True):
                if cell.plain:
                    made.add_row(name, cell)
            yield made
            yield Text()


_GAP: Final = 2
_READABLE: Final = 20
"""A column that can be spared is left out rather than set narrower than this."""


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], spare: Sequence[str] = ()) -> FittingTable:
    """A plain table; cells are text, never markup. ``spare`` columns are left out where there is no room."""
    cells = [[cell if isinstance(cell, Text) else Text(str(cell)) for cell in row] for row in rows]
    return FittingTable(columns, cells, spare)


def runs_table(runs: Sequence[Run]) -> FittingTable:
    """Runs, a line each."""
    return table(
        ["run", "status", "trigger", "files", "metric", "started", "took", "why"],
        [
            [
                run.run_id,
                status(run.status),
                run.trigger,
                files(run),
                metric(run.metric),
                moment(run.started_at),
                duration(run_seconds(run)),
                why(run),
            ]
            for run in runs
        ],
        spare=("why", "files", "trigger", "took"),
    )


def why(run: Run) -> str:
    """The error or the first reason in a line; empty where nothing is to be said."""
    if run.error:
        text = f"{run.error.get('class')}: {run.error.get('message')}"
    else:
        text = " ".join(str(each.get("message", each)) for each in run.reasons[:1])
    line = " ".join(text.split())
    return line if len(line) <= _WHY_CHARACTERS else f"{line[: _WHY_CHARACTERS - 1]}…"


def files(run: Run) -> str:
    """The names of the objects that a run trains on, the first two of them, and its labelled predictions."""
    names = [key.rsplit("/", 1)[-1] for key in run.keys[:2]]
    more = run.objects - len(names)
    shown = [", ".join(names) + (f" and {more} more" if more > 0 else "")] if names else []
    if run.labelled is not None:
        shown.append(
            f"{run.labelled['rows']:,} labelled predictions"
            if "rows" in run.labelled
            else "labelled predictions"
        )
    return " and ".join(shown)


def what_became(each: RecordedDrop) -> tuple[str, str]:
    """A drop's state, and what there is to say of it; empty for nothing."""
    state = each.state.replace("_", " ")
    match each.state:
        case DropState.WAITING if each.waits_for:
            return state, f"for {each.waits_for.rpartition('/')[2]}, at most until {moment(each.due_at)}"
        case DropState.WAITING if each.due_at == NEVER:
            return state, f"goes along with the next run; {each.run_id} failed"
        case DropState.WAITING if each.failures:
            return state, f"tried again after {moment(each.due_at)}; {each.run_id} failed"
        case DropState.TRAINED:
            return state, f"version {each.version}" if each.version else f"{each.run_id}"
        case DropState.SET_ASIDE:
            reason = each.reason or {}
            return state, f"{reason.get('class')}: {reason.get('message')}"
        case DropState.IN_RUN:
            return state, str(each.run_id)
    return state, ""


def fitted_rows(lineage: Mapping[str, Any]) -> str | None:
    """Of which splits a model's rows were; None for one of a release that fitted the training rows alone.

    >>> fitted_rows({"fitted": {"train": 8000, "validation": 1000}})
    '9,000: 8,000 of train, 1,000 of validation'
    """
    fitted: Mapping[str, int] = lineage.get("fitted") or {}
    if not fitted:
        return None
    return f"{sum(fitted.values()):,}: " + ", ".join(f"{rows:,} of {name}" for name, rows in fitted.items())


_TOLD_APART = ("seed", "champion_sha256", "decision_goal")


def hyperparameters(lineage: Mapping[str, Any]) -> str:
    """What a model was trained with, besides what is told elsewhere.

    >>> hyperparameters({"hyperparameters": {"seed": "7", "metric": "auto", "max_iter": "300"}})
    'max_iter=300, metric=auto'
    """
    given: Mapping[str, str] = lineage.get("hyperparameters") or {}
    shown = {name: value for name, value in sorted(given.items()) if name not in _TOLD_APART}
    return ", ".join(f"{name}={value}" for name, value in shown.items())


def say(console: Console, text: str) -> None:
    """Print text as it is: no markup, and no line broken that a reader may want to copy whole."""
    console.print(text, markup=False, soft_wrap=True)


def facts(console: Console, pairs: Sequence[tuple[str, Any]]) -> None:
    """Print names and values below each other; a value of None or '' is left out."""
    shown = [(name, value) for name, value in pairs if value not in (None, "")]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        line = Text(f"{name:<{width}}  ", style="dim")
        shown_value = value if isinstance(value, Text) else Text(str(value), style="not dim")
        console.print(line + shown_value, soft_wrap=True)
