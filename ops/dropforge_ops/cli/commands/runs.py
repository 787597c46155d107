"""``dropforge runs``: what ran, what runs, one run in detail, a run by hand, and a replay."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live as LiveDisplay

from dropforge.domain.hyperparameters import typed
from dropforge.domain.records import Run, RunStatus
from dropforge_ops.actions import compared_runs, compared_view, replays, run_details
from dropforge_ops.actions.advice import next_steps
from dropforge_ops.actions.compared_runs import find_run
from dropforge_ops.actions.progress_view import ProgressView
from dropforge_ops.actions.waiting import Deadline, RunWatch
from dropforge_ops.cli.invocation import MORE_TIME, Invocation
from dropforge_ops.errors import NotFound, OperationFailed, UsageError
from dropforge_ops.render import metric, run_seconds, runs_table, say
from dropforge_ops.stack.progress import Follower

DATA_HELP = (
    "; ".join(f"{name}: {text}" for name, text in replays.DATA.items()) + ". By default as TrainingData says."
)
_SIDE_HELP = "A run's id, a version's number or ARN, or 'latest' for the newest run."
_GOES_ON = "The run goes on; 'dropforge runs' shows how it stands."
_TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=0, metavar="SECONDS", help="How long to wait.")
]


def list_runs(
    invocation: Invocation,
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep looking until Ctrl-C.")] = False,
) -> None:
    """The newest runs first."""
    if follow and invocation.as_json:
        raise UsageError("--follow never ends, and --json is one document: leave one of them out.")
    if follow:
        _follow_list(invocation, limit)
        return
    runs = invocation.ledger.list_runs(limit)
    document = {"runs": [{**run.to_dict(), "seconds": round(run_seconds(run), 3)} for run in runs]}

    def show(out: Console) -> None:
        if runs:
            out.print(runs_table(runs))
        else:
            say(out, "There is no run yet. Drop a file: 'dropforge drop FILE'.")

    invocation.emit(document, show)


def show_run(
    invocation: Invocation,
    *,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or 'latest'.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow it until it ends or waits for approval.")
    ] = False,
    timeout: _TimeoutOption = 3600,
) -> None:
    """One run in detail: its states, its rows, its metrics, its reasons, and what to do."""
    found = find_run(invocation.ledger, run)
    if follow:
        found = _follow_run(invocation, found, invocation.deadline(timeout, _GOES_ON, MORE_TIME))
    details = run_details.read(found, invocation.target, invocation.ledger, invocation.documents)
    invocation.emit(details.to_dict(), lambda out: run_details.show(details, out))


def start_run(
    invocation: Invocation,
    *,
    data: Annotated[str | None, typer.Option("--data", metavar="DATA", help=DATA_HELP)] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A hyperparameter of this run, over those of the parameter Hyperparameters. Repeatable.",
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run.")] = False,
    timeout: _TimeoutOption = 3600,
) -> None:
    """Train now, also on what waits because its run has failed."""
    if data not in (None, *replays.DATA):
        raise UsageError(f"--data is {data!r}; it is one of {', '.join(replays.DATA)}.")
    deadline = invocation.deadline(timeout, _GOES_ON, MORE_TIME)
    fields: dict[str, Any] = {} if data is None else {"data": data}
    if set_:
        fields["hyperparameters"] = _hyperparameters(set_)
    started = replays.start(invocation.target, "manual", fields)
    admission = replays.admission(started, invocation.ledger, invocation.target.poll_s, deadline)
    if admission.run is None:
        if admission.outcome == "nothing-new":
            raise NotFound(f"{admission.message} Drop a file: 'dropforge drop FILE'.")
        if admission.outcome == "invalid-hyperparameters":
            raise UsageError(f"{admission.message} Nothing was started.")
        document: dict[str, Any] = {"execution_arn": started.execution_arn, **admission.to_dict()}
        invocation.emit(document, lambda out: say(out, admission.message))
        return
    run = admission.run
    if wait:
        run = _follow_run(invocation, run, deadline)
    document = {"execution_arn": started.execution_arn, **admission.to_dict(), "run": run.to_dict()}
    if run.status is RunStatus.FAILED:
        raise OperationFailed(_failure(run), **document)

    def show(out: Console) -> None:
        shown = f", {metric(run.metric)}" if run.metric else ""
        say(out, f"Run {run.run_id}: {run.status.replace('_', ' ')}{shown}")
        for step in next_steps(run):
            say(out, f"  {step}")

    invocation.emit(document, show)


def _hyperparameters(pairs: list[str]) -> dict[str, Any]:
    """``name=value`` as names and values: numbers and booleans as in JSON, anything else a text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise UsageError(f"--set {pair!r} is not of the form NAME=VALUE.")
        if name in found:
            raise UsageError(f"--set names {name!r} twice.")
        found[name] = typed(text)
    return found


def replay_run(
    invocation: Invocation,
    *,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run to do again.")],
    timeout: _TimeoutOption = 3600,
) -> None:
    """Train again on the very data of a run, and compare the models. Exits with status 1 if they differ."""
    original = find_run(invocation.ledger, run)
    target, documents = invocation.target, invocation.documents
    before = replays.outcome_of(original.run_id, target.bucket, documents)
    if before is None:
        raise UsageError(
            f"Run {original.run_id} is {original.status.replace('_', ' ')} and has no judgement: there is no "
            "model to compare a replay with. What it was to be trained on waits or was set aside: 'dropforge "
            "drops' lists it, 'dropforge runs start' trains on it."
        )
    deadline = invocation.deadline(timeout, _GOES_ON, MORE_TIME)
    started = replays.start(target, "replay", {"run_id": original.run_id})
    admission = replays.admission(started, invocation.ledger, target.poll_s, deadline)
    if admission.run is None:
        raise OperationFailed(f"The replay was not admitted: {admission.message} Try again later.")
    replayed = _follow_run(invocation, admission.run, deadline)
    if replayed.status is not RunStatus.REPLAYED:
        raise OperationFailed(_failure(replayed), replay=replayed.to_dict())
    after = replays.outcome_of(replayed.run_id, target.bucket, documents)
    if after is None:
        raise OperationFailed(f"The replay {replayed.run_id} left no judgement to compare.")
    comparison = replays.compare(before, after)
    if not comparison.same:
        raise OperationFailed(
            f"The replay of {original.run_id} gave another model: {before.model_digest} before, "
            f"{after.model_digest} now. {comparison.explanation}",
            **comparison.to_dict(),
        )
    message = f"The replay of {original.run_id} gave the same model: {after.model_digest}."
    invocation.emit(comparison.to_dict(), lambda out: say(out, message))


def compare(
    invocation: Invocation,
    *,
    first: Annotated[str, typer.Argument(metavar="A", help=_SIDE_HELP)],
    second: Annotated[str, typer.Argument(metavar="B", help="The other one; it is compared with A.")],
    every: Annotated[bool, typer.Option("--all", help="Also what is the same.")] = False,
) -> None:
    """What differs between two runs: parameters, code, libraries, data, metrics, slices, importance.

    Both models are also compared on the rows that both were scored on, with the paired difference and its
    interval, where there are such rows.
    """
    found = compared_runs.compare_runs(first, second, invocation.target)
    invocation.emit(found.to_dict(), lambda out: compared_view.show(found, out, every=every))


def _follow_run(invocation: Invocation, run: Run, deadline: Deadline) -> Run:
    target = invocation.target
    follower = Follower(target.client("stepfunctions"), run.execution_arn)
    with ProgressView(invocation.err) as view:
        view.line(f"Run {run.run_id}")
        watch = RunWatch(invocation.ledger, follower, view, run.run_id, target.poll_s, deadline)
        return watch.to_decision_or_end()


def _follow_list(invocation: Invocation, limit: int) -> None:
    """Redraw the table on a terminal; elsewhere write a line per change."""
    ledger, out, pause = invocation.ledger, invocation.out, max(1.0, invocation.target.poll_s)
    if out.is_terminal:
        with LiveDisplay(console=out, auto_refresh=False) as display:
            while True:
                display.update(runs_table(ledger.list_runs(limit)), refresh=True)
                time.sleep(pause)
    known: dict[str, RunStatus] = {}
    while True:
        for run in reversed(ledger.list_runs(limit)):
            if known.get(run.run_id) is not run.status:
                known[run.run_id] = run.status
                out.print(f"{run.run_id}  {run.status.replace('_', ' ')}  {metric(run.metric)}".rstrip())
        time.sleep(pause)


def _failure(run: Run) -> str:
    error = run.error or {}
    said = f"{error.get('class')}: {error.get('message')}" if error else ""
    return " ".join([f"Run {run.run_id} is {run.status.replace('_', ' ')}.", said, *next_steps(run)]).strip()
