"""Compare the endpoint's answers on hold-out rows with those recorded in training.

Example event: ``events/smoke_test.json``.
"""

from __future__ import annotations

from dropforge import bootstrap
from dropforge.application.deploy import Plan, smoke_test
from dropforge.config import Settings
from dropforge.function import Json, function, logger


@function(Settings)
def handler(event: Json, _: Settings) -> Json:
    plan = Plan(**event["plan"])
    rows = smoke_test(
        endpoint_name=plan.endpoint_name,
        smoke_uri=plan.smoke_uri,
        store=bootstrap.object_store(),
        endpoints=bootstrap.endpoints(),
    )
    logger.info("the endpoint answers as trained", version=plan.version, rows=rows)
    return {"rows": rows}
