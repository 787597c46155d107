#!/usr/bin/env bash
# ministack 1.5.33, an OpenAPI document with a preflight that API Gateway answers, in a stack of CloudFormation.
#
# Guess: the mock answers 204 with the headers that the document gives it, and a changed document is imported into the
# API that is there, as PutRestApi does on AWS. Seen:
# - The import takes of an integration its type, method and address only. A mock loses its template and its responses,
#   and answers every preflight with 200, {} and no header: a browser that it serves sees no CORS at all.
# - A changed Body makes another API with another id. Whoever kept the URL asks an API that is gone.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
python3.12 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "ministack==1.5.33" boto3==1.43.106
port=$("$folder/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(cd "$folder" && exec env GATEWAY_PORT="$port" BIND_HOST=127.0.0.1 IOT_MTLS_PORT=0 TMPDIR="$folder" \
  "$folder/venv/bin/ministack" >"$folder/log" 2>&1) &
server=$!
AWS_ENDPOINT_URL=http://127.0.0.1:$port AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1 \
  "$folder/venv/bin/python" - <<'PYTHON'
import json
import os
import sys
import time
import urllib.error
import urllib.request

import boto3

endpoint = os.environ["AWS_ENDPOINT_URL"]
cloudformation = boto3.client("cloudformation")


def template(origin):
    header = "Access-Control-Allow-Origin"
    response = {
        "statusCode": "204",
        "responseParameters": {f"method.response.header.{header}": f"'{origin}'"},
    }
    preflight = {
        "responses": {"204": {"description": "", "headers": {header: {"schema": {"type": "string"}}}}},
        "x-amazon-apigateway-integration": {
            "type": "mock",
            "requestTemplates": {"application/json": '{"statusCode": 204}'},
            "responses": {"default": response},
        },
    }
    body = {
        "openapi": "3.0.1",
        "info": {"title": "orders", "version": "1"},
        "paths": {"/orders": {"options": preflight}},
    }
    api = {"Ref": "Api"}
    resources = {
        "Api": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Body": body}},
        "Deployment": {
            "Type": "AWS::ApiGateway::Deployment",
            "Properties": {"RestApiId": api, "StageName": "v1"},
        },
    }
    return json.dumps({"Resources": resources, "Outputs": {"Id": {"Value": api}}})


def api_id():
    """The API's id, once the stack is whole."""
    for _ in range(300):
        stack = cloudformation.describe_stacks(StackName="orders")["Stacks"][0]
        if stack["StackStatus"].endswith("_COMPLETE"):
            return stack["Outputs"][0]["OutputValue"]
        time.sleep(0.1)
    sys.exit(stack["StackStatus"])


for _ in range(300):
    try:
        urllib.request.urlopen(f"{endpoint}/_ministack/health")
        break
    except urllib.error.HTTPError:
        break
    except OSError:
        time.sleep(0.1)

cloudformation.create_stack(StackName="orders", TemplateBody=template("https://example.com"))
first = api_id()
request = urllib.request.Request(f"{endpoint}/_aws/execute-api/{first}/v1/orders", method="OPTIONS")
with urllib.request.urlopen(request) as answer:
    seen = (answer.status, answer.read(), answer.headers["Access-Control-Allow-Origin"])
print(*seen)
cloudformation.update_stack(StackName="orders", TemplateBody=template("https://example.org"))
time.sleep(1)
second = api_id()
print("the same id" if first == second else "another id")
if seen != (200, b"{}", None) or first == second:
    sys.exit("it was: 200 b'{}' None, another id")
PYTHON
