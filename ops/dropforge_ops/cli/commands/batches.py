"""``dropforge batches``: files of ``BatchSource``, looking for new ones at once, and scoring one again."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import typer
from rich.console import Console

from dropforge.domain.batch_source import FileState, SourceFile
from dropforge_ops.actions.batch_source import look_for_files, source_of
from dropforge_ops.cli.files import LIMIT, files_table, refuse_unknown_state, state_option, totals
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.errors import NotFound, UsageError
from dropforge_ops.render import moment, say, size

_STATES = tuple(str(each) for each in FileState)


def list_files(
    invocation: Invocation,
    *,
    state: Annotated[str | None, state_option(_STATES)] = None,
    limit: Annotated[int, LIMIT] = 50,
) -> None:
    """What became of each file of BatchSource, the newest first."""
    refuse_unknown_state(state, _STATES)
    source = source_of(invocation.target)
    found = sorted(
        invocation.ledger.source_files(source.bucket), key=lambda each: each.written_at, reverse=True
    )
    counts = Counter(str(each.state) for each in found)
    wanted = [each for each in found if state in (None, each.state)]
    document: dict[str, Any] = {
        "source": source.uri,
        "counts": {name: counts[name] for name in _STATES},
        "files": [each.to_dict() for each in wanted[:limit]],
    }

    def show(out: Console) -> None:
        if not found:
            say(out, f"No file of {source.uri} was scored yet. To look at once: dropforge batches now")
            return
        rows = [
            [
                each.key.removeprefix(source.prefix),
                size(each.size),
                moment(each.written_at),
                str(each.state),
                _why(each),
            ]
            for each in wanted[:limit]
        ]
        if rows:
            out.print(files_table(rows))
        say(out, f"{len(found)} files of {source.uri}: {totals(counts, FileState)}.")
        if counts[FileState.FAILED]:
            say(out, "Once what a file failed on is mended: dropforge batches retry FILE")

    invocation.emit(document, show)


def look_now(invocation: Invocation) -> None:
    """Look for new files under BatchSource at once, instead of waiting for BatchSchedule."""
    _look(invocation, [])


def retry_files(
    invocation: Invocation,
    *,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE...]", help="Files as 'batches' lists them.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every file that failed.")] = False,
) -> None:
    """Score files once more that failed, or that are scored, with the model that is live now."""
    if bool(files) == every:
        raise UsageError("Name the files, or take --all. 'dropforge batches --state failed' lists them.")
    source = source_of(invocation.target)
    known = {each.key: each for each in invocation.ledger.source_files(source.bucket)}
    keys = [
        each if each in known or each.startswith(source.prefix) else f"{source.prefix}{each}"
        for each in files or []
    ]
    if every:
        keys = [each.key for each in known.values() if each.state is FileState.FAILED]
        if not keys:
            raise NotFound("No file failed.")
    for key in keys:
        if key not in known:
            raise NotFound(f"No file {key} of {source.uri} was tried yet; 'dropforge batches' lists them.")
    _look(invocation, keys)


def _look(invocation: Invocation, retry: list[str]) -> None:
    started = look_for_files(invocation.target, retry)
    left = f" {started['left']} wait for the next run." if started["left"] else ""
    invocation.emit(dict(started), lambda out: say(out, f"{started['message']}{left}"))


def _why(each: SourceFile) -> str:
    return "" if each.error is None else f"{each.error['class']}: {each.error['message']}"
