"""``dropforge doctor``: whether everything is there that dropforge needs, and what to do where it is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.text import Text

from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.errors import CommandError, NotFound, OperationFailed, from_aws
from dropforge_ops.health import account, host, machine, stack
from dropforge_ops.health.findings import Finding, Status, made, skipped
from dropforge_ops.render import table
from dropforge_ops.stack.project import default_parameters, find_root
from dropforge_ops.stack.target import Target, stack_description

_STACK_CHECKS = ("stack", *stack.NAMES, "notifications")
_STYLE = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red", Status.SKIP: "dim"}


def doctor(invocation: Invocation) -> None:
    """Check machine, credentials, quotas, stack and alarms, and say what to do. Exits with 1 if one fails."""
    root = _root()
    findings = [*made(machine.checks(root), "this machine"), *_findings(invocation, root)]
    counts = Counter(each.status for each in findings)
    document = {
        "checks": [asdict(each) for each in findings],
        "counts": {str(status): counts[status] for status in Status},
        "healthy": not counts[Status.FAIL],
    }
    if counts[Status.FAIL]:
        if not invocation.as_json:
            _show(invocation.out, findings)
        failed = ", ".join(each.check for each in findings if each.status is Status.FAIL)
        raise OperationFailed(f"{counts[Status.FAIL]} of {len(findings)} checks fail: {failed}.", **document)
    invocation.emit(document, lambda out: _show(out, findings))


def _root() -> Path | None:
    try:
        return find_root()
    except NotFound:
        return None


def _findings(invocation: Invocation, root: Path | None) -> list[Finding]:
    try:
        target = invocation.target
    except (CommandError, ClientError, BotoCoreError) as error:
        said = error if isinstance(error, CommandError) else from_aws(error, "AWS")
        check = "local host" if isinstance(error, CommandError) else "credentials"
        names = [*account.NAMES[1:], *_STACK_CHECKS]
        return [Finding(check, Status.FAIL, str(said)), *skipped(names, f"needs {check}")]
    if target.is_local:
        found = made(host.checks(target, root), target.host)
        found += skipped(account.NAMES, "does not apply to the local host")
    else:
        found = made([account.credentials(target)], target.host)
    if found[0].status is Status.FAIL:
        names = [*([] if target.is_local else account.NAMES[1:]), *_STACK_CHECKS]
        return [*found, *skipped(names, f"needs an answer from {target.host}")]
    return [*found, *_stack_findings(invocation, target, root)]


def _stack_findings(invocation: Invocation, target: Target, root: Path | None) -> list[Finding]:
    described: Mapping[str, Any] | None = None
    missing: Finding | None = None
    try:
        described = stack_description(target)
    except (ClientError, BotoCoreError) as error:
        missing = Finding("stack", Status.FAIL, str(from_aws(error, target.host)))
    parameters = _parameters(described, root)
    found = [] if target.is_local else made(account.checks(target, parameters, root), target.host)
    if described is None:
        found.append(missing or _no_stack(invocation, target))
        return [*found, *skipped(_STACK_CHECKS[1:], "there is no stack to look at")]
    found.append(stack.stack_state(target, described))
    checks = stack.checks(target, parameters, invocation.ledger, invocation.documents)
    if target.is_local:
        return [
            *found,
            *made(checks, target.host),
            *skipped(["notifications"], "the local host sends no mail"),
        ]
    return [*found, *made([*checks, stack.notifications(target)], target.host)]


def _parameters(described: Mapping[str, Any] | None, root: Path | None) -> dict[str, str]:
    if described is None:
        return {} if root is None else default_parameters(root)
    return {each["ParameterKey"]: each["ParameterValue"] for each in described.get("Parameters", [])}


def _no_stack(invocation: Invocation, target: Target) -> Finding:
    asked_for = invocation.options.stack is not None
    return Finding(
        "stack",
        Status.FAIL if asked_for else Status.WARN,
        f"there is no stack {target.stack!r} on {target.host}",
        "Where 'dropforge up' is still deploying, wait for its summary; otherwise name another with --stack."
        if target.is_local
        else "Deploy one ('make deploy'), or name another with --stack, --region or --profile.",
    )


def _show(out: Console, findings: Sequence[Finding]) -> None:
    rows = [
        [Text(each.status, style=_STYLE[each.status]), each.check, each.detail, each.remedy or ""]
        for each in findings
    ]
    out.print(table(["", "check", "found", "what to do"], rows))
