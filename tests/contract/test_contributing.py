"""The door for people: the map leads from every name to one file, and what it names is there."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripts.run_handler import logical_id
from scripts.state_machines import written
from typer.main import get_command

from dropforge_local.template import load_template
from dropforge_ops.cli.main import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TEMPLATE = load_template(ROOT / "template.yaml")
COMMON = {"--json", "--stack", "--profile", "--region", "--endpoint-url", "--debug"}
# Written by the parser itself.
FRAMEWORK = {"--help", "--install-completion", "--show-completion"}


def rows(heading: str) -> dict[str, str]:
    """A table's second column by its first, in the section of a heading."""
    section = PAGE.partition(f"{heading}\n")[2].partition("\n#")[0]
    cells = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {first.strip(): second.strip() for first, second, *_ in cells[1:]}


NAMES = rows("### Where a name leads")


def leads_to(beginning: str) -> str:
    """The one file that the map gives for a kind of name."""
    [answer] = [file for name, file in NAMES.items() if name.startswith(beginning)]
    return re.findall(r"`([^`]+)`", answer)[0]


def states() -> Iterator[tuple[str, str]]:
    """Every state with its machine, those inside of a map among them."""

    def inside(definition: dict[str, Any]) -> Iterator[str]:
        for name, state in definition["States"].items():
            yield name
            if "ItemProcessor" in state:
                yield from inside(state["ItemProcessor"])

    for path in sorted(ROOT.glob("statemachine/*.asl.yaml")):
        machine = path.name.partition(".")[0]
        for name in inside(json.loads(written(path.read_text(), path.name))):
            yield machine, name


def options() -> Iterator[tuple[str, str]]:
    """Every option with its command, ``runs list`` and the like included."""

    def of(group: Any, words: str) -> Iterator[tuple[str, str]]:
        for each in group.params:
            for name in (*each.opts, *each.secondary_opts):
                if name.startswith("--"):
                    yield words, name
        for name, command in getattr(group, "commands", {}).items():
            yield from of(command, f"{words} {name}".strip())

    yield from of(get_command(app), "")


@pytest.mark.parametrize(("machine", "name"), list(states()))
def test_every_state_is_found_in_one_file(machine: str, name: str) -> None:
    file = leads_to(f"a state of the {machine} machine")
    assert len(re.findall(rf"^ +{name}:(?: \{{Comment|$)", (ROOT / file).read_text(), re.MULTILINE)) == 1


def test_every_function_is_found_by_the_name_of_its_state_or_resource() -> None:
    assert leads_to("a function").startswith("functions/close_run/")
    for folder in (path.parent.name for path in ROOT.glob("functions/*/app.py")):
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", logical_id(folder).removesuffix("Function")).lower()
        assert snake == folder


def test_every_parameter_and_alarm_is_found_in_one_file() -> None:
    text = (ROOT / leads_to("a parameter, an alarm")).read_text().partition("\nOutputs:")[0]
    alarms = [
        name for name, each in TEMPLATE["Resources"].items() if each["Type"] == "AWS::CloudWatch::Alarm"
    ]
    assert len(alarms) > 8
    for name in (*TEMPLATE["Parameters"], *alarms):
        assert len(re.findall(rf"^  {name}:(?: \{{|$)", text, re.MULTILINE)) == 1, name


@pytest.mark.parametrize(("command", "option"), sorted(set(options())))
def test_every_option_is_found_in_one_file(command: str, option: str) -> None:
    if option in FRAMEWORK:
        return
    word = command.partition(" ")[0]
    if option == "--version":
        file = leads_to("`dropforge --version`")
    elif option in COMMON:
        file = leads_to("an option of every command")
    elif word in ("approve", "reject"):
        file = leads_to("an option of `dropforge approve`")
    else:
        file = leads_to("an option of `dropforge COMMAND`").replace("COMMAND", word)
    named, derived = rf"[\"/]{option}[\"/]", rf"\b{option[2:].replace('-', '_')}: Annotated"
    assert re.search(f"{named}|{derived}", (ROOT / file).read_text()), file


def test_every_room_is_on_the_map() -> None:
    named = set(re.findall(r"`([\w./]+?)/?`", " ".join(rows("## The map of rooms"))))
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rooms = {line.partition("/")[0] for line in tracked.splitlines() if "/" in line}
    assert rooms - named == set()


def test_every_file_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`((?:[\w.]+/)+[\w.]*)`", PAGE))
    assert len(named) > 30
    patterns = {each for each in named if re.search(r"NAME|COMMAND|MACHINE|verb_noun", each)}
    missing = [each for each in named - patterns if not (ROOT / each).exists()]
    assert missing == []
    for each in patterns:
        assert list(ROOT.glob(re.sub(r"NAME|COMMAND|MACHINE|verb_noun", "*", each))), each


def test_make_unit_names_folders_that_are_there() -> None:
    [folders] = re.findall(r"^UNIT := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for each in folders.split():
        assert list((ROOT / "tests" / "unit" / each).glob("test_*.py")), each


def test_the_update_bot_looks_at_every_lock_and_holds_what_the_training_image_carries() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    folders = {
        (each["package-ecosystem"], folder.strip("/"))
        for each in updates
        for folder in each.get("directories", [each.get("directory")])
    }
    locks = {("npm", str(path.parent.relative_to(ROOT))) for path in ROOT.glob("scripts/*/package-lock.json")}
    assert folders == locks | {("uv", ""), ("github-actions", "")}
    project = tomllib.loads((ROOT / "local" / "pyproject.toml").read_text())["project"]
    local = [line for extra in project["optional-dependencies"].values() for line in extra]
    [ignored] = [{held["dependency-name"] for held in each["ignore"]} for each in updates if "ignore" in each]
    assert ignored <= {re.split(r"[=>\[]", line)[0] for line in local}
    assert {"scikit-learn", "ministack"} <= ignored


def test_hooks_before_a_commit_run_what_is_set_up() -> None:
    [repo] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    checked = re.sub(
        r"\s+", " ", (ROOT / "Makefile").read_text().partition("\ncheck:")[2].partition("\n\n")[0]
    )
    for hook in repo["hooks"]:
        words = hook["entry"].removeprefix(".venv/bin/")
        assert words != hook["entry"]
        assert words in checked, f"{hook['id']} is no part of make check"


def test_templates_for_issues_are_forms_with_labels() -> None:
    forms = [
        yaml.safe_load(path.read_text())
        for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")
        if path.name != "config.yml"
    ]
    assert len(forms) == 2
    for form in forms:
        assert {"name", "description", "labels", "body"} <= form.keys()
        asked = [each for each in form["body"] if each["type"] != "markdown"]
        assert len({each["id"] for each in asked}) == len(asked)
