"""A switch that makes tasks of chosen states go wrong, for tests of what the state machines do then.

A rule takes hold where a task has its effect: a call, the submission of a job or of a callback task, the
start of a nested execution. What a job or a nested execution does afterwards is not touched.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.seams import app, lambda_svc, router
from dropforge_local.glue.workflow.run import current_scope

if TYPE_CHECKING:
    from dropforge_local.glue.authorization import Calls
    from dropforge_local.glue.workflow.attempt import Attempt

_TARGET = "DropforgeHost."
#: before: the error in the place of the call. after: the call, and the error in the place of its answer.
#: twice: the call twice, as an at-least-once delivery does; the second answer counts. hang: the call, and
#: no answer until the task's time limit, which is taken as passed at once. hold_before, hold_after: nothing
#: goes on, before or after the call, until the rules are cleared or the host is gone.
KINDS = ("before", "after", "twice", "hang", "hold_before", "hold_after")


class InvalidRule(ValueError):
    """A rule lacks a field or has one that can't be used."""


@dataclass
class Rule:
    """What to do to the tasks of one state, at most ``times`` times; ``reached`` counts how often it was."""

    machine: str
    state: str
    kind: str
    error: str
    cause: str
    times: int
    reached: int = 0
    lifted: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Rule:
        """A rule as ``DropforgeHost.SetFault`` takes it.

        Raises:
            InvalidRule: a field is missing, unknown or malformed.
        """
        known = {"machine", "state", "kind", "error", "cause", "times"}
        if unknown := sorted(set(document) - known):
            raise InvalidRule(f"A rule has the fields {', '.join(sorted(known))}, not {', '.join(unknown)}.")
        for name in ("machine", "state", "kind"):
            if not isinstance(document.get(name), str) or not document[name]:
                raise InvalidRule(f"A rule's {name} is a text that is not empty.")
        kind, times = document["kind"], document.get("times", 1)
        if kind not in KINDS:
            raise InvalidRule(f"A rule's kind is one of {', '.join(KINDS)}, not {kind!r}.")
        if kind in ("before", "after") and not document.get("error"):
            raise InvalidRule(f"A rule of kind {kind!r} names the error that the task ends with.")
        if not isinstance(times, int) or times < 1:
            raise InvalidRule("A rule's times is a whole number of at least 1.")
        return cls(
            document["machine"],
            document["state"],
            kind,
            document.get("error") or "",
            document.get("cause") or "",
            times,
        )

    def to_dict(self) -> dict[str, Any]:
        """The rule and how often it was reached."""
        names = ("machine", "state", "kind", "error", "cause", "times", "reached")
        return {name: getattr(self, name) for name in names}


class TaskFaults:
    """The rules in force. Safe to use from many threads.

    Args:
        error: makes Step Functions' error from a name and a cause.
    """

    def __init__(self, error: Callable[[str, str], Exception]) -> None:
        self._error = error
        self._lock = threading.Lock()
        self._rules: list[Rule] = []

    def set(self, rule: Rule) -> None:
        """Add a rule; a state may have several, which take effect one after the other."""
        with self._lock:
            self._rules.append(rule)

    def clear(self) -> None:
        """Drop every rule; what is held goes on."""
        with self._lock:
            rules, self._rules = self._rules, []
        for rule in rules:
            rule.lifted.set()

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, used up or not."""
        with self._lock:
            return [rule.to_dict() for rule in self._rules]

    def around(self, attempt: Attempt, call: Callable[[], Any]) -> Any:
        """The call's result, or what the attempt's rule makes of it.

        Raises:
            _ExecutionError: the rule's error, or States.Timeout.
        """
        rule = self._take(attempt)
        if rule is None:
            return call()
        if rule.kind == "before":
            raise self._error(rule.error, rule.cause)
        if rule.kind == "hold_before":
            rule.lifted.wait()
            current_scope().check()
            return call()
        result = call()
        if rule.kind == "after":
            raise self._error(rule.error, rule.cause)
        if rule.kind == "twice":
            return call()
        if rule.kind == "hold_after":
            rule.lifted.wait()
            current_scope().check()
            return result
        raise self._error("States.Timeout", f"Task timed out after {attempt.timeout_s} seconds")

    def _take(self, attempt: Attempt) -> Rule | None:
        machine = attempt.execution["stateMachineArn"].rpartition(":")[2]
        with self._lock:
            for rule in self._rules:
                if (rule.machine, rule.state) == (machine, attempt.state) and rule.reached < rule.times:
                    rule.reached += 1
                    return rule
        return None


def limit_of(request: dict[str, Any]) -> int:
    """How many functions the account runs at once, of ``{"AtOnce": n}``.

    Raises:
        InvalidRule: it is no whole number of at least 1.
    """
    at_once = request.get("AtOnce")
    if not isinstance(at_once, int) or isinstance(at_once, bool) or at_once < 1:
        raise InvalidRule(f"AtOnce is a whole number of at least 1, not {at_once!r}.")
    return at_once


def mount(faults: TaskFaults, calls: Calls) -> None:
    """Serve SetFault, LimitFunctions, ClearFaults, ListFaults and ListCalls of ``DropforgeHost``."""

    usual_cap = lambda_svc._ACCOUNT_CONCURRENCY_CAP

    def answer(operation: str, body: bytes) -> tuple[int, dict[str, Any]]:
        try:
            request = json.loads(body or b"{}")
            match operation:
                case "SetFault":
                    faults.set(Rule.from_dict(request))
                case "LimitFunctions":
                    lambda_svc._ACCOUNT_CONCURRENCY_CAP = limit_of(request)
                case "ClearFaults":
                    faults.clear()
                    lambda_svc._ACCOUNT_CONCURRENCY_CAP = usual_cap
                case "ListFaults":
                    return 200, {"Faults": faults.rules()}
                case "ListCalls":
                    return 200, {"Calls": calls.all()}
                case _:
                    raise InvalidRule(f"There is no operation {operation!r}.")
        except ValueError as error:
            return 400, {"__type": "ValidationException", "message": str(error)}
        return 200, {}

    async def handle(
        method: str, path: str, headers: dict[str, str], body: bytes, query_params: dict[str, Any]
    ) -> Any:
        del method, path, query_params
        target = {name.lower(): value for name, value in headers.items()}.get("x-amz-target", "")
        status, document = answer(target.removeprefix(_TARGET), body)
        return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(document).encode()

    router.SERVICE_PATTERNS["dropforge-host"] = {
        "target_prefixes": [_TARGET],
        "host_patterns": [],
        "path_patterns": [],
    }
    app.SERVICE_HANDLERS["dropforge-host"] = handle
