"""Where AWS's own console shows a thing; None for what is on this machine, which AWS knows nothing of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from dropforge_ops.stack.target import Target

_DOMAINS: Final[Mapping[str, str]] = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}


def execution_page(target: Target, arn: str) -> str | None:
    """The page of an execution."""
    root = _root(target, arn, "states")
    return None if root is None else f"{root}#/v2/executions/details/{arn}"


def log_group_page(target: Target, group: str) -> str | None:
    """The page of a log group; the console's own escaping is ``$25`` for a percent sign."""
    root = _root(target, target.outputs["TrainingStateMachine"], "cloudwatch")
    escaped = quote(quote(group, safe=""), safe="").replace("%", "$")
    return None if root is None else f"{root}#logsV2:log-groups/log-group/{escaped}"


def _root(target: Target, arn: str, service: str) -> str | None:
    _, partition, _, region, *_ = arn.split(":", 5)
    domain = _DOMAINS.get(partition)
    if target.endpoint_url is not None or domain is None:
        return None
    return f"https://{region}.{domain}/{service}/home?region={region}"
