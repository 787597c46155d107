"""An exported image answers, refuses and logs as the stack's API does, under uvicorn as another user."""

from __future__ import annotations

import base64
import json
import os
import re
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from dropforge_ops.stack.samples import SAMPLES
from tests.command_line import invoke
from tests.image_server import NOBODY, Server, python_with, serving, start
from tests.workflow.prediction_api import OPENAPI, Api, fuzz
from tests.workflow.stack import Stack
from tests.workflow.test_main_job import rows_of

KEY = "a key of a test"


ISSUER = "oidc.eks.us-east-1.amazonaws.com/id/ABC"


def token_of(subject: str) -> str:
    """A token as the cluster mounts it for a service account; its signature is looked at by nobody here."""
    claims = {"iss": f"https://{ISSUER}", "aud": "sts.amazonaws.com", "sub": subject, "exp": 2**31}
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in ({"alg": "RS256"}, claims)
    ]
    return ".".join([part.rstrip("=") for part in parts] + ["c2ln"])


class ExportedApi(Api):
    """The exported server, called as the stack's API is."""

    def __init__(self, server: Server) -> None:
        self.url, self.key = server.url, KEY


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    made: dict[bytes, Path] = {}

    def of(exported: Path) -> Path:
        requirements = exported / "requirements.txt"
        content = requirements.read_bytes()
        if content not in made:
            made[content] = python_with(requirements, tmp_path_factory.mktemp("bare"))
        return made[content]

    return of


def export(stack: Stack, folder: Path, version: str = "latest") -> Any:
    where = ["--endpoint-url", stack.host.endpoint_url, "--stack", stack.name]
    done = invoke(["export", "image", version, "--to", folder, "--json", *where])
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("sample", list(SAMPLES))
def test_the_exported_image_answers_as_the_endpoint(
    sample: str,
    stack_of: Callable[[str], Stack],
    samples: Mapping[str, Path],
    python: Callable[[Path], Path],
    tmp_path: Path,
) -> None:
    described, stack = SAMPLES[sample], stack_of(sample)
    live = stack.live_or_first(samples[sample])
    exported = tmp_path / "exported"
    assert export(stack, exported)["version"] == live.version
    before = files_of(exported)
    assert export(stack, exported)["changed"] == []
    assert files_of(exported) == before

    rows = rows_of(samples[sample], without=(described.target, described.key))
    deployed = Api(stack)
    with serving(exported, python(exported), tmp_path / "log", {"API_KEYS": KEY}) as server:
        # Only root can start it as another; whoever else we are is no root.
        assert server.user == (NOBODY if os.geteuid() == 0 else os.geteuid())
        api = ExportedApi(server)
        for start_row in range(0, len(rows), 500):
            some = rows[start_row : start_row + 500]
            answer = api.call("POST", "/predict", {"instances": some})
            assert answer.body["model_version"] == live.version
            for each in answer.body["predictions"]:
                each.pop("id")
            assert answer.body["predictions"] == stack.predict(some)

        # What the stack's API says, but for ids.
        spoilt = {**rows[0], "extra": 1, next(iter(rows[0])): "wide"}
        for method, path, document in (
            ("GET", "/model", None),
            ("GET", "/health", None),
            ("POST", "/predict", {"instances": [rows[0], spoilt]}),
            ("POST", "/predict", {"instances": []}),
            ("POST", "/predict", {"instances": rows[:1] * 501}),
            ("POST", "/outcomes", {"outcomes": [{"id": 1}]}),
            ("GET", "/nowhere", None),
            ("DELETE", "/model", None),
        ):
            found, wanted = (each.call(method, path, document) for each in (api, deployed))
            assert (found.status, plain(found.body)) == (wanted.status, plain(wanted.body)), path
        for headers in ({}, {"x-api-key": "wrong"}):
            refused, wanted = (each.send("GET", "/model", headers=headers) for each in (api, deployed))
            assert (refused.status, plain(refused.body)) == (wanted.status, plain(wanted.body))


def plain(body: Any) -> Any:
    """An answer without what names the request."""
    document = json.loads(json.dumps(body))
    document.pop("request_id", None)
    document.get("error", {}).pop("request_id", None)
    return document


def test_its_log_is_the_stacks_and_its_role_may_use_nothing_else(
    stack_of: Callable[[str], Stack],
    samples: Mapping[str, Path],
    python: Callable[[Path], Path],
    tmp_path: Path,
) -> None:
    stack = stack_of("breast-cancer")
    live = stack.live_or_first(samples["breast-cancer"])
    exported, token = tmp_path / "exported", tmp_path / "token"
    export(stack, exported)
    issuer = {"ParameterKey": "OidcProvider", "ParameterValue": ISSUER}
    cloudformation, name = stack.host.client("cloudformation"), f"{stack.name}-image"
    template = (exported / "aws" / "image.yaml").read_text()
    capabilities = ["CAPABILITY_NAMED_IAM"]
    cloudformation.create_stack(
        StackName=name, TemplateBody=template, Parameters=[issuer], Capabilities=capabilities
    )
    cloudformation.get_waiter("stack_create_complete").wait(StackName=name)
    settings = dict(
        line.split("=", 1)
        for line in (exported / "kubernetes" / "settings.env").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    account = yaml.safe_load((exported / "kubernetes" / "service-account.yaml").read_text())
    namespace = yaml.safe_load((exported / "kubernetes" / "kustomization.yaml").read_text())["namespace"]
    token.write_text(token_of(f"system:serviceaccount:{namespace}:{account['metadata']['name']}"))
    keys = tmp_path / "api-keys"
    keys.write_text(f"another\n{KEY}\n")
    env = {
        **settings,
        "API_KEYS_FILE": str(keys),
        "AWS_ROLE_ARN": account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"],
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
        "AWS_ENDPOINT_URL": stack.host.endpoint_url,
        "NO_PROXY": "*",
    }
    instances = stack.read_json(live.smoke_uri)["instances"]
    deployed = Api(stack)
    with serving(exported, python(exported), tmp_path / "log", env) as server:
        api = ExportedApi(server)
        answer = api.call("POST", "/predict", {"instances": instances})
        assert answer.status == 200, server.log.read_text()
        ids = [each["id"] for each in answer.body["predictions"]]
        # Either API finds what the other has logged, and takes its outcome.
        for place, identifier in enumerate(ids):
            found = (api, deployed)[place % 2].call("GET", f"/predictions/{identifier}").body
            assert (found["inputs"], found["model_version"]) == (instances[place], live.version)
        label = answer.body["predictions"][0]["label"]
        outcomes = {"outcomes": [{"id": each, "label": label} for each in ids]}
        assert api.call("POST", "/outcomes", outcomes).body["recorded"] == len(ids)
        assert deployed.call("POST", "/outcomes", outcomes).status == 409

        # Whatever a fuzzer makes of the document gets an answer that the document describes, and no 5xx.
        fuzzed = fuzz(api, tmp_path, examples=15)
        assert fuzzed.returncode == 0, fuzzed.stdout + fuzzed.stderr
        page = read(f"{server.url}/docs")
        linked = re.findall(r"(?:src|href|url)\W+['\"]([^'\"]+)['\"]", page)
        assert {"/openapi.json", "/static-offline-docs/swagger-ui-bundle.js"} <= set(linked)
        assert all(read(server.url + each) for each in linked if each.startswith("/"))
        assert [each for each in linked if each.startswith("http")] == [], "nothing comes from elsewhere"
        served = json.loads(read(f"{server.url}/openapi.json"))
        assert {**served, "servers": None} == {**yaml.safe_load(OPENAPI.read_text()), "servers": None}
        metrics = read(f"{server.url}/metrics")
        assert f'contract_hash="{live.contract_hash}",logged="true"' in metrics
        assert re.search(r'dropforge_requests_total\{route="POST /predict",status="200"\} \d', metrics)
        told = server.log.read_text()
    assert '"predictions are logged"' in told
    assert not any(str(value) in told for value in list(instances[0].values())[:3]), "values are never logged"
    asked = {call["action"] for call in stack.host.calls() if call["role"] == f"{stack.name}-image"}
    assert asked == {"dynamodb:BatchWriteItem", "dynamodb:GetItem", "dynamodb:UpdateItem"}

    others = tmp_path / "others"
    others.write_text(token_of(f"system:serviceaccount:{namespace}:another"))
    # Another contract, and a log that the role can't reach: named when it starts.
    for change, said in (
        ({"PREDICTIONS_TABLE": "somebodys"}, "AccessDenied: AWS refused dynamodb:GetItem"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": str(others)}, "ServiceUnavailable: No credentials"),
        ({"API_KEYS_FILE": ""}, "InvalidSettings.*Nobody could call"),
    ):
        assert re.search(said, refused_start(exported, python(exported), tmp_path, {**env, **change}))
    contract = exported / "app" / "model" / "contract.json"
    other = json.loads(contract.read_text())
    feature = next(column for column in other["columns"] if column["role"] == "feature")
    feature["nullable"] = not feature["nullable"]
    contract.write_text(json.dumps(other))
    said = refused_start(exported, python(exported), tmp_path, env)
    assert re.search(
        r"ArtifactChanged: contract\.json has the contract \w+, but version 1 was trained on", said
    )


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - of our own server
        return str(answer.read(), "utf-8", "replace")


def refused_start(exported: Path, python: Path, folder: Path, env: Mapping[str, str]) -> str:
    """What the server says that ends instead of answering."""
    _, process = start(exported, python, folder / "refused", env)
    assert process.wait(60) != 0
    return (folder / "refused").read_text()
