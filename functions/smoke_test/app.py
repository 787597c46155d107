"""Compare the endpoint's answers on hold-out rows with those recorded in training.

Example event: ``events/smoke_test.json``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from dropforge import bootstrap
from dropforge.application.deploy import Plan, smoke_test
from dropforge.config import Settings
from dropforge.function import Json, function, logger

# An asynchronous endpoint is asked and looked at; the function has 120 s.
_WAIT_S, _LOOK_S = 100.0, 0.5


class FunctionSettings(Settings):
    data_bucket: str


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Json:
    plan = Plan(**event["plan"])
    rows = smoke_test(
        plan,
        bucket=settings.data_bucket,
        store=bootstrap.object_store(),
        endpoints=bootstrap.endpoints(),
        wait=_wait,
    )
    logger.info("the endpoint answers as trained", version=plan.version, rows=rows)
    return {"rows": rows}


def _wait(look: Callable[[], str | None]) -> str | None:
    deadline = time.monotonic() + _WAIT_S
    while (found := look()) is None and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    return found
