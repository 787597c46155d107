"""The state machines' sources: what is deployed is what they say, everything once, and people can read it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripts.state_machines import InvalidSource, difference, main, written

ROOT = Path(__file__).parents[2]
SOURCES = {path.name.partition(".")[0]: path.read_text() for path in ROOT.glob("statemachine/*.asl.yaml")}
SOURCE = """\
# Kept out of the machine.
Shared:
  - &again {ErrorEquals: [Broken], MaxAttempts: 2}
  - &work {Type: Task, Resource: "arn:aws:states:::lambda:invoke", Retry: [*again]}
StartAt: Work
States:
  Work:
    Comment: Do it
    <<: *work
    Arguments: "{% $merge([$states.input,
      {'a': 1}]) %}"
    End: true
"""


def anchors(text: str) -> dict[str, Any]:
    """What each anchor of a source stands for, by its name."""
    names = [event.anchor for event in yaml.parse(text) if getattr(event, "anchor", None)]
    shared = text.partition("\nStates:")[0]
    found: dict[str, Any] = {}
    for name in set(names):
        found[name] = yaml.safe_load(f"{shared}\nprobe: *{name}\n")["probe"]
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_deployed_is_what_the_source_says(name: str) -> None:
    deployed = (ROOT / "statemachine" / f"{name}.asl.json").read_text()
    assert written(SOURCES[name], name) == deployed


def test_three_machines_have_sources() -> None:
    assert SOURCES.keys() == {"training", "deployment", "batch"}


def test_what_has_one_name_in_two_machines_is_the_same() -> None:
    everywhere = {name: anchors(text) for name, text in SOURCES.items()}
    shared = [name for first in everywhere.values() for name in first]
    assert len(shared) > len(set(shared)), "the machines share nothing"
    for name in set(shared):
        meanings = [json.dumps(each[name], sort_keys=True) for each in everywhere.values() if name in each]
        assert len(set(meanings)) == 1, f"{name} has several meanings: {meanings}"


@pytest.mark.parametrize("name", SOURCES)
def test_every_anchor_is_used(name: str) -> None:
    used = set(re.findall(r"(?<![\w$)*]) ?\*(\w+)", SOURCES[name]))
    assert anchors(SOURCES[name]).keys() <= used


@pytest.mark.parametrize("name", SOURCES)
def test_no_retrier_or_catch_is_written_out_twice(name: str) -> None:
    states = SOURCES[name].partition("\nStates:")[2]
    assert "IntervalSeconds" not in states
    assert "MaxAttempts" not in states


def test_sources_stay_readable() -> None:
    lines = {name: text.splitlines() for name, text in SOURCES.items()}
    assert {name: len(each) for name, each in lines.items() if len(each) > 800} == {}
    assert sum(map(len, lines.values())) <= 1800
    assert [line for each in lines.values() for line in each if len(line) > 112] == []


def test_anchors_merges_and_folds_are_written_out() -> None:
    assert json.loads(written(SOURCE, "work")) == {
        "StartAt": "Work",
        "States": {
            "Work": {
                "Comment": "Do it",
                "Type": "Task",
                "Resource": "arn:aws:states:::lambda:invoke",
                "Arguments": "{% $merge([$states.input, {'a': 1}]) %}",
                "Retry": [{"ErrorEquals": ["Broken"], "MaxAttempts": 2}],
                "End": True,
            }
        },
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{SOURCE}  Work: {{Type: Succeed}}\n", "'Work' stands here twice"),
        (SOURCE.replace("<<: *work", "<<: *wrok"), "undefined alias 'wrok'"),
        ("StartAt: Work\n", "it has no States"),
        ("States: [", "expected the node content"),
    ],
)
def test_a_source_that_says_no_machine_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(InvalidSource, match=r"statemachine/work\.asl\.yaml") as refused:
        written(text, "statemachine/work.asl.yaml")
    assert said in str(refused.value)


def test_an_edit_of_the_json_is_told_which_file_to_mend_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "statemachine"
    folder.mkdir()
    (folder / "work.asl.yaml").write_text(SOURCE)
    assert main(["--check"], tmp_path) == 1
    assert "run 'make machines'" in capsys.readouterr().err
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
    edited = (folder / "work.asl.json").read_text().replace("Do it", "Do it well")
    (folder / "work.asl.json").write_text(edited)
    assert main(["--check"], tmp_path) == 1
    said = capsys.readouterr().err
    assert "differ in Work. Edit statemachine/work.asl.yaml" in said
    assert (folder / "work.asl.json").read_text() == edited


def test_a_machine_without_a_source_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "statemachine").mkdir()
    (tmp_path / "statemachine" / "lost.asl.json").write_text("{}")
    assert main(["--check"], tmp_path) == 1
    assert "statemachine/lost.asl.json has no source" in capsys.readouterr().err


def test_a_difference_outside_of_the_states_is_a_difference() -> None:
    assert difference("work.asl.yaml", '{"States": {}}', '{"States": {}, "Comment": "x"}')
