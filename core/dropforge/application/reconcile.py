"""Reconcile: what an execution that died left behind is put right."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from dropforge.application.idle_endpoint import SLEEPER, put_to_sleep, sleeps
from dropforge.application.receive_drop import receive_drop
from dropforge.application.scale_endpoint import keep_scaled
from dropforge.application.settle_drops import settle_runs
from dropforge.application.training_lock import start_follow_up
from dropforge.domain.errors import InvalidEvent, ServiceUnavailable
from dropforge.domain.ledger import Ledger
from dropforge.domain.moments import from_iso, iso
from dropforge.domain.ports import ObjectStore
from dropforge.domain.records import Approval, Live, LockName, RunStatus
from dropforge.domain.run_endings import STOPPED_BY_HAND
from dropforge.domain.services import Endpoints, EndpointScaling, Jobs, Workflows
from dropforge.domain.triggers import parse_trigger

# What fails again at once is not started again at once: a name stands for a quarter of an hour.
_ATTEMPT_S = 900
# Step Functions' answers settle within seconds; an hour is far on the safe side.
_UNKNOWN_FOR = timedelta(hours=1)


@dataclass
class Repairs:
    """What was found and put right, for the log and the metrics."""

    runs_failed: list[str] = field(default_factory=list)
    runs_expired: list[str] = field(default_factory=list)
    locks_freed: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    drops_recovered: list[str] = field(default_factory=list)
    runs_settled: list[str] = field(default_factory=list)
    put_to_sleep: list[str] = field(default_factory=list)
    jobs_stopped: list[str] = field(default_factory=list)
    scaled: list[str] = field(default_factory=list)


def reconcile(
    *,
    ledger: Ledger,
    store: ObjectStore,
    workflows: Workflows,
    endpoints: Endpoints,
    scaling: EndpointScaling,
    most_instances: int,
    jobs: Jobs,
    model_name: str,
    training_machine_arn: str,
    deployment_machine_arn: str,
    batch_machine_arn: str,
    now: datetime,
    event: Mapping[str, Any] | None = None,
    idle: timedelta | None = None,
) -> Repairs:
    """End jobs and runs whose execution is over, free locks and drops, start what is due, mend the endpoint.

    An endpoint with instances is kept scaled between the bounds that its mode and ``most_instances`` give.
    With ``idle`` an endpoint without a request for so long is put to sleep, and stays so until something is
    deployed; without, one that sleeps is brought back.

    ``event`` is the ``Step Functions Execution Status Change`` that led here, if one did: the drop of an
    execution that failed before it could record it is recorded now, so that another run covers it.

    Runs on a schedule and after every execution that failed, timed out or was stopped, so nothing hangs for
    longer than the schedule's period. What it starts is named after the quarter of an hour, so that an
    execution which fails at once is tried again at that pace. Safe to run at any time and twice at once.
    """
    repairs = Repairs()
    stamp = f"r{int(now.timestamp()) // _ATTEMPT_S}"
    _stop_abandoned_jobs(jobs, model_name, (training_machine_arn, batch_machine_arn), workflows, repairs, now)
    _recover_drop(event or {}, ledger, workflows, training_machine_arn, repairs, now)
    _end_runs(event or {}, ledger, workflows, repairs, now)
    training = ledger.held_lease(LockName.TRAINING)
    if training is not None and _is_over(training.holder, training.acquired_at, workflows, now):
        ledger.release(LockName.TRAINING, token=training.token)
        repairs.locks_freed.append(str(LockName.TRAINING))
    # After the lock is free, so that nobody claims drops any more for a run that has let go of them.
    repairs.runs_settled += settle_runs(ledger=ledger, store=store, now=now)
    started = start_follow_up(
        ledger=ledger,
        workflows=workflows,
        training_machine_arn=training_machine_arn,
        after=stamp,
        now=now,
    )
    if started is not None:
        repairs.started.append(started)
    deployment = ledger.held_lease(LockName.DEPLOYMENT)
    if deployment is not None and deployment.holder == SLEEPER:
        # Held for a moment by a reconciliation, which may run beside this one; no execution tells its end.
        if now >= from_iso(deployment.expires_at):
            ledger.release(LockName.DEPLOYMENT, token=deployment.token)
            deployment = None
    elif deployment is not None and _is_over(deployment.holder, deployment.acquired_at, workflows, now):
        ledger.release(LockName.DEPLOYMENT, token=deployment.token)
        repairs.locks_freed.append(str(LockName.DEPLOYMENT))
        deployment = None
    if deployment is None:
        live = ledger.live()
        if live is not None:
            if _keeps_serving(live, ledger, endpoints, repairs, idle, now):
                if keep_scaled(live, endpoints=endpoints, scaling=scaling, most=most_instances):
                    repairs.scaled.append(live.endpoint_name)
                return repairs
            repairs.started.append(_repair(live, workflows, deployment_machine_arn, stamp))
    return repairs


def _keeps_serving(
    live: Live,
    ledger: Ledger,
    endpoints: Endpoints,
    repairs: Repairs,
    idle: timedelta | None,
    now: datetime,
) -> bool:
    """Whether the endpoint serves what is live, or sleeps; it is put to sleep where nobody asks it."""
    if idle is not None and sleeps(live, ledger):
        # An interruption may have left it: it was noted, and not deleted yet.
        state = endpoints.describe(live.endpoint_name)
        if state is not None and state.status in ("InService", "Failed"):
            endpoints.delete(live.endpoint_name)
            repairs.put_to_sleep.append(live.endpoint_name)
        return True
    if _serves_another(live, endpoints):
        return False
    if idle is not None and put_to_sleep(live, ledger=ledger, endpoints=endpoints, idle=idle, now=now):
        repairs.put_to_sleep.append(live.endpoint_name)
    return True


def _is_over(execution_arn: str, since: str, workflows: Workflows, now: datetime) -> bool:
    """Whether the execution is gone for good: one that Step Functions doesn't know yet is not."""
    state = workflows.state(execution_arn)
    return state == "ended" or (state == "unknown" and now - from_iso(since) > _UNKNOWN_FOR)


def _stop_abandoned_jobs(
    jobs: Jobs,
    model_name: str,
    machine_arns: Sequence[str],
    workflows: Workflows,
    repairs: Repairs,
    now: datetime,
) -> None:
    """Nobody waits any more for the job of an execution that is over, and it would cost until its own end."""
    for job in jobs.in_progress(f"{model_name}-"):
        machine_arn = job.execution_arn.replace(":execution:", ":stateMachine:").rpartition(":")[0]
        # A model of a longer name has jobs whose names begin alike.
        if machine_arn in machine_arns and _is_over(job.execution_arn, iso(job.created_at), workflows, now):
            jobs.stop(job)
            repairs.jobs_stopped.append(job.name)


def _recover_drop(
    event: Mapping[str, Any],
    ledger: Ledger,
    workflows: Workflows,
    training_machine_arn: str,
    repairs: Repairs,
    now: datetime,
) -> None:
    detail = event.get("detail") or {}
    if detail.get("stateMachineArn") != training_machine_arn:
        return
    # The event leaves the input out where a customer's key encrypts it, and where it is long.
    text = detail.get("input") or workflows.input_of(detail["executionArn"])
    if text is None:
        raise ServiceUnavailable(
            f"Step Functions doesn't know the execution {detail['executionArn']} yet, and its event leaves "
            "its input out: which drop it began with can't be told. The event is tried again."
        )
    try:
        drop = parse_trigger(json.loads(text)).drop
    except (InvalidEvent, ValueError):
        return  # what is no trigger carries no drop; its own execution has said so
    if drop is not None and ledger.get_drop(drop.drop_id) is None:
        received = receive_drop(drop, received_by=detail["executionArn"], ledger=ledger, now=now)
        if received.receipt is not None:
            repairs.drops_recovered.append(drop.key)


def _end_runs(
    event: Mapping[str, Any], ledger: Ledger, workflows: Workflows, repairs: Repairs, now: datetime
) -> None:
    detail = event.get("detail") or {}
    stopped = detail.get("executionArn") if detail.get("status") == "ABORTED" else None
    for run in ledger.list_runs():
        if run.status.is_final or not _is_over(run.execution_arn, run.started_at, workflows, now):
            continue
        if run.status is RunStatus.AWAITING_APPROVAL and run.version is not None:
            model = ledger.expire_waiting(run.version, now=now)
            if model.approval is Approval.PENDING:
                repairs.runs_expired.append(run.run_id)
                continue
        error = {
            "class": STOPPED_BY_HAND if run.execution_arn == stopped else "ExecutionEnded",
            "message": f"The execution {run.execution_arn} ended while the run was {run.status}: it was "
            "stopped, timed out, or failed before it could record why.",
        }
        ledger.advance_run(run.run_id, RunStatus.FAILED, ended_at=iso(now), error=error)
        repairs.runs_failed.append(run.run_id)


def _serves_another(live: Live, endpoints: Endpoints) -> bool:
    """Whether the endpoint failed, is gone, or serves a configuration that was never promoted."""
    state = endpoints.describe(live.endpoint_name)
    if state is None or state.status == "Failed":
        return True
    return state.status == "InService" and state.config != live.endpoint_config


def _repair(live: Live, workflows: Workflows, deployment_machine_arn: str, stamp: str) -> str:
    """Deploy the live version again. The token tells a second damage from a first repair that failed."""
    payload = {"reason": "repair", "version": live.version, "run_id": None, "requested_by": "dropforge"}
    name = f"repair-v{live.version}-t{live.token}-{stamp}"
    return workflows.start(deployment_machine_arn, name=name, payload=payload)
