"""Follows an execution state by state, and the executions that it starts and waits for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

_ENDS = {
    "ExecutionSucceeded": "SUCCEEDED",
    "ExecutionFailed": "FAILED",
    "ExecutionAborted": "ABORTED",
    "ExecutionTimedOut": "TIMED_OUT",
}
_LAST = datetime.max.replace(tzinfo=UTC)
# What decides, passes on or ends takes no time worth a line.
_QUIET = frozenset({"Choice", "Pass", "Succeed", "Fail"})


@dataclass
class Visit:
    """One stay in one state. ``left_at`` is None while it lasts; ``depth`` is 0 for the run's own states."""

    name: str
    kind: str
    depth: int
    entered_at: datetime
    left_at: datetime | None = None
    errors: int = 0

    @property
    def is_quiet(self) -> bool:
        """Whether the state does no work of its own."""
        return self.kind in _QUIET

    def seconds(self, now: datetime | None = None) -> float:
        """How long the stay took, or has taken until now."""
        return ((self.left_at or now or datetime.now(UTC)) - self.entered_at).total_seconds()

    def to_dict(self) -> dict[str, Any]:
        return {
            "state": self.name,
            "kind": self.kind,
            "depth": self.depth,
            "entered_at": self.entered_at.isoformat(),
            "left_at": None if self.left_at is None else self.left_at.isoformat(),
            "seconds": round(self.seconds(), 3),
            "errors": self.errors,
        }


@dataclass
class Follower:
    """What is known of one execution; every `look` reads only what is new.

    ``status`` is Step Functions' own (RUNNING, SUCCEEDED, …).
    """

    sfn: Any
    arn: str
    depth: int = 0
    status: str = "RUNNING"
    visits: list[Visit] = field(default_factory=list)
    children: list[Follower] = field(default_factory=list)
    ended_at: datetime | None = None
    _seen: int = 0
    _described: Mapping[str, Any] | None = None

    def look(self) -> list[Visit]:
        """Read on. Returns the stays that began or ended since the last look, children's included."""
        changed: list[Visit] = []
        if self.status == "RUNNING":
            for event in self._new_events():
                changed += self._apply(event)
        for child in self.children:
            changed += child.look()
        unique = {id(visit): visit for visit in changed}.values()
        return sorted(unique, key=lambda visit: (visit.left_at or _LAST, -visit.depth))

    @property
    def current(self) -> Visit | None:
        """The stay that lasts, in the innermost execution."""
        for child in reversed(self.children):
            inner = child.current
            if inner is not None:
                return inner
        return next((each for each in reversed(self.visits) if each.left_at is None), None)

    @property
    def all_visits(self) -> list[Visit]:
        """Every stay, children's included, in the order of entry."""
        found = [*self.visits, *(visit for child in self.children for visit in child.all_visits)]
        return sorted(found, key=lambda visit: (visit.entered_at, visit.depth))

    @property
    def failure(self) -> tuple[str, str]:
        """Error and cause of an execution that didn't succeed."""
        if self._described is None:
            self._described = self.sfn.describe_execution(executionArn=self.arn)
        return str(self._described.get("error") or self.status), str(self._described.get("cause") or "")

    def _new_events(self) -> list[Mapping[str, Any]]:
        """The events after the last one seen, in order: newest first page by page, until a known one."""
        found: list[Mapping[str, Any]] = []
        for event in self._newest_first(with_data=False):
            if event["id"] <= self._seen:
                break
            found.append(event)
        if found:
            self._seen = found[0]["id"]
        return found[::-1]

    def _newest_first(self, *, with_data: bool) -> Iterator[Mapping[str, Any]]:
        request: dict[str, Any] = {
            "executionArn": self.arn,
            "reverseOrder": True,
            "includeExecutionData": with_data,
            "maxResults": 50,
        }
        while True:
            answer = self.sfn.get_execution_history(**request)
            yield from answer["events"]
            if not answer.get("nextToken"):
                return
            request["nextToken"] = answer["nextToken"]

    def _apply(self, event: Mapping[str, Any]) -> list[Visit]:
        kind: str = event["type"]
        at: datetime = event["timestamp"].astimezone(UTC)
        if kind.endswith("StateEntered"):
            name = event["stateEnteredEventDetails"]["name"]
            visit = Visit(name, kind.removesuffix("StateEntered"), self.depth, at)
            self.visits.append(visit)
            return [visit]
        if kind.endswith("StateExited"):
            return self._leave(event["stateExitedEventDetails"]["name"], at)
        if kind == "TaskSubmitted":
            self._find_child(event["id"])
        elif kind in _ENDS:
            self.status, self.ended_at = _ENDS[kind], at
            # A state that the execution died in has no exit.
            return [
                changed
                for each in self.visits
                if each.left_at is None
                for changed in self._leave(each.name, at)
            ]
        elif kind.endswith(("Failed", "TimedOut")) and self.visits:
            self.visits[-1].errors += 1
        return []

    def _leave(self, name: str, at: datetime) -> list[Visit]:
        for visit in reversed(self.visits):
            if visit.name == name and visit.left_at is None:
                visit.left_at = at
                return [visit]
        return []

    def _find_child(self, event_id: int) -> None:
        """An execution that a state has started and waits for, named in the output of its submission."""
        for event in self._newest_first(with_data=True):
            if event["id"] == event_id:
                output = event.get("taskSubmittedEventDetails", {}).get("output")
                arn = _execution_arn(output)
                if arn is not None:
                    self.children.append(Follower(self.sfn, arn, self.depth + 1))
            if event["id"] <= event_id:
                return


def _execution_arn(output: str | None) -> str | None:
    try:
        document = json.loads(output or "null")
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    # Step Functions' own integration answers in PascalCase, the SDK's in camelCase.
    arn = document.get("ExecutionArn") or document.get("executionArn")
    return arn if isinstance(arn, str) else None


def seconds_by_state(visits: list[Visit]) -> dict[str, float]:
    """Seconds per state in order of first entry; stays in one state add up, quiet states are left out."""
    totals: dict[str, float] = {}
    for visit in visits:
        if not visit.is_quiet:
            totals[visit.name] = totals.get(visit.name, 0.0) + visit.seconds()
    return {name: round(total, 3) for name, total in totals.items()}
