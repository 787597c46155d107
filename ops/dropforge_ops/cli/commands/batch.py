"""``dropforge batch``: score files with the live model, and fetch the results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from dropforge.domain.batch import IN_PREFIX
from dropforge.domain.triggers import Drop
from dropforge_ops.actions.advice import remedy
from dropforge_ops.actions.batches import BatchExecutions, ScoredBatch, fetch, manifest_of, targets_of
from dropforge_ops.actions.drops import Upload, keys_of
from dropforge_ops.actions.progress_view import ProgressView, byte_bars, cause_message
from dropforge_ops.actions.waiting import Deadline
from dropforge_ops.cli.commands.drop import upload_all
from dropforge_ops.cli.invocation import MORE_TIME, Invocation
from dropforge_ops.errors import NotFound, OperationFailed
from dropforge_ops.render import say
from dropforge_ops.stack.progress import Follower

_GOES_ON = "The batch goes on; its result will lie under batch/out/ in the data bucket."
_REASONS_SHOWN = 3


def batch(
    invocation: Invocation,
    *,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="CSV or JSON lines; plain, .gz or .zst.")
    ],
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="The folder that results are written into.")
    ] = Path("results"),
    force: Annotated[bool, typer.Option("--force", help="Replace results that lie there already.")] = False,
    prefix: Annotated[str | None, typer.Option("--prefix", help="A folder below batch/in/.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow the scoring and fetch the results.")
    ] = True,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, metavar="SECONDS", help="How long to wait.")
    ] = 3600,
) -> None:
    """Score files with the live model; results have the rows' ids and lie in --to under the files' names."""
    keys = keys_of(files, prefix, below=IN_PREFIX)
    targets = targets_of(keys, to, force=force) if wait else {}
    if invocation.ledger.live() is None:
        raise NotFound(
            "No model is live yet, so there is nothing to score with. Drop training data ('dropforge drop "
            "FILE --wait') and approve its model ('dropforge approve latest --wait') first. Nothing was "
            "uploaded."
        )
    uploads = upload_all(invocation, keys)
    document: dict[str, Any] = {"uploads": [each.to_dict() for each in uploads], "batches": []}
    scored: list[ScoredBatch] = []
    problems: list[str] = []
    if wait:
        machine = invocation.target.outputs["BatchStateMachine"]
        executions = BatchExecutions(invocation.target.client("stepfunctions"), machine)
        deadline = invocation.deadline(timeout, _GOES_ON, MORE_TIME)
        for each in uploads:
            try:
                scored.append(_score(invocation, executions, each, targets[Path(each.path)], deadline))
            except OperationFailed as error:
                problems.append(str(error))
        document["batches"] = [each.to_dict() for each in scored]
    if problems:
        raise OperationFailed(" ".join(problems), **document)
    invocation.emit(document, lambda out: _show(out, scored))


def _score(
    invocation: Invocation, executions: BatchExecutions, upload: Upload, target: Path, deadline: Deadline
) -> ScoredBatch:
    with ProgressView(invocation.err) as view:
        arn, drop = _followed(invocation, executions, upload, view, deadline)
        manifest = manifest_of(drop, invocation.documents)
    with byte_bars(invocation.err) as bars:
        bar = bars.add_task(target.name, total=manifest["result"]["bytes"])
        files = fetch(
            invocation.target.client("s3"), manifest, target, lambda count: bars.advance(bar, count)
        )
    return ScoredBatch(upload, arn, manifest, files)


def _followed(
    invocation: Invocation,
    executions: BatchExecutions,
    upload: Upload,
    view: ProgressView,
    deadline: Deadline,
) -> tuple[str, Drop]:
    """The execution that scored the upload, once it has ended well, and the drop as it was told of it."""
    poll_s = invocation.target.poll_s
    followers: dict[str, Follower] = {}
    while True:
        for arn, drop in executions.of(upload):
            if arn not in followers:
                followers[arn] = Follower(executions.sfn, arn)
                view.line(f"Batch {upload.key.removeprefix(IN_PREFIX)}")
            follower = followers[arn]
            view.show(follower.look(), follower)
            if follower.status == "SUCCEEDED" and executions.scores(arn):
                return arn, drop
            if follower.status not in ("RUNNING", "SUCCEEDED"):
                error, cause = follower.failure
                step = remedy(error)
                raise OperationFailed(
                    f"{upload.uri} was not scored: {error}: {cause_message(cause)} {step or ''}".strip()
                )
        if not followers:
            view.say(f"Nothing scores {upload.key} yet")
        deadline.pause(poll_s, f"{upload.uri} isn't scored yet")


def _show(out: Console, scored: list[ScoredBatch]) -> None:
    if not scored:
        say(out, "Scoring starts by itself; results will lie under batch/out/ in the data bucket.")
    for each in scored:
        rows = each.manifest["rows"]
        said = f"{each.files['result']}: {rows['scored']} of {rows['read']} rows scored by version "
        say(out, f"{said}{each.manifest['model']['version']}")
        if rows["rejected"]:
            say(out, f"  {rows['rejected']} rejected; {each.files['rejected']} says why")
        for reason in each.manifest["rejected"]["reasons"][:_REASONS_SHOWN]:
            column = f" in column {reason['column']!r}" if reason["column"] else ""
            say(out, f"    {reason['rows']} times rule {reason['rule']!r}{column}")
