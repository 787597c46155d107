"""REST APIs as API Gateway has them, where MiniStack leaves something out or is more lenient.

An imported document's own refusals, mocks and method responses; security at each operation and nowhere else;
an import that overwrites the API in place; a stage that answers as its deployment found the API; a method
that needs no key any more; the caller's key in the request's context.
"""

from __future__ import annotations

import contextvars
import copy
import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dropforge_local.glue.seams import apigateway_v1 as apigateway
from dropforge_local.glue.seams import provisioners, responses

# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions-gateway-responses.html
_GATEWAY_RESPONSES = "x-amazon-apigateway-gateway-responses"
# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions-integration.html
_INTEGRATION = "x-amazon-apigateway-integration"
_HEADER = "method.response.header."
# Where MiniStack's state of the service holds what we add.
_DEPLOYMENTS = "dropforge_deployments"
# What a deployment keeps of an API, and what an import overwrites of it.
_DEPLOYED_STORES = ("_resources", "_authorizers_v1", "_models", "_request_validators")
_OVERWRITTEN_STORES = (*_DEPLOYED_STORES, "_gateway_responses", "_documentation_parts")

# (API, what its deployment holds) while a stage is asked.
_asked: contextvars.ContextVar[tuple[str, Mapping[str, Any]] | None] = contextvars.ContextVar(
    "dropforge_asked_stage", default=None
)


def install() -> None:
    """Make MiniStack's REST APIs those of API Gateway."""

    _import_whole_documents()
    _answer_from_deployments()
    _read_patches()
    _empty_mocks()
    _name_callers()
    _overwrite_in_place()


def _import_whole_documents() -> None:
    import_rest_api, import_operation = apigateway._import_rest_api, apigateway._import_operation

    def import_document(spec: dict[str, Any], base_data: Any = None) -> str:
        # At the root it is ignored: https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html
        api_id: str = import_rest_api({k: v for k, v in spec.items() if k != "security"}, base_data)
        for response_type, data in (spec.get(_GATEWAY_RESPONSES) or {}).items():
            status, _headers, body = apigateway._put_gateway_response(api_id, response_type, data)
            if status >= 400:
                apigateway._delete_rest_api(api_id)
                raise ValueError(f"The gateway response {response_type} can't be imported: {body!r}")
        return api_id

    def import_method(
        api_id: str, resource_id: str, method: str, operation: Mapping[str, Any] | None, *security: Any
    ) -> None:
        import_operation(api_id, resource_id, method, operation, *security)
        declared = _method_responses(operation or {})
        for status, response in declared.items():
            apigateway._put_method_response(api_id, resource_id, method, status, response)
        integration = (operation or {}).get(_INTEGRATION)
        if not integration:
            return
        fields = {name: value for name, value in integration.items() if name != "responses"}
        for name in ("type", "passthroughBehavior"):
            if fields.get(name):
                fields[name] = fields[name].upper()
        apigateway._put_integration(api_id, resource_id, method, fields)
        for pattern, response in (integration.get("responses") or {}).items():
            status = str(response.get("statusCode"))
            if refusal := _unmapped(status, response, declared):
                apigateway._delete_rest_api(api_id)
                raise ValueError(f"{method}: {refusal}")
            given = {**response, "selectionPattern": "" if pattern == "default" else pattern}
            apigateway._put_integration_response(api_id, resource_id, method, status, given)

    apigateway._import_rest_api = import_document
    apigateway._import_operation = import_method


def _method_responses(operation: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The operation's own responses: by status, the headers that an integration may fill."""
    return {
        str(status): {"responseParameters": {f"{_HEADER}{name}": False for name in each.get("headers") or {}}}
        for status, each in (operation.get("responses") or {}).items()
        if str(status) != "default"
    }


def _unmapped(status: str, response: Mapping[str, Any], declared: Mapping[str, Mapping[str, Any]]) -> str:
    """Why an integration's response can't be imported; empty where it can."""
    if status not in declared:
        return f"Invalid Response status code specified: the method declares no response {status}"
    for name in response.get("responseParameters") or {}:
        if name not in declared[status]["responseParameters"]:
            return f"Invalid mapping expression parameter specified: {name}"
    return ""


class _Deployments:
    """What each deployment found in the stores of its API."""

    def __init__(self) -> None:

        scoped: Any = responses.AccountRegionScopedDict

        class Deployed(scoped):
            """A store that, while a stage is asked, is what the stage's deployment found in it."""

            __slots__ = ("name",)

            def get(self, key: str, default: Any = None) -> Any:
                asked = _asked.get()
                if asked is not None and asked[0] == key:
                    return asked[1][self.name]
                return super().get(key, default)

        for name in _DEPLOYED_STORES:
            store = Deployed()
            store.name = name
            store._data = getattr(apigateway, name)._data
            setattr(apigateway, name, store)
        # API -> deployment -> name of the store -> content
        self.kept = responses.AccountRegionScopedDict()

    def keep(self, api_id: str, deployment_id: str) -> None:
        """Keep what the API is now."""
        stores = {name: getattr(apigateway, name) for name in _DEPLOYED_STORES}
        found = {name: copy.deepcopy(store.get(api_id, {})) for name, store in stores.items()}
        self.kept.setdefault(api_id, {})[deployment_id] = found

    @contextmanager
    def asking(self, api_id: str, stage_name: str) -> Iterator[None]:
        """Look at the API as the stage's deployment found it."""
        stage = apigateway._stages_v1.get(api_id, {}).get(stage_name) or {}
        # None of a deployment that an older host made: it answers as it did there, from what the API is now.
        found = self.kept.get(api_id, {}).get(stage.get("deploymentId"))
        token = _asked.set((api_id, found) if found is not None else None)
        try:
            yield
        finally:
            _asked.reset(token)


def _answer_from_deployments() -> None:
    """A stage shows its deployment: what was changed since comes with the next.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/how-to-deploy-api.html
    """

    deployments = _Deployments()
    _follow_deployments(deployments)
    _persist_deployments(deployments)
    handle_execute = apigateway._handle_execute_in_scope
    method_authorization_type = apigateway.method_authorization_type

    async def execute(api_id: str, stage_name: str, *request: Any) -> Any:
        with deployments.asking(api_id, stage_name):
            return await handle_execute(api_id, stage_name, *request)

    def authorization_type(api_id: str, stage_name: str, method: str, path: str) -> Any:
        scope = apigateway.find_api_scope(api_id)
        if scope is None:
            return None
        with responses.request_scope(*scope), deployments.asking(api_id, stage_name):
            return method_authorization_type(api_id, stage_name, method, path)

    apigateway._handle_execute_in_scope = execute
    apigateway.method_authorization_type = authorization_type


def _follow_deployments(deployments: _Deployments) -> None:
    create_deployment, delete_deployment = apigateway._create_deployment, apigateway._delete_deployment
    delete_rest_api = apigateway._delete_rest_api

    def create(api_id: str, data: Any) -> Any:
        answer = create_deployment(api_id, data)
        if answer[0] < 400:
            deployments.keep(api_id, json.loads(answer[2])["id"])
        return answer

    def delete(api_id: str, deployment_id: str) -> Any:
        deployments.kept.get(api_id, {}).pop(deployment_id, None)
        return delete_deployment(api_id, deployment_id)

    def delete_api(api_id: str) -> Any:
        deployments.kept.pop(api_id, None)
        return delete_rest_api(api_id)

    apigateway._create_deployment, apigateway._delete_deployment = create, delete
    apigateway._delete_rest_api = delete_api


def _persist_deployments(deployments: _Deployments) -> None:
    get_state, load_persisted_state, reset = (
        apigateway.get_state,
        apigateway.load_persisted_state,
        apigateway.reset,
    )

    def state() -> dict[str, Any]:
        return {**get_state(), _DEPLOYMENTS: copy.deepcopy(deployments.kept)}

    def load(data: Any) -> None:
        load_persisted_state(data)
        apigateway._restore_child_store(deployments.kept, (data or {}).get(_DEPLOYMENTS, {}), {})

    def reset_all() -> None:
        reset()
        deployments.kept.clear()

    apigateway.get_state, apigateway.load_persisted_state, apigateway.reset = state, load, reset_all


def _read_patches() -> None:
    """Whether a method needs a key comes as text: https://docs.aws.amazon.com/apigateway/latest/api/API_UpdateMethod.html"""
    update = apigateway._update_method

    def updated(api_id: str, resource_id: str, http_method: str, data: Mapping[str, Any]) -> Any:
        patches = [
            {**each, "value": str(each.get("value")).lower() == "true"}
            if each.get("path") == "/apiKeyRequired"
            else each
            for each in data.get("patchOperations") or []
        ]
        return update(api_id, resource_id, http_method, {**data, "patchOperations": patches})

    apigateway._update_method = updated


def _empty_mocks() -> None:
    """A mock without a response template has an empty body."""
    invoke = apigateway._invoke_mock_v1

    def answered(integration: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        status, headers, body = invoke(integration)
        return status, headers, b"" if body == b"{}" else body

    apigateway._invoke_mock_v1 = answered


def _name_callers() -> None:
    """Tell the function whose request it is, where the method demands a key or a signature.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-mapping-template-reference.html
    """

    build = apigateway._build_lambda_event_v1

    @functools.wraps(build)
    def build_with_caller(
        api_id: str,
        stage_name: str,
        stage: Any,
        resource: Any,
        path: str,
        method: str,
        headers: Any,
        *rest: Any,
        **more: Any,
    ) -> dict[str, Any]:
        event: dict[str, Any] = build(
            api_id, stage_name, stage, resource, path, method, headers, *rest, **more
        )
        identity = event["requestContext"]["identity"]
        methods = resource.get("resourceMethods") or {}
        called = methods.get(method) or methods.get("ANY") or {}
        if called.get("apiKeyRequired"):
            key = apigateway._resolve_api_key(apigateway._api_key_from_request(headers))
            identity |= {"apiKey": key["value"], "apiKeyId": key["id"]}
        if called.get("authorizationType") == "AWS_IAM" and not identity.get("userArn"):
            # Without IAM any credentials are taken for those of the account's owner.
            identity["userArn"] = f"arn:aws:iam::{responses.get_account_id()}:root"
        return event

    apigateway._build_lambda_event_v1 = build_with_caller


def _overwrite_in_place() -> None:
    """CloudFormation imports a changed body into the API that is there: its id and its URL stay.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-import-api-update.html
    """
    update = provisioners._apigw_rest_api_update

    def updated(
        api_id: str, old: dict[str, Any], new: dict[str, Any], stack_name: str, logical_id: str | None = None
    ) -> tuple[str, dict[str, str]]:
        if new.get("Body") == old.get("Body"):
            found: tuple[str, dict[str, str]] = update(api_id, old, new, stack_name, logical_id)
            return found
        imported, _ = provisioners._apigw_rest_api_create(logical_id or api_id, new, stack_name)
        for name in _OVERWRITTEN_STORES:
            store = getattr(apigateway, name)
            store[api_id] = store.pop(imported, {})
        apis = apigateway._rest_apis
        apis[api_id] = {**apis[imported], "id": api_id, "createdDate": apis[api_id]["createdDate"]}
        apigateway._delete_rest_api(imported)
        return api_id, provisioners._apigw_rest_api_attrs(api_id)

    provisioners._RESOURCE_HANDLERS["AWS::ApiGateway::RestApi"]["update"] = updated
