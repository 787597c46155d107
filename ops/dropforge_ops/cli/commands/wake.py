"""``dropforge wake``: bring an endpoint back that was put to sleep because nobody asked it."""

from __future__ import annotations

import json
import secrets
from typing import Annotated, Any

import typer

from dropforge.domain.records import Live
from dropforge_ops.actions.deployments import follow_to_end
from dropforge_ops.actions.progress_view import ProgressView
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.errors import NotFound
from dropforge_ops.render import say
from dropforge_ops.stack.progress import Follower

_GOES_ON = "The deployment goes on; 'dropforge doctor' shows whether the endpoint serves."


def wake(
    invocation: Invocation,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it until the endpoint serves.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, metavar="SECONDS", help="How long to wait.")
    ] = 3600,
) -> None:
    """Deploy what is live again after its endpoint was put to sleep (EndpointIdleHours)."""
    live = invocation.ledger.live()
    if live is None:
        raise NotFound("No model is live, so no endpoint sleeps. 'dropforge models' lists versions.")
    since = invocation.ledger.asleep_since()
    if since is None:
        message = f"Version {live.version} is live, and its endpoint doesn't sleep."
        document: dict[str, Any] = {"changed": False, "version": live.version, "message": message}
        invocation.emit(document, lambda out: say(out, message))
        return
    started = _start(invocation, live)
    message = f"The endpoint of version {live.version} is being brought back."
    if wait:
        follower = Follower(invocation.target.client("stepfunctions"), started)
        with ProgressView(invocation.err) as view:
            poll_s, deadline = invocation.target.poll_s, invocation.deadline(timeout, _GOES_ON)
            follow_to_end(follower, view, poll_s, deadline, "Waking the endpoint")
        message = f"The endpoint of version {live.version} serves again."
    document = {
        "changed": True,
        "version": live.version,
        "asleep_since": since,
        "execution_arn": started,
        "message": message,
    }
    invocation.emit(document, lambda out: say(out, message))


def _start(invocation: Invocation, live: Live) -> str:
    """Start the deployment of what is live, as a repair does."""
    target = invocation.target
    payload = {
        "reason": "repair",
        "version": live.version,
        "run_id": None,
        "requested_by": target.caller,
    }
    started: str = target.client("stepfunctions").start_execution(
        stateMachineArn=target.outputs["DeploymentStateMachine"],
        name=f"wake-v{live.version}-t{live.token}-{secrets.token_hex(4)}",
        input=json.dumps(payload),
    )["executionArn"]
    return started
