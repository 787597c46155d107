"""Model cards that the registry refuses, as AWS does."""

from __future__ import annotations

import json

import pytest

from dropforge_local.sagemaker.errors import ServiceError
from dropforge_local.sagemaker.model_card import check_card


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "the card"),
        ('{"a": 1}', "'a' was unexpected"),
        ('{"model_package_details": {}}', "model_package_details"),
        ('{"model_overview": {"model_name": "m"}}', "model_name"),
        ('{"intended_uses": {"risk_rating": "low"}}', "is not one of"),
        ('{"evaluation_details": [{}]}', "'name' is a required property"),
        ('{"evaluation_details": [{"name": ""}]}', "does not match"),
        (json.dumps({"training_details": {"training_observations": "x" * 1025}}), "is too long"),
        ('{"additional_information": {"custom_details": {"a": 1}}}', "is not of type 'string'"),
        (
            '{"evaluation_details": [{"name": "a", "metric_groups": [{"name": "b", "metric_data": [{}]}]}]}',
            "not valid",
        ),
        ("{", "no JSON"),
        ('{"additional_information": NaN}', "no JSON"),
    ],
)
def test_refuses_another_schema(content: str, said: str) -> None:
    with pytest.raises(ServiceError, match=said) as refused:
        check_card({"ModelCardContent": content})
    assert refused.value.code == "ValidationException"


def test_an_archived_card_keeps_its_content() -> None:
    archived = {"ModelCardStatus": "Archived", "ModelCardContent": "{}"}
    check_card({"ModelCardStatus": "Draft"}, archived)
    with pytest.raises(ServiceError, match="Archived state"):
        check_card({"ModelCardContent": "{}"}, archived)
