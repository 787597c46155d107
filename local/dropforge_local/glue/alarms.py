"""Metric alarms as CloudWatch evaluates them, and their changes told to EventBridge.

MiniStack evaluates when data is put through its API, over every dimension and all periods at once, without
regard to missing data, knows no metric math, and tells only SNS of a change.
"""

from __future__ import annotations

import contextvars
import json
import logging
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.alarm_rules import Finding, aws_time, considered, evaluate, has_enough_samples
from dropforge_local.glue.metric_math import Series, UnsupportedExpression, add_up, summands
from dropforge_local.glue.sagemaker_mount import emit_aws_event
from dropforge_local.glue.seams import cloudwatch, provisioners

if TYPE_CHECKING:
    from dropforge_local.glue import Installed
    from dropforge_local.glue.metric_data import MetricData

_log = logging.getLogger("dropforge.alarms")

# New data is evaluated after a moment, a burst of it once; what passing time alone changes, later.
_GATHER_S = 0.2
_EVALUATE_EVERY_S = 5.0
# What MiniStack does not keep of PutMetricAlarm's request.
_LEFT_OUT = ("Metrics", "EvaluateLowSampleCountPercentile")
# Of the alarms with metric math, whose metrics have these themselves.
_SINGLE_METRIC = ("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Period", "Dimensions", "Unit")


def install(data: MetricData, installed: Installed) -> None:
    """Evaluate as AWS does; emit ``CloudWatch Alarm State Change`` whether or not actions are enabled."""

    alarms = _Alarms(cloudwatch)
    put_metric_alarm, set_alarm_state = cloudwatch._put_metric_alarm, cloudwatch._set_alarm_state
    template_alarm = provisioners._cw_metric_alarm_record

    def put_whole_alarm(params: Any, cbor_data: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
        try:
            kept = _kept(cbor_data)
        except UnsupportedExpression as error:
            return cloudwatch._error("ValidationError", str(error), 400, use_json=is_json, use_cbor=is_cbor)
        with alarms.changing:
            answer = put_metric_alarm(params, cbor_data, is_cbor, is_json)
            if answer[0] < 400 and kept:
                _complete(cloudwatch._alarms[cbor_data["AlarmName"]], kept)
        data.changed.set()
        return answer

    def whole_template_alarm(name: str, props: dict[str, Any]) -> dict[str, Any]:
        kept = _kept(props)
        if "Metrics" not in kept:
            return {**template_alarm(name, props), **kept}
        plain = {key: value for key, value in props.items() if key != "Metrics"}
        alarm: dict[str, Any] = template_alarm(name, {**plain, "MetricName": "-", "Namespace": "-"})
        _complete(alarm, kept)
        return alarm

    def set_state(params: Any, cbor_data: Any, is_cbor: bool, is_json: bool = False) -> Any:
        with alarms.changing:
            name = cbor_data.get("AlarmName") or cloudwatch._p(params, "AlarmName")
            if (alarm := cloudwatch._alarms.get(name)) is not None:
                alarm.pop("StateReasonData", None)  # of the state that is over
            return set_alarm_state(params, cbor_data, is_cbor, is_json)

    cloudwatch._dispatch_alarm_actions = alarms.dispatch
    cloudwatch._evaluate_alarm = alarms.evaluate
    cloudwatch._put_metric_alarm = put_whole_alarm
    cloudwatch._set_alarm_state = set_state
    provisioners._cw_metric_alarm_record = whole_template_alarm
    thread = threading.Thread(target=alarms.watch, args=(data,), name="dropforge-alarms", daemon=True)
    installed.starting.append(thread.start)
    installed.suspending.append(alarms.stopping.set)


def _kept(request: dict[str, Any]) -> dict[str, Any]:
    """What an alarm keeps of a request or of a template's properties beside what MiniStack keeps."""
    kept = {name: request[name] for name in _LEFT_OUT if request.get(name)}
    queries = {query["Id"]: query for query in kept.get("Metrics", []) if "Expression" not in query}
    for query in kept.get("Metrics", []):
        if "Expression" in query:
            summands(query["Expression"], queries)
    return kept


def _complete(alarm: dict[str, Any], kept: dict[str, Any]) -> None:
    if "Metrics" in kept:
        for name in _SINGLE_METRIC:
            alarm.pop(name, None)
    alarm.update(kept)


class _Alarms:
    """Evaluates alarms one at a time, and tells of their changes."""

    def __init__(self, cloudwatch: Any) -> None:
        self._cloudwatch = cloudwatch
        self._act = cloudwatch._dispatch_alarm_actions
        self._last: dict[str, dict[str, Any]] = {}
        # Whoever evaluates, a change is found once.
        self.changing = threading.RLock()
        self.stopping = threading.Event()

    def watch(self, data: MetricData) -> None:
        """Evaluate all alarms when there is data, and from time to time, until ``stopping`` is set."""
        while not self.stopping.is_set():
            data.changed.wait(_EVALUATE_EVERY_S)
            self.stopping.wait(_GATHER_S)
            data.changed.clear()
            contextvars.Context().run(self._cloudwatch._evaluate_all_alarms)

    def evaluate(self, alarm: dict[str, Any]) -> None:
        """Bring the alarm into the state that its data gives."""
        with self.changing:
            now = time.time()
            period, values, unsure = self._measured(alarm, now)
            finding = evaluate({**alarm, "Period": period}, values, now, unsure)
            if finding is None or finding.state == alarm["StateValue"]:
                return
            self._change(alarm, finding, now)

    def _change(self, alarm: dict[str, Any], finding: Finding, now: float) -> None:
        old_state = alarm["StateValue"]
        reason_data = {
            "version": "1.0",
            "queryDate": aws_time(now),
            **{name: value for name, value in finding.data.items() if value is not None},
        }
        alarm["StateValue"], alarm["StateReason"] = finding.state, finding.reason
        alarm["StateReasonData"] = json.dumps(reason_data, separators=(",", ":"))
        alarm["StateUpdatedTimestamp"] = int(now)
        self._cloudwatch._record_history(alarm["AlarmName"], old_state, finding.state, finding.reason)
        self.dispatch(alarm, old_state, finding.state, finding.reason)
        self._cloudwatch._evaluate_parent_alarms(alarm)

    def dispatch(self, alarm: dict[str, Any], old_state: str, new_state: str, reason: str) -> None:
        """Run the actions for the new state and emit the event."""
        self._act(alarm, old_state, new_state, reason)
        if old_state == new_state:
            return
        state = {"value": new_state, "reason": reason, "timestamp": aws_time(time.time())}
        if isinstance(reason_data := alarm.get("StateReasonData"), str) and reason_data:
            state["reasonData"] = reason_data
        arn = alarm["AlarmArn"]
        previous = self._last.get(arn)
        if previous is None or previous["value"] != old_state:
            previous = {"value": old_state}  # it was made, or changed before the host started
        self._last[arn] = state
        detail = {
            "alarmName": alarm["AlarmName"],
            "configuration": configuration(alarm),
            "previousState": previous,
            "state": state,
        }
        try:
            emit_aws_event("aws.cloudwatch", "CloudWatch Alarm State Change", detail, [arn])
        except Exception:  # an event that can't be delivered must not undo the alarm's transition
            _log.exception("no event for alarm %s", alarm.get("AlarmName"))

    def _measured(self, alarm: dict[str, Any], now: float) -> tuple[int, Series, set[int]]:
        """The alarm's period, its values per period, and the periods whose percentile lacks samples."""
        if not alarm.get("Metrics"):
            stat = _stat_of(alarm)
            cautious = alarm.get("EvaluateLowSampleCountPercentile") == "ignore"
            values, unsure = self._series(stat, _since(alarm, stat["Period"], now))
            return stat["Period"], values, unsure if cautious else set()
        queries = {query["Id"]: query["MetricStat"] for query in alarm["Metrics"] if "MetricStat" in query}
        period = max(int(stat["Period"]) for stat in queries.values())
        for query in alarm["Metrics"]:
            if _returns(query):
                ids = summands(query["Expression"], queries) if "Expression" in query else [query["Id"]]
                since = _since(alarm, period, now)
                return period, add_up([self._series(queries[name], since)[0] for name in ids]), set()
        return period, {}, set()

    def _series(self, stat: dict[str, Any], since: float) -> tuple[Series, set[int]]:
        """The statistic of exactly this metric per period, and the periods with few samples for it.

        Args:
            since: epoch seconds; what is older isn't looked at, since a metric's whole history is kept.
        """
        cloudwatch, metric, statistic = self._cloudwatch, stat["Metric"], str(stat["Stat"])
        dimensions = {each["Name"]: each["Value"] for each in metric.get("Dimensions") or []}
        key = (metric.get("Namespace"), metric.get("MetricName"), cloudwatch._dims_key(dimensions))
        by_period: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for point in list(cloudwatch._metrics.get(key) or []):
            if point["Timestamp"] >= since:
                by_period[int(point["Timestamp"] // int(stat["Period"]))].append(point)
        values, unsure = {}, set()
        for number, found in by_period.items():
            stats = cloudwatch._calc_stats(found)
            value = cloudwatch._stat_value(stats, statistic, found)
            if value is None:
                continue
            values[number] = float(value)
            if not has_enough_samples(statistic, stats["SampleCount"]):
                unsure.add(number)
        return values, unsure


def configuration(alarm: dict[str, Any]) -> dict[str, Any]:
    """The event's ``detail.configuration``.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
    """
    described: dict[str, Any] = {"description": alarm.get("AlarmDescription") or ""}
    if alarm.get("Metrics"):
        described["metrics"] = [
            {
                "id": query["Id"],
                **({"expression": query["Expression"]} if "Expression" in query else {}),
                **({"label": query["Label"]} if "Label" in query else {}),
                **({"metricStat": _metric_stat(query["MetricStat"])} if "MetricStat" in query else {}),
                "returnData": _returns(query),
            }
            for query in alarm["Metrics"]
        ]
    elif alarm.get("MetricName"):
        described["metrics"] = [
            {"id": alarm["AlarmName"], "metricStat": _metric_stat(_stat_of(alarm)), "returnData": True}
        ]
    elif alarm.get("AlarmRule"):
        described["alarmRule"] = alarm["AlarmRule"]
    return described


def _metric_stat(stat: dict[str, Any]) -> dict[str, Any]:
    metric = stat["Metric"]
    return {
        "metric": {
            "namespace": metric.get("Namespace", ""),
            "name": metric.get("MetricName", ""),
            "dimensions": {each["Name"]: each["Value"] for each in metric.get("Dimensions") or []},
        },
        "period": int(stat["Period"]),
        "stat": stat["Stat"],
    }


def _stat_of(alarm: dict[str, Any]) -> dict[str, Any]:
    """The metric of an alarm without metric math, as metric math describes each of its own."""
    statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average"
    return {"Metric": alarm, "Period": int(alarm.get("Period") or 60), "Stat": str(statistic)}


def _since(alarm: dict[str, Any], period: int, now: float) -> float:
    """When the periods begin that the alarm's evaluation looks at."""
    return considered(alarm, period, now)[-1] * period


def _returns(query: dict[str, Any]) -> bool:
    return str(query.get("ReturnData", True)).lower() == "true"
