"""Shows on stderr which states an execution goes through, and how long each takes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.status import Status
from rich.text import Text

from dropforge_ops.render import duration, say
from dropforge_ops.stack.progress import Follower, Visit

# States that are entered again and again while something else is under way.
_POLLS = frozenset(
    {"WaitForEndpoint", "DescribeEndpoint", "WaitForTrainingJob", "WaitForRestore", "DescribeForRestore"}
)


MILESTONES = (
    ("AdmitRun", "PrepareData", "TrainModel", "JudgeModel", "RegisterModel"),
    ("PlanDeployment", "CreateModel", "CreateEndpointConfig", "SmokeTest", "PromoteModel"),
    ("PlanBatch", "TransformBatch", "CollectBatch"),
)
"""Of each machine the states on the way to a good end, in their order."""
_BAR_CELLS = 20


class ProgressView:
    """A line per state that ended; on a terminal also the state that lasts. A context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = console.status("starting") if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, changed: Iterable[Visit], follower: Follower | None = None) -> None:
        """Show what a look found."""
        for visit in changed:
            if visit.left_at is not None and not visit.is_quiet and visit.name not in _POLLS:
                self._line(visit)
        current = follower.current if follower is not None else None
        if follower is not None and current is not None:
            done, total = milestones_passed(follower.all_visits)
            bar = f"{_bar(done, total)} {done}/{total} " if total else ""
            self.say(f"{bar}{current.name} {duration(current.seconds())}")

    def say(self, text: str) -> None:
        """Show what is waited for, where there is a terminal."""
        if self._status is not None:
            self._status.update(Text(text))

    def line(self, text: str) -> None:
        """Say something once."""
        say(self._console, text)

    def _line(self, visit: Visit) -> None:
        failed = f"  {visit.errors} failed attempt(s)" if visit.errors else ""
        name = "  " * (visit.depth + 1) + visit.name
        say(self._console, f"{name:<32} {duration(visit.seconds()):>8}{failed}")


def milestones_passed(visits: Iterable[Visit]) -> tuple[int, int]:
    """How many of the states that lead to the end have passed, and how many there are; 0 of 0 for others.

    A deployment within a run counts from when it starts: until then a person decides whether there is one.
    """
    names, left = set(), set()
    for visit in visits:
        names.add(visit.name)
        if visit.left_at is not None:
            left.add(visit.name)
    expected = [name for way in MILESTONES if way[0] in names for name in way]
    return sum(name in left for name in expected), len(expected)


def _bar(done: int, total: int) -> str:
    filled = _BAR_CELLS * done // total
    return "━" * filled + "─" * (_BAR_CELLS - filled)


def byte_bars(console: Console) -> Progress:
    """Bars for bytes on their way, a task each; shown on a terminal only. A context manager."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def cause_message(cause: str) -> str:
    """The readable part of a cause, which may be a function's or a child execution's JSON."""
    try:
        document = json.loads(cause)
    except ValueError:
        return cause
    if isinstance(document, dict):
        for name in ("errorMessage", "FailureReason"):
            if name in document:
                return str(document[name])
        inner = document.get("Cause")
        if isinstance(inner, str):
            return cause_message(inner)
    return cause
