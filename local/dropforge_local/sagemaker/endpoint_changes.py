"""What an endpoint's update may change, and what it makes of the endpoint's snapshot."""

from __future__ import annotations

from typing import Any

from dropforge_local.sagemaker.deployment import Plan
from dropforge_local.sagemaker.errors import unsupported, validation


def _is_serverless(snapshot: dict[str, Any]) -> bool:
    return any("ServerlessConfig" in variant for variant in snapshot["ProductionVariants"])


def check_kind(current: dict[str, Any], new: dict[str, Any]) -> None:
    """Refuse to make a real-time endpoint serverless, or an endpoint asynchronous or no longer so."""
    if _is_serverless(new) and not _is_serverless(current):
        raise validation("Cannot update a real-time endpoint to a serverless endpoint.")
    if ("AsyncInferenceConfig" in new) != ("AsyncInferenceConfig" in current):
        # AWS documents no update between the two; whoever relies on one would learn of it there.
        raise validation("Cannot update an endpoint from or to asynchronous inference; delete it first.")


def check_scaled(
    current: dict[str, Any], new: dict[str, Any], scalable_targets: list[str], endpoint: str
) -> None:
    """Refuse another instance type for a variant that is scaled.

    https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html
    """
    before = {
        variant["VariantName"]: variant.get("InstanceType") for variant in current["ProductionVariants"]
    }
    for variant in new["ProductionVariants"]:
        name = variant["VariantName"]
        is_scaled = f"endpoint/{endpoint}/variant/{name}" in scalable_targets
        if is_scaled and before.get(name) != variant.get("InstanceType"):
            raise validation(
                f"The variant {name} is a target of Application Auto Scaling: deregister it before its "
                "instance type is changed."
            )


def check_guarded(current: dict[str, Any], new: dict[str, Any]) -> None:
    """Refuse traffic shifting and automatic rollback where SageMaker doesn't offer them."""
    if _is_serverless(current) or _is_serverless(new):
        raise validation("DeploymentConfig is not supported for serverless endpoints.")
    before = {variant["VariantName"] for variant in current["ProductionVariants"]}
    after = {variant["VariantName"] for variant in new["ProductionVariants"]}
    if before != after:
        raise validation(
            "A deployment with a DeploymentConfig must keep the variant names; the endpoint has "
            f"{', '.join(sorted(before))}, the new configuration {', '.join(sorted(after))}."
        )


def check_deployment_config(config: dict[str, Any]) -> None:
    """Refuse a DeploymentConfig that is malformed, or that this host can't carry out."""
    if config.get("RollingUpdatePolicy"):
        raise unsupported("RollingUpdatePolicy; use BlueGreenUpdatePolicy")
    policy = config.get("BlueGreenUpdatePolicy")
    if policy is None:
        raise validation("DeploymentConfig needs a BlueGreenUpdatePolicy.")
    Plan.of(config, lambda _name: None)


def retain(current: dict[str, Any], new: dict[str, Any], excluded: set[str]) -> None:
    """Carry weights and instance counts over to the variants of the same name."""
    kept = {variant["VariantName"]: variant for variant in current["ProductionVariants"]}
    for variant in new["ProductionVariants"]:
        old = kept.get(variant["VariantName"])
        if old is None:
            raise validation(
                f"RetainAllVariantProperties: the endpoint has no variant {variant['VariantName']}."
            )
        if "DesiredWeight" not in excluded:
            variant["InitialVariantWeight"] = old["InitialVariantWeight"]
        both = "InitialInstanceCount" in variant and "InitialInstanceCount" in old
        if "DesiredInstanceCount" not in excluded and both:
            variant["InitialInstanceCount"] = old["InitialInstanceCount"]


def with_capacities(current: dict[str, Any], desired: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A copy of the snapshot with the weights and counts that were asked for."""
    unknown = set(desired) - {variant["VariantName"] for variant in current["ProductionVariants"]}
    if unknown:
        raise validation(f"The endpoint has no variant {', '.join(sorted(unknown))}.")
    variants = []
    for variant in current["ProductionVariants"]:
        wish = desired.get(variant["VariantName"], {})
        changed = dict(variant)
        if wish.get("DesiredWeight") is not None:
            changed["InitialVariantWeight"] = wish["DesiredWeight"]
        if wish.get("ServerlessUpdateConfig"):
            changed["ServerlessConfig"] = {
                **variant.get("ServerlessConfig", {}),
                **wish["ServerlessUpdateConfig"],
            }
        if wish.get("DesiredInstanceCount") is not None:
            if "ServerlessConfig" in variant:
                raise validation("A serverless variant has no instances to count.")
            if wish["DesiredInstanceCount"] < 1 and "AsyncInferenceConfig" not in current:
                raise validation("Only an asynchronous endpoint can be without instances.")
            changed["InitialInstanceCount"] = wish["DesiredInstanceCount"]
        variants.append(changed)
    if sum(variant["InitialVariantWeight"] for variant in variants) <= 0:
        raise validation("At least one production variant needs a weight above 0.")
    return {**current, "ProductionVariants": variants}
