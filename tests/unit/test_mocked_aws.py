"""What the tests' moto keeps from request to request is what moto works out at each."""

from __future__ import annotations

import pytest
from moto.core.serialize import AttributePicker, AttributePickerContext
from moto.core.utils import get_service_model
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.parsing.expressions import UpdateExpressionParser
from moto.s3.models import s3_backends
from tests.mocked_aws import (
    create_table,
    mocked_aws,
    original_cast_value,
    original_keys,
    original_parse,
    original_urls,
)


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


def test_an_expression_that_was_used_is_still_as_it_was_parsed():
    text = "SET #a = if_not_exists(#a, :one) + :one, b = :b REMOVE c ADD d :one"
    keys = {
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    }
    with mocked_aws() as client:
        dynamodb = client("dynamodb")
        create_table(dynamodb, "used", keys)
        for number in range(2):
            values = {":one": {"N": "1"}, ":b": {"S": str(number)}}
            dynamodb.update_item(
                TableName="used",
                Key={"pk": {"S": "x"}},
                UpdateExpression=text,
                ExpressionAttributeNames={"#a": "a"},
                ExpressionAttributeValues=values,
            )
        (item,) = dynamodb.scan(TableName="used")["Items"]
    assert item == {"pk": {"S": "x"}, "a": {"N": "3"}, "b": {"S": "1"}, "d": {"N": "2"}}
    assert described(UpdateExpressionParser.make(text)) == described(original_parse(text))


def described(node):
    """A node with all below it, as text."""
    below = ", ".join(map(described, getattr(node, "children", [])))
    return f"{type(node).__name__}({below})" if hasattr(node, "children") else repr(node)
