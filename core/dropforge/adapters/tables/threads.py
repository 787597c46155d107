"""Runs calls on several cores; their results come in the calls' order, so that threads leave no trace."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def ordered[T](calls: Iterable[Callable[[], T]], workers: int) -> Iterator[T]:
    """Yield the calls' results in order, up to `workers` calls running at once.

    Arrow and numpy let go of the interpreter while they work, so threads do use the cores. No more than
    `workers` calls are taken ahead of what was yielded, which bounds memory. With one worker nothing runs
    beside the caller.
    """
    if workers < 2:
        yield from (call() for call in calls)
        return
    pending: deque[Future[T]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="tables") as pool:
        try:
            for call in calls:
                pending.append(pool.submit(call))
                if len(pending) > workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
