"""One attempt at a task, as those see it that run it, make it go wrong, or end it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CALLBACK = ".waitForTaskToken"


@dataclass
class Attempt:
    """One attempt at a task.

    ``notes`` is durable for a task of the execution itself: the token, the arguments, what was submitted.
    ``resumed`` is true where an earlier process had begun it. ``until`` is the epoch time of its timeout.
    """

    state: str
    resource: str
    arguments: Any
    execution: dict[str, Any]
    notes: dict[str, Any]
    resumed: bool
    until: float | None
    timeout_s: int | None
    heartbeat_s: float | None
    note: Callable[[], None]

    @property
    def is_callback(self) -> bool:
        """Whether the task ends by its token."""
        return self.resource.endswith(CALLBACK)
