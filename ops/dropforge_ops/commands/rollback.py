"""``dropforge rollback``: make an earlier version live again."""

from __future__ import annotations

import json
import secrets
from typing import Annotated, Any

import typer

from dropforge.domain.records import Approval, Live, ModelVersion
from dropforge_ops import decisions
from dropforge_ops.deployments import follow_to_end
from dropforge_ops.errors import NotFound, OperationFailed
from dropforge_ops.invocation import Invocation
from dropforge_ops.progress import Follower
from dropforge_ops.progress_view import ProgressView
from dropforge_ops.render import facts, metric, moment, say
from dropforge_ops.waiting import Deadline

_REMEDY = "It goes on; 'dropforge models' shows what is live."


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
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
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
        expected = _expected(live, invocation.ledger.models())
    else:
        expected = wanted
        already = _check(wanted, live)
        if already is not None:
            document: dict[str, Any] = {"changed": False, "message": already, "execution_arn": None}
            invocation.emit(document, lambda out: say(out, already))
            return
    _confirm(invocation, live, expected, yes)
    started = _start(invocation, wanted, text)
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


def _check(model: ModelVersion, live: Live | None) -> str | None:
    """Why nothing is to be done, or None.

    Raises:
        OperationFailed: the version may not be deployed.
    """
    if live is not None and live.version == model.version:
        return f"Version {model.version} is live already."
    if model.approval is not Approval.APPROVED:
        raise OperationFailed(
            f"Version {model.version} is {model.approval}. Only an approved version is deployed: "
            f"'dropforge approve {model.version}' approves and deploys it."
        )
    return None


def _expected(live: Live | None, models: list[ModelVersion]) -> ModelVersion:
    """The version that a rollback without a version goes to, unless its archive turns out to be broken."""
    if live is None:
        raise NotFound(
            "No model is live, so there is nothing to roll back. 'dropforge models' lists versions."
        )
    earlier = [
        each
        for each in models
        if each.promoted_at and each.version != live.version and each.approval is Approval.APPROVED
    ]
    if not earlier:
        raise NotFound(
            f"No version but {live.version} was ever live and is still approved. Name one to deploy, or "
            "approve another: 'dropforge models' lists them."
        )
    return max(earlier, key=lambda each: each.promoted_at or "")


def _confirm(invocation: Invocation, live: Live | None, expected: ModelVersion, yes: bool) -> None:
    facts(
        invocation.err,
        [
            ("live now", None if live is None else f"version {live.version}, {metric(live.metric)}"),
            ("back to", f"version {expected.version}, {metric(expected.metric)}"),
            ("was live since", moment(expected.promoted_at)),
        ],
    )
    if yes or not invocation.asks:
        return
    if not typer.confirm(f"Roll back to version {expected.version}?", err=True):
        raise OperationFailed("Nothing was rolled back.")


def _start(invocation: Invocation, wanted: ModelVersion | None, reason: str) -> str:
    target = invocation.target
    which = "" if wanted is None else f"v{wanted.version}-"
    payload = {
        "reason": "rollback",
        "version": None if wanted is None else wanted.version,
        "run_id": None,
        "requested_by": target.caller,
        "comment": reason,
    }
    answer = target.client("stepfunctions").start_execution(
        stateMachineArn=target.outputs["DeploymentStateMachine"],
        name=f"rollback-{which}{secrets.token_hex(6)}",
        input=json.dumps(payload),
    )
    return str(answer["executionArn"])


def _follow(invocation: Invocation, execution_arn: str, timeout: float) -> Live:
    target = invocation.target
    follower = Follower(target.client("stepfunctions"), execution_arn)
    with ProgressView(invocation.err) as view:
        follow_to_end(follower, view, target.poll_s, Deadline(timeout, _REMEDY), "The rollback")
    live = invocation.ledger.live()
    if live is None:
        raise OperationFailed("The rollback succeeded, but nothing is live. Look at 'dropforge models'.")
    return live
