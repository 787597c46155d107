"""Every role of the deployed stack with its own policies, as SAM transforms the template."""

from __future__ import annotations

import copy
import functools
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3

from dropforge_local.template import parse_template
from proof.iam.intrinsics import REGION, Values

# Their texts are AWS's; what they grant is what every function of that kind needs.
_BASIC = "AWSLambdaBasicExecutionRole"
_CODE = {
    "AWS::Serverless::Function": "CodeUri",
    "AWS::Serverless::LayerVersion": "ContentUri",
}


@dataclass(frozen=True)
class Grant:
    """One statement of a role's policy, resolved; ``shared_as`` names the policy that several roles have."""

    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    document: Mapping[str, Any] = field(hash=False)
    shared_as: str = ""


@dataclass(frozen=True)
class Role:
    """A role: its logical id, whether the template's authors wrote its policies or SAM made it."""

    name: str
    is_written: bool
    grants: tuple[Grant, ...]
    managed: tuple[str, ...]
    trusted: tuple[str, ...]


@functools.lru_cache(maxsize=8)
def transformed(template: str) -> dict[str, Any]:
    """The template with its serverless resources replaced by what SAM makes of them."""
    from samtranslator.parser.parser import Parser  # noqa: PLC0415 - half a second that most importers do without
    from samtranslator.translator.translator import Translator  # noqa: PLC0415 - as above

    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    document = copy.deepcopy(parse_template(template))
    for resource in document["Resources"].values():
        code = _CODE.get(resource["Type"])
        if code:
            resource["Properties"][code] = "s3://bucket/key"
    parameters = {
        name: each.get("Default", "example") for name, each in document.get("Parameters", {}).items()
    }
    translator = Translator(
        {_BASIC: f"arn:aws:iam::aws:policy/service-role/{_BASIC}"},
        Parser(),
        boto_session=boto3.Session(region_name=REGION),
    )
    found: dict[str, Any] = translator.translate(document, parameters)
    return found


@functools.lru_cache(maxsize=8)
def _roles(template: str, parameters: tuple[tuple[str, str], ...]) -> tuple[Role, ...]:
    document = transformed(template)
    written = parse_template(template)["Resources"]
    values = Values(document, dict(parameters))
    shared = _shared(document, values)
    found = []
    for name, resource in document["Resources"].items():
        if resource["Type"] != "AWS::IAM::Role":
            continue
        if "Condition" in resource and not values.holds(resource["Condition"]):
            continue
        properties = resource["Properties"]
        is_written = name in written or name.removesuffix("Role") in written
        policies = values.resolve(properties.get("Policies", []))
        found.append(
            Role(
                name,
                is_written,
                (
                    *(grant for policy in policies for grant in _grants(policy)),
                    *shared.get(name, ()),
                ),
                tuple(values.resolve(properties.get("ManagedPolicyArns", []))),
                tuple(_trusted(properties["AssumeRolePolicyDocument"])),
            )
        )
    return tuple(found)


def roles_of(template: str, parameters: Mapping[str, str] | None = None) -> tuple[Role, ...]:
    """Every role, with the parameters' defaults but for those given."""
    return _roles(template, tuple(sorted((parameters or {}).items())))


def values_of(template: str, parameters: Mapping[str, str] | None = None) -> Values:
    """The same deployment's names and ARNs."""
    return Values(transformed(template), dict(parameters or {}))


def _shared(document: Mapping[str, Any], values: Values) -> dict[str, list[Grant]]:
    """What policies of their own grant, by the role that has them."""
    found: dict[str, list[Grant]] = {}
    for name, resource in document["Resources"].items():
        if resource["Type"] != "AWS::IAM::Policy":
            continue
        if "Condition" in resource and not values.holds(resource["Condition"]):
            continue
        properties = resource["Properties"]
        for role in properties.get("Roles", []):
            found.setdefault(role["Ref"], []).extend(_grants(values.resolve(properties), name))
    return found


def _grants(policy: Mapping[str, Any], shared_as: str = "") -> Iterator[Grant]:
    for statement in _listed(policy["PolicyDocument"]["Statement"]):
        yield Grant(
            statement["Effect"],
            tuple(_listed(statement["Action"])),
            tuple(_listed(statement["Resource"])),
            json.loads(json.dumps(statement)),
            shared_as,
        )


def _trusted(document: Mapping[str, Any]) -> Iterator[str]:
    for statement in document["Statement"]:
        yield from _listed(statement["Principal"].get("Service", []))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
