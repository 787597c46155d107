"""The schema of model cards as AWS publishes it for CloudFormation, in the spelling of a card's content."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
from jsonschema import Draft7Validator

_OF_PACKAGES = {"model_creator", "model_artifact"}
"""What a package's card has of ``model_overview``; it has no ``model_package_details``:
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ModelPackageModelCard.html"""


@cache
def published() -> dict[str, Any]:
    """The JSON schema of the content of a model package's card, with its definitions put in their places."""
    definitions = PROVIDER_SCHEMA_MANAGER.get_resource_schema(
        "us-east-1", "AWS::SageMaker::ModelCard"
    ).schema["definitions"]
    content = _resolved(definitions["Content"], definitions)
    content["properties"].pop("model_package_details")
    overview = content["properties"]["model_overview"]["properties"]
    content["properties"]["model_overview"]["properties"] = {
        name: value for name, value in overview.items() if name in _OF_PACKAGES
    }
    return content


def problems(content: Any) -> list[str]:
    """What of a card's content the published schema doesn't allow."""
    return [
        f"{list(each.absolute_path)}: {each.message}"
        for each in Draft7Validator(published()).iter_errors(content)
    ]


def _resolved(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_resolved(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        beside = {name: value for name, value in schema.items() if name != "$ref"}
        return {**_resolved(definitions[schema["$ref"].rpartition("/")[2]], definitions), **beside}
    made = {name: _resolved(value, definitions) for name, value in schema.items() if name != "description"}
    if "properties" in made:
        made["properties"] = {_snake(name): value for name, value in made["properties"].items()}
        made["required"] = [_snake(name) for name in made.get("required", [])]
    return made


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
