"""What `make deploy` passes to `sam deploy`."""

from __future__ import annotations

import pytest
from scripts.deploy_parameters import ROOT, merged

from dropforge_local.template import load_template


def test_given_parameters_win_and_the_environments_stay():
    assert merged("dev", ["TargetColumn=y", "LogRetentionDays=1"]) == [
        "ModelName=dev",
        "LogRetentionDays=1",
        "RetireGraceHours=1",
        "Dashboard=false",
        "TargetColumn=y",
    ]


@pytest.mark.parametrize(("environment", "given"), [("nowhere", []), ("dev", ["TargetColumn"])])
def test_refuses_what_is_no_environment_or_no_parameter(environment, given):
    with pytest.raises(ValueError, match=r"samconfig|Name=value"):
        merged(environment, given)


@pytest.mark.parametrize("environment", ["default", "dev", "stage", "prod"])
def test_environments_name_parameters_of_the_template(environment):
    known = load_template(ROOT / "template.yaml")["Parameters"]
    assert {each.partition("=")[0] for each in merged(environment, [])} <= known.keys()
