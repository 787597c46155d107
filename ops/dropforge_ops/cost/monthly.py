"""A month's bill: what the template's resources and a usage profile come to, line by line. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from dropforge.domain.cloudwatch_metrics import METRICS
from dropforge.domain.predictions import SHARDS
from dropforge.pricing.prices import PriceList
from dropforge.pricing.rates import LAMBDA_VCPU_MB, Rates
from dropforge.pricing.run import (
    TRAINING_VOLUME_GB,
    billed_training,
    object_requests,
    training_seconds,
)
from dropforge_ops.cost.scale import tuning_seconds
from dropforge_ops.cost.schedules import times_a_month
from dropforge_ops.cost.stack_template import StackTemplate
from dropforge_ops.cost.usage import Usage
from dropforge_ops.cost.ways import Way, Ways, looks_within

HOURS_A_MONTH: Final = 730
SECONDS_A_MONTH: Final = HOURS_A_MONTH * 3600
_MB_A_GB: Final = 1000.0
_FREE_EPHEMERAL_MB: Final = 512

# Of the ledger: by each call on the way of a run, and by the reconciliation each quarter of an hour.
_LEDGER_UNITS_A_CALL: Final = 20
_LEDGER_READS_A_CHECK: Final = 12
# The predict function trusts the live pointer for 5 s; see docs/architecture.md.
_LIVE_POINTER_S: Final = 5
_PREDICTION_OVERHEAD_KB: Final = 0.2
# START, END and REPORT in JSON, and a line of the function's own.
_LOG_KB_A_CALL: Final = 1.2
_LOG_KB_AN_ENDPOINT_REQUEST: Final = 0.2
# X-Ray's default rule: the first request of a second, and 5 % of the others.
# https://docs.aws.amazon.com/xray/latest/devguide/xray-console-sampling.html
_TRACED_SHARE: Final = 0.05
_MODEL_MB: Final = 5.0
_REPORT_WRITES: Final = 2


@dataclass(frozen=True)
class Line:
    """One line of the bill.

    Attributes:
        key: of the price.
        usd: at list price; ``usd_after_free`` with what every account always has for nothing.
        note: how the quantity comes about, or what is assumed.
        shares: of ``usd``, what it comes to in the best and in the worst case.
    """

    service: str
    what: str
    key: str
    quantity: float
    unit: str
    usd: float
    usd_after_free: float
    note: str = ""
    shares: tuple[float, float] = (1.0, 1.0)

    def to_dict(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "what": self.what,
            "price": self.key,
            "quantity": float(f"{self.quantity:.6g}"),
            "unit": self.unit,
            "usd": round(self.usd, 4),
            "usd_with_free_tier": round(self.usd_after_free, 4),
            "note": self.note,
        }


@dataclass(frozen=True)
class Bill:
    """All lines, and their sums."""

    lines: tuple[Line, ...]

    @property
    def usd(self) -> float:
        return sum(line.usd for line in self.lines)

    @property
    def usd_after_free(self) -> float:
        return sum(line.usd_after_free for line in self.lines)

    @property
    def usd_range(self) -> tuple[float, float]:
        """List price in the best and in the worst case; both are ``usd`` without Spot capacity."""
        least, most = (sum(line.usd * line.shares[end] for line in self.lines) for end in (0, 1))
        return least, most

    def by_service(self) -> dict[str, tuple[float, float]]:
        """List price and price with the free tier of each service, in the lines' order."""
        found: dict[str, tuple[float, float]] = {}
        for line in self.lines:
            usd, after = found.get(line.service, (0.0, 0.0))
            found[line.service] = (usd + line.usd, after + line.usd_after_free)
        return found

    def to_dict(self) -> dict[str, Any]:
        return {
            "usd": round(self.usd, 4),
            "usd_range": [round(end, 4) for end in self.usd_range],
            "usd_with_free_tier": round(self.usd_after_free, 4),
            "services": {
                name: {"usd": round(usd, 4), "usd_with_free_tier": round(after, 4)}
                for name, (usd, after) in self.by_service().items()
            },
            "lines": [line.to_dict() for line in self.lines],
        }


# Some 5 minutes to start, and 15 without a backlog until target tracking takes an instance away.
_LIFTED_S = 1200


@dataclass(frozen=True)
class _Item:
    """A quantity before it is priced."""

    service: str
    what: str
    key: str
    quantity: float
    note: str = ""
    shares: tuple[float, float] = (1.0, 1.0)


def monthly_bill(
    template: StackTemplate, usage: Usage, prices: PriceList, rates: Rates, *, share: float = 1.0
) -> Bill:
    """What a month costs.

    Args:
        share: of the month that has passed; scales what is paid by time and what schedules start. The usage
            is taken as it is.

    Raises:
        UnknownPrice: an instance type's price is not known.
    """
    items = [item for item in _Stack(template, usage, rates, share).items() if item.quantity > 0]
    left = {key: price.free for key, price in prices.prices.items() if price.free_kind == "always"}
    lines = []
    for item in items:
        price = prices[item.key]
        free = min(item.quantity, left.get(item.key, 0.0))
        left[item.key] = left.get(item.key, 0.0) - free
        lines.append(
            Line(
                item.service,
                item.what,
                item.key,
                item.quantity,
                price.unit,
                price.of(item.quantity),
                price.of(item.quantity - free),
                item.note,
                item.shares,
            )
        )
    return Bill(tuple(lines))


@dataclass(frozen=True)
class _Stack:
    """One template, one usage; every method gives the items of a service."""

    template: StackTemplate
    usage: Usage
    rates: Rates
    share: float

    def items(self) -> Iterator[_Item]:
        yield from self._functions()
        yield from self._workflow()
        yield from self._training()
        yield from self._batches()
        yield from self._endpoint()
        yield from self._api()
        yield from self._tables()
        yield from self._objects()
        yield from self._watching()
        yield from self._events()
        yield from self._security()

    # --- how often ------------------------------------------------------------------------------------

    @cached_property
    def _ways(self) -> Ways:
        return Ways.of(self.template)

    @property
    def _executions(self) -> list[tuple[Way, float]]:
        """Each way through a machine, with how often it is taken in the month."""
        usage, ways = self.usage, self._ways
        return [
            (ways.training, usage.runs),
            (ways.deployment, usage.promotions),
            (ways.batch, usage.batches),
        ]

    @property
    def calls(self) -> dict[str, float]:
        """Calls of each function in the month; those without any are not there."""
        usage = self.usage
        counted: defaultdict[str, float] = defaultdict(float)
        for way, times in self._executions:
            for function in way.functions:
                counted[function] += times
        counted["AdmitRunFunction"] += self._scheduled_runs
        counted["ApplyDecisionFunction"] += usage.promotions
        counted["PredictFunction"] += usage.requests + usage.outcomes
        for function, times in self._schedules.items():
            counted[function] += times
        if usage.watched_windows is not None:
            counted["WatchModelFunction"] = usage.watched_windows
        return {name: times for name, times in counted.items() if times}

    @property
    def _schedules(self) -> dict[str, float]:
        """Calls of functions that schedules start."""
        found: dict[str, float] = {}
        for name, function in self.template.functions().items():
            for event in (function.get("Events") or {}).values():
                if event["Type"] == "ScheduleV2":
                    found[name] = found.get(name, 0.0) + self._due(event["Properties"])
        for rule in self.template.resources("AWS::Events::Rule").values():
            if "ScheduleExpression" in rule:
                for target in rule["Targets"]:
                    name = target["Arn"]["Fn::GetAtt"][0]
                    found[name] = found.get(name, 0.0) + self._due(rule)
        return found

    @property
    def _scheduled_runs(self) -> float:
        schedules = self.template.resources("AWS::Scheduler::Schedule").values()
        return sum(self._due(each) for each in schedules)

    def _due(self, schedule: Mapping[str, Any]) -> float:
        if schedule.get("State", "ENABLED") != "ENABLED":
            return 0.0
        return times_a_month(schedule["ScheduleExpression"]) * self.share

    # --- services -------------------------------------------------------------------------------------

    def _functions(self) -> Iterator[_Item]:
        functions, calls = self.template.functions(), self.calls
        yield _Item("Lambda", "requests", "lambda.request", sum(calls.values()))
        scratch = 0.0
        for name, times in sorted(calls.items(), key=lambda each: -each[1]):
            memory = float(functions[name].get("MemorySize", 128))
            seconds, note = self._call_seconds(name, memory)
            yield _Item(
                "Lambda",
                f"{name}, {memory:.0f} MB",
                "lambda.gb_second",
                times * seconds * memory / 1024,
                f"{times:,.0f} × {note}",
            )
            extra = (
                float((functions[name].get("EphemeralStorage") or {}).get("Size", 512)) - _FREE_EPHEMERAL_MB
            )
            scratch += max(0.0, extra) / 1024 * times * seconds
        yield _Item("Lambda", "storage in /tmp above 512 MB", "lambda.ephemeral_gb_second", scratch)

    def _call_seconds(self, name: str, memory: float) -> tuple[float, str]:
        """Billed seconds of one call: measured at one vCPU, so slower with less memory."""
        vcpus = memory / LAMBDA_VCPU_MB
        per_mb = {
            "PrepareDataFunction": self.usage.gb_per_drop * self._drops_a_run * _MB_A_GB,
            "PlanBatchFunction": self.usage.gb_per_batch * _MB_A_GB,
            "CollectBatchFunction": self.usage.gb_per_batch * _MB_A_GB,
        }
        if name in per_mb:
            start = self.rates.function_s(name) / min(1.0, vcpus)
            seconds = start + per_mb[name] / self.rates["prepare.csv_mb_per_cpu_s"] / vcpus
            return seconds, f"{seconds:.2f} s for {per_mb[name]:,.0f} MB at the measured rate"
        seconds = self.rates.function_s(name) / min(1.0, vcpus)
        return seconds, f"{seconds:.2f} s, as measured and at this memory's share of a vCPU"

    @property
    def _drops_a_run(self) -> float:
        return self.usage.drops / self.usage.runs if self.usage.runs else 0.0

    @property
    def _training_s(self) -> float:
        """How long a training job takes."""
        megabytes = self.usage.gb_per_drop * self._drops_a_run * _MB_A_GB
        limit_s = self.template.number("TrainingMaxRuntimeSeconds")
        return min(
            training_seconds(megabytes, self.rates, self._instances) + tuning_seconds(self.template), limit_s
        )

    @property
    def _batch_s(self) -> float:
        """How long a transform job takes."""
        rows = self.usage.gb_per_batch * 1e6 / max(self.usage.kb_per_row, 1e-9)
        # A list of rows is scored far faster than as many requests: at least ten times.
        seconds = self.rates["train.start_s"] + rows * self.rates["endpoint.s_per_request"] / 10
        return min(seconds, self.template.number("BatchMaxRuntimeSeconds"))

    def _workflow(self) -> Iterator[_Item]:
        key, ways = "states.transition", self._ways
        update_s = self.rates["endpoint.update_s"]
        looks = looks_within(update_s)
        for what, (way, times), seconds, note in zip(
            ("runs", "deployments", "batches"),
            self._executions,
            (self._training_s, update_s, self._batch_s),
            ("", f", looking at the endpoint {looks} times", ""),
            strict=True,
        ):
            transitions = way.transitions(seconds)
            yield _Item("Step Functions", what, key, times * transitions, f"{transitions} each{note}")
        in_vain = self._scheduled_runs * ways.transitions_in_vain
        yield _Item("Step Functions", "scheduled runs with nothing new", key, in_vain)

    @property
    def _instances(self) -> int:
        return int(self.template.number("TrainingInstanceCount"))

    def _training(self) -> Iterator[_Item]:
        usage = self.usage
        instance = self._first_instance("TrainingInstanceTypes")
        seconds = self._training_s
        interruptions = int(self.template.number("TrainingSpot"))
        limit_s = self.template.number("TrainingMaxRuntimeSeconds")
        most_s, least_share = billed_training(seconds, limit_s, interruptions)
        shares = least_share * most_s / seconds, most_s / seconds
        least, most = (100 * share for share in shares)
        several = f" on {self._instances} instances" * (self._instances > 1)
        spot = f"; the price on demand, of which Spot capacity costs {least:.0f} to {most:.0f} %"
        yield _Item(
            "SageMaker",
            f"training on {instance}",
            f"sagemaker.instance.{instance}",
            usage.runs * self._instances * seconds / 3600,
            f"{usage.runs:,.0f} jobs{several} of {seconds / 60:.1f} min" + spot * (interruptions > 0),
            shares,
        )
        yield _Item(
            "SageMaker",
            "training volumes",
            "sagemaker.volume_gb_month",
            usage.runs * self._instances * TRAINING_VOLUME_GB * seconds / SECONDS_A_MONTH,
            f"{TRAINING_VOLUME_GB} GB while a job runs",
        )

    def _batches(self) -> Iterator[_Item]:
        usage = self.usage
        if not usage.batches:
            return
        instance = self._first_instance("BatchInstanceTypes")
        seconds = self._batch_s
        yield _Item(
            "SageMaker",
            f"batch scoring on {instance}",
            f"sagemaker.instance.{instance}",
            usage.batches * seconds / 3600,
            f"{usage.batches:,.0f} jobs of {seconds / 60:.1f} min",
        )

    def _endpoint(self) -> Iterator[_Item]:
        usage, seconds = self.usage, self.rates["endpoint.s_per_request"]
        mode = usage.endpoint_mode or self.template.parameters["EndpointMode"]
        if mode != "serverless":
            instance = self.template.parameters["EndpointInstanceType"]
            hours, note, shares = usage.endpoint_hours * self.share, "every hour that it is up", (1.0, 1.0)
            if mode == "asynchronous":
                most = min(hours, usage.requests * _LIFTED_S / 3600)
                least = min(most, usage.requests * seconds / 3600)
                shares = (least / most, 1.0) if most else shares
                hours, note = (
                    most,
                    f"{_LIFTED_S / 60:.0f} min a request; the fewer bursts, the less",
                )
            yield _Item(
                "SageMaker", f"endpoint on {instance}", f"sagemaker.instance.{instance}", hours, note, shares
            )
            scaled = 3 if mode == "asynchronous" else 2 * (self.template.number("EndpointMaxInstances") > 1)
            if scaled:
                what, key = "alarms that scale the endpoint", "cloudwatch.alarm_metric"
                yield _Item("CloudWatch", what, key, scaled * self.share)
            return
        gigabytes = self.template.number("ServerlessMemoryMB") / 1024
        yield _Item(
            "SageMaker",
            f"serverless endpoint, {gigabytes:.0f} GB",
            "sagemaker.serverless_gb_second",
            usage.requests * seconds * gigabytes,
            f"{usage.requests:,.0f} × {seconds * 1000:.0f} ms",
        )
        yield _Item(
            "SageMaker", "serverless endpoint, data in and out", "sagemaker.serverless_gb", self._row_gb
        )

    @property
    def _row_gb(self) -> float:
        usage = self.usage
        return usage.requests * usage.rows_per_request * usage.kb_per_row / 1e6

    def _api(self) -> Iterator[_Item]:
        usage = self.usage
        yield _Item("API Gateway", "requests", "api.request", usage.requests + usage.outcomes)
        yield _Item("Data transfer", "answers to the internet", "transfer.out_gb", self._row_gb)

    def _tables(self) -> Iterator[_Item]:
        usage = self.usage
        rows = usage.requests * usage.rows_per_request
        item_kb = usage.kb_per_row + _PREDICTION_OVERHEAD_KB
        kept = sum(len(way.functions) * times for way, times in self._executions) * _LEDGER_UNITS_A_CALL
        windows = self.calls.get("WatchModelFunction", 0.0)
        delay_h = self.template.number("OutcomeDelayDays") * 24
        window_h = self.template.number("WatchWindowHours")
        looked_back_h = max(delay_h, window_h)
        # A query reads at least half a unit; what is there is read in units of 4 KB, half each.
        queries = windows * math.ceil(looked_back_h + 1) * SHARDS
        logged_kb = rows / SECONDS_A_MONTH * 3600 * looked_back_h * item_kb * windows
        checks = self._schedules.get("ReconcileRunsFunction", 0.0)
        pointer = min(usage.requests, SECONDS_A_MONTH * self.share / _LIVE_POINTER_S)
        stored_gb = rows * item_kb / 1e6 * self.template.number("PredictionRetentionDays") / (730 / 24)
        yield _Item(
            "DynamoDB",
            "writes of predictions and outcomes",
            "dynamodb.write",
            (rows + usage.outcomes) * math.ceil(item_kb),
            f"{math.ceil(item_kb)} unit(s) each, up to 1 KB a unit",
        )
        yield _Item("DynamoDB", "writes of the ledger", "dynamodb.write", kept)
        yield _Item(
            "DynamoDB",
            "reads of watched windows",
            "dynamodb.read",
            queries * 0.5 + logged_kb / 8,
            f"{windows:,.0f} windows, each looking back {looked_back_h:g} h (OutcomeDelayDays)",
        )
        yield _Item(
            "DynamoDB",
            "reads of the ledger",
            "dynamodb.read",
            kept + checks * _LEDGER_READS_A_CHECK + pointer,
        )
        yield _Item(
            "DynamoDB",
            "storage of the prediction log",
            "dynamodb.gb_month",
            stored_gb,
            f"kept {self.template.parameters['PredictionRetentionDays']} days",
        )
        recovered = [
            name
            for name, table in self.template.resources("AWS::DynamoDB::Table").items()
            if (table.get("PointInTimeRecoverySpecification") or {}).get("PointInTimeRecoveryEnabled")
        ]
        if "Predictions" in recovered:
            yield _Item("DynamoDB", "point-in-time recovery", "dynamodb.recovery_gb_month", stored_gb)

    def _objects(self) -> Iterator[_Item]:
        usage = self.usage
        dropped_gb = usage.drops * usage.gb_per_drop + usage.batches * usage.gb_per_batch * 2
        prepared_gb = usage.drops * usage.gb_per_drop * self.rates["prepare.parquet_mb_per_csv_mb"]
        models_gb = usage.runs * _MODEL_MB / 1e3
        months, expires = usage.kept_months, self._drop_days
        dropped_months = min(months, expires / (730 / 24)) if expires else months
        yield _Item(
            "S3",
            "storage of drops, splits and models",
            "s3.gb_month",
            dropped_gb * dropped_months + (prepared_gb + models_gb) * months,
            f"{months:g} month(s) of it; "
            + (f"drops are gone after {expires:g} days" if expires else "nothing is ever deleted by itself"),
        )
        reads, writes = self._object_requests
        yield _Item("S3", "writes", "s3.write", writes)
        yield _Item("S3", "reads", "s3.read", reads)

    @property
    def _drop_days(self) -> float:
        """For how long a drop is kept with its versions; 0: for ever."""
        bucket = self.template.resources("AWS::S3::Bucket")["DataBucket"]
        for rule in bucket["LifecycleConfiguration"]["Rules"]:
            if rule.get("Prefix") == "incoming/":
                versions = rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
                return float(rule["ExpirationInDays"]) + float(versions)
        return 0.0

    @property
    def _object_requests(self) -> tuple[float, float]:
        usage = self.usage
        windows = self.calls.get("WatchModelFunction", 0.0)
        reads, writes = windows * 6.0, windows * _REPORT_WRITES + usage.drops
        if usage.runs:
            per_run = object_requests(usage.gb_per_drop * self._drops_a_run * _MB_A_GB, self.rates)
            reads += usage.runs * per_run[0]
            writes += usage.runs * per_run[1]
        blocks = math.ceil(usage.gb_per_batch * _MB_A_GB / self.rates["prepare.block_mb"])
        return reads + usage.batches * blocks * 4, writes + usage.batches * blocks * 4

    def _watching(self) -> Iterator[_Item]:
        template, share = self.template, self.share
        alarms = template.resources("AWS::CloudWatch::Alarm")
        watched = sum(_metrics_of(alarm) for alarm in alarms.values())
        dashboards = template.resources("AWS::CloudWatch::Dashboard")
        calls = sum(self.calls.values())
        log_gb = (calls * _LOG_KB_A_CALL + self.usage.requests * _LOG_KB_AN_ENDPOINT_REQUEST) / 1e6
        retention_months = template.number("LogRetentionDays") / (730 / 24)
        yield _Item(
            "CloudWatch",
            "alarms",
            "cloudwatch.alarm_metric",
            watched * share,
            f"{len(alarms)} alarms look at {watched} metrics",
        )
        written_h = self._hours_with_predictions
        yield _Item(
            "CloudWatch",
            "metrics of our own",
            "cloudwatch.custom_metric",
            len(METRICS) * written_h / HOURS_A_MONTH,
            f"{', '.join(sorted(METRICS))}; in the {written_h:,.0f} hours of which there is something to say",
        )
        yield _Item("CloudWatch", "dashboard", "cloudwatch.dashboard", len(dashboards) * share)
        yield _Item("CloudWatch", "logs taken in", "logs.ingested_gb", log_gb)
        yield _Item(
            "CloudWatch",
            "logs kept",
            "logs.stored_gb_month",
            log_gb * retention_months,
            f"{template.parameters['LogRetentionDays']} days",
        )
        yield _Item("X-Ray", "traces", "xray.trace", self._traces)

    @property
    def _hours_with_predictions(self) -> float:
        """Hours in which the watch writes its metrics: one for each window that somebody predicted in.

        A metric is billed by the hours in which something is written: https://aws.amazon.com/cloudwatch/pricing/
        """
        windows = self.calls.get("WatchModelFunction", 0.0)
        if not windows:
            return 0.0
        return min(windows * -math.expm1(-self.usage.requests / windows), HOURS_A_MONTH * self.share)

    @property
    def _traces(self) -> float:
        """Everything is traced where calls are rare: one a second and 5 % of what is more."""
        requests = self.usage.requests + self.usage.outcomes
        first_of_a_second = min(requests, SECONDS_A_MONTH * self.share)
        sampled = first_of_a_second + _TRACED_SHARE * (requests - first_of_a_second)
        others = sum(times for name, times in self.calls.items() if name != "PredictFunction")
        return float(sampled + others)

    def _events(self) -> Iterator[_Item]:
        yield _Item(
            "EventBridge",
            "events of the bucket",
            "events.s3_event",
            self._object_requests[1],
            "one for every object written",
        )
        yield _Item(
            "EventBridge",
            "schedules",
            "events.schedule",
            sum(self._schedules.values()) + self._scheduled_runs,
        )
        published = sum(way.notifications * times for way, times in self._executions)
        yield _Item("SNS", "notifications", "sns.publish", published)
        if self.template.parameters["NotificationEmail"]:
            yield _Item("SNS", "e-mails", "sns.email", published)

    def _security(self) -> Iterator[_Item]:
        template, share = self.template, self.share
        keys = template.resources("AWS::KMS::Key")
        yield _Item("KMS", "keys of our own", "kms.key", len(keys) * share, ", ".join(keys))
        if keys:
            reads, writes = self._object_requests
            states = sum(each.quantity for each in self._workflow())
            requests = reads + writes + sum(self.calls.values()) + states
            note = "at most one an object, a call and a state"
            yield _Item("KMS", "requests", "kms.request", requests, note)
        acls = template.resources("AWS::WAFv2::WebACL")
        rules = sum(len(each.get("Rules") or []) for each in acls.values())
        yield _Item("WAF", "web ACLs", "waf.acl", len(acls) * share)
        yield _Item("WAF", "rules", "waf.rule", rules * share)
        if acls:
            yield _Item("WAF", "requests", "waf.request", self.usage.requests + self.usage.outcomes)

    def _first_instance(self, parameter: str) -> str:
        return self.template.parameters[parameter].split(",")[0]


def _metrics_of(alarm: Mapping[str, Any]) -> int:
    """How many metrics an alarm looks at, which is what is billed."""
    metrics = [each for each in alarm.get("Metrics") or [] if "MetricStat" in each]
    return len(metrics) or 1
