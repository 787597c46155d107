"""REST APIs from OpenAPI documents: where the host would be more lenient than API Gateway, or another."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from local_host_support import revived

from dropforge_local.errors import DeployFailed

if TYPE_CHECKING:
    from local_host_support import Deployed

KEY = {"type": "apiKey", "name": "x-api-key", "in": "header"}
SIGNED = {
    "type": "apiKey",
    "name": "Authorization",
    "in": "header",
    "x-amazon-apigateway-authtype": "awsSigv4",
}
ALLOWED = "Access-Control-Allow-Origin"


def calling(function_arn: str, **more: Any) -> dict[str, Any]:
    """An operation that the function answers."""
    uri = f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{function_arn}/invocations"
    integration = {"type": "aws_proxy", "httpMethod": "POST", "uri": uri}
    return {"responses": {}, "x-amazon-apigateway-integration": integration, **more}


def mock(declared: Mapping[str, Any], answered: str = "204") -> dict[str, Any]:
    """A mock whose one response fills a header; ``declared`` are the method's responses."""
    response = {"statusCode": answered, "responseParameters": {f"method.response.header.{ALLOWED}": "'x'"}}
    integration = {
        "type": "mock",
        "passthroughBehavior": "never",
        "requestTemplates": {"application/json": '{"statusCode": 204}'},
        "responses": {"default": response},
    }
    return {"security": [], "responses": declared, "x-amazon-apigateway-integration": integration}


DECLARED = {"204": {"description": "", "headers": {ALLOWED: {"schema": {"type": "string"}}}}}


class Api:
    """A stack that is one API."""

    def __init__(self, deployed: Deployed, folder: Path) -> None:
        self.deployed = deployed
        self.name = f"api-{uuid.uuid4().hex[:8]}"
        self._template = folder / "template.yaml"
        self.id = ""

    def deploy(self, paths: Mapping[str, Any], release: int = 1, **document: Any) -> None:
        """Deploy the API; a stage shows it only once ``release`` is another."""
        body = {"openapi": "3.0.1", "info": {"title": self.name, "version": "1"}, "paths": paths, **document}
        deployment = f"Deployment{release}"
        resources = {
            "Api": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Body": body}},
            deployment: {"Type": "AWS::ApiGateway::Deployment", "Properties": {"RestApiId": {"Ref": "Api"}}},
            "Stage": {
                "Type": "AWS::ApiGateway::Stage",
                "Properties": {
                    "RestApiId": {"Ref": "Api"},
                    "StageName": "v1",
                    "DeploymentId": {"Ref": deployment},
                },
            },
        }
        self._template.write_text(
            json.dumps({"Resources": resources, "Outputs": {"Id": {"Value": {"Ref": "Api"}}}})
        )
        self.id = self.deployed.host.deploy(self.name, {}, template=self._template)["Id"]

    def send(self, method: str, path: str, **headers: str) -> tuple[int, Mapping[str, str], Any]:
        """(status, headers, body) of a request to the stage."""
        parts = urlsplit(self.deployed.host.endpoint_url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, f"/_aws/execute-api/{self.id}/v1{path}", headers=sent)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), json.loads(text) if text else None

    def key(self) -> tuple[str, str]:
        """(id, value) of a new key of the stage."""
        client = self.deployed.host.client("apigateway")
        key = client.create_api_key(name=self.name, enabled=True)
        plan = client.create_usage_plan(name=self.name, apiStages=[{"apiId": self.id, "stage": "v1"}])
        client.create_usage_plan_key(usagePlanId=plan["id"], keyId=key["id"], keyType="API_KEY")
        return key["id"], key["value"]


@pytest.fixture
def api(deployed: Deployed, tmp_path: Path) -> Api:
    return Api(deployed, tmp_path)


def test_security_at_the_root_is_ignored_and_at_an_operation_it_holds(api: Api) -> None:
    function = api.deployed.outputs["AnsweringArn"]
    paths = {
        "/open": {"get": calling(function)},
        "/closed": {"get": calling(function, security=[{"caller": []}])},
    }
    api.deploy(paths, security=[{"caller": []}], components={"securitySchemes": {"caller": KEY}})
    assert api.send("GET", "/open")[0] == 200
    assert api.send("GET", "/closed")[0] == 403


def test_the_function_hears_of_the_key_only_where_one_is_needed(api: Api) -> None:
    function = api.deployed.outputs["AnsweringArn"]
    paths = {
        "/open": {"get": calling(function)},
        "/closed": {"get": calling(function, security=[{"caller": []}])},
    }
    api.deploy(paths, components={"securitySchemes": {"caller": KEY}})
    identifier, value = api.key()
    assert (
        api.send("GET", "/closed", x_api_key=value)[2].items()
        >= {"apiKey": value, "apiKeyId": identifier}.items()
    )
    assert "apiKeyId" not in api.send("GET", "/open", x_api_key=value)[2]


def test_the_function_hears_whose_signature_it_is(api: Api) -> None:
    function = api.deployed.outputs["AnsweringArn"]
    paths = {"/closed": {"get": calling(function, security=[{"caller": []}])}}
    api.deploy(paths, components={"securitySchemes": {"caller": SIGNED}})
    assert api.send("GET", "/closed")[0] == 403
    credential = "AWS4-HMAC-SHA256 Credential=test/20261130/us-east-1/execute-api/aws4_request"
    status, _, identity = api.send("GET", "/closed", Authorization=credential)
    assert (status, identity["userArn"]) == (200, "arn:aws:iam::000000000000:root")


def test_a_mock_answers_with_its_headers_and_without_a_body(api: Api) -> None:
    api.deploy({"/open": {"options": mock(DECLARED)}})
    status, headers, body = api.send("OPTIONS", "/open")
    assert (status, headers[ALLOWED], body) == (204, "x", None)
    assert api.send("OPTIONS", "/open", Content_Type="text/plain")[0] == 415


@pytest.mark.parametrize("declared", [{}, {"204": {"description": ""}}])
def test_a_mock_may_only_answer_what_its_method_declares(api: Api, declared: Mapping[str, Any]) -> None:
    with pytest.raises(DeployFailed, match="Invalid"):
        api.deploy({"/open": {"options": mock(declared)}})


def test_a_changed_document_keeps_the_api_and_shows_with_the_next_deployment(api: Api) -> None:
    function = api.deployed.outputs["AnsweringArn"]
    schemes = {"securitySchemes": {"caller": KEY}}
    api.deploy({"/model": {"get": calling(function)}}, components=schemes)
    before = api.id
    closed = {"/model": {"get": calling(function, security=[{"caller": []}])}}
    api.deploy(closed, components=schemes)
    assert api.id == before
    assert api.send("GET", "/model")[0] == 200, "the stage still shows its deployment"
    api.deploy(closed, release=2, components=schemes)
    assert api.id == before
    assert api.send("GET", "/model")[0] == 403


def test_what_is_changed_by_hand_is_deployed_as_it_is_until_another_document_comes(api: Api) -> None:
    function = api.deployed.outputs["AnsweringArn"]
    schemes = {"securitySchemes": {"caller": KEY}}
    closed = {"/model": {"get": calling(function, security=[{"caller": []}])}}
    api.deploy(closed, components=schemes)
    gateway = api.deployed.host.client("apigateway")
    resources = gateway.get_resources(restApiId=api.id)["items"]
    (model,) = (each["id"] for each in resources if each["path"] == "/model")
    patches = [{"op": "replace", "path": "/apiKeyRequired", "value": "false"}]
    gateway.update_method(restApiId=api.id, resourceId=model, httpMethod="GET", patchOperations=patches)
    assert api.send("GET", "/model")[0] == 403
    api.deploy(closed, release=2, components=schemes)
    assert api.send("GET", "/model")[0] == 200
    api.deploy({**closed, "/other": {"get": calling(function)}}, release=3, components=schemes)
    assert api.send("GET", "/model")[0] == 403


def test_a_stage_shows_its_deployment_after_a_restart(own_host: Deployed, tmp_path: Path) -> None:
    api = Api(own_host, tmp_path)
    api.deploy({"/old": {"options": mock(DECLARED)}})
    api.deploy({"/new": {"options": mock(DECLARED)}})
    own_host.host.kill()
    revived(own_host)
    assert api.send("OPTIONS", "/old")[0] == 204
    assert api.send("OPTIONS", "/new")[0] == 403
