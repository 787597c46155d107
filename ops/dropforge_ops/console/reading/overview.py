"""What the overview says: what is live, what waits for a decision, how it is watched, what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from botocore.exceptions import ClientError

from dropforge.domain.errors import UnknownPrice
from dropforge.domain.records import Approval, Live, ModelVersion, Run
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.console.reading.drift import AlarmState, Window, read_alarms, window_of
from dropforge_ops.cost.so_far import month_to_date
from dropforge_ops.errors import NotFound, code_of, message_of
from dropforge_ops.stack.documents import Documents
from dropforge_ops.stack.target import Target
from dropforge_ops.stack.watch_reports import WatchReports

_RUNS_SHOWN = 6
# A version that is registered supersedes those that wait, so what waits is among the newest.
_VERSIONS_LOOKED_AT = 20


@dataclass(frozen=True)
class Standing:
    """What the ledger says, which is what changes while a person watches."""

    live: Live | None
    waiting: tuple[ModelVersion, ...]
    runs: tuple[Run, ...]
    is_rejected: bool = False
    """Whether what is live was rejected, and serves all the same."""


def read_standing(ledger: LedgerReader) -> Standing:
    """Three requests to DynamoDB, however long the ledger is; a fourth for what is live if that is old."""
    live, newest = ledger.live(), ledger.list_models(_VERSIONS_LOOKED_AT)
    return Standing(
        live=live,
        is_rejected=live is not None and live.was_rejected(_model_of(live, newest, ledger)),
        waiting=tuple(each for each in newest if each.approval is Approval.PENDING),
        runs=tuple(ledger.list_runs(_RUNS_SHOWN)),
    )


def _model_of(live: Live, newest: list[ModelVersion], ledger: LedgerReader) -> ModelVersion | None:
    found = next((each for each in newest if each.version == live.version), None)
    return found or ledger.get_model(live.version)


@dataclass(frozen=True)
class Endpoint:
    """What serves. ``problem`` says what is wrong with it, and what to do."""

    name: str
    state: str
    configuration: str
    problem: str | None = None


@dataclass(frozen=True)
class Watch:
    """How the live model is watched: the newest window with a report, the alarms, and the endpoint."""

    window: Window | None
    alarms: tuple[AlarmState, ...]
    endpoint: Endpoint | None

    @property
    def raised(self) -> list[AlarmState]:
        return [each for each in self.alarms if each.state == "ALARM"]


def read_watch(target: Target, ledger: LedgerReader, documents: Documents) -> Watch:
    """Ask S3 for the newest report, CloudWatch for the alarms, SageMaker for the endpoint."""
    newest = WatchReports(target.client("s3"), target.bucket, documents).newest(1)
    live = ledger.live()
    return Watch(
        window=window_of(newest[0].uri, newest[0].content) if newest else None,
        alarms=tuple(read_alarms(target.client("cloudformation"), target.client("cloudwatch"), target.stack)),
        endpoint=None if live is None else _endpoint(target, live),
    )


def _endpoint(target: Target, live: Live) -> Endpoint:
    try:
        found = target.client("sagemaker").describe_endpoint(EndpointName=live.endpoint_name)
    except ClientError as error:
        if "not find" not in message_of(error).lower() and code_of(error) != "ResourceNotFound":
            raise
        return Endpoint(
            live.endpoint_name,
            "gone",
            live.endpoint_config,
            "A repair runs every quarter of an hour; a rollback to the live version makes it now.",
        )
    state, configuration = str(found["EndpointStatus"]), str(found["EndpointConfigName"])
    problem = None
    if state == "InService" and configuration != live.endpoint_config:
        problem = f"It serves {configuration}, but {live.endpoint_config} is live. A repair is under way."
    elif state not in ("InService", "Creating", "Updating"):
        problem = str(
            found.get("FailureReason") or f"See the log group /aws/sagemaker/Endpoints/{live.endpoint_name}."
        )
    return Endpoint(live.endpoint_name, state, configuration, problem)


@dataclass(frozen=True)
class Cost:
    """This month so far in US dollars, estimated from what ran; ``unknown`` says why there is none."""

    usd: float = 0.0
    usd_with_free_tier: float = 0.0
    services: Mapping[str, float] | None = None
    is_simulated: bool = False
    unknown: str | None = None


def read_cost(target: Target, ledger: LedgerReader) -> Cost:
    """Price what ran since the month began; reads up to 1,000 runs, so not to be asked often."""
    try:
        found = month_to_date(target, ledger)
    except (NotFound, UnknownPrice) as error:
        return Cost(unknown=str(error))
    by_service = {name: usd for name, (usd, _) in found.bill.by_service().items() if usd >= 0.005}
    largest = sorted(by_service.items(), key=lambda each: -each[1])
    return Cost(
        usd=round(found.bill.usd, 2),
        usd_with_free_tier=round(found.bill.usd_after_free, 2),
        services=dict(largest[:4]),
        is_simulated=found.is_simulated,
    )
