"""``dropforge demo``: the whole way from a dropped file to a prediction, on a temporary local host."""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from dropforge.domain.records import Approval, Live, Run, RunStatus
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.actions import decisions, predictions
from dropforge_ops.actions.advice import remedy
from dropforge_ops.actions.drops import Coverage, Upload, keys_of
from dropforge_ops.actions.model_check import lock_libraries
from dropforge_ops.actions.progress_view import ProgressView
from dropforge_ops.actions.waiting import Deadline, RunWatch, until
from dropforge_ops.cli.commands.drop import upload_all
from dropforge_ops.cli.extras import require
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.errors import OperationFailed
from dropforge_ops.render import duration, interval
from dropforge_ops.stack.documents import Documents
from dropforge_ops.stack.progress import Follower, seconds_by_state
from dropforge_ops.stack.project import DEFAULT_SAMPLE, find_root, sample_parameters
from dropforge_ops.stack.samples import write_samples
from dropforge_ops.stack.source_commit import PARAMETER, source_commit
from dropforge_ops.stack.target import DEFAULT_STACK, Target

if TYPE_CHECKING:
    from dropforge_local.host import LocalHost

# Far above what it takes (seconds), so that only something broken ends here.
_TIMEOUT_S = 180.0
_TOLERANCE = 1e-6
_SERVICES = ("s3", "dynamodb", "stepfunctions", "sagemaker", "sagemaker-runtime")


@dataclass
class Stopwatch:
    """Seconds per stage, and since the start."""

    began: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - start, 3)

    def total(self) -> float:
        return round(time.monotonic() - self.began, 3)


def demo(invocation: Invocation) -> None:
    """Show the whole way on real data: drop, train, judge, approve, deploy, predict. Leaves nothing behind.

    The last line on stdout is one JSON object with what happened. Where it fails, the host's state is kept.
    """
    require("demo", "local")
    from dropforge_local.host import LocalHost  # noqa: PLC0415 - only here is there a host to start
    from dropforge_local.sagemaker.container import has_namespaces  # noqa: PLC0415
    from dropforge_ops.stack.local_host import WAIT_SCALE, running, target_of  # noqa: PLC0415

    watch = Stopwatch()
    stack = invocation.options.stack or DEFAULT_STACK
    root = find_root()
    lock_libraries(root)
    host = LocalHost(root, wait_scale=WAIT_SCALE)
    with ExitStack() as held:
        scratch = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="dropforge-demo-")))
        [file] = write_samples(scratch, [DEFAULT_SAMPLE])
        invocation.note("Starting a local host …")
        with watch.stage("host"):
            held.enter_context(running(host))
        held.enter_context(_kept_on_failure(invocation, host))
        invocation.note(f"Deploying {stack} to {host.endpoint_url} …")
        with watch.stage("deploy"):
            parameters = {**sample_parameters(DEFAULT_SAMPLE), PARAMETER: source_commit(root)}
            outputs = host.deploy(stack, parameters)
        invocation.target = target_of(host, stack, outputs)
        # A client's first call loads its service's model; that is no part of what is measured.
        for service in _SERVICES:
            invocation.target.client(service)
        document = _drop_to_prediction(invocation, file, watch)
    document["user_namespaces"] = has_namespaces(sys.executable)
    document["seconds"]["total"] = watch.total()
    invocation.note(f"Done in {duration(watch.total())}. The host is stopped.")
    invocation.write_json(document, indent=None)


@contextmanager
def _kept_on_failure(invocation: Invocation, host: LocalHost) -> Iterator[None]:
    """Keep what tells why the block failed, its log groups as files, and say where."""
    try:
        yield
    except Exception:
        folder = host.keep_state()
        with suppress(BotoCoreError, ClientError):  # the host may be what has failed
            write_log_groups(host.client("logs"), folder / "logs")
        invocation.note(
            f"The host's state is kept in {folder}: its log is host.log there, its log groups are in logs."
        )
        raise


def _drop_to_prediction(invocation: Invocation, file: Path, stopwatch: Stopwatch) -> dict[str, Any]:
    target, ledger = invocation.target, invocation.ledger
    deadline = Deadline(_TIMEOUT_S, "This takes seconds; something is broken. Try again with --debug.")
    with ProgressView(invocation.err) as view:
        with stopwatch.stage("drop_to_prediction"):
            uploads = upload_all(invocation, keys_of([file], None))
            run = _covering_run(target, ledger, uploads, deadline)
            view.line(f"Run {run.run_id}")
            follower = Follower(target.client("stepfunctions"), run.execution_arn)
            watch = RunWatch(ledger, follower, view, run.run_id, target.poll_s, deadline)
            candidate = _approve(
                invocation, _expect(watch.to_decision_or_end(), RunStatus.AWAITING_APPROVAL), view
            )
            run = _expect(watch.to_end(), RunStatus.SUCCEEDED)
            live = ledger.live()
            if live is None or live.version != run.version:
                raise OperationFailed(f"Version {run.version} was promoted, but isn't live.")
            rows, expected = _recorded_rows(live, invocation.documents)
            answers = predictions.predict_live(target, live, rows)
        view.line(f"{live.endpoint_name} answers: {answers[0]['label']}")
        status = watch.execution_to_end()
    _check(status, target, live, answers, expected)
    return {
        "run_id": run.run_id,
        "execution_arn": run.execution_arn,
        "execution_status": status,
        "version": live.version,
        "metrics": candidate.judgement.content["metrics"],
        "model_package_arn": live.model_package_arn,
        "endpoint_name": live.endpoint_name,
        "endpoint_config": live.endpoint_config,
        "prediction": answers[0],
        "predictions_checked": len(answers),
        "seconds": {**stopwatch.seconds, **seconds_by_state(follower.all_visits)},
    }


def _covering_run(target: Target, ledger: LedgerReader, uploads: list[Upload], deadline: Deadline) -> Run:
    machine = target.outputs["TrainingStateMachine"]
    documents = Documents(target.client("s3"))
    coverage = Coverage(uploads, ledger, documents, target.client("stepfunctions"), machine)

    def covered() -> Run | None:
        return None if coverage.look() else coverage.run_of(uploads[0])

    found: Run = until(covered, deadline, target.poll_s, "No run covers the drop")
    return found


def _expect(run: Run, status: RunStatus) -> Run:
    if run.status is status:
        return run
    error = run.error or {}
    said = " ".join(str(reason.get("message", reason)) for reason in run.reasons)
    raise OperationFailed(
        f"Run {run.run_id} is {run.status} instead of {status}. {error.get('class', '')} "
        f"{error.get('message', said)} {remedy(error.get('class')) or ''}".strip()
    )


def _approve(invocation: Invocation, run: Run, view: ProgressView) -> decisions.Candidate:
    model = decisions.parse_version(str(run.version), invocation.ledger)
    shown = decisions.candidate(model, invocation.ledger, invocation.documents)
    decisions.check_approvable(shown, None)
    metric = shown.judgement.content["metric"]
    view.line(f"Version {model.version}: {metric['name']} {interval(metric)}; approving")
    decisions.decide(
        invocation.target.client("sagemaker"),
        shown,
        Approval.APPROVED,
        by=invocation.target.caller,
        reason="approved by dropforge demo",
    )
    return shown


def _recorded_rows(live: Live, documents: Documents) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Hold-out rows of the live model, and the answers that training recorded for them."""
    smoke = documents.find(live.smoke_uri)
    if smoke is None:
        raise OperationFailed(f"{live.smoke_uri} is gone.")
    return smoke.content["instances"], smoke.content["predictions"]


def _check(
    status: str, target: Target, live: Live, answers: list[dict[str, Any]], expected: list[dict[str, Any]]
) -> None:
    """Make sure that all of it really happened.

    Raises:
        OperationFailed: it did not.
    """
    endpoint = target.client("sagemaker").describe_endpoint(EndpointName=live.endpoint_name)
    problems = []
    if status != "SUCCEEDED":
        problems.append(f"the execution is {status}")
    if (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) != ("InService", live.endpoint_config):
        problems.append(
            f"{live.endpoint_name} is {endpoint['EndpointStatus']} on {endpoint['EndpointConfigName']}, not "
            f"in service on {live.endpoint_config}"
        )
    if len(answers) != len(expected) or not all(map(_same, answers, expected)):
        problems.append("the endpoint's predictions are not those that training recorded")
    if problems:
        raise OperationFailed(f"The demo did not end as it should: {'; '.join(problems)}.")


def _same(said: dict[str, Any], should: dict[str, Any]) -> bool:
    return said["label"] == should["label"] and all(
        math.isclose(said["probabilities"][name], value, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
        for name, value in should["probabilities"].items()
    )


def write_log_groups(logs: Any, folder: Path) -> None:
    """Write each log group to ``<folder>/<its name>.log``: a line an event, the oldest first.

    Args:
        logs: a client of CloudWatch Logs.
        folder: is made where it is not there; files of former calls are replaced.
    """
    for page in logs.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            name = group["logGroupName"]
            path = folder / f"{name.strip('/')}.log"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(_lines(logs, name)), encoding="utf-8")


def _lines(logs: Any, group: str) -> list[str]:
    events = [
        event
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        for event in page["events"]
    ]
    return [
        f"{datetime.fromtimestamp(event['timestamp'] / 1000, UTC).isoformat(timespec='milliseconds')} "
        f"{event['logStreamName']} {event['message'].rstrip()}\n"
        for event in sorted(events, key=lambda event: event["timestamp"])
    ]
