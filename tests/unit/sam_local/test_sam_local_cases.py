"""Every function and every example event is invoked, and an answer is judged by what it says."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest
from sam_local import engine
from sam_local.cases import CASES, Case, judge
from sam_local.engine import Engine, NoEngine
from sam_local.relay import relayed

ROOT = Path(__file__).parents[3]


def test_every_example_event_goes_to_a_function_and_every_function_gets_one():
    assert sorted(case.event for case in CASES) == sorted(path.stem for path in ROOT.glob("events/*.json"))
    assert {case.function for case in CASES} == {path.parent.name for path in ROOT.glob("functions/*/app.py")}
    for case in CASES:
        assert case.expected or case.error, case.event
        if case.into:
            assert "event" in json.loads((ROOT / "events" / f"{case.into}.json").read_text())


WANTED = Case("e", "predict", expected={"statusCode": 200, "body.version": 1, "body.id": None})


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"statusCode": 200, "body": '{"version": 1, "id": "x"}'}, ""),
        ({"statusCode": 200, "body": '{"version": 1, "id": null}'}, "body.id is None, not missing"),
        ({"statusCode": 422, "body": '{"version": 1, "id": "x"}'}, "statusCode is 422, not 200"),
        ({"errorType": "NoLiveModel", "errorMessage": "none"}, "expected an answer, got NoLiveModel: none"),
    ],
)
def test_an_answer_is_judged_by_its_fields(answer, problem):
    assert judge(WANTED, json.dumps(answer)) == problem


def test_a_function_that_was_killed_or_printed_no_json_has_failed():
    assert "took too long" in judge(WANTED, "")
    assert "no JSON: Traceback" in judge(WANTED, "Traceback …")


def test_an_expected_error_has_to_come():
    case = Case("e", "predict", error="LostLock")
    assert judge(case, '{"errorType": "LostLock", "errorMessage": "m"}') == ""
    assert judge(case, "{}") == "expected LostLock, got {}"


@pytest.mark.parametrize(
    ("commands", "user", "reason"),
    [
        ({}, 0, "no docker command"),
        ({"docker"}, 0, "dockerd is not installed"),
        ({"docker", "dockerd"}, 1000, "only root may start one"),
    ],
)
def test_where_no_engine_can_run_the_reason_is_said(monkeypatch, tmp_path, commands, user, reason):
    monkeypatch.setattr(engine.shutil, "which", lambda name: name if name in commands else None)
    monkeypatch.setattr(engine.os, "geteuid", lambda: user)
    monkeypatch.setattr(Engine, "answers", property(lambda _: False))
    with pytest.raises(NoEngine, match=reason), engine.running(tmp_path):
        pass


def test_what_comes_to_the_relay_reaches_the_local_host_and_its_answer_the_caller():
    with socket.create_server(("127.0.0.1", 0)) as host:

        def answer() -> None:
            connection, _ = host.accept()
            with connection:
                connection.sendall(connection.recv(100).upper())

        thread = threading.Thread(target=answer)
        thread.start()
        with relayed("127.0.0.1", host.getsockname()[1]) as url:
            address, port = url.removeprefix("http://").split(":")
            with socket.create_connection((address, int(port)), 5) as caller:
                caller.sendall(b"hello")
                assert caller.recv(100) == b"HELLO"
        thread.join(5)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, int(port)), 1)
