"""What the tests' moto keeps from request to request is what moto works out at each."""

from __future__ import annotations

import pytest
from moto.core.serialize import AttributePicker, AttributePickerContext
from moto.core.utils import get_service_model
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.s3.models import s3_backends
from tests.mocked_aws import original_cast_value, original_keys, original_urls


@pytest.mark.parametrize(("backends", "region"), [(s3_backends, "aws"), (dynamodb_backends, "us-east-1")])
def test_the_handlers_of_a_service_are_kept(backends, region):
    backend = backends["123456789012"][region]
    for _ in range(2):
        assert list(backend.urls) == list(original_urls(backend))


@pytest.mark.parametrize("operation", ["Query", "GetItem", "DescribeTable", "BatchWriteItem"])
def test_a_member_of_an_answer_is_found_under_the_same_names(operation):
    shape = get_service_model("dynamodb").operation_model(operation).output_shape
    picker = AttributePicker()
    for key, member in shape.members.items():
        member.parent = shape
        for held in ({}, {key: 1}, {member.name: 1}, {key: 1, member.name: 2}):
            context = AttributePickerContext(held, key, member)
            expected = [name for name in original_keys(picker, context) if name in held]
            for _ in range(2):
                assert list(picker.get_possible_keys(context)) == expected


@pytest.mark.parametrize(
    "value", [{"S": "ü"}, {"N": "1.50"}, {"BOOL": False}, {"NULL": True}, {"SS": ["a"]}, {"L": [{"S": "1"}]}]
)
def test_a_value_is_compared_as_the_same(value):
    assert DynamoType(value).cast_value == original_cast_value(DynamoType(value))
