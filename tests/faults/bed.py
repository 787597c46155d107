"""A deployed stack with a client that calls its endpoint all the time, and what tests do to it."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from dropforge.domain.records import Run
from dropforge_local.host import LocalHost
from dropforge_ops.stack.samples import SAMPLES
from tests.workflow.stack import Stack, other_rows, wait_for

Found = TypeVar("Found")

#: A minute of the state machines' waits and retries is 1.2 s.
WAIT_SCALE = 0.02
SAMPLE = "wine"
PATIENCE_S = 120.0
_PAUSE_S = 0.1
# A grace of 0 hours: after a deployment there is what is live and what it replaced, and nothing else.
_PARAMETERS = {"RetireGraceHours": "0"}


class Caller:
    """A client of the endpoint. Errors count while it is switched on."""

    def __init__(self, stack: Stack, instance: Mapping[str, Any]) -> None:
        self._stack, self._instance = stack, dict(instance)
        self._on, self._end = threading.Event(), threading.Event()
        self.calls = 0
        self.errors: list[str] = []
        self._thread = threading.Thread(target=self._call, daemon=True)
        self._thread.start()

    def _call(self) -> None:
        while not self._end.wait(_PAUSE_S):
            if not self._on.is_set():
                continue
            try:
                self._stack.predict([self._instance])
            except Exception as error:
                if self._on.is_set():
                    self.errors.append(repr(error))
            self.calls += 1

    def start(self) -> None:
        """Call from now on."""
        self._on.set()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Don't count what the endpoint answers within the block: the test itself takes it away."""
        was_on = self._on.is_set()
        self._on.clear()
        try:
            yield
        finally:
            if was_on:
                self._on.set()

    def take_errors(self) -> list[str]:
        """The errors since the last call of this."""
        errors, self.errors = self.errors, []
        return errors

    def close(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join(timeout=30)


@dataclass
class Bed:
    """One stack under test."""

    host: LocalHost
    name: str
    data: Path
    parameters: dict[str, str] = field(default_factory=dict)
    reported: set[str] = field(default_factory=set)
    _drops: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        described = SAMPLES[SAMPLE]
        self.stack = Stack(
            self.host,
            self.name,
            {
                "TargetColumn": described.target,
                "IdColumn": described.key,
                **_PARAMETERS,
                **self.parameters,
            },
            self._template,
        )
        self.instance = self._instance()
        self.caller = Caller(self.stack, self.instance)

    @property
    def _template(self) -> Path:
        return self.host.root / "template.yaml"

    def update(self, **parameters: str) -> None:
        """Change parameters of the stack."""
        self.stack.update(self._template, **parameters)

    def _instance(self) -> dict[str, float]:
        described = SAMPLES[SAMPLE]
        with self.data.open(newline="", encoding="utf-8") as file:
            row = next(csv.DictReader(file))
        return {
            name: float(value) for name, value in row.items() if name not in (described.target, described.key)
        }

    def close(self) -> None:
        """End the client."""
        self.caller.close()

    # --- machines and executions --------------------------------------------------------------------

    def machine(self, kind: str) -> str:
        """The name of the stack's ``training`` or ``deployment`` state machine."""
        return self.machine_arn(kind).rpartition(":")[2]

    def machine_arn(self, kind: str) -> str:
        """Its ARN."""
        return self.stack.outputs[f"{kind.capitalize()}StateMachine"]

    def executions(self, kind: str, **filters: str) -> list[str]:
        """The executions of a state machine, the newest first."""
        pages = self.stack.stepfunctions.get_paginator("list_executions").paginate(
            stateMachineArn=self.machine_arn(kind), **filters
        )
        return [each["executionArn"] for page in pages for each in page["executions"]]

    def started_by(self, kind: str, act: Callable[[], Any]) -> str:
        """The first execution of a state machine that comes after ``act``."""
        before = set(self.executions(kind))
        act()

        def look() -> str | None:
            new = [arn for arn in self.executions(kind) if arn not in before]
            return new[-1] if new else None

        return wait_for(f"execution of {self.machine(kind)}", look, PATIENCE_S)

    def drop(self, content: bytes | None = None) -> str:
        """Drop the sample (or other content) and return the execution that it starts."""
        # The same rows would give the live model once more, which nobody is asked about.
        body = other_rows(self.data.read_bytes(), next(self._drops)) if content is None else content
        return self.started_by("training", lambda: self.stack.drop(body, "wine.csv"))

    def start_deployment(self, version: int | None, reason: str) -> str:
        """Start a deployment, as an operator or the reconciliation does, and return its execution."""
        payload = {"version": version, "reason": reason, "run_id": None, "requested_by": "fault-matrix"}
        started: str = self.stack.stepfunctions.start_execution(
            stateMachineArn=self.machine_arn("deployment"), input=json.dumps(payload)
        )["executionArn"]
        return started

    def run_of(self, execution: str) -> Run | None:
        """The run that the execution opened."""
        for run in self.stack.runs():
            if run.execution_arn == execution:
                return run
        return None

    def wait_for_run(self, execution: str, *statuses: str) -> Run | None:
        """The execution's run once it has one of the statuses; whatever there is once the execution ended."""

        def look() -> tuple[Run | None] | None:
            ended = self.stack.execution(execution)["status"] != "RUNNING"
            run = self.run_of(execution)
            if ended or (run is not None and run.status in statuses):
                return (run,)
            return None

        return wait_for(f"run of {execution} in {statuses}", look, PATIENCE_S)[0]

    def ended(self, execution: str) -> Mapping[str, Any]:
        """The execution's description, once it has ended."""

        def look() -> Mapping[str, Any] | None:
            described = self.stack.execution(execution)
            return described if described["status"] != "RUNNING" else None

        return wait_for(f"end of {execution}", look, PATIENCE_S)

    # --- whole ways -----------------------------------------------------------------------------------

    def train_and_approve(self) -> str:
        """Drop, approve as soon as there is something to approve, and wait for the end."""
        execution = self.drop()
        run = self.wait_for_run(execution, "awaiting_approval")
        if run is not None and not run.status.is_final and run.version is not None:
            self.stack.approve(run.version)
        self.ended(execution)
        return execution

    def go_live(self, versions: int = 1) -> None:
        """Bring versions live, one after the other, and call the endpoint from then on."""
        for _ in range(versions):
            self.ended(self.train_and_approve())
        if self.stack.ledger.live() is None:
            raise AssertionError(f"nothing is live: {self.stack.runs()}")
        self.caller.start()

    def predicts(self) -> bool:
        """Whether the endpoint answers."""
        try:
            return bool(self.stack.predict([self.instance]))
        except Exception:
            return False

    def invoke(self, function: str, **payload: str) -> Any:
        """Invoke a function of the stack; without a payload as its schedule does."""
        return self.stack.invoke(function, **payload)
