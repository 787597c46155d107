"""``dropforge up`` and ``dropforge demo`` as a user starts them, on a copy of the project of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.command_line import invoke

ROOT = Path(__file__).parents[3]
DROPFORGE = Path(sys.executable).parent / "dropforge"
SOURCES = ("core", "functions", "layers", "statemachine", "training")
# What the host builds is named by its content, so that copies of the project share it.
CACHES = ("build", "unpacked")
PATIENCE_S = 120


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in SOURCES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "template.yaml", tmp_path)
    for name in CACHES:
        (ROOT / ".dropforge" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / ".dropforge").mkdir(exist_ok=True)
        (tmp_path / ".dropforge" / name).symlink_to(ROOT / ".dropforge" / name)
    return tmp_path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """No AWS of the user's, and a folder for temporary files that can be looked into."""
    (tmp_path / "temporary").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, "TMPDIR": str(tmp_path / "temporary")}


@pytest.fixture
def start(project: Path, environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command line in the project; what still runs at the end is killed."""
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [DROPFORGE, *arguments],
            cwd=project,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def told(*arguments: object) -> Any:
    """What a command answers in JSON, run in this process: starting another takes longer than it does."""
    done = invoke(arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if "--json" in arguments else None


def announcement(project: Path) -> Any:
    """The announcement of a host with a deployed stack and its console, once they are there."""
    path = project / ".dropforge" / "local.json"
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            document = json.loads(path.read_text())
        except (OSError, ValueError):
            document = {}
        if document.get("console_url"):
            return document
        time.sleep(0.05)
    raise AssertionError("no host announced itself")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.workflow
def test_the_demo_tells_what_really_happened_in_its_last_line_and_leaves_nothing(start, environment):
    code, out, err = finish(start("demo"))
    assert code == 0, err
    summary = json.loads(out.splitlines()[-1])
    assert summary["execution_status"] == "SUCCEEDED"
    assert summary["metrics"]["auc"] > 0.95
    assert summary["model_package_arn"].endswith("/1")
    assert summary["endpoint_config"].startswith("model-v1-")
    assert summary["prediction"]["label"] in ("benign", "malignant")
    assert summary["predictions_checked"] > 0
    peer = subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "true"], check=False)
    assert summary["user_namespaces"] == (peer.returncode == 0)
    states = {
        "AdmitRun",
        "PrepareData",
        "TrainModel",
        "JudgeModel",
        "RegisterModel",
        "SmokeTest",
        "PromoteModel",
    }
    assert states | {"host", "deploy", "drop_to_prediction", "total"} <= summary["seconds"].keys()
    assert summary["run_id"] in err
    assert list(Path(environment["TMPDIR"]).iterdir()) == []


@pytest.mark.workflow
def test_a_failed_demo_keeps_its_state_and_names_it_with_the_log_groups_of_its_message(
    start, project, environment
):
    model = project / "training" / "model.py"
    model.write_text(f"{model.read_text()}\ndef build_model(*_):\n    raise RuntimeError('no idea')\n")
    code, out, err = finish(start("demo"))
    assert (code, out) == (1, "")
    [kept] = Path(environment["TMPDIR"]).iterdir()
    assert f"The host's state is kept in {kept}: its log is host.log there," in err
    assert (kept / "host.log").read_text()
    assert "RuntimeError: no idea" in (kept / "logs/aws/sagemaker/TrainingJobs.log").read_text()
    [prepared] = (kept / "logs").rglob("PrepareDataFunctionLog.log")
    assert "START RequestId" in prepared.read_text()


@pytest.mark.workflow
def test_an_interrupted_demo_leaves_nothing(start, environment):
    process = start("demo")
    temporary = Path(environment["TMPDIR"])
    deadline = time.monotonic() + PATIENCE_S
    while not list(temporary.glob("dropforge-host-*/host.log")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    code, out, _ = finish(process)
    assert code == 130
    assert out == ""
    assert list(temporary.iterdir()) == []


@pytest.mark.workflow
def test_what_happened_under_up_survives_a_restart(start, project, tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(project)
    first = start("up", "--parameter", "MinimumRows=20", "--json")
    found = announcement(project)
    told("samples", "breast-cancer", "--to", tmp_path / "data")
    [run] = told("drop", tmp_path / "data" / "breast-cancer.csv", "--wait", "--json")["runs"]
    assert run["status"] == "awaiting_approval"
    assert finish(start("up"))[0] == 2
    with urllib.request.urlopen(found["console_url"], timeout=PATIENCE_S) as page:  # noqa: S310 - our own
        assert page.headers["X-Frame-Options"] == "DENY"

    first.send_signal(signal.SIGINT)
    code, out, err = finish(first)
    assert code == 0, err
    assert json.loads(out)["parameters"]["MinimumRows"] == "20"
    assert not is_running(found["pid"])
    assert not (project / ".dropforge" / "local.json").exists()

    second = start("up", "--json")
    announcement(project)
    assert told("approve", "latest", "--yes", "--wait", "--json")["live"]["run_id"] == run["run_id"]
    assert len(told("predict", "--sample-rows", "2", "--json")["predictions"]) == 2
    second.send_signal(signal.SIGTERM)
    code, out, err = finish(second)
    assert code == 0, err
    assert json.loads(out)["parameters"]["MinimumRows"] == "20"
