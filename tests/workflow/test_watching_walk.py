"""The walk of docs/how-to/watching.md, command by command: shift, alarm, retrain, quiet."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import documented
from tests.documented import EXAMPLE
from tests.workflow.reader import announce_to, run_by_shell
from tests.workflow.stack import Stack, wait_for

PAGE = "docs/how-to/watching.md"


@pytest.mark.timeout(900)
def test_the_five_minute_walk_ends_quiet(
    deploy_sample: Callable[..., Stack], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = (block for block in documented.blocks() if block.page == PAGE)
    words = first.text.split()
    asked = dict(words[at + 1].split("=") for at, word in enumerate(words) if word == "--parameter")
    stack = deploy_sample(words[words.index("--sample") + 1], **asked)
    announce_to(
        tmp_path, stack, ("template.yaml", "samconfig.toml", "core", "functions", "statemachine", "training")
    )
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)

    blocks = [block for block in documented.commands_of(EXAMPLE) if block.page == PAGE]
    said = [run(block.text, tmp_path) for block in blocks]

    assert "drift alarm raised" in said[2]
    assert "mean radius" in said[2]
    assert "run drift-" in said[3]
    assert "raises no alarm" in said[5]
    windows = json.loads(run("dropforge drift --json", tmp_path))["windows"]
    verdicts: list[Mapping[str, Any]] = [(each["version"], each["verdict"]) for each in reversed(windows)]
    assert verdicts == [(1, "quiet"), (1, "drifted"), (2, "quiet")]
    (alarm,) = alarms(tmp_path)
    assert (alarm["outcome"], alarm["run_status"]) == ("admitted", "succeeded")

    # Scored files are windows as well: one like the training data is quiet, another starts one run.
    run("dropforge batch moved.csv --to results", tmp_path)
    assert newest(tmp_path)["verdict"] == "quiet"
    run("awk -F, -v OFS=, 'NR > 1 { $2 = $2 * 3 } 1' moved.csv > farther.csv", tmp_path)
    run("dropforge predict --file farther.csv --log --outcomes", tmp_path)
    run("dropforge batch farther.csv --to results", tmp_path)
    found = newest(tmp_path)
    assert (found["verdict"], found["batch"]["rows"]) == ("drifted", 569)
    wait_for("a run that answers the file's alarm", lambda: alarms(tmp_path)[0]["run_id"])
    run("dropforge batch farther.csv --to again", tmp_path)
    assert [each["outcome"] for each in alarms(tmp_path)] == ["admitted", "admitted"], "scored twice is once"
    run("cut -d, -f1,32 farther.csv | sed '1s/.*/id,label/' > truth.csv", tmp_path)
    assert "Quality" in run("dropforge outcome --batch farther.csv --file truth.csv", tmp_path)
    # Small files join.
    for number in (1, 2):
        run(f"awk 'NR == 1 || NR % 18 == {number}' moved.csv > few-{number}.csv", tmp_path)
        run(f"dropforge batch few-{number}.csv --to results", tmp_path)
    assert [each["key"] for each in newest(tmp_path)["batch"]["files"]] == [
        "batch/in/few-1.csv",
        "batch/in/few-2.csv",
    ]


def alarms(folder: Path) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = json.loads(run("dropforge watch alarms --json", folder))["alarms"]
    return found


def newest(folder: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(run("dropforge drift latest --json", folder))
    return found


def run(text: str, folder: Path) -> str:
    """A block by the shell, as a reader's; what it wrote."""
    # A reader sits at a terminal, and agrees where a command asks.
    agreed = "\n".join(
        f"{line} --yes" if line.startswith("dropforge approve") else line for line in text.splitlines()
    )
    return run_by_shell(agreed, folder, where=text)
