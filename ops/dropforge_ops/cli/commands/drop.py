"""``dropforge drop``: upload files, and follow the run that trains on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from dropforge.domain.data_report import DataReport
from dropforge.domain.records import Approval, Run, RunStatus
from dropforge_ops.actions import decisions
from dropforge_ops.actions.advice import next_steps
from dropforge_ops.actions.drops import Coverage, Upload, keys_of, upload
from dropforge_ops.actions.progress_view import ProgressView, byte_bars, cause_message
from dropforge_ops.actions.waiting import Deadline, RunWatch
from dropforge_ops.cli.invocation import MORE_TIME, Invocation
from dropforge_ops.errors import OperationFailed, UsageError
from dropforge_ops.render import metric, say, size
from dropforge_ops.stack.data_reports import read_data_report, show_data_report
from dropforge_ops.stack.progress import Follower

_GOES_ON = "The run goes on; 'dropforge runs' shows how it stands."
# An execution that fails before it records a run is rare; not every look need search for one.
_LOOKS_PER_SEARCH = 20


def drop(
    invocation: Invocation,
    *,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="CSV, JSON lines or Parquet files.")],
    prefix: Annotated[str | None, typer.Option("--prefix", help="A folder below incoming/.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow the run until it ends or waits for approval.")
    ] = False,
    approve: Annotated[
        bool, typer.Option("--approve", help="Approve what was trained, and follow its deployment.")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, metavar="SECONDS", help="How long to wait.")
    ] = 3600,
) -> None:
    """Upload files; each starts a training run, or joins the next one."""
    keys = keys_of(files, prefix)
    uploads = upload_all(invocation, keys)
    document: dict[str, Any] = {"uploads": [each.to_dict() for each in uploads], "runs": []}
    notes: list[str] = []
    reports: dict[str, DataReport | None] = {}
    if wait or approve:
        deadline = invocation.deadline(timeout, _GOES_ON, MORE_TIME)
        runs, notes = follow(invocation, uploads, approve=approve, deadline=deadline)
        document["runs"] = [run.to_dict() for run in runs]
        document["notes"] = notes
        reports = {run.run_id: _data_report(invocation, run) for run in runs}
        document["data"] = [each.to_dict() for each in reports.values() if each is not None]
        check(runs, approve=approve, facts=document)

    def show(out: Console) -> None:
        if not document["runs"]:
            say(out, "A run starts by itself; 'dropforge runs' shows it.")
        for run in document["runs"]:
            found = Run.from_dict(run)
            version = f", version {found.version}" if found.version is not None else ""
            shown = f", {metric(found.metric)}" if found.metric else ""
            say(out, f"Run {found.run_id}: {found.status.replace('_', ' ')}{version}{shown}")
            for reason in found.reasons:
                say(out, f"  {reason.get('message', reason)}")
            show_data_report(reports.get(found.run_id), out)
            for step in next_steps(found):
                say(out, f"  {step}")

    invocation.emit(document, show)


def _data_report(invocation: Invocation, run: Run) -> DataReport | None:
    return read_data_report(
        run.run_id, invocation.target.bucket, invocation.ledger, invocation.documents.content
    )


def upload_all(invocation: Invocation, keys: dict[Path, str]) -> list[Upload]:
    """Upload every file, with a bar for the bytes on a terminal."""
    s3, bucket = invocation.target.client("s3"), invocation.target.bucket
    uploads = []
    with byte_bars(invocation.err) as bars:
        for path, key in keys.items():
            bar = bars.add_task(path.name, total=path.stat().st_size)
            try:
                done = upload(s3, bucket, path, key, lambda count, bar=bar: bars.advance(bar, count))  # type: ignore[misc]
            except OSError as error:
                raise UsageError(f"{path} can't be read: {error.strerror or error}.") from error
            uploads.append(done)
            invocation.note(f"{path} -> {done.uri} ({size(done.size)})")
    return uploads


def follow(
    invocation: Invocation, uploads: list[Upload], *, approve: bool, deadline: Deadline
) -> tuple[list[Run], list[str]]:
    """Follow the runs that cover the uploads, one after the other.

    Returns:
        The runs as they stand at the end, and what was noted about drops that joined another's run.

    Raises:
        OperationFailed: an execution failed before it could record a run.
        TimedOut: the time is up.
    """
    target, ledger = invocation.target, invocation.ledger
    sfn = target.client("stepfunctions")
    coverage = Coverage(
        list(uploads), ledger, invocation.documents, sfn, target.outputs["TrainingStateMachine"]
    )
    runs: dict[str, Run] = {}
    notes: list[str] = []
    with ProgressView(invocation.err) as view:
        while True:
            run = _next_run(
                coverage, set(runs), view=view, deadline=deadline, poll_s=target.poll_s, notes=notes
            )
            if run is None:
                return list(runs.values()), notes
            view.line(f"Run {run.run_id}")
            watch = RunWatch(
                ledger, Follower(sfn, run.execution_arn), view, run.run_id, target.poll_s, deadline
            )
            reached = watch.to_decision_or_end()
            if approve and reached.status is RunStatus.AWAITING_APPROVAL:
                _approve(invocation, reached, view)
                reached = watch.to_end()
            runs[run.run_id] = reached


def _next_run(
    coverage: Coverage,
    known: set[str],
    *,
    view: ProgressView,
    deadline: Deadline,
    poll_s: float,
    notes: list[str],
) -> Run | None:
    """The next run to follow, once there is one; None when every upload's run was followed."""
    said: str | None = None
    looks = 0
    while True:
        missing = coverage.look()
        for each in coverage.uploads:
            run = coverage.found.get(each.uri)
            if run is not None and run.run_id not in known:
                _note_joined(coverage, each, run, view, notes)
                return run
        if not missing:
            return None
        text = coverage.what_is_missing()
        if text != said:
            view.say(text)
            said = text
        looks += 1
        broken = coverage.broken_start() if looks % _LOOKS_PER_SEARCH == 0 else None
        if broken is not None:
            arn, error, cause = broken
            raise OperationFailed(
                f"The execution {arn} that a drop started failed before it could record a run: {error}: "
                f"{cause_message(cause)}"
            )
        deadline.pause(poll_s, text)


def _note_joined(coverage: Coverage, each: Upload, run: Run, view: ProgressView, notes: list[str]) -> None:
    """Say so where the run isn't simply this drop's own."""
    others = run.drops - 1
    if run.trigger == "drop" and not others:
        text = ""
    elif run.trigger == "drop" and coverage.started_it(each):
        text = f"{each.key} started run {run.run_id}, which covers {others} other drop(s) too."
    else:
        alone = f" with {others} other drop(s)" if others else ""
        text = f"{each.key} came while another run trained; run {run.run_id} covers it{alone}."
    recorded = coverage.received.get(each.uri)
    if recorded is not None and recorded.duplicates:
        text += f" The event of {each.key} was delivered {recorded.duplicates + 1} times; it counts once."
    if text:
        view.line(text.strip())
        notes.append(text.strip())


def _approve(invocation: Invocation, run: Run, view: ProgressView) -> None:
    if run.version is None:
        raise OperationFailed(f"Run {run.run_id} waits for approval, but names no version.")
    model = decisions.parse_version(str(run.version), invocation.ledger)
    shown = decisions.candidate(model, invocation.ledger, invocation.documents)
    if model.approval is Approval.PENDING and decisions.check_approvable(shown, None) is None:
        decisions.decide(
            invocation.target.client("sagemaker"),
            shown,
            Approval.APPROVED,
            by=invocation.target.caller,
            reason="approved with the drop",
        )
        view.line(f"Version {model.version} approved: {metric(shown.judgement.content.get('metric'))}")


def check(runs: list[Run], *, approve: bool, facts: dict[str, Any]) -> None:
    """End the command with a failure if a run failed, or isn't live though approval was asked for."""
    failed = [run for run in runs if run.status in (RunStatus.FAILED, RunStatus.STOPPED)]
    if approve:
        failed += [run for run in runs if run not in failed and run.status is not RunStatus.SUCCEEDED]
    if failed:
        raise OperationFailed(" ".join(_why(run) for run in failed), **facts)


def _why(run: Run) -> str:
    text = f"Run {run.run_id} {run.status.replace('_', ' ')}."
    if run.error:
        text += f" {run.error.get('class')}: {run.error.get('message')}"
    return " ".join([text, *(str(reason.get("message", reason)) for reason in run.reasons), *next_steps(run)])
