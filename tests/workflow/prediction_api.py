"""The deployed prediction API over HTTP, as its callers see it."""

from __future__ import annotations

import ast
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dropforge_local.api_urls import local_api_url
from tests.command_line import invoke
from tests.workflow.stack import Stack

_ROOT = Path(__file__).resolve().parents[2]
OPENAPI = _ROOT / "openapi.yaml"
CLOSED = (
    ("GET", "/model"),
    ("POST", "/predict"),
    ("GET", f"/predictions/{'0' * 32}"),
    ("POST", "/outcomes"),
)
"""What only known callers may do."""
# Run apart, as the SAM CLI is: its dependencies are not the project's.
SCHEMATHESIS = "schemathesis==4.32.5"
_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


@dataclass(frozen=True)
class HttpAnswer:
    """Status, headers by lower-case name, and the JSON body."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Api:
    """The API of a stack; ``key`` is the value of one of its API keys, None where the stack has none."""

    def __init__(self, stack: Stack, key: str = "ApiKeyId") -> None:
        self.url = local_api_url(stack.outputs["ApiUrl"], stack.host.endpoint_url)
        self.key: str | None = None
        if key in stack.outputs:
            found = stack.host.client("apigateway").get_api_key(apiKey=stack.outputs[key], includeValue=True)
            self.key = found["value"]

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        """Send exactly this."""
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        try:
            connection.request(method, parts.path + path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        return HttpAnswer(
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            json.loads(text) if text else None,
        )

    def call(self, method: str, path: str, document: Any = None) -> HttpAnswer:
        """Send a JSON document, with the key."""
        headers = {"Content-Type": "application/json"}
        if self.key is not None:
            headers["x-api-key"] = self.key
        body = None if document is None else json.dumps(document).encode()
        return self.send(method, path, body, headers)


def fuzz(api: Api, folder: Path, examples: int) -> subprocess.CompletedProcess[str]:
    """Generate requests from the OpenAPI document, valid or not, and hold each answer to the document."""
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "tool", "run", "--quiet", "--python", sys.executable, "--from", SCHEMATHESIS]
    command += ["st", "run", str(OPENAPI), "--url", api.url, "--header", f"x-api-key: {api.key}"]
    command += ["--checks", ",".join(_CHECKS), "--phases", "coverage,fuzzing"]
    command += ["--max-examples", str(examples), "--seed", "1", "--no-color", "--continue-on-failure"]
    direct = {"NO_PROXY": "*", "no_proxy": "*"}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **direct}
    )


# As scripts of npm's tools do: Node.js comes from PyPI, packages from a lock file.
_NODE = """
. scripts/node_package.sh
install_package aws4fetch
cp "$0" "$folder/call.mjs"
node node "$folder/call.mjs"
"""
_RUNS = {"curl": ["sh"], "python": [sys.executable], "javascript": ["bash", "-euc", _NODE]}


def run_program(language: str, where: Sequence[str], folder: Path) -> Any:
    """Run the program that ``dropforge api`` writes, as a reader would; returns what it prints as predicted.

    The id differs with each call, so it is left out.
    """
    key = invoke(["api", "--key", *where])
    written = invoke(["api", "--language", language, *where])
    assert written.exit_code == 0, written.output
    program = folder / "call"
    program.write_text(written.stdout)
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "test")
    environment |= {"AWS_SESSION_TOKEN": "", "DROPFORGE_API_KEY": key.stdout.strip()}
    command = [*_RUNS[language], str(program)]
    ran = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    document = ast.literal_eval(ran.stdout) if language == "python" else json.loads(ran.stdout)
    (prediction,) = document["predictions"]
    assert prediction.pop("id")
    return prediction
