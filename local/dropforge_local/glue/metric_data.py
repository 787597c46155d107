"""CloudWatch's data on this host: written by its services and functions, and looked at by alarms at once."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from dropforge_local.glue.seams import cloudwatch

# CloudWatch keeps data of standard resolution by the minute.
_RESOLUTION_S = 60


class MetricData:
    """Puts data, and tells by ``changed`` that there is some."""

    def __init__(self, cloudwatch: Any) -> None:
        self._cloudwatch = cloudwatch
        self._writing = threading.Lock()
        self.changed = threading.Event()

    def put(
        self,
        namespace: str,
        name: str,
        values: Sequence[float],
        unit: str,
        dimensions: Mapping[str, str],
        at: float | None = None,
    ) -> None:
        """Add values of one metric, observed at the same time.

        Equal values that follow each other within a minute become one point with their count: a busy API
        writes several a request, and every snapshot of the host's state holds them all.

        Args:
            namespace, name, dimensions: what the metric is.
            values: what was observed.
            unit: CloudWatch's name of it.
            at: epoch seconds; None is now.
        """
        moment = time.time() if at is None else at
        with self._writing:
            bucket = self._cloudwatch._metric_bucket(
                (namespace, name, self._cloudwatch._dims_key(dict(dimensions)))
            )
            for value in values:
                last = bucket[-1] if bucket else {}
                if (
                    "Count" in last
                    and (last["Value"], last["Unit"]) == (value, unit)
                    and last["Timestamp"] // _RESOLUTION_S == moment // _RESOLUTION_S
                ):
                    last["Count"] += 1.0
                else:
                    bucket.append(
                        {
                            "Timestamp": moment,
                            "Value": float(value),
                            "Count": 1.0,
                            "Unit": unit,
                            "Dimensions": dict(dimensions),
                        }
                    )
        self.changed.set()

    def put_outside_requests(
        self, namespace: str, name: str, values: Sequence[float], unit: str, dimensions: Mapping[str, str]
    ) -> None:
        """As ``put``, into the host's own account whatever account the calling thread's request has."""
        contextvars.Context().run(self.put, namespace, name, values, unit, dimensions)


def install() -> MetricData:
    """Take over what MiniStack's own services record."""

    data = MetricData(cloudwatch)

    def record_metric(
        namespace: str,
        metric_name: str,
        value: float,
        unit: str = "None",
        dimensions: Mapping[str, str] | None = None,
    ) -> None:
        data.put(namespace, metric_name, [float(value)], unit, dimensions or {})

    cloudwatch.record_metric = record_metric
    return data
