"""``dropforge drops``: what became of each dropped file, and trying one again."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import typer
from rich.console import Console

from dropforge.domain.drop_life import DropState, RecordedDrop
from dropforge.domain.drop_names import why_no_data
from dropforge_ops.actions import replays
from dropforge_ops.cli.files import LIMIT, files_table, refuse_unknown_state, state_option, totals
from dropforge_ops.cli.invocation import MORE_TIME, Invocation
from dropforge_ops.errors import NotFound, UsageError
from dropforge_ops.render import moment, say, size, what_became

_STATES = tuple(state.replace("_", "-") for state in DropState)
_GOES_ON = "The run goes on; 'dropforge runs' shows how it stands."
_INCOMING = "incoming/"


def list_drops(
    invocation: Invocation,
    *,
    state: Annotated[str | None, state_option(_STATES)] = None,
    limit: Annotated[int, LIMIT] = 50,
) -> None:
    """What became of each dropped file, the newest first."""
    refuse_unknown_state(state, _STATES)
    drops = sorted(invocation.ledger.list_drops(), key=lambda each: each.order, reverse=True)
    counts = Counter(str(each.state) for each in drops)
    wanted = [each for each in drops if state in (None, each.state.replace("_", "-"))]
    document: dict[str, Any] = {
        "counts": {name: counts.get(name, 0) for name in DropState},
        "drops": [_document(each) for each in wanted[:limit]],
    }

    def show(out: Console) -> None:
        if not drops:
            say(out, "Nothing was dropped yet. Drop a file: 'dropforge drop FILE'.")
            return
        rows = [
            [
                each.drop.key.removeprefix(_INCOMING),
                size(each.drop.size),
                moment(each.written_at),
                *what_became(each),
            ]
            for each in wanted[:limit]
        ]
        if rows:
            out.print(files_table(rows))
        say(out, f"{len(drops)} in all: {totals(counts, DropState)}.")
        if counts[DropState.SET_ASIDE]:
            say(out, "Once a file that is set aside can be used as it is: dropforge drops retry FILE")

    invocation.emit(document, show)


def retry_drops(
    invocation: Invocation,
    *,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE...]", help="Files as 'drops' lists them.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every file that is set aside.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, metavar="SECONDS", help="How long to wait.")
    ] = 3600,
) -> None:
    """Bring back files that were set aside or that wait, and train on what is new now."""
    keys = [each if each.startswith(_INCOMING) else f"{_INCOMING}{each}" for each in files or []]
    if bool(keys) == every:
        raise UsageError("Name the files, or take --all. 'dropforge drops --state set-aside' lists them.")
    _check(invocation, keys)
    started = replays.start(
        invocation.target, "manual", {"data": "new", "bring_back": ["*"] if every else keys}
    )
    deadline = invocation.deadline(timeout, _GOES_ON, MORE_TIME)
    admission = replays.admission(started, invocation.ledger, invocation.target.poll_s, deadline)
    document = {"execution_arn": started.execution_arn, **admission.to_dict()}
    message = admission.message
    if admission.outcome == "coalesced":
        message = "Another run is training; what was brought back is tried with the run that follows."
    invocation.emit(document, lambda out: say(out, message))


def _check(invocation: Invocation, keys: list[str]) -> None:
    """Refuse what can't be brought back, before anything is done."""
    newest = invocation.ledger.newest_versions(keys)
    for key in keys:
        if key not in newest:
            reason = why_no_data(key)
            said = f"it is no data ({reason})" if reason else "'dropforge drops' lists those there are"
            raise NotFound(f"There is no drop {key}; {said}.")
    for each in invocation.ledger.get_drops(newest.values()):
        if each.state not in replays.STUCK:
            raise UsageError(
                f"{each.drop.key} is {each.state.replace('_', ' ')}"
                f"{f' ({each.run_id})' if each.run_id else ''}: there is nothing to bring back."
            )


def _name(each: RecordedDrop) -> str:
    return each.drop.key.removeprefix(_INCOMING)


def _document(each: RecordedDrop) -> dict[str, Any]:
    return {"drop_id": each.drop_id, **each.to_dict(), "written_at": each.written_at}
