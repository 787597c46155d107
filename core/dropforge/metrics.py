"""CloudWatch metrics by way of the log (embedded metric format): no call, and nothing lost when one fails."""

from __future__ import annotations

from collections.abc import Mapping

from dropforge.importing import without_collection

with without_collection():
    from aws_lambda_powertools.metrics import EphemeralMetrics


def emit(namespace: str, model: str, metrics: Mapping[str, tuple[float, str]]) -> None:
    """Write the metrics (name -> value and CloudWatch's unit) as one log line, by the dimension ``Model``."""
    if not metrics:
        return
    # Without a service the library adds no dimension of its own: alarms must name every dimension there is.
    line = EphemeralMetrics(namespace=namespace, service="")
    line.add_dimension("Model", model)
    for name, (value, unit) in metrics.items():
        line.add_metric(name, unit=unit, value=value)
    line.flush_metrics()
