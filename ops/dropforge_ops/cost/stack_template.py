"""The template under given parameters: which resources there are, and with which properties."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dropforge_local.template import load_template
from dropforge_ops.stack.project import refuse_impossible_values, refuse_unknown_parameters


@dataclass(frozen=True)
class StackTemplate:
    """A template, its state machines' definitions, and the parameters that a stack of it has."""

    document: Mapping[str, Any]
    machines: Mapping[str, Mapping[str, Any]]
    given: Mapping[str, str]

    def __post_init__(self) -> None:
        refuse_unknown_parameters(self.given, self.document.get("Parameters", {}))

    @cached_property
    def parameters(self) -> Mapping[str, str]:
        """Every parameter's value; one without default that was not given is empty."""
        declared: Mapping[str, Mapping[str, Any]] = self.document.get("Parameters", {})
        return {name: str(self.given.get(name, each.get("Default", ""))) for name, each in declared.items()}

    def number(self, parameter: str) -> float:
        return float(self.parameters[parameter])

    def resources(self, kind: str) -> dict[str, Mapping[str, Any]]:
        """The properties of the resources of a type that the stack has, by logical id."""
        return {
            name: self.value(each.get("Properties") or {})
            for name, each in self.document["Resources"].items()
            if each["Type"] == kind and ("Condition" not in each or self.holds(each["Condition"]))
        }

    def functions(self) -> dict[str, Mapping[str, Any]]:
        """The functions, with what ``Globals`` gives them."""
        shared = self.value((self.document.get("Globals") or {}).get("Function") or {})
        return {
            name: {**shared, **each} for name, each in self.resources("AWS::Serverless::Function").items()
        }

    def holds(self, condition: str) -> bool:
        """Whether a condition of the template is true."""
        return bool(self.value(self.document["Conditions"][condition]))

    def value(self, node: Any) -> Any:
        """A node with parameters and conditions resolved; what only AWS knows stays as it is written."""
        if isinstance(node, list):
            return [self.value(each) for each in node]
        if not isinstance(node, Mapping):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name == "Ref" and argument in self.parameters:
                return self.parameters[argument]
            if name == "Condition" and isinstance(argument, str):
                return self.holds(argument)
            if name.startswith("Fn::"):
                return self._function(name.removeprefix("Fn::"), argument, node)
        return {key: self.value(each) for key, each in node.items()}

    def _function(self, name: str, argument: Any, node: Any) -> Any:
        if name == "If":
            return self.value(argument[1] if self.holds(argument[0]) else argument[2])
        if name == "Equals":
            first, second = (self.value(each) for each in argument)
            return str(first) == str(second)  # to CloudFormation a parameter is text, also a number
        if name == "Not":
            return not self.value(argument[0])
        if name == "And":
            return all(self.value(each) for each in argument)
        if name == "Or":
            return any(self.value(each) for each in argument)
        return node


def read_stack_template(root: Path, parameters: Mapping[str, str]) -> StackTemplate:
    """The project's template under parameters.

    Raises:
        UsageError: a parameter is not one of the template's, or a deployment would refuse its value.
    """
    document = load_template(root / "template.yaml")
    machines = {}
    for name, resource in document["Resources"].items():
        if resource["Type"] == "AWS::StepFunctions::StateMachine":
            path = root / resource["Properties"]["DefinitionS3Location"]
            machines[name] = json.loads(path.read_text(encoding="utf-8"))
    template = StackTemplate(document, machines, parameters)
    refuse_impossible_values(parameters, document.get("Parameters", {}))
    return template
