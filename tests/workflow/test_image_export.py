"""An exported image answers, refuses and logs as the stack's API does, under uvicorn as another user."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dropforge_ops.stack.samples import SAMPLES
from tests.command_line import invoke
from tests.image_server import NOBODY, Server, python_with, serving
from tests.workflow.prediction_api import Api
from tests.workflow.stack import Stack
from tests.workflow.test_main_job import rows_of

KEY = "a key of a test"


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
        assert server.user == NOBODY
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
