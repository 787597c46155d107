"""What ``make check`` asks of the deployed API: who may call each operation, and what the import takes.

The document is looked at as CloudFormation gets it: SAM's resources expanded, conditions decided, for each
way to call it, with browsers and without. API Gateway takes only a part of OpenAPI, and drops or refuses the
rest, so what isn't known to be taken is a finding:
https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from proof.findings import Finding, report
from proof.iam.roles import values_of
from proof.product import Product

WAYS = ("api-key", "iam", "cognito")
ORIGINS = ("none", "https://example.com")
OPEN = frozenset({"GET /health"})
"""What anybody may call; a preflight as well, where API Gateway answers it by itself."""

_POOL = "arn:aws:cognito-idp:us-east-1:123456789012:userpool/us-east-1_Example"
_INTEGRATION = "x-amazon-apigateway-integration"
_AUTHTYPE = "x-amazon-apigateway-authtype"
_HEADER = "method.response.header."
_METHODS = frozenset({"get", "post", "put", "delete", "patch", "head", "options"})
_SEGMENT = re.compile(r"[A-Za-z0-9.,-]+|\{[A-Za-z0-9._-]+\+?\}")
# With a domain of its own, an API can't have them.
_RESERVED = frozenset({"ping", "sping"})
_TAKEN = {
    "document": {"openapi", "info", "paths", "components", "x-amazon-apigateway-gateway-responses"},
    "info": {"title", "version", "description"},
    "components": {"securitySchemes"},
    "path": _METHODS,
    "operation": {"parameters", "security", "responses", _INTEGRATION},
    "parameter": {"name", "in", "required", "description", "schema"},
    "response": {"description", "headers"},
    "header": {"description", "schema"},
    "schema": {"type"},
    "scheme": {"type", "name", "in", _AUTHTYPE, "x-amazon-apigateway-authorizer"},
}


def check(product: Product) -> Iterator[Finding]:
    """Every operation of every API has security of its own, and nothing is imported that isn't taken."""
    found = set[Finding]()
    for way, origin in itertools.product(WAYS, ORIGINS):
        for name, document in documents(product, way, origin):
            found.update(Finding("api-security", *each) for each in _insecure(name, document))
            found.update(Finding("api-import", *each) for each in _not_taken(name, document))
    yield from sorted(found)


def documents(product: Product, way: str, origin: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(logical id, imported document) of every REST API, deployed with these parameters."""
    parameters = {"ApiAuth": way, "UserPoolArn": _POOL, "CorsAllowedOrigin": origin}
    values = values_of(product.template, parameters)
    for name, resource in values.document["Resources"].items():
        if resource["Type"] == "AWS::ApiGateway::RestApi":
            yield name, values.resolve(resource["Properties"].get("Body") or {})


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(method and path, operation) of a document."""
    for path, item in document.get("paths", {}).items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def listing(product: Product) -> Iterator[str]:
    """A line for every operation: who may call it, in each way."""
    width = 30
    yield f"{'operation':{width}}" + "".join(f"{way:{width}}" for way in WAYS).rstrip()
    ways = [dict(documents(product, way, ORIGINS[-1])) for way in WAYS]
    for api, first in ways[0].items():
        for name, operation in operations(first):
            columns = [_secured_by(each[api], dict(operations(each[api]))[name]) for each in ways]
            if _integration(operation).get("type") == "mock":
                columns[1:] = ["by API Gateway itself, where CorsAllowedOrigin is set"]
            yield f"{name:{width}}" + "".join(f"{each:{width}}" for each in columns).rstrip()


def audit(product: Product) -> int:
    """Print who may call what, and what is wrong; the exit code."""
    print(*listing(product), sep="\n")
    return report("the API", list(check(product)))


def _secured_by(document: Mapping[str, Any], operation: Mapping[str, Any]) -> str:
    schemes = document.get("components", {}).get("securitySchemes", {})
    named = [schemes.get(name, {"name": name}) for each in operation.get("security", []) for name in each]
    return ", ".join(f"{each['name']} ({each.get(_AUTHTYPE, 'key')})" for each in named) or "anybody"


def _insecure(api: str, document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "security" in document:
        yield api, "has security at the root of its document, which API Gateway ignores"
    schemes = document.get("components", {}).get("securitySchemes", {})
    for name, operation in operations(document):
        required = operation.get("security")
        if required is None:
            yield name, "has no security of its own: API Gateway lets anybody call it"
        elif not required:
            is_preflight = name.startswith("OPTIONS ") and _integration(operation).get("type") == "mock"
            if name not in OPEN and not is_preflight:
                yield name, "is open to anybody"
        elif len(required) != 1 or len(required[0]) != 1:
            yield name, "has to name one scheme: API Gateway knows no alternatives"
        elif unknown := required[0].keys() - schemes.keys():
            yield name, f"names the scheme {', '.join(unknown)}, which is not there"


def _not_taken(api: str, document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _unknown(api, "document", document.keys() - {"security"})
    yield from _unknown(api, "info", document.get("info", {}))
    yield from _unknown(api, "components", document.get("components", {}))
    for name, scheme in document.get("components", {}).get("securitySchemes", {}).items():
        yield from _unknown(name, "scheme", scheme)
        if scheme.get("type") != "apiKey":
            yield name, "has to be of the type apiKey, whatever it is"
    if "REQUEST_TOO_LARGE" in document.get("x-amazon-apigateway-gateway-responses", {}):
        yield api, "customises REQUEST_TOO_LARGE, which stays as it is"
    for path, item in document.get("paths", {}).items():
        yield from _unknown(path, "path", item)
        segments = path.strip("/").split("/")
        if segments[0] in _RESERVED:
            yield path, "is reserved for health checks of API Gateway's own"
        if not all(_SEGMENT.fullmatch(each) for each in segments):
            yield path, "has a segment of other characters, or a parameter that is no segment of its own"
        for method, operation in item.items():
            if method in _METHODS:
                yield from _operation_not_taken(f"{method.upper()} {path}", operation)


def _operation_not_taken(name: str, operation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _unknown(name, "operation", operation)
    for parameter in operation.get("parameters", []):
        yield from _unknown(name, "parameter", parameter)
        yield from _unknown(name, "schema", parameter.get("schema", {}))
    declared = operation.get("responses", {})
    for response in declared.values():
        yield from _unknown(name, "response", response)
        for header in response.get("headers", {}).values():
            yield from _unknown(name, "header", header)
            yield from _unknown(name, "schema", header.get("schema", {}))
    integration = _integration(operation)
    if not integration.get("type"):
        yield name, "has no integration"
    for response in integration.get("responses", {}).values():
        headers = declared.get(response["statusCode"], {}).get("headers", {})
        for parameter in response.get("responseParameters", {}):
            if parameter.removeprefix(_HEADER) not in headers:
                yield name, f"answers {response['statusCode']} with {parameter}, which it does not declare"


def _unknown(where: str, kind: str, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in sorted(set(names) - _TAKEN[kind]):
        yield (
            where,
            f"imports {name} ({kind}), and API Gateway takes a part of OpenAPI only; what clients need "
            "stands in openapi.yaml",
        )


def _integration(operation: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = operation.get(_INTEGRATION) or {}
    return found
