"""What a run does in an account that runs ten functions at once, by the Retry and the limits as they are."""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from tests.contract.state_machine import ROOT, definition

from dropforge_local.template import load_template

PARAMETERS = load_template(ROOT / "template.yaml")["Parameters"]
QUOTA = 10
THROTTLED = "Lambda.TooManyRequestsException"
# Predictions, the watch and the reconciliation run beside a run.
_BESIDE = 2
_CHUNKS = 120
# A function prepares some 60 MB a second of a chunk of 256 MB; slow columns and writing take longer.
_CHUNK_S = (5, 60)


def broken_chunks(at_once: int, retriers: Sequence[Mapping[str, Any]], seed: int) -> int:
    """How many of a large drop's chunks give up because the account was busy all the time.

    A child execution is one of ``at_once`` until its chunk is done; a call above the quota is throttled and
    waits as its retrier says.
    """
    dice = random.Random(seed)  # noqa: S311 - spreads times
    (retrier,) = [each for each in retriers if THROTTLED in each["ErrorEquals"]]
    free, waiting, broken = QUOTA - _BESIDE, _CHUNKS - at_once, 0
    events = [(dice.random(), number, "call", 0) for number in range(min(at_once, _CHUNKS))]
    number = len(events)
    heapq.heapify(events)
    while events:
        now, chunk, kind, attempt = heapq.heappop(events)
        is_over = kind == "done"
        if is_over:
            free += 1
        elif free > 0:
            free -= 1
            heapq.heappush(events, (now + dice.uniform(*_CHUNK_S), chunk, "done", 0))
        elif attempt == retrier["MaxAttempts"]:
            is_over, broken = True, broken + 1
        else:
            delay = retrier["IntervalSeconds"] * retrier["BackoffRate"] ** attempt
            pause = dice.uniform(0, min(delay, retrier["MaxDelaySeconds"]))
            heapq.heappush(events, (now + pause, chunk, "call", attempt + 1))
        if is_over and waiting > 0:
            waiting, number = waiting - 1, number + 1
            heapq.heappush(events, (now, number, "call", 0))
    return broken


@pytest.fixture(scope="module")
def chunk() -> Mapping[str, Any]:
    state: Mapping[str, Any] = definition("training")["States"]["PrepareChunks"]["ItemProcessor"]["States"][
        "PrepareChunk"
    ]
    return state


@pytest.mark.parametrize("at_once", [int(PARAMETERS["ScaleOutConcurrency"]["Default"]), 40])
def test_no_run_fails_because_ten_functions_are_all_that_run(chunk: Mapping[str, Any], at_once: int) -> None:
    assert sum(broken_chunks(at_once, chunk["Retry"], seed) for seed in range(50)) == 0


def test_the_few_retries_of_what_is_broken_would_not_do() -> None:
    retrier = {"ErrorEquals": [THROTTLED], "IntervalSeconds": 1, "BackoffRate": 2}
    few = [{**retrier, "MaxAttempts": 5, "MaxDelaySeconds": 60}]
    assert all(broken_chunks(40, few, seed) for seed in range(50))


def test_by_default_a_run_leaves_half_of_a_new_accounts_functions_to_others() -> None:
    assert int(PARAMETERS["ScaleOutConcurrency"]["Default"]) <= QUOTA // 2


def test_instance_types_by_default_are_of_families_that_newer_regions_have_too() -> None:
    """The m4, c4 and t2 families are in the oldest regions only."""
    defaults = [
        PARAMETERS[name]["Default"]
        for name in ("TrainingInstanceTypes", "BatchInstanceTypes", "EndpointInstanceType")
    ]
    families = {each.split(".")[1] for default in defaults for each in default.split(",")}
    assert families <= {"m5", "c5", "m6i", "c6i", "m7i", "c7i"}
