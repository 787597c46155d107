"""One execution in this process: how its threads wait, and how they learn that they shall end."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

# threading waits at most this long (TIMEOUT_MAX); every wait is in a loop.
_LONGEST_WAIT_S = 3600.0


class Ended(Exception):
    """The scope of the waiting thread has ended; whoever waits undoes what it started on others' behalf."""


class TimedOut(Ended):
    """The state machine's ``TimeoutSeconds`` has passed."""


class Suspended(Exception):
    """The host is stopping; the execution goes on after its next start, so nothing is undone or recorded."""


_suspended = threading.Event()
_current: contextvars.ContextVar[Scope] = contextvars.ContextVar("scope")


class Run:
    """What the threads of one execution share.

    ``deadline`` is the epoch time at which the whole execution times out; None for never.
    """

    def __init__(self, deadline: float | None) -> None:
        self.changed = threading.Condition()
        self.deadline = deadline
        self.root = Scope(self, None)

    def notify(self) -> None:
        """Have every waiting thread look again."""
        with self.changed:
            self.changed.notify_all()


class Scope:
    """The execution, or one branch or iteration of it; ending a scope ends the scopes inside."""

    def __init__(self, run: Run, parent: Scope | None) -> None:
        self.run = run
        self._parent = parent
        self._ended = False

    @property
    def is_root(self) -> bool:
        """Whether this is the execution itself, whose progress is recorded state by state."""
        return self._parent is None

    def inner(self) -> Scope:
        """A scope for a branch or an iteration."""
        return Scope(self.run, self)

    def end(self) -> None:
        """Have every thread of this scope raise ``Ended`` at its next check or wait."""
        with self.run.changed:
            self._ended = True
            self.run.changed.notify_all()

    def check(self) -> None:
        """Raise where the scope has ended, the execution has timed out, or the host is stopping."""
        if _suspended.is_set():
            raise Suspended
        scope: Scope | None = self
        while scope is not None:
            if scope._ended:
                raise Ended
            scope = scope._parent
        if self.run.deadline is not None and time.time() >= self.run.deadline:
            raise TimedOut

    def wait(self, condition: Callable[[], bool], until: float | None = None) -> bool:
        """Wait for ``condition`` until an epoch time; returns whether it holds.

        Raises:
            Ended, TimedOut, Suspended: as ``check`` does, at once.
        """
        with self.run.changed:
            while True:
                self.check()
                if condition():
                    return True
                now = time.time()
                if until is not None and now >= until:
                    return False
                limits = [limit - now for limit in (until, self.run.deadline) if limit is not None]
                self.run.changed.wait(min([_LONGEST_WAIT_S, *limits]))

    def enter(self) -> None:
        """Make this the calling context's scope."""
        _current.set(self)


def current_scope() -> Scope:
    """The calling thread's scope."""
    return _current.get()


def sleep_until(moment: float) -> None:
    """Wait for an epoch time; ends early with the scope."""
    current_scope().wait(lambda: False, moment)


class Background:
    """A call in a thread of its own whose end wakes the execution that waits for it."""

    def __init__(self, call: Callable[[], Any], name: str) -> None:
        self.done = False
        self._result: Any = None
        self._error: BaseException | None = None
        run = current_scope().run
        context = contextvars.copy_context()

        def work() -> None:
            try:
                self._result = context.run(call)
            except BaseException as error:  # handed to the waiting thread
                self._error = error
            self.done = True
            run.notify()

        threading.Thread(target=work, name=name, daemon=True).start()

    def result(self) -> Any:
        """What the call returned; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._result


def suspend_all(runs: list[Run]) -> None:
    """Have every waiting thread of these runs raise ``Suspended``."""
    _suspended.set()
    for run in runs:
        run.notify()


def is_suspended() -> bool:
    """Whether the host is stopping."""
    return _suspended.is_set()
