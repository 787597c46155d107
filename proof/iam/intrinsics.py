"""CloudFormation's intrinsic functions, with example values for what only a deployment knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

ACCOUNT, REGION, PARTITION = "123456789012", "us-east-1", "aws"
_PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": PARTITION,
    "AWS::StackName": "dropforge",
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/dropforge/1",
    "AWS::URLSuffix": "amazonaws.com",
}
# Parameters without a default, or whose default leaves something out that has to be examined as well.
_EXAMPLES = {"TargetColumn": "diagnosis"}
_VARIABLE = re.compile(r"\$\{(!?)([\w:.]+)\}")
_NO_VALUE = object()
# The ARN of a resource by its type; {name} is its physical name.
_ARNS = {
    "AWS::S3::Bucket": "arn:aws:s3:::{name}",
    "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{{name}}",
    "AWS::Lambda::Function": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{{name}}",
    "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{{name}}",
    "AWS::SNS::Topic": f"arn:aws:sns:{REGION}:{ACCOUNT}:{{name}}",
    "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{{name}}",
    "AWS::StepFunctions::StateMachine": f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{{name}}",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{{name}}:*",
    "AWS::KMS::Key": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{{name}}",
    "AWS::CloudWatch::Alarm": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{{name}}",
    "AWS::Events::Rule": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{{name}}",
}
_REF_IS_ARN = {"AWS::SNS::Topic", "AWS::StepFunctions::StateMachine"}
_NAME_PROPERTIES = {"AWS::StepFunctions::StateMachine": "StateMachineName"}


class Values:
    """Resolves what is in a transformed template.

    Args:
        document: the template, its serverless resources replaced by what SAM makes of them.
        parameters: values that differ from the parameters' defaults.
    """

    def __init__(self, document: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
        self.document = self._document = document
        declared = document.get("Parameters", {})
        given = {name: value for name, value in _EXAMPLES.items() if name in declared} | dict(parameters)
        self._parameters = {
            name: _typed(str(given.get(name, each.get("Default", ""))), each["Type"])
            for name, each in declared.items()
        }

    def resolve(self, value: Any) -> Any:
        """The value without intrinsic functions; what is AWS::NoValue is left out of lists and objects."""
        found = self._resolved(value)
        return None if found is _NO_VALUE else found

    def holds(self, condition: str) -> bool:
        """Whether a condition of the template is met."""
        return bool(self._test(self._document["Conditions"][condition]))

    def arn(self, logical_id: str) -> str:
        """The ARN of one of the template's resources."""
        kind = self._document["Resources"][logical_id]["Type"]
        pattern = _ARNS.get(kind, f"arn:aws:{kind.split('::')[1].lower()}:{REGION}:{ACCOUNT}:{{name}}")
        return pattern.format(name=self.name(logical_id))

    def name(self, logical_id: str) -> str:
        """A resource's physical name: the one that the template gives it, or one made of its logical id."""
        resource = self._document["Resources"][logical_id]
        given = resource.get("Properties", {}).get(_NAME_PROPERTIES.get(resource["Type"], ""))
        if given is not None:
            return str(self.resolve(given))
        if resource["Type"] == "AWS::S3::Bucket":
            return f"dropforge-{logical_id.removesuffix('Bucket').lower()}-{ACCOUNT}"
        return f"dropforge-{logical_id}"

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, list):
            return [each for each in map(self._resolved, value) if each is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref":
                return self._reference(argument)
            if name.startswith("Fn::"):
                return self._function(name.removeprefix("Fn::"), argument)
        resolved = {name: self._resolved(each) for name, each in value.items()}
        return {name: each for name, each in resolved.items() if each is not _NO_VALUE}

    def _reference(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        if name in _PSEUDO:
            return _PSEUDO[name]
        if name in self._parameters:
            return self._parameters[name]
        resource = self._document["Resources"].get(name)
        if resource is None:
            return name
        return self.arn(name) if resource["Type"] in _REF_IS_ARN else self.name(name)

    def _function(self, name: str, argument: Any) -> Any:
        match name:
            case "GetAtt":
                logical_id, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
                return self._attribute(logical_id, attribute)
            case "Sub":
                text, given = argument if isinstance(argument, list) else (argument, {})
                return self._substituted(text, given)
            case "If":
                condition, yes, no = argument
                return self._resolved(yes if self.holds(condition) else no)
            case "Join":
                separator, parts = argument
                return separator.join(str(each) for each in self._resolved(parts))
            case "FindInMap":
                table, first, second = (self._resolved(each) for each in argument[:3])
                return self._document["Mappings"][table][first][second]
            case "Select":
                index, items = argument
                return self._resolved(items)[int(index)]
            case "Split":
                separator, text = argument
                return str(self._resolved(text)).split(separator)
        raise ValueError(f"Fn::{name} is not understood here.")

    def _attribute(self, logical_id: str, attribute: str) -> str:
        if attribute == "Arn":
            return self.arn(logical_id)
        return f"{self.name(logical_id)}.{attribute}"

    def _substituted(self, text: str, given: Mapping[str, Any]) -> str:
        def value(match: re.Match[str]) -> str:
            literal, name = match.groups()
            if literal:
                return f"${{{name}}}"
            if name in given:
                return str(self._resolved(given[name]))
            if "." in name:
                return self._attribute(*name.split(".", 1))
            return str(self._reference(name))

        return _VARIABLE.sub(value, text)

    def _test(self, condition: Any) -> Any:
        ((name, argument),) = condition.items()
        match name:
            case "Condition":
                return self.holds(argument)
            case "Fn::Equals":
                one, other = (self._resolved(each) for each in argument)
                return str(one) == str(other)
            case "Fn::Not":
                return not self._test(argument[0])
            case "Fn::And":
                return all(self._test(each) for each in argument)
            case "Fn::Or":
                return any(self._test(each) for each in argument)
        raise ValueError(f"The condition function {name} is not understood here.")


def _typed(text: str, kind: str) -> str | float:
    """A parameter's value; numbers are numbers where they stand alone, as in a deployed template."""
    if kind != "Number" or not text:
        return text
    return int(text) if text.lstrip("-").isdigit() else float(text)
