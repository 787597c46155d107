"""Every ARN and action of the template's policies against what IAM knows, by cfn-lint's data."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from proof.findings import Finding
from proof.iam.roles import Grant, Role, roles_of
from proof.product import Product

# Kinds of resources that an action takes although the reference does not list them.
_ALSO = {
    # AWS's own CDK grants answers to task tokens on the machine that waits: StateMachine.grantTaskResponse.
    ("states", "sendtasksuccess"): {"statemachine"},
    # A version is made in its group: https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry-models.html
    ("sagemaker", "createmodelpackage"): {"model-package-group"},
}


def check(product: Product) -> Iterator[Finding]:
    """Each action exists, and each of its statement's resources is of a kind that the action takes."""
    for role in roles_of(product.template):
        for grant in role.grants:
            yield from _grant(role, grant)


def _grant(role: Role, grant: Grant) -> Iterator[Finding]:
    kinds_taken: set[str] = set()
    for action in grant.actions:
        service, _, name = action.partition(":")
        known = _actions(service)
        if "*" in name and grant.effect == "Deny":
            return
        if name.lower() not in known:
            yield Finding("action", role.name, f"{action} is no action that IAM knows")
            continue
        kinds = set(known[name.lower()].get("Resources", []))
        kinds |= _ALSO.get((service, name.lower()), set())
        kinds_taken |= kinds
        fitting = [each for each in grant.resources if each == "*" or _fits(service, kinds, each)]
        if not kinds and any(each != "*" for each in grant.resources):
            yield Finding("arn", role.name, f"{action} knows no resource, so it would be granted on nothing")
        elif not fitting:
            yield Finding(
                "arn", role.name, f"{action} takes no such resource as {', '.join(grant.resources)}"
            )
    services = {action.partition(":")[0] for action in grant.actions}
    for resource in grant.resources:
        if resource != "*" and not any(_fits(service, kinds_taken, resource) for service in services):
            yield Finding("arn", role.name, f"{resource} is no resource of {', '.join(grant.actions)}")


def _fits(service: str, kinds: set[str], resource: str) -> bool:
    return any(pattern.match(resource) for kind in kinds for pattern in _patterns(service, kind))


@functools.cache
def _data() -> dict[str, Any]:
    # Read beside cfn-lint: importing it loads sympy and networkx, which takes seconds.
    path = distribution("cfn-lint").locate_file("cfnlint/data/AdditionalSpecs/Policies.json")
    found: dict[str, Any] = json.loads(Path(str(path)).read_text(encoding="utf-8"))
    return found


def _actions(service: str) -> dict[str, Any]:
    found: dict[str, Any] = _data().get(service, {}).get("Actions", {})
    return found


@functools.cache
def _patterns(service: str, kind: str) -> list[re.Pattern[str]]:
    # Actions name some kinds in capitals that stand among the resources in small letters.
    kinds = _data()[service]["Resources"]
    formats = (kinds.get(kind) or kinds.get(kind.lower(), {})).get("ARNFormats", [])
    found = []
    for each in formats:
        known = {"${Partition}": "aws[a-z-]*", "${Region}": "[a-z0-9-]*", "${Account}": r"(\d{12}|\*|aws)?"}
        text = each
        for name, value in known.items():
            text = text.replace(name, value)
        found.append(re.compile(re.sub(r"\$\{\w+\}", ".*", text) + "$"))
    return found
