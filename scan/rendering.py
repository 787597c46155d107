"""The template as CloudFormation would deploy it: SAM's resources expanded, conditions decided.

Scanners see neither the roles that SAM makes nor which branch of a condition is taken; here both are there.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from samtranslator.translator.transform import transform

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
    "AWS::Serverless::StateMachine": "DefinitionUri",
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
    document = load_template(template)
    values = {
        **PSEUDO,
        **{name: each.get("Default") for name, each in document["Parameters"].items()},
        **parameters,
    }
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
        return str(value)


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
        return values.get(value["Ref"], value)
    decided_items = {key: _decided(each, conditions, values) for key, each in value.items()}
    return {key: each for key, each in decided_items.items() if each is not _NO_VALUE}
