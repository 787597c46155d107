"""The runbook has a section for each alarm, each alarm names its section, and what it names exists."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import pytest
from tests.contract.state_machine import MACHINES, ROOT

from dropforge.domain import errors
from dropforge_local.template import load_template

TEMPLATE = load_template(ROOT / "template.yaml")
ALARMS = {
    name: each["Properties"]["AlarmDescription"]
    for name, each in TEMPLATE["Resources"].items()
    if each["Type"] == "AWS::CloudWatch::Alarm"
}
TEXT = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", TEXT, flags=re.MULTILINE | re.DOTALL))


def test_every_alarm_has_its_section_and_no_section_is_of_another() -> None:
    assert SECTIONS.keys() == ALARMS.keys()


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_names_its_section_which_says_what_it_means_what_to_look_at_and_what_to_do(
    name: str,
) -> None:
    assert ALARMS[name].endswith(f"Runbook, {name}.")
    for part in ("**Means:**", "**Look at:**", "**Do:**"):
        assert part in SECTIONS[name]


def states(definition: dict[str, Any]) -> set[str]:
    """The names of a machine's states, those inside of a map among them."""
    found = set(definition["States"])
    for state in definition["States"].values():
        found |= states(state["ItemProcessor"]) if "ItemProcessor" in state else set()
    return found


OF_MACHINES = {
    machine: states(json.loads((ROOT / "statemachine" / f"{machine}.asl.json").read_text()))
    for machine in MACHINES
}
# What a line of Lambda's log calls the version that wrote it; what the API answers to a fault of its own.
OF_AWS_AND_THE_API = {"FunctionVersion", "InternalError"}


def test_every_name_is_one_of_a_state_a_parameter_a_resource_a_function_or_an_error() -> None:
    resources = TEMPLATE["Resources"].keys()
    known = set().union(*OF_MACHINES.values(), TEMPLATE["Parameters"], resources, OF_AWS_AND_THE_API)
    known |= {name.removesuffix("Function") for name in resources if name.endswith("Function")}
    known |= {name for name, _ in inspect.getmembers(errors, inspect.isclass)}
    named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z]\w*)?)[`=]", TEXT))
    assert len(named) > 50
    assert named - known == set()


def test_states_are_told_under_the_machines_that_have_them() -> None:
    told = re.findall(r"^\| ([a-z, ]+) \| (.*?`\w+`.*?) \|", TEXT, flags=re.MULTILINE)
    assert len(told) > 15
    for machines, cell in told:
        meant = MACHINES if machines == "all" else machines.split(", ")
        among = set().union(*(OF_MACHINES[machine] for machine in meant))
        for name in re.findall(r"`(\w+)`", cell):
            assert name in among, f"{machines}: {name}"
