"""Waiting for what happens in other threads and processes."""

from __future__ import annotations

import time
from collections.abc import Callable


def looked_for[T](
    look: Callable[[], T], within_s: float, *, first_pause_s: float, last_pause_s: float, growth: float = 1.5
) -> T:
    """Return the first truthy answer, or what the last look gave when the time is over.

    Each look takes a processor from what is looked for, so looks become rarer.
    """
    deadline = time.monotonic() + within_s
    pause_s = first_pause_s
    while not (found := look()) and time.monotonic() <= deadline:
        time.sleep(pause_s)
        pause_s = min(last_pause_s, pause_s * growth)
    return found
