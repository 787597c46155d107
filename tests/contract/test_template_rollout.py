"""New versions of the predict function are rolled out behind an alias, and taken back by an alarm."""

from __future__ import annotations

import pytest
from tests.contract.test_template import RESOURCES, TEMPLATE

from dropforge.domain.cloudwatch_metrics import BY_VERSION, SERVER_ERRORS

PREDICT = RESOURCES["PredictFunction"]["Properties"]


def test_the_api_calls_the_alias_that_is_rolled_out():
    assert PREDICT["AutoPublishAlias"] == "live"
    paths = RESOURCES["PredictionApi"]["Properties"]["DefinitionBody"]["paths"]
    for methods in paths.values():
        for operation in methods.values():
            if "Fn::If" not in operation:
                uri = operation["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]
                assert uri.endswith("/functions/${PredictFunction.Arn}:live/invocations")
    permission = RESOURCES["PredictPermission"]["Properties"]
    assert permission["FunctionName"] == {"Ref": "PredictFunction.Alias"}


@pytest.mark.parametrize("name", ["PredictErrorsAlarm", "PredictReleaseAlarm"])
def test_a_rollout_goes_back_when_the_new_version_fails_or_answers_that_it_does(name):
    stepwise, at_once = PREDICT["DeploymentPreference"]["Alarms"]["Fn::If"][1:]
    assert {"Ref": name} in stepwise
    assert at_once == [{"Ref": "PredictErrorsAlarm"}]
    alarm = RESOURCES[name]["Properties"]
    # It has to go off within the five minutes of the shortest canary.
    assert alarm["Period"] * alarm["EvaluationPeriods"] <= 60
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Sum", 0)


def test_each_alarm_looks_at_what_is_rolled_out_and_at_nothing_else():
    def dimensions(name):
        return {each["Name"]: each["Value"] for each in RESOURCES[name]["Properties"]["Dimensions"]}

    assert dimensions("PredictErrorsAlarm")["Resource"] == {"Fn::Sub": "${PredictFunction}:live"}
    release = dimensions("PredictReleaseAlarm")
    assert tuple(release) == BY_VERSION
    assert release["FunctionName"] == {"Ref": "PredictFunction"}
    assert release["FunctionVersion"] == {"Fn::GetAtt": ["PredictFunction", "Version.Version"]}
    assert RESOURCES["PredictReleaseAlarm"]["Properties"]["MetricName"] == SERVER_ERRORS
    assert RESOURCES["PredictReleaseAlarm"]["Condition"] == "RollsOutInSteps"


def test_a_new_layer_or_a_new_parameter_makes_a_new_version_too():
    assert PREDICT["AutoPublishAliasAllProperties"] is True
    assert PREDICT["AutoPublishCodeSha256"] == {"Ref": "Release"}
    assert RESOURCES["CoreLayer"]["Properties"]["PublishLambdaVersion"] is True


def test_a_budget_is_made_only_with_a_limit_and_somebody_to_tell():
    condition = TEMPLATE["Conditions"]["HasBudget"]["Fn::And"]
    assert {"Condition": "HasEmail"} in condition
    assert TEMPLATE["Parameters"]["MonthlyBudgetUSD"]["Default"] == 0
    assert RESOURCES["MonthlyBudget"]["Condition"] == "HasBudget"
