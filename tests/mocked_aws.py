"""S3 and DynamoDB of moto, with one client per service for all tests of a process.

Making a client costs more than most tests do with it, and moto works out at every request what is the same at
each: here it keeps that. tests/unit/test_mocked_aws.py holds what is kept to what moto itself works out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
import moto.core.responses
from moto import mock_aws
from moto.core.base_backend import BaseBackend
from moto.core.serialize import DEFAULT_ALIAS_PROVIDERS, AttributePicker, AttributePickerContext
from moto.dynamodb.models.dynamo_type import DDBType, DynamoType
from moto.dynamodb.parsing.expressions import UpdateExpressionParser

REGION = "us-east-1"
KEY = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
_PROPERTIES = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")


@functools.cache
def client(service: str) -> Any:
    """The service's client. Whoever registers a handler at it has to take it away again."""
    return boto3.client(service, region_name=REGION, **KEY)


@contextmanager
def mocked_aws() -> Iterator[Callable[[str], Any]]:
    """Services without any resource; what is made in them is gone afterwards. Gives `client`.

    Not for the whole session: moto forgets its state only when no other mock is active any more.
    """
    with mock_aws():
        yield client


def create_table(dynamodb: Any, name: str, resource: Mapping[str, Any]) -> None:
    """Create a table with the keys and indexes of a template's resource, given the resource's properties."""
    properties = {each: resource[each] for each in _PROPERTIES if each in resource}
    dynamodb.create_table(TableName=name, **properties)


# --- what moto works out at every request ----------------------------------------------------------------


def _of_its_class(compute: Callable[[BaseBackend], Any]) -> Callable[[BaseBackend], Any]:
    kept: dict[type, Any] = {}

    def value(backend: BaseBackend) -> Any:
        if type(backend) not in kept:
            kept[type(backend)] = compute(backend)
        return kept[type(backend)]

    return value


def _possible_keys(
    compute: Callable[[AttributePicker, AttributePickerContext], Iterable[str]],
) -> Callable[[AttributePicker, AttributePickerContext], Iterable[str]]:
    kept: dict[Any, tuple[str, ...]] = {}

    def keys(picker: AttributePicker, context: AttributePickerContext) -> Iterable[str]:
        if type(context.obj) is not dict or picker.alias_providers is not DEFAULT_ALIAS_PROVIDERS:
            return compute(picker, context)
        member = context.shape, context.key
        if member not in kept:
            kept[member] = tuple(compute(picker, context))
        return [key for key in kept[member] if key in context.obj or "." in key]

    return keys


def _cast_value(compute: Callable[[DynamoType], Any]) -> Callable[[DynamoType], Any]:
    return lambda value: value.value if value.type == DDBType.STRING else compute(value)


original_urls = BaseBackend.urls.fget
original_keys = AttributePicker.get_possible_keys
original_cast_value = DynamoType.cast_value.fget
original_parse = UpdateExpressionParser.make

BaseBackend.urls = property(_of_its_class(original_urls))  # type: ignore[assignment]
AttributePicker.get_possible_keys = _possible_keys(original_keys)  # type: ignore[assignment]
# What is parsed is copied before values are put into it.
UpdateExpressionParser.make = functools.cache(original_parse)  # type: ignore[method-assign]
DynamoType.cast_value = property(_cast_value(original_cast_value))  # type: ignore[assignment]
moto.core.responses.method_names_from_class = functools.cache(  # type: ignore[attr-defined]
    moto.core.responses.method_names_from_class  # type: ignore[attr-defined]
)
