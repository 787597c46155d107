"""``dropforge logs``: what the training job of a run has printed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from dropforge.domain.records import Run, RunStatus
from dropforge_ops.actions.compared_runs import find_run
from dropforge_ops.actions.job_logs import GROUP, JobLogs, Line
from dropforge_ops.actions.waiting import Deadline
from dropforge_ops.cli.invocation import MORE_TIME, Invocation
from dropforge_ops.errors import UsageError
from dropforge_ops.render import moment, say

_GOES_ON = "The run goes on; 'dropforge runs' shows how it stands."


def logs(
    invocation: Invocation,
    *,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or 'latest'.")] = "latest",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run is trained and judged, or has failed.")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, metavar="SECONDS", help="How long to follow it.")
    ] = 3600,
) -> None:
    """What a run's training job has printed: your model's own output, its metrics, its errors."""
    if follow and invocation.as_json:
        raise UsageError("--follow writes lines as they come, and --json is one document: leave one out.")
    found = find_run(invocation.ledger, run)
    target = invocation.target
    job_logs = JobLogs(target.client("logs"), f"{target.outputs['ModelName']}-{found.run_id}-a")
    if follow:
        _follow(invocation, found, job_logs, invocation.deadline(timeout, _GOES_ON, MORE_TIME))
        return
    lines = list(job_logs.new_lines())
    document = {"run_id": found.run_id, "log_group": GROUP, "lines": [asdict(each) for each in lines]}

    def show(out: Console) -> None:
        if lines:
            _write(out, lines)
        else:
            say(out, _nothing(found))

    invocation.emit(document, show)


def _follow(invocation: Invocation, run: Run, job_logs: JobLogs, deadline: Deadline) -> None:
    written = False
    while True:
        # The record is read first: what is printed then holds at least all that it knows of.
        now = invocation.ledger.get_run(run.run_id) or run
        lines = list(job_logs.new_lines())
        _write(invocation.out, lines)
        written = written or bool(lines)
        if now.status is not RunStatus.RUNNING:
            if not written:
                say(invocation.out, _nothing(now))
            return
        deadline.pause(max(1.0, invocation.target.poll_s), f"Run {run.run_id} is still running")


def _write(out: Console, lines: list[Line]) -> None:
    for each in lines:
        # A script may print anything: markup is text, and so is what would drive the terminal.
        text = "".join(sign if sign.isprintable() or sign == "\t" else "\ufffd" for sign in each.message)
        out.print(f"{moment(each.at)}  {text}", markup=False, highlight=False, emoji=False, soft_wrap=True)


def _nothing(run: Run) -> str:
    if run.status is RunStatus.RUNNING:
        return f"The training job of run {run.run_id} has printed nothing yet; --follow waits for it."
    error = run.error or {}
    said = f" {error.get('class')}: {error.get('message')}" if error else ""
    return (
        f"No training job of run {run.run_id} has printed anything, or its lines have expired; the run is "
        f"{run.status.replace('_', ' ')}.{said}"
    )
