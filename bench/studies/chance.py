"""Runs of a study, spread over processes, and what chance leaves of a share of them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

_Z99 = 2.326348


def at_least(goal: float, runs: int) -> float:
    """The share from which on a one-sided binomial test at 1 % doesn't say that the goal is missed."""
    return goal - _Z99 * math.sqrt(goal * (1 - goal) / runs)


def at_most(goal: float, runs: int) -> float:
    """Likewise the largest share that may still be the goal's."""
    return goal + _Z99 * math.sqrt(goal * (1 - goal) / runs)


def processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(min(2, os.cpu_count() or 1))


def shares(pool: ProcessPoolExecutor, count: Callable[..., Any], runs: int, batch: int, *more: Any) -> Any:
    """What ``count(batch of runs, *more)`` counts in all over the number of runs: one share or several."""
    batches = [range(start, min(start + batch, runs)) for start in range(0, runs, batch)]
    waiting = [pool.submit(count, each, *more) for each in batches]
    return np.sum([each.result() for each in waiting], axis=0) / runs
