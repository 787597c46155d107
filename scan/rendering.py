"""The template as CloudFormation would deploy it: SAM's resources expanded, conditions decided.

Scanners see neither the roles that SAM makes nor which branch of a condition is taken; here both are there.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from dropforge_local.template import load_template

ROOT = Path(__file__).resolve().parent.parent

DEFAULT: Mapping[str, str] = {"TargetColumn": "target"}
HARDENED: Mapping[str, str] = {
    **DEFAULT,
    "EncryptionKey": "create",
    "PermissionsBoundaryArn": "arn:aws:iam::123456789012:policy/boundary",
    "AccessLogs": "true",
    "WebFirewall": "true",
    "PredictConcurrency": "5",
    "LogRetentionDays": "365",
}
CONFIGURATIONS = {"default": DEFAULT, "hardened": HARDENED}
"""Parameters under which the template is looked at: as it comes, and with everything on that guards it."""

PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "123456789012",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "dropforge",
}
_LOCAL_FILES = {
    "AWS::Serverless::Function": "CodeUri",
    "AWS::Serverless::LayerVersion": "ContentUri",
}
_NO_VALUE = object()


class _NoManagedPolicies:
    """The template names none, so that none is looked up."""

    def load(self) -> dict[str, str]:
        return {}


def rendered(parameters: Mapping[str, str], template: Path = ROOT / "template.yaml") -> dict[str, Any]:
    """The plain CloudFormation template under these parameters, the others at their defaults.

    Conditions are decided, references to parameters are their values; those to resources stay.
    """
    from samtranslator.translator.transform import transform  # noqa: PLC0415 - half a second

    document = load_template(template)
    values: dict[str, Any] = dict(PSEUDO)
    for name, parameter in document["Parameters"].items():
        value = parameters.get(name, parameter.get("Default"))
        values[name] = float(value) if parameter["Type"] == "Number" else value
    for resource in document["Resources"].values():
        if (field := _LOCAL_FILES.get(resource["Type"])) is not None:
            resource["Properties"][field] = "s3://artifacts/local"
    with mock.patch.dict(os.environ, {"AWS_DEFAULT_REGION": PSEUDO["AWS::Region"]}):
        plain = transform(copy.deepcopy(document), dict(parameters), _NoManagedPolicies())
    conditions = _Conditions(plain.get("Conditions", {}), values)
    resources = {}
    for name, resource in plain["Resources"].items():
        if "Condition" not in resource or conditions.holds(resource["Condition"]):
            kept = {key: value for key, value in resource.items() if key != "Condition"}
            resources[name] = _decided(kept, conditions, values)
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}


class _Conditions:
    def __init__(self, definitions: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._values = values

    def holds(self, condition: Any) -> bool:
        """Whether a condition, by name or as an expression, is true."""
        if isinstance(condition, str):
            return self.holds(self._definitions[condition])
        ((function, argument),) = condition.items()
        match function:
            case "Condition":
                return self.holds(argument)
            case "Fn::Not":
                return not self.holds(argument[0])
            case "Fn::And":
                return all(self.holds(each) for each in argument)
            case "Fn::Or":
                return any(self.holds(each) for each in argument)
            case "Fn::Equals":
                one, other = (self._value(each) for each in argument)
                return one == other
        raise ValueError(f"{function} is no condition function.")

    def _value(self, value: Any) -> str:
        if isinstance(value, dict):
            value = self._values[value["Ref"]]
        return f"{value:g}" if isinstance(value, int | float) else str(value)


def _decided(value: Any, conditions: _Conditions, values: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        decided = [_decided(each, conditions, values) for each in value]
        return [each for each in decided if each is not _NO_VALUE]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Fn::If"}:
        name, then, otherwise = value["Fn::If"]
        return _decided(then if conditions.holds(name) else otherwise, conditions, values)
    if set(value) == {"Ref"}:
        if value["Ref"] == "AWS::NoValue":
            return _NO_VALUE
        known = values.get(value["Ref"], value)
        return int(known) if isinstance(known, float) and known.is_integer() else known
    decided_items = {key: _decided(each, conditions, values) for key, each in value.items()}
    return {key: each for key, each in decided_items.items() if each is not _NO_VALUE}


def physical(template: Mapping[str, Any]) -> dict[str, Any]:
    """The template with a made-up name or ARN in place of every reference, and substitutions carried out."""
    kinds = {name: each["Type"] for name, each in template["Resources"].items()}
    resolved: dict[str, Any] = _named(template, kinds)
    return resolved


def _arn(name: str, kind: str) -> str:
    service = kind.split("::")[1].lower()
    owner = "::" if service == "s3" else f"{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}:"
    if service == "iam":
        return f"arn:aws:iam::{PSEUDO['AWS::AccountId']}:role/{name}"
    if service == "kms":
        return f"arn:aws:kms:{owner}key/1234abcd-12ab-34cd-56ef-1234567890ab"
    return f"arn:aws:{service}:{owner}{name.lower()}"


def _named(value: Any, kinds: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_named(each, kinds) for each in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Ref"} and value["Ref"] in kinds:
        return _reference(value["Ref"], kinds)
    if set(value) == {"Fn::GetAtt"}:
        return _reference(".".join(value["Fn::GetAtt"]), kinds)
    if set(value) == {"Fn::Sub"}:
        text, given = value["Fn::Sub"], {}
        if isinstance(text, list):
            text, given = text[0], {key: _named(each, kinds) for key, each in text[1].items()}
        return re.sub(
            r"\$\{([\w.:]+)\}", lambda match: str(given.get(match[1]) or _reference(match[1], kinds)), text
        )
    return {key: _named(each, kinds) for key, each in value.items()}


def _reference(name: str, kinds: Mapping[str, str]) -> str:
    """A made-up value of a reference or of an attribute, ``Name`` or ``Name.Attribute``."""
    if name in PSEUDO:
        return PSEUDO[name]
    resource, _, attribute = name.partition(".")
    kind = kinds.get(resource, "")
    is_arn = attribute.endswith("Arn") or kind == "AWS::SNS::Topic"
    return _arn(resource, kind) if is_arn and kind else resource.lower()
