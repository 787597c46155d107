"""How an endpoint is shown: in DescribeEndpoint, and in the event of a change."""

from __future__ import annotations

import re
from typing import Any

from dropforge_local.sagemaker.events import milliseconds
from dropforge_local.sagemaker.validation import shaped


def described(document: dict[str, Any]) -> dict[str, Any]:
    """The answer of DescribeEndpoint."""
    shown = shaped("DescribeEndpoint", document)
    current = document.get("_Current")
    if current is not None:
        if "AsyncInferenceConfig" in current:
            shown["AsyncInferenceConfig"] = current["AsyncInferenceConfig"]
        rescaled = document.get("_Rescaled") or current
        desired = {variant["VariantName"]: variant for variant in rescaled["ProductionVariants"]}
        shown["ProductionVariants"] = [
            _summary(variant, desired[variant["VariantName"]], current["_ResolutionTime"])
            for variant in current["ProductionVariants"]
        ]
    pending = document.get("_Pending")
    if pending is not None and document["EndpointStatus"] in ("Creating", "Updating"):
        shown["PendingDeploymentSummary"] = {
            "EndpointConfigName": pending["EndpointConfigName"],
            "StartTime": document.get("_PendingSince", document["CreationTime"]),
            "ProductionVariants": [
                _summary(variant, variant, pending["_ResolutionTime"])
                for variant in pending["ProductionVariants"]
            ],
        }
    return shown


def _summary(variant: dict[str, Any], desired: dict[str, Any], resolved: float) -> dict[str, Any]:
    image = variant["_Container"]["Image"]
    shown: dict[str, Any] = {
        "VariantName": variant["VariantName"],
        "DeployedImages": [{"SpecifiedImage": image, "ResolvedImage": image, "ResolutionTime": resolved}],
        "CurrentWeight": variant["InitialVariantWeight"],
        "DesiredWeight": desired["InitialVariantWeight"],
    }
    if "ServerlessConfig" in variant:
        shown["CurrentServerlessConfig"] = variant["ServerlessConfig"]
        shown["DesiredServerlessConfig"] = desired["ServerlessConfig"]
    else:
        shown["CurrentInstanceCount"] = variant["InitialInstanceCount"]
        shown["DesiredInstanceCount"] = desired["InitialInstanceCount"]
    return shown


def event_detail(document: dict[str, Any], tags: dict[str, str]) -> dict[str, Any]:
    """The event's detail: as Describe, but with the status in upper snake case."""
    detail: dict[str, Any] = milliseconds(described(document))
    status = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", document["EndpointStatus"]).upper()
    return detail | {"EndpointStatus": status, "Tags": tags}
