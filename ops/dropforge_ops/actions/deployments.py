"""Follows deployments: those that an approval starts, in a run or on its own, and rollbacks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from dropforge.domain.records import Live
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.actions.progress_view import ProgressView, cause_message
from dropforge_ops.actions.waiting import Deadline
from dropforge_ops.errors import OperationFailed
from dropforge_ops.stack.progress import Follower

_LISTED = 25


@dataclass
class DeploymentWatch:
    """Waits for one version to go live by whichever deployment execution moves it.

    A deployment's name holds ``v<version>`` between hyphens, whoever starts it. Those that there are
    before the decision are remembered, so that an older one's failure isn't taken for this one's.
    """

    sfn: Any
    machine: str
    version: int
    _known: set[str] = field(default_factory=set)
    _follower: Follower | None = None

    def remember(self) -> None:
        """Call before the decision is made."""
        self._known = {each["executionArn"] for each in self._executions() if each["status"] != "RUNNING"}

    def to_live(self, ledger: LedgerReader, view: ProgressView, poll_s: float, deadline: Deadline) -> Live:
        """Return when the version is live.

        Raises:
            OperationFailed: the deployment failed; what was live before still is.
            TimedOut: the time is up.
        """
        while True:
            if self._follower is None:
                self._find()
            if self._follower is not None:
                view.show(self._follower.look(), self._follower)
            live = ledger.live()
            if live is not None and live.version == self.version:
                return live
            if self._follower is not None and self._follower.status not in ("RUNNING", "SUCCEEDED"):
                raise failure(self._follower, f"The deployment of version {self.version}")
            deadline.pause(poll_s, f"Version {self.version} isn't live yet")

    def _find(self) -> None:
        for each in self._executions():
            if each["executionArn"] not in self._known and _is_of(each["name"], self.version):
                self._follower = Follower(self.sfn, each["executionArn"])
                return

    def _executions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.sfn.list_executions(
            stateMachineArn=self.machine, maxResults=_LISTED
        )["executions"]
        return found


def follow_to_end(
    follower: Follower, view: ProgressView, poll_s: float, deadline: Deadline, what: str
) -> None:
    """Return when the execution has succeeded.

    Raises:
        OperationFailed: it failed.
        TimedOut: the time is up.
    """
    while True:
        view.show(follower.look(), follower)
        if follower.status == "SUCCEEDED":
            return
        if follower.status != "RUNNING":
            raise failure(follower, what)
        deadline.pause(poll_s, f"{what} still goes on")


def failure(follower: Follower, what: str) -> OperationFailed:
    """The error that says how an execution ended."""
    error, cause = follower.failure
    return OperationFailed(
        f"{what} ended as {follower.status}: {error}: {cause_message(cause)} What was live before still "
        f"serves. ({follower.arn})",
        execution_arn=follower.arn,
    )


def _is_of(name: str, version: int) -> bool:
    return re.search(rf"(^|-)v{version}(-|$)", name) is not None
