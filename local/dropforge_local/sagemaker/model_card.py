"""The content of a model package's card, held against the schema that SageMaker publishes for it.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry-details.html#model-card-schema: the schema of
model cards without ``model_package_details``, and with two members of ``model_overview``. Its members and
bounds are those of the resource type AWS::SageMaker::ModelCard, whose schema AWS publishes too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema import Draft7Validator

from dropforge_local.sagemaker.errors import validation

_PROBLEMS_NAMED, _SAID = 5, 200
_SEGMENT = 63
_NAME = 255
_SHORT, _LONG = 1024, 2048


def check_card(card: Mapping[str, Any] | None, before: Mapping[str, Any] | None = None) -> None:
    """Hold a ``ModelPackageModelCard`` against the rules for its content.

    Args:
        before: the card that it replaces, if there is one.

    Raises:
        ServiceError: the content is no JSON, or not what the schema allows; or `before` is archived.
    """
    content = (card or {}).get("ModelCardContent")
    if content is None:
        return
    if (before or {}).get("ModelCardStatus") == "Archived":
        raise validation("Model Card is in Archived state")
    try:
        document = json.loads(content, parse_constant=_refuse)
    except ValueError as error:
        raise validation(f"ModelCardContent is no JSON: {error}") from error
    problems = sorted(
        f"{'/'.join(map(str, error.absolute_path)) or 'the card'}: {error.message[-_SAID:]}"
        for error in _validator().iter_errors(document)
    )
    if problems:
        raise validation(
            f"ModelCardContent doesn't follow the schema: {'; '.join(problems[:_PROBLEMS_NAMED])}"
        )


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


@cache
def _validator() -> Draft7Validator:
    return Draft7Validator(schema())


def schema() -> dict[str, Any]:
    """Return the JSON schema of the content."""
    return _object(
        model_overview=_object(model_creator=_text(_SHORT), model_artifact=_list(_text(_SHORT), 15)),
        intended_uses=_object(
            purpose_of_model=_text(_LONG),
            intended_uses=_text(_LONG),
            factors_affecting_model_efficiency=_text(_LONG),
            risk_rating={"type": "string", "enum": ["High", "Medium", "Low", "Unknown"]},
            explanations_for_risk_rating=_text(_LONG),
        ),
        business_details=_object(
            business_problem=_text(_LONG), business_stakeholders=_text(_LONG), line_of_business=_text(_LONG)
        ),
        training_details=_object(
            objective_function=_object(
                function=_object(
                    function={"type": "string", "enum": ["Maximize", "Minimize"]},
                    facet=_text(_SEGMENT),
                    condition=_text(_SEGMENT),
                ),
                notes=_text(_SHORT),
            ),
            training_observations=_text(_SHORT),
            training_job_details=_object(
                training_arn=_text(_SHORT),
                training_datasets=_list(_text(_SHORT), 15),
                training_environment=_object(container_image=_list(_text(_SHORT), 15)),
                training_metrics=_list(_training_metric(), 50),
                user_provided_training_metrics=_list(_training_metric(), 50),
                hyper_parameters=_list(_hyperparameter(), 100),
                user_provided_hyper_parameters=_list(_hyperparameter(), 100),
            ),
        ),
        evaluation_details=_list(
            _object(
                required=("name",),
                name=_named(_SEGMENT),
                evaluation_observation=_text(2096),
                evaluation_job_arn=_text(256),
                datasets=_list(_text(_SHORT), 10),
                metadata=_texts(),
                metric_groups=_list(
                    _object(
                        required=("name", "metric_data"),
                        name=_named(_SEGMENT),
                        metric_data=_list({"anyOf": _metrics()}),
                    )
                ),
            )
        ),
        additional_information=_object(
            ethical_considerations=_text(_LONG),
            caveats_and_recommendations=_text(_LONG),
            custom_details=_texts(),
        ),
    )


def _metrics() -> list[dict[str, Any]]:
    axis, axes = _text(_SEGMENT), _list(_text(_SEGMENT))
    number = {"type": "number"}
    point = {**_list(number, 2), "minItems": 2}
    row = {**_list(number, 20), "minItems": 1}
    return [
        _metric(
            ("number", "string", "boolean"),
            {"anyOf": [number, _text(_SEGMENT), {"type": "boolean"}]},
            axis,
            axis,
        ),
        _metric(("linear_graph",), {**_list(point), "minItems": 1}, axis, axis),
        _metric(("bar_chart",), {**_list(number), "minItems": 1}, axes, axis),
        _metric(("matrix",), {**_list(row, 20), "minItems": 1}, axes, axes),
    ]


def _metric(
    types: tuple[str, ...], value: dict[str, Any], x: dict[str, Any], y: dict[str, Any]
) -> dict[str, Any]:
    return _object(
        required=("name", "type", "value"),
        name=_named(_NAME),
        notes=_text(_SHORT),
        type={"type": "string", "enum": list(types)},
        value=value,
        x_axis_name=x,
        y_axis_name=y,
    )


def _training_metric() -> dict[str, Any]:
    return _object(
        required=("name", "value"), name=_named(_NAME), notes=_text(_SHORT), value={"type": "number"}
    )


def _hyperparameter() -> dict[str, Any]:
    return _object(required=("name", "value"), name=_named(_NAME), value=_named(_NAME))


def _object(required: tuple[str, ...] = (), **members: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": members}
    return {**made, "required": list(required)} if required else made


def _list(items: dict[str, Any], most: int | None = None) -> dict[str, Any]:
    made = {"type": "array", "items": items}
    return made if most is None else {**made, "maxItems": most}


def _text(most: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": most}


def _named(most: int) -> dict[str, Any]:
    """A name. The published pattern ``.{1,N}`` is matched whole, as SageMaker matches its patterns."""
    return {"type": "string", "pattern": f"^.{{1,{most}}}$", "maxLength": most}


def _texts() -> dict[str, Any]:
    """Texts by names that have a letter or an underscore somewhere."""
    return {
        "type": "object",
        "additionalProperties": False,
        "patternProperties": {"[a-zA-Z_][a-zA-Z0-9_]*": _text(_SHORT)},
    }
