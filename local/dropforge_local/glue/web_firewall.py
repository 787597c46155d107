"""CloudFormation's resource types that put a web ACL in front of an API.

The ACL and what it stands before are kept and answered by WAF's API; the local host filters no request.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.seams import provisioners, waf

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("dropforge.web_firewall")


def install() -> None:
    """Register `AWS::WAFv2::WebACLAssociation` and `AWS::WAFv2::LoggingConfiguration`."""

    def call(operation: Callable[[dict[str, Any]], Any], request: dict[str, Any]) -> None:
        status, _, body = operation(request)
        if status >= 300:
            raise ValueError(f"{json.loads(body).get('message', body)} (Service: Wafv2)")

    def associate(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, str]]:
        call(waf._associate_web_acl, props)
        _log.warning(
            "%s of %s is kept, but the local host filters no request: rules and rate limit act on AWS only.",
            logical_id,
            stack_name,
        )
        return f"{props['WebACLArn']}|{props['ResourceArn']}", {}

    def disassociate(physical_id: str, props: dict[str, Any]) -> None:
        del props
        call(waf._disassociate_web_acl, {"ResourceArn": physical_id.partition("|")[2]})

    def log_to(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, str]]:
        del logical_id, stack_name
        (destination,) = props["LogDestinationConfigs"]
        # https://docs.aws.amazon.com/waf/latest/developerguide/logging-cw-logs.html
        if not destination.rpartition(":")[2].startswith("aws-waf-logs-"):
            raise ValueError(f"WAF logs only to groups named aws-waf-logs-…, not to {destination}.")
        if (refused := waf._resolve_local_web_acl(props["ResourceArn"])[1]) is not None:
            raise ValueError(json.loads(refused[2]).get("message", ""))
        return str(props["ResourceArn"]), {}

    def log_no_more(physical_id: str, props: dict[str, Any]) -> None:
        """Nothing was logged."""

    handlers = provisioners._RESOURCE_HANDLERS
    handlers["AWS::WAFv2::WebACLAssociation"] = {"create": associate, "delete": disassociate}
    handlers["AWS::WAFv2::LoggingConfiguration"] = {"create": log_to, "delete": log_no_more}
