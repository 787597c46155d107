"""S3 and DynamoDB of moto, with one client per service for all tests of a process.

Making a client costs more than most tests do with it, and moto works out at every request what is the same at
each: here it keeps that. What is asked of DynamoDB's items goes to moto's handler as it is, without an HTTP
request and answer around it. tests/unit/test_mocked_aws.py holds all this to what moto itself does.
"""

from __future__ import annotations

import copy
import functools
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import boto3
import moto.core.responses
import moto.dynamodb.models
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.base_backend import BaseBackend
from moto.core.exceptions import HTTPException, ServiceException
from moto.core.models import botocore_stubber
from moto.core.responses import ActionResult
from moto.core.serialize import DEFAULT_ALIAS_PROVIDERS, AttributePicker, AttributePickerContext
from moto.core.utils import camelcase_to_underscores
from moto.dynamodb.models import DynamoDBBackend, Table, dynamodb_backends
from moto.dynamodb.models.dynamo_type import DDBType, DynamoType
from moto.dynamodb.parsing.expressions import UpdateExpressionParser
from moto.dynamodb.responses import DynamoHandler

REGION = "us-east-1"
KEY = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
_PROPERTIES = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")


@functools.cache
def client(service: str) -> Any:
    """The service's client. Whoever registers a handler at it has to take it away again."""
    # What a client calls itself, it would put together again for each request.
    made = boto3.client(service, region_name=REGION, config=Config(user_agent="tests"), **KEY)
    if service == "dynamodb":
        answers = functools.partial(_answer, made)
        for operation in DIRECT:
            made.meta.events.register_last(f"before-call.dynamodb.{operation}", answers)
    return made


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


# --- DynamoDB's items, without HTTP -----------------------------------------------------------------------

DIRECT = (
    *("GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "Scan"),
    *("BatchGetItem", "BatchWriteItem", "TransactGetItems", "TransactWriteItems"),
)


class _Handler(DynamoHandler):
    """Moto's handler of one request."""

    current_account = DEFAULT_ACCOUNT_ID
    region = REGION

    def __init__(self, headers: Mapping[str, str], body: dict[str, Any]) -> None:
        super().__init__()
        self.headers, self.body, self.params = headers, body, body
        self.response_headers = {}

    @functools.cached_property
    def dynamodb_backend(self) -> DynamoDBBackend:  # type: ignore[override]
        return dynamodb_backends[self.current_account][self.region]


def _answer(client: Any, model: Any, params: Mapping[str, Any], **_: Any) -> tuple[AWSResponse, Any] | None:
    """Answer as the way over HTTP would, for items without bytes: the product stores none."""
    if not botocore_stubber.enabled:
        return None
    handler = _Handler(params["headers"], json.loads(params["body"]))
    try:
        result = getattr(handler, camelcase_to_underscores(model.name))().result
    except ServiceException as error:
        return _refusal(client, model, *handler.serialized(ActionResult(error)))
    except HTTPException as error:
        return _refusal(client, model, error.code, dict(error.get_headers()), error.description)
    parsed = {name: value for name, value in result.items() if name in model.output_shape.members}
    parsed["ResponseMetadata"] = {"HTTPStatusCode": 200, "HTTPHeaders": {}, "RetryAttempts": 0}
    return AWSResponse(client.meta.endpoint_url, 200, {}, None), parsed


def _refusal(
    client: Any, model: Any, status: int, headers: dict[str, str], body: str
) -> tuple[AWSResponse, Any]:
    answer = {"status_code": status, "headers": headers, "body": body.encode()}
    parser = client._response_parser
    parsed = parser.parse(answer, model.output_shape)
    client._endpoint._add_modeled_error_fields(answer, parsed, model, parser)
    parsed["ResponseMetadata"]["RetryAttempts"] = 0
    return AWSResponse(client.meta.endpoint_url, status, headers, None), parsed


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


_backups = threading.local()
"""A thread's transaction's backups of its tables: moto makes one for each of the transaction's items."""


def _transact(backend: DynamoDBBackend, items: list[dict[str, Any]]) -> None:
    _backups.of_tables = {}
    try:
        original_transact(backend, items)
    finally:
        del _backups.of_tables


def _deepcopy(value: Any) -> Any:
    kept = getattr(_backups, "of_tables", None)
    if kept is None or not isinstance(value, Table):
        return copy.deepcopy(value)
    if id(value) not in kept:
        kept[id(value)] = copy.deepcopy(value)
    return kept[id(value)]


original_transact = DynamoDBBackend.transact_write_items
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
moto.dynamodb.models.copy = SimpleNamespace(deepcopy=_deepcopy)  # type: ignore[attr-defined]
DynamoDBBackend.transact_write_items = _transact  # type: ignore[method-assign]
