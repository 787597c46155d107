"""CloudFormation's CodeDeploy types: a rollout needs time and traffic, so here an alias moves at once."""

from __future__ import annotations

import logging
from typing import Any

from dropforge_local.glue.seams import require

_log = logging.getLogger("dropforge.deployment_groups")


def install() -> None:
    """Register `AWS::CodeDeploy::Application` and `AWS::CodeDeploy::DeploymentGroup`.

    They are kept as resources of their stack and do nothing: the alias that names them in its update policy
    is updated by CloudFormation itself, without a canary and without going back on an alarm.
    """
    from ministack.services.cloudformation import provisioners  # noqa: PLC0415

    require(provisioners, "_RESOURCE_HANDLERS", "_physical_name")

    def application(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, str]]:
        name = props.get("ApplicationName") or provisioners._physical_name(stack_name, logical_id)
        return str(name), {}

    def group(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, str]]:
        style = str(props.get("DeploymentConfigName", ""))
        if not style.endswith("AllAtOnce"):
            _log.warning(
                "%s of %s: %s acts on AWS only; on the local host the alias moves at once.",
                logical_id,
                stack_name,
                style,
            )
        name = props.get("DeploymentGroupName") or provisioners._physical_name(stack_name, logical_id)
        return str(name), {}

    def forget(physical_id: str, props: dict[str, Any]) -> None:
        """There is nothing behind the name."""
        del physical_id, props

    handlers = provisioners._RESOURCE_HANDLERS
    handlers["AWS::CodeDeploy::Application"] = {"create": application, "delete": forget}
    handlers["AWS::CodeDeploy::DeploymentGroup"] = {"create": group, "delete": forget}
