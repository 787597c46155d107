"""The request that an application makes to a stack's prediction API, in the languages that callers write."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dropforge_ops.errors import UsageError
from dropforge_ops.stack.target import Target, stack_description

KEY_VARIABLE: Final = "DROPFORGE_API_KEY"
TOKEN_VARIABLE: Final = "DROPFORGE_ID_TOKEN"  # noqa: S105 - a variable's name
_KEY_OUTPUTS: Final = ("ApiKeyId", "SecondApiKeyId")


@dataclass(frozen=True)
class ApiAddress:
    """Where a stack's API is, and how its callers prove who they are: ``auth`` is the stack's `ApiAuth`."""

    url: str
    auth: str
    region: str


def api_address(target: Target) -> ApiAddress:
    """The address of the stack's API."""
    url = target.api_url
    described = stack_description(target) or {}
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in described.get("Parameters", [])}
    return ApiAddress(url, parameters.get("ApiAuth", "api-key"), str(described["StackId"]).split(":")[3])


def api_key(target: Target) -> str:
    """The value of a key that the API accepts: a secret.

    Raises:
        UsageError: the API takes no keys.
    """
    for name in _KEY_OUTPUTS:
        if name in target.outputs:
            client = target.client("apigateway")
            return str(client.get_api_key(apiKey=target.outputs[name], includeValue=True)["value"])
    raise UsageError(
        f"The API of {target.stack!r} takes no keys: ApiAuth is {api_address(target).auth}. 'dropforge api' "
        "shows how it is called."
    )


def calls(address: ApiAddress, instance: Mapping[str, Any]) -> dict[str, str]:
    """A program for each language that asks for the prediction of a row, whole and ready to run.

    No secret stands in it: it reads the key, the token or the credentials from where the caller keeps them.
    """
    return {name: write(address, dict(instance)) for name, write in LANGUAGES.items()}


def _curl(address: ApiAddress, instance: Mapping[str, Any]) -> str:
    proof = {
        "api-key": [f'--header "x-api-key: ${KEY_VARIABLE}"'],
        "cognito": [f'--header "Authorization: ${TOKEN_VARIABLE}"'],
        "iam": [
            f"--aws-sigv4 aws:amz:{address.region}:execute-api",
            '--user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"',
            '--header "x-amz-security-token: $AWS_SESSION_TOKEN"',
        ],
    }[address.auth]
    body = shlex.quote(json.dumps({"instance": instance}, ensure_ascii=False))
    return (
        " \\\n  ".join(["curl --fail-with-body", *proof, f"--json {body}", f"{address.url}/predict"]) + "\n"
    )


def _python(address: ApiAddress, instance: Mapping[str, Any]) -> str:
    signed = address.auth == "iam"
    proof = {
        "api-key": f', "x-api-key": os.environ["{KEY_VARIABLE}"]',
        "cognito": f', "Authorization": os.environ["{TOKEN_VARIABLE}"]',
        "iam": "",
    }[address.auth]
    imports = ["import json", *([] if signed else ["import os"]), "import urllib.request", ""]
    if signed:
        imports += ["import boto3", "from botocore.auth import SigV4Auth"]
        imports += ["from botocore.awsrequest import AWSRequest", ""]
    sign = [
        'request = AWSRequest("POST", url, data=body, headers=headers)',
        f'SigV4Auth(boto3.Session().get_credentials(), "execute-api", "{address.region}").add_auth(request)',
        "headers = dict(request.headers)",
    ]
    lines = [
        *imports,
        f'url = "{address.url}/predict"',
        f"body = json.dumps({{'instance': {instance!r}}}).encode()",
        f'headers = {{"Content-Type": "application/json"{proof}}}',
        *(sign if signed else []),
        "with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as answer:",
        "    print(json.load(answer))",
    ]
    return "\n".join(lines) + "\n"


def _javascript(address: ApiAddress, instance: Mapping[str, Any]) -> str:
    proof = {
        "api-key": f', "x-api-key": process.env.{KEY_VARIABLE}',
        "cognito": f', "Authorization": process.env.{TOKEN_VARIABLE}',
        "iam": "",
    }[address.auth]
    begin: list[str] = []
    ask = "fetch"
    if address.auth == "iam":
        begin = [
            'import { AwsClient } from "aws4fetch";',
            "",
            "const aws = new AwsClient({",
            "  accessKeyId: process.env.AWS_ACCESS_KEY_ID,",
            "  secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY,",
            "  sessionToken: process.env.AWS_SESSION_TOKEN,",
            f'  region: "{address.region}",',
            '  service: "execute-api",',
            "});",
        ]
        ask = "aws.fetch"
    body = json.dumps({"instance": instance}, ensure_ascii=False)
    lines = [
        *begin,
        f'const answer = await {ask}("{address.url}/predict", {{',
        '  method: "POST",',
        f'  headers: {{"Content-Type": "application/json"{proof}}},',
        f"  body: JSON.stringify({body}),",
        "});",
        "if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);",
        "console.log(JSON.stringify(await answer.json()));",
    ]
    return "\n".join(lines) + "\n"


LANGUAGES: Final[Mapping[str, Callable[[ApiAddress, Mapping[str, Any]], str]]] = {
    "curl": _curl,
    "python": _python,
    "javascript": _javascript,
}
