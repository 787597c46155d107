"""``dropforge rollback``: make an earlier version live again."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dropforge.domain.records import Live, ModelVersion
from dropforge_ops.actions import decisions, rollbacks
from dropforge_ops.actions.deployments import follow_to_end
from dropforge_ops.actions.progress_view import ProgressView
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.errors import OperationFailed
from dropforge_ops.render import facts, metric, moment, say
from dropforge_ops.stack.progress import Follower

_GOES_ON = "The rollback goes on; 'dropforge models' shows what is live."


def rollback(
    invocation: Invocation,
    *,
    version: Annotated[
        str | None,
        typer.Argument(metavar="[VERSION]", help="Which. [default: the one before]", show_default=False),
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why; kept in the deployment's input.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask; needed without a terminal.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it until it is live.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, metavar="SECONDS", help="How long to wait.")
    ] = 3600,
) -> None:
    """Deploy an earlier, approved version again: verified, tested and promoted as any other."""
    text = decisions.clean_reason(reason, "rolled back with dropforge rollback")
    live = invocation.ledger.live()
    wanted = None if version is None else decisions.parse_version(version, invocation.ledger)
    if wanted is None:
        expected = rollbacks.expected(live, invocation.ledger.list_models())
    else:
        expected = wanted
        already = rollbacks.check(wanted, live)
        if already is not None:
            document: dict[str, Any] = {"changed": False, "message": already, "execution_arn": None}
            invocation.emit(document, lambda out: say(out, already))
            return
    _confirm(invocation, live, expected, yes)
    started = rollbacks.start(invocation.target, wanted, text)
    message = f"The rollback to version {expected.version} has started."
    if wait:
        live = _follow(invocation, started, timeout)
        message = f"Version {live.version} is live."
    document = {
        "changed": True,
        "execution_arn": started,
        "version": live.version if wait and live is not None else expected.version,
        "live": None if live is None or not wait else live.to_dict(),
        "message": message,
    }
    invocation.emit(document, lambda out: say(out, message))


def _confirm(invocation: Invocation, live: Live | None, expected: ModelVersion, yes: bool) -> None:
    facts(
        invocation.err,
        [
            ("live now", None if live is None else f"version {live.version}, {metric(live.metric)}"),
            ("back to", f"version {expected.version}, {metric(expected.metric)}"),
            ("was live since", moment(expected.promoted_at)),
        ],
    )
    invocation.confirm(f"Roll back to version {expected.version}?", yes=yes, no="Nothing was rolled back.")


def _follow(invocation: Invocation, execution_arn: str, timeout: float) -> Live:
    target = invocation.target
    follower = Follower(target.client("stepfunctions"), execution_arn)
    with ProgressView(invocation.err) as view:
        follow_to_end(follower, view, target.poll_s, invocation.deadline(timeout, _GOES_ON), "The rollback")
    live = invocation.ledger.live()
    if live is None:
        raise OperationFailed("The rollback succeeded, but nothing is live. Look at 'dropforge models'.")
    return live
