"""Metrics that AWS's services write by themselves and MiniStack's don't, where alarms look at them.

Executions and functions are counted where they run.
"""

from __future__ import annotations

import contextvars
import threading
import time
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.seams import apigateway_v1, sqs

if TYPE_CHECKING:
    from dropforge_local.glue import Installed
    from dropforge_local.glue.metric_data import MetricData

# AWS looks every minute; a queue here fills and empties sooner.
_QUEUES_EVERY_S = 5.0


def install(data: MetricData, installed: Installed) -> None:
    """Count the requests of REST APIs, and look at the length of queues."""
    _count_requests(data)
    _watch_queues(data, installed)


def _count_requests(data: MetricData) -> None:
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html"""

    handle = apigateway_v1._handle_execute_in_scope

    async def handle_and_count(api_id: str, stage_name: str, *args: Any) -> Any:
        started = time.monotonic()
        status = 500  # what the host answers where handling breaks
        try:
            answer = await handle(api_id, stage_name, *args)
            status = int(answer[0])
        finally:
            if stage_name in apigateway_v1._stages_v1.get(api_id, {}):
                dimensions = {"ApiName": apigateway_v1._rest_apis[api_id]["name"], "Stage": stage_name}
                latency_ms = round((time.monotonic() - started) * 1000)
                data.put("AWS/ApiGateway", "Count", [1], "Count", dimensions)
                data.put("AWS/ApiGateway", "4XXError", [float(400 <= status < 500)], "Count", dimensions)
                data.put("AWS/ApiGateway", "5XXError", [float(status >= 500)], "Count", dimensions)
                data.put("AWS/ApiGateway", "Latency", [latency_ms], "Milliseconds", dimensions)
        return answer

    apigateway_v1._handle_execute_in_scope = handle_and_count


def _watch_queues(data: MetricData, installed: Installed) -> None:
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html"""

    stopping = threading.Event()
    filled: set[str] = set()

    def look() -> None:
        for queue in list(sqs._queues.values()):
            sqs._refresh_counts(queue)
            name, visible = queue["name"], float(queue["attributes"]["ApproximateNumberOfMessages"])
            # As on AWS, queues that nobody uses report nothing.
            if visible or name in filled:
                data.put(
                    "AWS/SQS", "ApproximateNumberOfMessagesVisible", [visible], "Count", {"QueueName": name}
                )
            if visible:
                filled.add(name)
            else:
                filled.discard(name)

    def look_always() -> None:
        while not stopping.wait(_QUEUES_EVERY_S):
            contextvars.Context().run(look)

    thread = threading.Thread(target=look_always, name="dropforge-queues", daemon=True)
    installed.starting.append(thread.start)
    installed.suspending.append(stopping.set)
