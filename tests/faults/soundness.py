"""What has to hold of a stack whenever nothing is under way, whatever went wrong before."""

from __future__ import annotations

import json
import time
from typing import Any

from botocore.exceptions import ClientError

from dropforge.domain.drop_life import NEVER, DropState
from dropforge.domain.records import Approval, Live, LockName, Run, RunStatus, Stage
from dropforge.domain.run_endings import ending_of
from dropforge.domain.run_manifest import RunManifest
from dropforge.domain.triggers import parse_trigger
from tests.faults.bed import Bed

SETTLES_WITHIN_S = 40.0
# A sample has rows; a header alone is shorter.
_LEAST_BYTES = 1_000


def settle(bed: Bed, within_s: float = SETTLES_WITHIN_S, *, retires: bool = False) -> list[str]:
    """Wait until the stack is sound; what is still wrong with it after that time.

    ``retires`` has RetireModels clear away what is left without an owner, as the next deployment would.
    What was reported before isn't waited for or reported again.
    """
    deadline = time.monotonic() + within_s
    while True:
        problems = [each for each in unsound(bed) if each not in bed.reported]
        if not problems or time.monotonic() > deadline:
            bed.reported.update(problems)
            return problems
        if retires and all(each.endswith("has no owner") for each in problems):
            bed.invoke("RetireModels", execution_arn=bed.executions("deployment")[0])
        time.sleep(0.5)


def unsound(bed: Bed) -> list[str]:
    """Everything that is lost, orphaned, locked, served without approval, or done twice."""
    running = set(bed.executions("training", statusFilter="RUNNING"))
    deploying = bed.executions("deployment", statusFilter="RUNNING")
    waiting = {run.execution_arn for run in bed.stack.runs() if run.status is RunStatus.AWAITING_APPROVAL}
    problems = [f"{arn} is still running" for arn in [*deploying, *sorted(running - waiting)]]
    if problems:
        return problems
    return [
        *_runs(bed, running),
        *_drops(bed),
        *_locks(bed),
        *_jobs(bed),
        *_serving(bed),
        *_stages(bed),
    ]


def _runs(bed: Bed, running: set[str]) -> list[str]:
    runs = bed.stack.runs()
    waiting = [run.run_id for run in runs if run.status is RunStatus.AWAITING_APPROVAL]
    several = [f"{', '.join(waiting)} all wait for approval"] if len(waiting) > 1 else []
    return several + [
        f"run {run.run_id} is {run.status}, but its execution has ended"
        for run in runs
        if not run.status.is_final and run.execution_arn not in running
    ]


def _drops(bed: Bed) -> list[str]:
    """What became of each version under ``incoming/``: it stands in one state, and that state is true."""
    drops = {each.drop_id: each for each in bed.stack.ledger.list_drops()}
    holding: dict[str, list[str]] = {}
    for run in bed.stack.ledger.list_runs(limit=1000):
        ending = ending_of(run, {})
        if ending is None or ending.trained:
            for drop_id in RunManifest.from_dict(bed.stack.read_json(run.manifest_uri)).taken:
                holding.setdefault(drop_id, []).append(run.run_id)
    waiting = {each.drop_id for each in bed.stack.ledger.waiting_drops()}
    problems = []
    for drop_id, each in drops.items():
        name, runs = f"{each.drop.key} ({each.drop.version_id})", holding.get(drop_id, [])
        if (drop_id in waiting) != (each.state is DropState.WAITING):
            problems.append(f"{name} is {each.state}, and its place among those that wait says otherwise")
        match each.state:
            case DropState.WAITING if not each.failures:
                problems.append(f"{name} waits for a run")
            case DropState.WAITING | DropState.SET_ASIDE if runs:
                problems.append(f"{name} is {each.state}, but {runs} trained on it")
            case DropState.IN_RUN:
                problems.append(f"{name} is still held by {each.run_id}")
            case DropState.TRAINED if runs != [each.run_id]:
                problems.append(f"{name} was trained on by {each.run_id}, and by {runs}")
            case DropState.SUPERSEDED if drops[each.superseded_by or ""].drop.sequence <= each.drop.sequence:
                problems.append(f"{name} is superseded by an older version")
            case DropState.SET_ASIDE if not each.reason:
                problems.append(f"{name} is set aside without a reason")
    pages = bed.stack.s3.get_paginator("list_object_versions").paginate(
        Bucket=bed.stack.bucket, Prefix="incoming/"
    )
    versions = {each["VersionId"] for page in pages for each in page.get("Versions", [])}
    known = {each.drop.version_id for each in drops.values()}
    return problems + [f"version {each} under incoming/ is lost" for each in sorted(versions - known)]


def fates(bed: Bed, execution: str) -> list[str]:
    """What became of the drops of a training execution, where the end of its run means something else."""
    run = bed.run_of(execution)
    if run is None:
        drop = parse_trigger(json.loads(bed.stack.execution(execution)["input"])).drop
        known = drop is not None and bed.stack.ledger.get_drop(drop.drop_id) is not None
        return [] if known else [f"the drop of {execution}, which opened no run, is unknown"]
    taken = RunManifest.from_dict(bed.stack.read_json(run.manifest_uri)).taken
    # A replay takes none; every other way through the machine begins with one.
    if (len(taken) == 0) != (run.replay_of is not None):
        return [f"run {run.run_id} took {len(taken)} drop(s)"]
    wanted, is_tried_again = _fate(run)
    problems = []
    for each in bed.stack.ledger.get_drops(taken):
        seen = (each.state, each.version if each.state is DropState.TRAINED else None)
        if seen != (wanted, run.version):
            problems.append(f"{each.drop.key} of {run.run_id} is {seen}, not {(wanted, run.version)}")
        if wanted is DropState.WAITING and (each.due_at != NEVER) != is_tried_again:
            problems.append(f"{each.drop.key} of {run.run_id} is tried again by itself at {each.due_at}")
    return problems


def _fate(run: Run) -> tuple[DropState, bool]:
    """Where the drops of a run belong that has ended so, and whether they start a run by themselves."""
    if run.version is not None or run.status is RunStatus.REJECTED_BY_GATE:
        return DropState.TRAINED, False
    error = (run.error or {}).get("class")
    # The only data that any scenario drops and that is bad by itself has a header and no row.
    if run.drop_bytes < _LEAST_BYTES:
        return DropState.SET_ASIDE, False
    return DropState.WAITING, error == "ExecutionEnded"


def states_of_drops(bed: Bed) -> dict[str, DropState]:
    """Where each drop stands."""
    return {each.drop_id: each.state for each in bed.stack.ledger.list_drops()}


def _locks(bed: Bed) -> list[str]:
    leases = [bed.stack.ledger.held_lease(name) for name in LockName]
    return [f"the {lease.name} lock is held by {lease.holder}" for lease in leases if lease is not None]


def _jobs(bed: Bed) -> list[str]:
    pages = bed.stack.sagemaker.get_paginator("list_training_jobs").paginate(NameContains=f"{bed.name}-")
    return [
        f"training job {job['TrainingJobName']} is {job['TrainingJobStatus']} without a run"
        for page in pages
        for job in page["TrainingJobSummaries"]
        if job["TrainingJobName"].startswith(f"{bed.name}-")
        and job["TrainingJobStatus"] in ("InProgress", "Stopping")
    ]


def _serving(bed: Bed) -> list[str]:
    live = bed.stack.ledger.live()
    endpoint = _endpoint(bed)
    if live is None:
        orphan = (
            [f"endpoint {bed.name} is {endpoint['EndpointStatus']}, but nothing is live"] if endpoint else []
        )
        return orphan + _leftovers(bed, set(), set())
    if endpoint is None:
        return [f"version {live.version} is live, but there is no endpoint"]
    problems = []
    if (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) != ("InService", live.endpoint_config):
        problems.append(
            f"the endpoint is {endpoint['EndpointStatus']} on {endpoint['EndpointConfigName']}, "
            f"live is {live.endpoint_config}"
        )
    model = bed.stack.ledger.get_model(live.version)
    if model is None or model.approval is not Approval.APPROVED:
        problems.append(f"the live version {live.version} is not approved")
    if not problems and not bed.predicts():
        problems.append("the endpoint does not answer")
    configs, models = _kept(bed, live)
    return problems + _leftovers(bed, configs, models)


def _endpoint(bed: Bed) -> dict[str, Any] | None:
    try:
        described: dict[str, Any] = bed.stack.sagemaker.describe_endpoint(EndpointName=bed.name)
    except ClientError as error:
        if "Could not find" not in str(error):
            raise
        return None
    return described


def _kept(bed: Bed, live: Live) -> tuple[set[str], set[str]]:
    """The configurations and models of the live version and of the one that it replaced."""
    configs, models = {live.endpoint_config}, {live.model_name}
    previous = bed.stack.ledger.get_model(live.previous_version) if live.previous_version else None
    if previous is not None and previous.endpoint_config and previous.model_name:
        configs.add(previous.endpoint_config)
        models.add(previous.model_name)
    return configs, models


def _leftovers(bed: Bed, configs: set[str], models: set[str]) -> list[str]:
    def names(operation: str, collection: str, member: str) -> set[str]:
        pages = bed.stack.sagemaker.get_paginator(operation).paginate(NameContains=f"{bed.name}-v")
        found = [each[member] for page in pages for each in page[collection]]
        return {name for name in found if name.startswith(f"{bed.name}-v")}

    there = names("list_endpoint_configs", "EndpointConfigs", "EndpointConfigName")
    made = names("list_models", "Models", "ModelName")
    return [
        *(f"endpoint configuration {each} has no owner" for each in sorted(there - configs)),
        *(f"model {each} has no owner" for each in sorted(made - models)),
        *(f"endpoint configuration {each} is gone" for each in sorted(configs - there)),
        *(f"model {each} is gone" for each in sorted(models - made)),
    ]


def _stages(bed: Bed) -> list[str]:
    live = bed.stack.ledger.live()
    expected = [] if live is None else [live.version]
    found = [each.version for each in bed.stack.ledger.list_models() if each.stage is Stage.PRODUCTION]
    return [] if found == expected else [f"versions {found} are in Production instead of {expected}"]
