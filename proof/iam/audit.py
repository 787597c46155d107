"""Compares what roles may do with what they need, both ways."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from proof.findings import Finding
from proof.iam.evaluator import allows, matches, matches_action
from proof.iam.needs import Need, needs_of
from proof.iam.roles import Grant, Role, roles_of
from proof.product import Product

# Deployments that differ in what their machines ask for; a grant has to be used in one of them.
DEPLOYMENTS: tuple[Mapping[str, str], ...] = (
    {},
    {"EndpointMode": "real-time", "EncryptionKey": "create", "BatchSource": "exports/"},
    {
        "PredictionStream": "arn:aws:kinesis:us-east-1:123456789012:stream/to-predict",
        "PredictionQueue": "arn:aws:sqs:us-east-1:123456789012:to-predict",
        "BatchSource": "daily/",
        "BatchSourceBucket": "lake",
        "EndpointMode": "real-time",
        "SubnetIds": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
        "SecurityGroupIds": "sg-0123456789abcdef0",
    },
)


def check(product: Product) -> Iterator[Finding]:
    """Nothing that is needed is missing in any deployment, and nothing granted is unused in all of them."""
    needs: dict[str, set[Need]] = defaultdict(set)
    granted: dict[tuple[str, Grant], set[str]] = defaultdict(set)
    findings = set[Finding]()
    for parameters in DEPLOYMENTS:
        found, problems = needs_of(product, parameters)
        findings.update(problems)
        roles = {role.name: role for role in roles_of(product.template, parameters)}
        for need in found:
            needs[need.role].add(need)
        findings.update(_missing(roles, found))
        for role in roles.values():
            for grant in role.grants if role.is_written else ():
                if grant.effect == "Allow":
                    granted[grant.shared_as or role.name, grant].add(role.name)
    for (where, grant), holders in granted.items():
        findings.update(_unused(where, grant, {need for holder in holders for need in needs[holder]}))
    yield from sorted(findings)


def _missing(roles: Mapping[str, Role], needs: list[Need]) -> Iterator[Finding]:
    for need in needs:
        role = roles.get(need.role)
        if role is None:
            yield Finding("missing-role", need.role, f"is no role of the template, but needs {need.action}")
        elif not allows(role.grants, need):
            conditions = f" where {dict(need.context)}" if need.context else ""
            yield Finding(
                "missing-grant",
                role.name,
                f"needs {need.action} on {need.resource}{conditions} ({need.why})",
            )


def _unused(where: str, grant: Grant, needs: set[Need]) -> Iterator[Finding]:
    """Actions and resources of a statement that none of its holders needs."""
    used = [need for need in needs if allows([grant], need)]
    for action in grant.actions:
        if not any(matches_action(need.action, action) for need in used):
            places = ", ".join(grant.resources)
            yield Finding("unused-grant", where, f"{action} on {places} is used by nobody")
    for resource in grant.resources:
        if used and not any(matches(need.resource, resource) for need in used):
            actions = ", ".join(grant.actions)
            yield Finding("unused-grant", where, f"{actions} on {resource} is used by nobody")
