"""Waits for conditions, each with a bound; and follows a run to where it ends or waits for a person."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dropforge.domain.records import Run, RunStatus
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.actions.progress_view import ProgressView
from dropforge_ops.errors import TimedOut
from dropforge_ops.stack.progress import Follower

# How long an ended execution's record may take to say so, before the execution counts instead.
_SETTLE_S = 10.0


@dataclass
class Deadline:
    """A bound on a wait. ``remedy`` says what to do when it is reached."""

    seconds: float
    remedy: str
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self._end = self.clock() + self.seconds

    def pause(self, seconds: float, what: str) -> None:
        """Sleep until the next look.

        Raises:
            TimedOut: the time is up.
        """
        left = self._end - self.clock()
        if left <= 0:
            raise TimedOut(f"{what} after {self.seconds:g} s. {self.remedy}")
        self.sleep(min(seconds, left))


def until(condition: Callable[[], Any], deadline: Deadline, poll_s: float, what: str) -> Any:
    """Call ``condition`` until it gives something true, and return that.

    Raises:
        TimedOut: it didn't in time; ``what`` says what was still missing.
    """
    while True:
        value = condition()
        if value:
            return value
        deadline.pause(poll_s, what)


@dataclass
class RunWatch:
    """Follows one run and shows its states as they pass."""

    ledger: LedgerReader
    follower: Follower
    view: ProgressView
    run_id: str
    poll_s: float
    deadline: Deadline

    def to_decision_or_end(self) -> Run:
        """Return when the run waits for a person, or has ended."""
        return self._follow(lambda run: run.status is RunStatus.AWAITING_APPROVAL or run.status.is_final)

    def to_end(self) -> Run:
        """Return when the run's record is final: after a deployment, when the new version is live."""
        return self._follow(lambda run: run.status.is_final)

    def execution_to_end(self) -> str:
        """Return Step Functions' status when the execution has ended as well."""
        while True:
            self._look()
            if self.follower.status != "RUNNING":
                return self.follower.status
            self.deadline.pause(self.poll_s, f"The execution of run {self.run_id} still goes on")

    def _follow(self, reached: Callable[[Run], bool]) -> Run:
        ended_at: float | None = None
        while True:
            # The record is read first: what the history then shows is at least as new.
            run = self.ledger.get_run(self.run_id)
            self._look()
            if run is not None and reached(run):
                return run
            if self.follower.status != "RUNNING":
                ended_at = ended_at or self.deadline.clock()
                if run is not None and self.deadline.clock() - ended_at > _SETTLE_S:
                    return run
            status = "not in the ledger" if run is None else run.status.replace("_", " ")
            self.deadline.pause(self.poll_s, f"Run {self.run_id} is still {status}")

    def _look(self) -> None:
        self.view.show(self.follower.look(), self.follower)
