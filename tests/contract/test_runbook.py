"""The runbook has a section for each alarm of the template, and each alarm names its section."""

from __future__ import annotations

import re

import pytest
from tests.contract.state_machine import ROOT

from dropforge_local.template import load_template

ALARMS = {
    name: each["Properties"]["AlarmDescription"]
    for name, each in load_template(ROOT / "template.yaml")["Resources"].items()
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
