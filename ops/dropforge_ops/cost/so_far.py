"""What this month has cost so far, estimated from what ran: for a glance, never a bill."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dropforge.domain.records import Run, RunStatus
from dropforge.ledger_table.reader import LedgerReader
from dropforge.pricing.prices import load_prices
from dropforge.pricing.rates import load_rates
from dropforge_ops.cost.monthly import Bill, monthly_bill
from dropforge_ops.cost.stack_template import read_stack_template
from dropforge_ops.cost.usage import Usage
from dropforge_ops.stack.project import created_at, deployed_parameters, find_root
from dropforge_ops.stack.target import Target

_DAY_S = 86_400
_RUNS = 1000


@dataclass(frozen=True)
class MonthToDate:
    """What has been used since the month or the stack began, and what it comes to at list price.

    Attributes:
        start: the first of the month, or the stack's creation where that was later.
        share: of the month that has passed since then, in (0, 1].
        is_simulated: the stack is on a local host, where nothing is paid: this is what AWS would take.
    """

    start: datetime
    share: float
    usage: Usage
    bill: Bill
    is_simulated: bool

    def to_dict(self) -> dict[str, Any]:
        return {
            "since": self.start.isoformat(),
            "share_of_month": round(self.share, 4),
            "requests": self.usage.requests,
            "runs": self.usage.runs,
            "deployments": self.usage.promotions,
            "simulated": self.is_simulated,
            **self.bill.to_dict(),
        }


def month_to_date(target: Target, ledger: LedgerReader, *, now: datetime | None = None) -> MonthToDate:
    """Estimate what the stack has cost this month (UTC), without asking AWS for a bill.

    It counts from the first of the month, or from the stack's creation where that was later. Reads the
    ledger's runs and drops, and the API's count of requests in CloudWatch. Needs the project's folder for its
    template.

    Raises:
        NotFound: the current folder is not in the project.
    """
    now = now or datetime.now(UTC)
    cloudformation = target.client("cloudformation")
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    start = max(first, created_at(cloudformation, target.stack) or first)
    days = calendar.monthrange(first.year, first.month)[1]
    share = max((now - start).total_seconds(), 1.0) / (days * _DAY_S)
    runs = ledger.list_runs(_RUNS, since=start)
    usage = usage_of_runs(runs, _dropped_bytes(runs, ledger), _requests(target, start, now))
    parameters = deployed_parameters(cloudformation, target.stack) or {}
    template = read_stack_template(find_root(), parameters)
    prices = load_prices(target.session.region_name)
    bill = monthly_bill(template, usage, prices, load_rates(), share=share)
    return MonthToDate(start, share, usage, bill, target.is_local)


def usage_of_runs(runs: Sequence[Run], dropped_bytes: int, requests: float) -> Usage:
    """The usage that runs and requests amount to; a run that was refused before training counts as one."""
    trained = [run for run in runs if run.status is not RunStatus.RUNNING]
    drops = sum(run.drops for run in runs)
    return Usage(
        requests=requests,
        drops=drops,
        gb_per_drop=dropped_bytes / 1e9 / drops if drops else 0.0,
        trainings=len(trained),
        deployments=sum(run.status is RunStatus.SUCCEEDED for run in runs),
        endpoint_hours=730.0,
    )


def _dropped_bytes(runs: Sequence[Run], ledger: LedgerReader) -> int:
    # Runs of an earlier release don't say how much their drops were.
    found = ledger.get_drops(each for run in runs for each in run.drop_ids)
    return sum(run.drop_bytes for run in runs) + sum(each.drop.size or 0 for each in found)


def _requests(target: Target, start: datetime, now: datetime) -> float:
    # CloudWatch gives at most 1,440 points; a month of days is 31.
    points = target.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/ApiGateway",
        MetricName="Count",
        Dimensions=[
            {"Name": "ApiName", "Value": f"{target.stack}-predictions"},
            {"Name": "Stage", "Value": "v1"},
        ],
        StartTime=start,
        EndTime=now,
        Period=_DAY_S,
        Statistics=["Sum"],
    )["Datapoints"]
    return float(sum(point["Sum"] for point in points))
