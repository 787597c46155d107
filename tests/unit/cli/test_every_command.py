"""Every command of the command line: its text, its JSON and a wrong argument, each on a stack in memory."""

from __future__ import annotations

import ast
import io
import json
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_services import FakeCloudWatch, complete, has_a_source, scores_batches
from cli_stack import CONTRACT, CliStack, keeps_predictions
from rich.console import Console
from tests.command_line import invoke
from tests.unit.tracking.tracked_stack import an_archive
from typer.main import get_command

from dropforge.domain.drift.silences import Silence, to_json
from dropforge.domain.moments import iso
from dropforge.domain.records import ModelVersion, RunStatus
from dropforge_ops.actions.teardown.tear_down import Teardown
from dropforge_ops.cli import invocation
from dropforge_ops.cli.json_documents import DOCUMENTS, ERROR
from dropforge_ops.cli.main import app
from dropforge_ops.health import api as api_health
from dropforge_ops.health import machine
from dropforge_ops.render import FittingTable

ROOT = Path(__file__).parents[3]
Prepare = Callable[[CliStack, Path, pytest.MonkeyPatch], None]
UNKNOWN = "0" * 32


@dataclass(frozen=True)
class Case:
    """One command, called right (`arguments`, whose text holds `text`) and wrong (`wrong`, `said`)."""

    arguments: tuple[str, ...]
    text: str
    wrong: tuple[str, ...]
    said: str
    prepare: Prepare = lambda stack, folder, patch: None
    code: int = 2
    json_arguments: tuple[str, ...] | None = None


def live(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    complete(stack).lives(1)
    (folder / "rows.csv").write_text("id,radius,count,smoker,site\n1,2,3,true,left\n")


def scoring(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    live(stack, folder, patch)
    scores_batches(stack)


def exportable(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    complete(stack)
    stack.archive = an_archive(files={"contract.json": CONTRACT.to_json().encode(), "compiled.npz": b""})
    live(stack, folder, patch)


def aside(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    startable(stack, folder, patch)
    stack.set_aside("a.csv")


def sourced(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    has_a_source(stack)


def candidate(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    complete(stack).trained(1)
    stack.apply_decisions()


def two_versions(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    for version in (1, 2):
        complete(stack).lives(version)


def a_file(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / "rows.csv").write_text("id\n1\n")


def proposal(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    stack.write("contract/schema.json", CONTRACT.to_json().encode())
    run = stack.open_run("bad-run", keys=["incoming/new.csv"])
    stack.write("runs/bad-run/contract/proposed.json", CONTRACT.to_json().encode())
    stack.end_run(run, RunStatus.FAILED, "FAILED", error={"class": "SchemaChanged", "message": "columns"})


def replayable(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """A run and, once asked for, a replay of it that makes the same model."""
    stack.lives(1)

    def replay(arn: str) -> None:
        from dropforge.domain.triggers import run_id_of_execution

        run_id = run_id_of_execution("replay", arn.rsplit(":", 1)[1])
        run = stack.open_run(run_id, trigger="replay", execution_arn=arn)
        stack.write_judgement(run_id)
        stack.end_run(run, RunStatus.REPLAYED)

    stack.sfn.on_start = replay


def startable(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    def start(arn: str) -> None:
        stack.sfn.end(arn, output={"admission": {"outcome": "waits", "message": "Another run trains."}})

    stack.sfn.on_start = start


def watched(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    report = dict.fromkeys(DOCUMENTS["drift WINDOW"].keys() - {"uri"}) | {
        "format": 1,
        "window": {"start": "2026-11-22T10:00:00.000Z", "end": "2026-11-22T11:00:00.000Z"},
        "verdict": "quiet",
        "rows": 300,
        "drifted": [],
        "columns": [],
        "alarms": {},
        "unwatched": {},
        "silenced": {},
        "is_sample": False,
    }
    stack.write("monitoring/2026/11/22/10/report.json", report)


def watching(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    watched(stack, folder, patch)
    uri = f"s3://{stack.bucket}/monitoring/2026/11/22/10/report.json"

    def invoke(**_: Any) -> dict[str, Any]:
        return {"Payload": io.BytesIO(json.dumps({"report_uri": uri}).encode())}

    complete(stack).target._clients["lambda"] = types.SimpleNamespace(invoke=invoke)


def silenced(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    now, hour = datetime.now(UTC), timedelta(hours=1)
    made = [
        Silence(name, iso(now - hour), iso(now + hour), "ann", "a new sensor") for name in ("radius", "site")
    ]
    stack.write("monitoring/silenced.json", to_json(made))


def whole_machine(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(machine, "said_by", lambda command: "1.2.3")
    patch.setattr(api_health, "answer", lambda method, url: (403, "INVALID_API_KEY"))
    stack.sfn.describe_state_machine = lambda **_: {"status": "ACTIVE"}  # type: ignore[attr-defined]
    complete(stack)


def printed(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    stack.open_run("r-1")
    pages = types.SimpleNamespace(
        paginate=lambda **_: [{"logStreams": [{"logStreamName": "model-r-1-a0/x"}]}]
    )
    events = [{"timestamp": 0, "message": "[1]  of 9 rows\n"}]
    logs = types.SimpleNamespace(
        get_paginator=lambda _: pages,
        get_log_events=lambda nextToken=None, **_: {
            "events": [] if nextToken else events,
            "nextForwardToken": "f/1",
        },
    )
    patch.setitem(stack.target._clients, "logs", logs)


def asleep(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    token = complete(stack).lives(1).token
    stack.ledger.fall_asleep(token, now=datetime.now(UTC))


def in_project(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(ROOT)


def spent(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    in_project(stack, folder, patch)
    live(stack, folder, patch)
    patch.setattr(FakeCloudWatch, "get_metric_statistics", lambda *_, **__: {"Datapoints": []}, raising=False)
    object.__setattr__(stack.target, "session", types.SimpleNamespace(region_name="us-east-1"))


def torn_down(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    names = types.SimpleNamespace(is_deployed=True, stack="dropforge", model="model")
    patch.setattr("dropforge_ops.cli.commands.teardown.names_of", lambda *_: names)
    done = Teardown(deleted={"stack": ["dropforge"]})
    patch.setattr("dropforge_ops.cli.commands.teardown.tear_down", lambda *_, **__: done)


class StoppedAtOnce:
    """Ctrl-C, just when everything stands."""

    def is_set(self) -> bool:
        return False

    def wait(self, seconds: float) -> bool:
        return True


@contextmanager
def stopped_at_once() -> Iterator[StoppedAtOnce]:
    yield StoppedAtOnce()


class FakeConsoleServer:
    """No server, as loading a real one takes longer than all else here."""

    url = entry_url = "http://127.0.0.1:1/"

    def __init__(self, *_: Any) -> None:
        pass

    def __enter__(self) -> FakeConsoleServer:
        return self

    def __exit__(self, *_: Any) -> None:
        pass


def fake_host(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    class Host:
        endpoint_url, region, pid, log_path = "http://127.0.0.1:1", "us-east-1", 1, folder / "host.log"

        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def start(self) -> None:
            pass

        def stop(self) -> None:
            pass

        def client(self, service: str) -> Any:
            return complete(stack).target.client(service)

        def deploy(self, name: str, parameters: Any) -> dict[str, str]:
            return dict(stack.target.outputs)

        def announce_console(self, url: str) -> None:
            pass

    # What is deployed is read from the folder that is given, which has no more of a project than this.
    (folder / "template.yaml").write_bytes((ROOT / "template.yaml").read_bytes())
    patch.setattr("dropforge_local.host.LocalHost", Host)
    patch.setattr("dropforge_ops.cli.commands.up.check_model", lambda *_, **__: None)
    patch.setattr("dropforge_ops.cli.commands.up.stop_signals", stopped_at_once)
    patch.setattr("dropforge_ops.cli.commands.up._console_of", lambda *_: FakeConsoleServer())


def fake_console(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    for name, content in (
        ("server", {"ConsoleServer": FakeConsoleServer}),
        ("context", {"Context": lambda _: None}),
    ):
        module = types.ModuleType(f"dropforge_ops.console.{name}")
        module.__dict__.update(content)
        patch.setitem(sys.modules, module.__name__, module)
    patch.setattr("dropforge_ops.cli.commands.console.stop_signals", stopped_at_once)


def kept(stack: CliStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    keeps_predictions(stack)
    stack.write("contract/schema.json", CONTRACT.to_json().encode())
    stack.write("incoming/rows.csv", b"id,radius\n17,1\n")


NO_VERSION = "is no version"
CASES = {
    "up": Case(("up",), "Ctrl-C stops it", ("up", "--sample", "none"), "There is no sample", fake_host),
    "logs": Case(("logs",), "[1]  of 9 rows", ("logs", "no-such-run"), "no run", printed, code=3),
    "samples": Case(
        ("samples", "wine", "--to", "{folder}"), "cultivar", ("samples", "beer"), "no sample beer"
    ),
    "drop": Case(
        ("drop", "{folder}/rows.csv"), "A run starts by itself", ("drop", "none.csv"), "no such file", a_file
    ),
    "batch": Case(
        ("batch", "{folder}/rows.csv", "--to", "{folder}/out"),
        "1 of 1 rows scored",
        ("batch", "none.csv"),
        "no such file",
        scoring,
        json_arguments=("batch", "{folder}/rows.csv", "--to", "{folder}/again"),
    ),
    "runs list": Case(("runs",), "cancer-1", ("runs", "--limit", "0"), "limit", live),
    "runs show": Case(
        ("runs", "cancer-1"), "AwaitApproval", ("runs", "none"), "no run 'none'", candidate, code=3
    ),
    "drops list": Case(("drops",), "1 set aside", ("drops", "--state", "lost"), "--state is 'lost'", aside),
    "drops retry": Case(
        ("drops", "retry", "a.csv"), "Another run trains", ("drops", "retry"), "Name the files", aside
    ),
    "batches list": Case(
        ("batches",), "1 scored, 1 failed", ("batches", "--state", "lost"), "--state is 'lost'", sourced
    ),
    "batches now": Case(("batches", "now"), "2 wait", ("batches", "now", "x"), "unexpected", sourced),
    "batches retry": Case(
        ("batches", "retry", "b.csv"), "2 wait", ("batches", "retry"), "Name the files", sourced
    ),
    "runs start": Case(("runs", "start"), "Another run trains", ("runs", "start", "x"), "x", startable),
    "runs replay": Case(
        ("runs", "replay", "cancer-1"),
        "gave the same model",
        ("runs", "replay", "none"),
        "no run 'none'",
        replayable,
        code=3,
    ),
    "runs compare": Case(
        ("runs", "compare", "1", "cancer-1"),
        "They can't be compared on the same rows",
        ("runs", "compare", "1", "none"),
        "no run 'none'",
        candidate,
        code=3,
    ),
    "models": Case(("models",), "* live", ("models", "x"), NO_VERSION, live),
    "card": Case(("card", "1"), "# Model card of version 1", ("card", "7"), "no version 7", live, code=3),
    "models VERSION": Case(("models", "1"), "0.9931", ("models", "7"), "no version 7", live, code=3),
    "approve": Case(("approve", "1", "--yes"), "is approved", ("approve", "x"), NO_VERSION, candidate),
    "reject": Case(("reject", "1", "--yes"), "is rejected", ("reject", "x"), NO_VERSION, candidate),
    "rollback": Case(
        ("rollback", "--yes"), "to version 1 has started", ("rollback", "x"), NO_VERSION, two_versions
    ),
    "wake": Case(("wake",), "is being brought back", ("wake", "x"), "x", asleep),
    "predict": Case(("predict", "--sample-rows", "1"), "malignant", ("predict",), "Give rows", live),
    "outcome": Case(
        ("outcome", "{prediction}=benign"),
        "Recorded 1 outcome",
        ("outcome", "7=benign"),
        "is no prediction's id",
        live,
    ),
    "outcome ID": Case(
        ("outcome", "{prediction}"), "not reported yet", ("outcome", UNKNOWN), "no prediction", live, code=3
    ),
    "forget": Case(
        ("forget", "17"), "incoming/rows.csv", ("forget", "18"), "Nothing on the local host", kept, code=3
    ),
    "drift": Case(("drift",), "quiet", ("drift", "--limit", "0"), "limit", watched),
    "drift WINDOW": Case(("drift", "latest"), "quiet", ("drift", "soon"), "is no time", watched),
    "watch now": Case(("watch", "now"), "quiet", ("watch", "now", "soon"), "unexpected", watching),
    "watch alarms": Case(
        ("watch", "alarms"), "raised no alarm", ("watch", "alarms", "--limit", "0"), "limit", watched
    ),
    "watch silence": Case(
        ("watch", "silence", "radius", "--reason", "known"),
        "raises no alarm",
        ("watch", "silence", "radius"),
        "--reason",
        watched,
    ),
    "watch unsilence": Case(
        ("watch", "unsilence", "radius"),
        "is watched again",
        ("watch", "unsilence", "count"),
        "is not silenced",
        silenced,
        code=3,
        json_arguments=("watch", "unsilence", "site"),
    ),
    "watch silences": Case(
        ("watch", "silences"), "a new sensor", ("watch", "silences", "--all"), "--all", silenced
    ),
    "contract show": Case(
        ("contract", "show"), CONTRACT.hash, ("contract", "show", "none"), "no run", proposal, code=3
    ),
    "contract diff": Case(
        ("contract", "diff"), "is the pinned one", ("contract", "diff", "none"), "no run", proposal, code=3
    ),
    "contract accept": Case(
        ("contract", "accept", "bad-run", "--yes"),
        "is pinned already",
        ("contract", "accept", "none"),
        "no run",
        proposal,
        code=3,
    ),
    "contract reset": Case(
        ("contract", "reset", "--yes"),
        "is no longer pinned",
        ("contract", "reset", "x"),
        "x",
        proposal,
    ),
    "cost month": Case(("cost",), "free tier", ("cost", "nowhere.toml"), "nowhere.toml", in_project, code=3),
    "cost estimate": Case(
        ("cost", "estimate", "--size", "1GB"),
        "Training",
        ("cost", "estimate", "--size", "many"),
        "many",
        in_project,
    ),
    "cost scale": Case(("cost", "scale"), "TB", ("cost", "scale", "x"), "x", in_project),
    "cost so-far": Case(("cost", "so-far"), "since", ("cost", "so-far", "x"), "x", spent),
    "cost prices": Case(("cost", "prices"), "ml.m5", ("cost", "prices", "x"), "x", in_project),
    "api": Case(
        ("api",), "dropforge api --key", ("api", "--language", "cobol"), "--language is 'cobol'", live
    ),
    "export grafana": Case(
        ("export", "grafana", "--to", "{folder}/grafana.json"),
        "3 panels",
        ("export", "grafana", "--to", "{folder}/none/grafana.json"),
        "No such file or directory",
        live,
        code=1,
    ),
    "export image": Case(
        ("export", "image", "1", "--to", "{folder}/image"),
        "image has version 1",
        ("export", "image", "1", "--to", "{folder}/rows.csv/image"),
        "can't be written",
        exportable,
        code=1,
    ),
    "export mlflow": Case(
        ("export", "mlflow", "{folder}/mlflow"),
        "runs: 1, of them new: 1",
        ("export", "mlflow", "{folder}/rows.csv/mlflow"),
        "can't be written",
        live,
        code=1,
    ),
    "teardown": Case(
        ("teardown", "--yes", "--name", "dropforge"),
        "Nothing is left of dropforge",
        ("teardown", "--yes"),
        "needs --name",
        torn_down,
    ),
    "doctor": Case(("doctor",), "CREATE_COMPLETE", ("doctor", "x"), "x", whole_machine),
    "console": Case(
        ("console",), "Console of dropforge", ("console", "--port", "99999"), "port", fake_console
    ),
}
ELSEWHERE = {
    # What it says is what a host really did, so it is tested on one; its last line is JSON in either case.
    "demo": (
        "tests/integration/cli/test_host_commands.py",
        "test_the_demo_tells_what_really_happened_in_its_last_line_and_leaves_nothing",
    )
}
"""Commands whose text and JSON another test holds, by file and name."""


def commands(group: Any = None, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that there is, by its path."""
    found = get_command(app) if group is None else group
    for name, each in found.commands.items():
        if hasattr(each, "commands"):
            yield from commands(each, f"{path}{name} ")
        else:
            yield f"{path}{name}", each


def members(path: str) -> tuple[set[str], set[str]]:
    """The members that a command's document always has, and those that it may have."""
    names = set(DOCUMENTS[path])
    if "…" in names:
        names |= {each.name for each in fields(ModelVersion)} - {"task_token"}
    always = {name for name in names if not name.endswith("?")} - {"…"}
    return always, {name.rstrip("?") for name in names} - {"…"}


@pytest.fixture
def call(on_stack, stack, tmp_path, monkeypatch):
    """Calls the command line in an empty folder, with places for what only the stack knows."""
    monkeypatch.chdir(tmp_path)

    def run(arguments, *more):
        places = {"folder": str(tmp_path)}
        if any("{prediction}" in each for each in arguments):
            logged = on_stack("predict", "--sample-rows", "1", "--log", "--json").json
            places["prediction"] = logged["predictions"][0]["id"]
        return on_stack(*(each.format(**places) for each in arguments), *more)

    return run


def test_there_is_a_case_for_every_command_and_none_for_another():
    known = {path.removesuffix(" VERSION").removesuffix(" ID").removesuffix(" WINDOW") for path in CASES}
    assert known | ELSEWHERE.keys() == {path for path, _ in commands()}


def test_the_tests_that_are_elsewhere_are_there():
    for file, name in ELSEWHERE.values():
        tree = ast.parse((ROOT / file).read_text())
        assert name in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}


@pytest.mark.parametrize("command", ELSEWHERE)
def test_wrong_arguments_of_commands_that_are_tested_elsewhere(command, dropforge):
    assert dropforge(command, "--nonsense").exit_code == 2


def test_a_shell_completes_commands_verbs_options_and_names():
    def completed(words):
        env = {
            "_DROPFORGE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        }
        return invoke([], prog_name="dropforge", env=env).stdout.split()

    assert completed("dropforge ru") == ["runs"]
    assert completed("dropforge runs ") == ["list", "show", "start", "replay", "compare"]
    assert completed("dropforge drop --wa") == ["--wait"]
    assert completed("dropforge samples w") == ["wine"]


def test_every_document_is_described_and_no_other():
    assert DOCUMENTS.keys() == CASES.keys() | ELSEWHERE.keys()


def test_every_command_has_the_common_options():
    common = {"--json", "--stack", "--profile", "--region", "--endpoint-url", "--debug"}
    for path, each in commands():
        assert common <= {name for parameter in each.params for name in parameter.opts}, path


@pytest.mark.parametrize("path", CASES)
def test_text_json_and_a_wrong_argument(path, call, stack, tmp_path, monkeypatch):
    case = CASES[path]
    monkeypatch.setattr("dropforge_ops.cli.commands.up.find_root", lambda: tmp_path)
    case.prepare(stack, tmp_path, monkeypatch)

    wrong = call(case.wrong, "--json")
    assert wrong.exit_code == case.code, wrong.stderr
    assert case.said in wrong.stderr
    if wrong.stdout:  # what the parser refuses never came to a command
        assert wrong.json["error"].keys() == ERROR.keys()
        assert wrong.json["error"]["exit_code"] == case.code

    text = call(case.arguments)
    assert text.exit_code == 0, text.stderr
    assert case.text in text.stdout

    document = call(case.json_arguments or case.arguments, "--json")
    assert document.exit_code == 0, document.stderr
    always, possible = members(path)
    assert always <= document.json.keys() <= possible


@pytest.mark.parametrize("path", sorted(CASES))
def test_in_a_window_of_80_columns_tables_fit_and_no_word_is_broken(path, stack, call, tmp_path, monkeypatch):
    case = CASES[path]
    monkeypatch.setattr("dropforge_ops.cli.commands.up.find_root", lambda: tmp_path)
    case.prepare(stack, tmp_path, monkeypatch)
    monkeypatch.setattr(invocation, "_WIDTH_WITHOUT_TERMINAL", 80)
    drawn: list[tuple[str, str]] = []
    draw = Console.print

    def keep(console: Console, *shown: Any, **options: Any) -> None:
        if any(isinstance(each, FittingTable) for each in shown):
            narrow, wide = (Console(width=width, file=io.StringIO()) for width in (80, 1000))
            for each in (narrow, wide):
                draw(each, *shown, **options)
            drawn.append((narrow.file.getvalue(), wide.file.getvalue()))
        draw(console, *shown, **options)

    monkeypatch.setattr(Console, "print", keep)
    assert call(case.arguments).exit_code == 0
    for narrow, wide in drawn:
        words = wide.split()
        # What alone is longer than the window is a path or an address.
        longest = "".join(each for each in words if len(each) > 55)
        drawn_words = narrow.partition("The window is too narrow for:")[0].split()
        assert [each for each in drawn_words if each not in words and each not in longest] == []
        assert max(map(len, narrow.splitlines())) <= 80
