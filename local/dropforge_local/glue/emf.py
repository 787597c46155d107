"""Metrics in log lines: CloudWatch's embedded metric format.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.seams import cloudwatch_logs, lambda_svc

if TYPE_CHECKING:
    from dropforge_local.glue.metric_data import MetricData

_log = logging.getLogger("dropforge.emf")

_MAXIMUM_METRICS = 100
_MAXIMUM_DIMENSIONS = 30
_MAXIMUM_VALUES = 100


@dataclass(frozen=True)
class Datum:
    """What one log line tells of one metric with one set of dimensions. ``at`` is in epoch seconds."""

    namespace: str
    name: str
    values: tuple[float, ...]
    unit: str
    dimensions: dict[str, str]
    at: float


class InvalidLine(ValueError):
    """A line is in the format, but breaks the specification: CloudWatch takes none of its metrics."""


def install(data: MetricData) -> None:
    """Read the metrics from what functions log, and from what is put into any log group."""

    emit_logs, put_log_events = lambda_svc._emit_lambda_logs, cloudwatch_logs._put_log_events

    def extract(lines: list[str], group: str) -> None:
        for line in lines:
            try:
                for datum in metrics_of(line):
                    data.put(
                        datum.namespace, datum.name, datum.values, datum.unit, datum.dimensions, datum.at
                    )
            except InvalidLine as error:
                _log.warning("%s: no metrics are taken from a log line: %s", group, error)

    def emit_logs_and_extract(
        func: dict[str, Any], request_id: str, log_text: str, *args: Any, **options: Any
    ) -> None:
        emit_logs(func, request_id, log_text, *args, **options)
        config = func.get("config") or func
        extract(log_text.splitlines(), str(config.get("FunctionName")))

    def put_and_extract(request: dict[str, Any]) -> Any:
        answer = put_log_events(request)
        if answer[0] < 400:
            lines = [event.get("message", "") for event in request.get("logEvents") or []]
            extract(lines, str(request.get("logGroupName")))
        return answer

    lambda_svc._emit_lambda_logs = emit_logs_and_extract
    cloudwatch_logs._put_log_events = put_and_extract


def metrics_of(line: str) -> Iterator[Datum]:
    """The metrics of a log line; none where it is not in the format.

    Raises:
        InvalidLine: it is, and breaks the specification.
    """
    if '"_aws"' not in line or '"CloudWatchMetrics"' not in line:
        return
    try:
        document = json.loads(line)
    except ValueError:
        return
    if not isinstance(document, dict) or not isinstance(document.get("_aws"), dict):
        return
    metadata = document["_aws"]
    if "CloudWatchMetrics" not in metadata:
        return
    at = metadata.get("Timestamp")
    if not _is_number(at):
        raise InvalidLine(f"_aws.Timestamp must be in epoch milliseconds, not {at!r}.")
    found = [
        datum
        for directive in metadata["CloudWatchMetrics"]
        for datum in _read(directive, document, at / 1000)
    ]
    yield from found


def _read(directive: dict[str, Any], document: dict[str, Any], at: float) -> Iterator[Datum]:
    namespace, definitions = directive.get("Namespace"), directive.get("Metrics") or []
    if not isinstance(namespace, str) or not namespace:
        raise InvalidLine("a directive lacks its Namespace.")
    if len(definitions) > _MAXIMUM_METRICS:
        raise InvalidLine(f"{len(definitions)} metrics in a directive; {_MAXIMUM_METRICS} may be.")
    for names in directive.get("Dimensions") or [[]]:
        dimensions = {name: value for name in names if isinstance(value := document.get(name), str) and value}
        if len(names) > _MAXIMUM_DIMENSIONS or len(dimensions) < len(names):
            raise InvalidLine(f"the dimensions {names} must be {_MAXIMUM_DIMENSIONS} texts at most.")
        for definition in definitions:
            name = definition.get("Name")
            given = document.get(name)
            values = given if isinstance(given, list) else [given]
            if len(values) > _MAXIMUM_VALUES or not all(_is_number(value) for value in values):
                raise InvalidLine(f"metric {name!r} must be up to {_MAXIMUM_VALUES} numbers, not {given!r}.")
            yield Datum(
                namespace, name, tuple(map(float, values)), definition.get("Unit", "None"), dimensions, at
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
