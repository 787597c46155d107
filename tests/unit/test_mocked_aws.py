"""What the tests' moto keeps from request to request is what moto works out at each."""

from __future__ import annotations

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.core.serialize import AttributePicker, AttributePickerContext
from moto.core.utils import get_service_model
from moto.dynamodb.models import DynamoDBBackend, dynamodb_backends
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.parsing.expressions import UpdateExpressionParser
from moto.s3.models import s3_backends
from tests.mocked_aws import (
    DIRECT,
    KEY,
    REGION,
    create_table,
    mocked_aws,
    original_cast_value,
    original_keys,
    original_parse,
    original_transact,
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


TABLE = {
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "sk", "AttributeType": "N"},
        {"AttributeName": "other", "AttributeType": "S"},
    ],
    "KeySchema": [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by-other",
            "KeySchema": [{"AttributeName": "other", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ],
}
T = {"TableName": "t"}
EVERYTHING = {
    "text": {"S": "ü"},
    "empty": {"S": ""},
    "flag": {"BOOL": False},
    "nothing": {"NULL": True},
    "map": {"M": {"S": {"S": "1"}, "list": {"L": [{"N": "1.50"}, {"M": {}}]}}},
    "set": {"SS": ["b", "a"]},
}


def key(number: int, pk: str = "p"):
    return {"pk": {"S": pk}, "sk": {"N": str(number)}}


NEW = {"ConditionExpression": "attribute_not_exists(pk)"}
SHOWN = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
SET = {"UpdateExpression": "SET n = :n", "ExpressionAttributeValues": {":n": {"N": "7"}}}
OF_P = {"KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": "p"}}}
REQUESTS = [
    ("PutItem", {**T, "Item": {**key(1), "other": {"S": "o"}, **EVERYTHING}, **NEW}),
    ("PutItem", {**T, "Item": {**key(1), "other": {"S": "o"}}, **NEW}),
    ("PutItem", {**T, "Item": {**key(1), "other": {"S": "o"}}, **NEW, **SHOWN}),
    ("PutItem", {**T, "Item": {**key(2), "a": {"S": "x"}}, "ReturnConsumedCapacity": "TOTAL"}),
    ("PutItem", {**T, "Item": {**key(2), "a": {"S": "y"}}, "ReturnValues": "ALL_OLD"}),
    ("PutItem", {**T, "Item": {"pk": {"S": "p"}}}),
    ("PutItem", {**T, "Item": {**key(3), "pk": {"S": ""}}}),
    ("PutItem", {"TableName": "none", "Item": key(1)}),
    ("GetItem", {**T, "Key": key(1)}),
    ("GetItem", {**T, "Key": key(9)}),
    (
        "GetItem",
        {**T, "Key": key(1), "ProjectionExpression": "#t", "ExpressionAttributeNames": {"#t": "text"}},
    ),
    ("GetItem", {**T, "Key": {"pk": {"S": "p"}, "wrong": {"N": "1"}}}),
    ("UpdateItem", {**T, "Key": key(2), **SET, "ReturnValues": "ALL_NEW"}),
    ("UpdateItem", {**T, "Key": key(2), **SET, "ReturnValues": "UPDATED_OLD"}),
    ("UpdateItem", {**T, "Key": key(2), **SET, **NEW}),
    ("UpdateItem", {**T, "Key": key(2), **SET, **NEW, **SHOWN}),
    ("UpdateItem", {**T, "Key": key(4), **SET}),
    ("UpdateItem", {**T, "Key": key(2), "UpdateExpression": "SET a = :missing"}),
    ("Query", {**T, **OF_P}),
    ("Query", {**T, **OF_P, "Limit": 2, "ScanIndexForward": False}),
    ("Query", {**T, **OF_P, "Select": "COUNT", "ReturnConsumedCapacity": "INDEXES"}),
    ("Query", {**T, **OF_P, "FilterExpression": "attribute_exists(n)"}),
    ("Query", {**T, **OF_P, "KeyConditionExpression": "wrong = :p"}),
    (
        "Query",
        {
            **T,
            "IndexName": "by-other",
            "KeyConditionExpression": "other = :o",
            "ExpressionAttributeValues": {":o": {"S": "o"}},
        },
    ),
    ("Scan", T),
    ("Scan", {**T, "Limit": 1}),
    ("BatchGetItem", {"RequestItems": {"t": {"Keys": [key(1), key(2), key(9)]}}}),
    ("BatchGetItem", {"RequestItems": {"t": {"Keys": [key(1), key(1)]}}}),
    (
        "BatchWriteItem",
        {"RequestItems": {"t": [{"PutRequest": {"Item": key(5)}}, {"DeleteRequest": {"Key": key(4)}}]}},
    ),
    ("BatchWriteItem", {"RequestItems": {"t": [{"PutRequest": {"Item": key(5)}}] * 2}}),
    (
        "TransactWriteItems",
        {
            "TransactItems": [
                {"Put": {**T, "Item": key(6)}},
                {"Update": {**T, "Key": key(2), **SET}},
                {"Delete": {**T, "Key": key(5)}},
                {"ConditionCheck": {**T, "Key": key(1), "ConditionExpression": "attribute_exists(pk)"}},
            ]
        },
    ),
    (
        "TransactWriteItems",
        {
            "TransactItems": [
                {"Put": {**T, "Item": key(7)}},
                {"Update": {**T, "Key": key(2), "UpdateExpression": "REMOVE n"}},
                {"Put": {**T, "Item": key(6), **NEW, **SHOWN}},
                {"Put": {**T, "Item": key(1), **NEW}},
            ]
        },
    ),
    (
        "TransactWriteItems",
        {"TransactItems": [{"Put": {**T, "Item": key(8)}}, {"Delete": {**T, "Key": key(8)}}]},
    ),
    ("TransactGetItems", {"TransactItems": [{"Get": {**T, "Key": key(number)}} for number in (1, 2, 7, 9)]}),
    ("DeleteItem", {**T, "Key": key(1), "ReturnValues": "ALL_OLD"}),
    ("DeleteItem", {**T, "Key": key(1)}),
    ("DeleteItem", {**T, "Key": key(2), **NEW}),
    ("Scan", T),
]


def answers_of(dynamodb):
    """What each request gets in turn, the answer or the error, but for what tells requests apart."""
    create_table(dynamodb, "t", TABLE)
    for operation, request in REQUESTS:
        try:
            answer = dynamodb._make_api_call(operation, request)
        except ClientError as error:
            answer = {**error.response, "class": type(error).__name__, "message": str(error)}
        metadata = answer.pop("ResponseMetadata")
        yield (
            operation,
            {**answer, "status": metadata["HTTPStatusCode"], "retries": metadata["RetryAttempts"]},
        )


def test_answers_without_http_are_those_over_http():
    with mocked_aws() as client:
        direct = list(answers_of(client("dynamodb")))
    with mocked_aws():
        over_http = list(answers_of(boto3.client("dynamodb", region_name=REGION, **KEY)))
    assert {operation for operation, _ in direct} == set(DIRECT)
    assert sum("Error" in answer for _, answer in direct) > 10
    for (operation, answer), (_, expected) in zip(direct, over_http, strict=True):
        assert answer == expected, operation


def test_a_request_without_http_changes_nothing_that_an_earlier_one_was_answered():
    with mocked_aws() as client:
        dynamodb = client("dynamodb")
        create_table(dynamodb, "t", TABLE)
        dynamodb.put_item(TableName="t", Item={**key(1), "map": {"M": {"a": {"S": "x"}}}})
        answer = dynamodb.get_item(TableName="t", Key=key(1))["Item"]
        answer["map"]["M"]["a"] = {"S": "changed by the test"}
        assert dynamodb.get_item(TableName="t", Key=key(1))["Item"]["map"] == {"M": {"a": {"S": "x"}}}


@pytest.mark.parametrize("transact", [DynamoDBBackend.transact_write_items, original_transact])
def test_a_transaction_that_fails_leaves_every_item_as_it_was(transact, monkeypatch):
    monkeypatch.setattr(DynamoDBBackend, "transact_write_items", transact)
    with mocked_aws() as client:
        dynamodb = client("dynamodb")
        create_table(dynamodb, "t", TABLE)
        for number in range(3):
            dynamodb.put_item(TableName="t", Item=key(number))
        before = dynamodb.scan(TableName="t")["Items"]
        changes = [{"Update": {**T, "Key": key(number), **SET}} for number in (0, 1, 7)]
        with pytest.raises(dynamodb.exceptions.TransactionCanceledException):
            dynamodb.transact_write_items(TransactItems=[*changes, {"Put": {**T, "Item": key(2), **NEW}}])
        assert dynamodb.scan(TableName="t")["Items"] == before
        dynamodb.transact_write_items(TransactItems=changes)
        assert sum("n" in each for each in dynamodb.scan(TableName="t")["Items"]) == 3


def described(node):
    """A node with all below it, as text."""
    below = ", ".join(map(described, getattr(node, "children", [])))
    return f"{type(node).__name__}({below})" if hasattr(node, "children") else repr(node)
