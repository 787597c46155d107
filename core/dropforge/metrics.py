"""CloudWatch metrics by way of the log: no call, and nothing lost when one fails. Loads no library.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from dropforge.domain.cloudwatch_metrics import Metric


def embedded(namespace: str, dimensions: Mapping[str, str], metrics: Sequence[Metric]) -> dict[str, Any]:
    """Members that make metrics of a line of the log, by all the dimensions together."""
    directive = {
        "Namespace": namespace,
        "Dimensions": [list(dimensions)],
        "Metrics": [{"Name": each.name, "Unit": each.unit} for each in metrics],
    }
    return {
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]},
        **dimensions,
        **{each.name: each.value for each in metrics},
    }


def emit(namespace: str, model: str, metrics: Sequence[Metric]) -> None:
    """Log the metrics as one line, by the dimension ``Model``."""
    if metrics:
        print(json.dumps(embedded(namespace, {"Model": model}, metrics)))
