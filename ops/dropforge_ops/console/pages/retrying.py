"""What can be done about a run that ended badly: accept the contract that it proposes, or train again."""

from __future__ import annotations

from functools import partial
from urllib.parse import quote

from nicegui import html, ui

from dropforge.domain.records import Run, RunStatus
from dropforge_ops.actions import contracts, replays
from dropforge_ops.actions.waiting import Deadline
from dropforge_ops.console.components.actions import button, confirm
from dropforge_ops.console.context import Context
from dropforge_ops.console.pages.deciding import Outcome
from dropforge_ops.console.reading.run_view import Proposal

_ADMITTED_WITHIN_S = 60.0
_BAD = (RunStatus.FAILED, RunStatus.STOPPED)


def offer_retry(context: Context, outcome: Outcome, run: Run, proposal: Proposal | None) -> None:
    """Buttons for what helps this run; none where nothing is to be done."""
    with html.div().classes("inline"):
        if proposal is not None:
            button(
                "Accept its contract and train again",
                partial(_accept, context, outcome, run, proposal),
                "primary",
                icon="rule",
            )
        if run.status in _BAD:
            button("Train again", partial(_train_again, context, outcome, run), icon="replay")


async def _accept(context: Context, outcome: Outcome, run: Run, proposal: Proposal) -> None:
    """Show what would change, pin the contract if it is still that one, and drop the run's files again."""

    def describe() -> None:
        html.p("Later drops are held to this contract. The one before is kept.").classes("dim")
        with html.ul().classes("changes"):
            for line in proposal.changes:
                html.li(line)

    with outcome.place:
        answer = await confirm(
            "Accept the contract that this run proposes?", action="Accept and train again", describe=describe
        )
    if answer is None:
        return
    with outcome.failing():
        dropped = await context.read(_pin_and_drop, context, run, proposal)
        outcome.say(
            f"The contract is pinned, and {', '.join(dropped)} dropped again: a run begins.", tone="ok"
        )


def _pin_and_drop(context: Context, run: Run, proposal: Proposal) -> list[str]:
    target = context.target
    s3 = target.client("s3")
    stored = contracts.Contracts(s3, target.bucket)
    proposed, pinned = contracts.acceptable(stored, run, proposal.hash)
    if pinned is None or pinned.contract.hash != proposed.contract.hash:
        stored.pin(proposed, pinned)
    return contracts.drop_again(s3, run, target.bucket)


async def _train_again(context: Context, outcome: Outcome, run: Run) -> None:
    """Start a run with what of its drops waits or was set aside, and go to that run."""
    with outcome.failing():
        outcome.say("Asking for a run …")
        admission = await context.read(_start, context, run)
        if admission.run is not None:
            ui.navigate.to(f"/runs/{quote(admission.run.run_id)}")
        else:
            outcome.say(admission.message)


def _start(context: Context, run: Run) -> replays.Admission:
    target = context.target
    deadline = Deadline(_ADMITTED_WITHIN_S, "The list of runs shows what becomes of it.")
    return replays.admission(replays.start_again(target, run), context.ledger, target.poll_s, deadline)
