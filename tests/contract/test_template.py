"""The template against the code: substitutions, environments, logs, queues, limits and event patterns."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from botocore.session import get_session
from ministack.services.cloudformation import engine as cloudformation_engine
from tests.contract.state_machine import MACHINES, ROOT, source

from dropforge_local.template import load_template, resource_property
from dropforge_ops.actions import prediction_api
from dropforge_ops.cost.stack_template import read_stack_template

TEMPLATE = load_template(ROOT / "template.yaml")
RESOURCES = TEMPLATE["Resources"]
FUNCTIONS = {
    name: each["Properties"]
    for name, each in RESOURCES.items()
    if each["Type"] == "AWS::Serverless::Function"
}
RULES = {name: each["Properties"] for name, each in RESOURCES.items() if each["Type"] == "AWS::Events::Rule"}
# What every function gets: where the parts of the stack are, and what a library reads.
SHARED = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"].keys()
OF_LIBRARIES = {"OPENBLAS_NUM_THREADS", "POWERTOOLS_SERVICE_NAME"}
# Targets without a queue, and why nothing is lost.
WITHOUT_QUEUE = {"ReconcileSchedule": "the next one comes a quarter of an hour later"}


def folder(properties: dict[str, Any]) -> str:
    match = re.fullmatch(r"functions/(\w+)/", properties["CodeUri"])
    assert match
    return match[1]


def settings_of(function: str) -> dict[str, Any]:
    """The variables that the handler's settings read, with their types; none where it has no settings."""
    path = ROOT / "functions" / function / "app.py"
    if "class FunctionSettings" not in path.read_text():
        return {}
    spec = importlib.util.spec_from_file_location(f"contract_{function}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    hints = get_type_hints(module.FunctionSettings)
    return {name.upper(): hints[name] for name in module.FunctionSettings.__dataclass_fields__}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_gets_exactly_the_variables_that_it_reads(name):
    given = FUNCTIONS[name].get("Environment", {}).get("Variables", {}).keys()
    assert not given & SHARED
    assert given == settings_of(folder(FUNCTIONS[name])).keys() - SHARED - {"AWS_REGION"}


def test_what_every_function_gets_several_read():
    read = Counter(name for each in FUNCTIONS.values() for name in settings_of(folder(each)))
    assert {name for name in SHARED - OF_LIBRARIES if read[name] < 3} == set()


def test_a_function_takes_the_values_that_its_parameter_allows():
    seen = set()
    for properties in FUNCTIONS.values():
        for variable, kind in settings_of(folder(properties)).items():
            if get_origin(kind) is Literal:
                parameter = properties["Environment"]["Variables"][variable]["Ref"]
                assert list(get_args(kind)) == TEMPLATE["Parameters"][parameter]["AllowedValues"], variable
                seen.add(parameter)
    responses = {"DriftResponse", "QualityResponse"}
    assert seen == {"TrainingData", "LabelledPredictions", "WatchBatches", "EndpointMode"} | responses


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_a_description(name):
    assert FUNCTIONS[name]["Description"]


def test_no_state_gives_up_before_its_function_does():
    for machine in MACHINES:
        for name, state in json.loads(source(machine))["States"].items():
            arguments = state.get("Arguments", {})
            function = arguments.get("FunctionName", "") if isinstance(arguments, dict) else ""
            if function and not state["Resource"].endswith("waitForTaskToken"):
                timeout_s = resource_property(TEMPLATE, function[2:-1], "Timeout")
                assert state["TimeoutSeconds"] >= timeout_s, name


def lease_of(function):
    tree = ast.parse((ROOT / "functions" / function / "app.py").read_text())
    values = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return values["_LEASE_S"]


def test_the_endpoints_lease_is_as_long_as_what_it_is_held_for_may_take():
    assert lease_of("plan_deployment") == json.loads(source("deployment"))["TimeoutSeconds"]
    assert lease_of("retire_models") == resource_property(TEMPLATE, "RetireModelsFunction", "Timeout")


def test_a_run_waits_for_its_deployment_to_its_end():
    training, deployment = (json.loads(source(machine)) for machine in ("training", "deployment"))
    assert training["States"]["DeployModel"]["TimeoutSeconds"] >= deployment["TimeoutSeconds"]


def test_a_run_may_last_as_long_as_its_longest_approval_and_training():
    parameters = TEMPLATE["Parameters"]
    longest_s = parameters["ApprovalTimeoutDays"]["MaxValue"] * 86400
    # On Spot capacity twice as long at most, and then on demand.
    longest_s += 3 * parameters["TrainingMaxRuntimeSeconds"]["MaxValue"]
    assert json.loads(source("training"))["TimeoutSeconds"] >= longest_s


def test_events_that_cannot_be_delivered_wait_in_a_queue():
    targets = {name: target for name, each in RULES.items() for target in each["Targets"]}
    targets["Retrain"] = RESOURCES["TrainingStateMachineRetrain"]["Properties"]["Target"]
    targets["Watch"] = FUNCTIONS["WatchModelFunction"]["Events"]["Watch"]["Properties"]
    queue = {"Arn": {"Fn::GetAtt": ["UndeliveredEvents", "Arn"]}}
    assert {name for name, each in targets.items() if each.get("DeadLetterConfig") != queue} == set(
        WITHOUT_QUEUE
    )


def test_what_may_not_be_lost_is_retained():
    for name, each in RESOURCES.items():
        if each["Type"] in ("AWS::S3::Bucket", "AWS::DynamoDB::Table"):
            # What a deployment that failed has made holds nothing yet, and would stand in the next one's way.
            assert each["DeletionPolicy"] == "RetainExceptOnCreate", name
            assert each["UpdateReplacePolicy"] == "Retain", name


def test_an_arn_and_the_choice_of_key_and_boundary_are_written_once() -> None:
    """What else needs them repeats them by name, so that a change reaches every place."""
    text = (ROOT / "template.yaml").read_text(encoding="utf-8")
    choice = r"!If \[(?:HasKey|MakesKey|HasBoundary), (?!\{Effect)[^\]]+\]"
    written = re.findall(rf"!Sub \"arn:[^\"]+\"|{choice}", text)
    assert len(written) > 30
    assert [each for each, times in Counter(written).items() if times > 1] == []


def test_parameters_are_described_and_bounded():
    for name, each in TEMPLATE["Parameters"].items():
        assert each["Description"].endswith("."), name
        if each["Type"] == "Number":
            assert "MinValue" in each or "AllowedValues" in each, name
            assert "Default" in each, name


def test_parameters_stand_under_the_headings_of_their_groups() -> None:
    text = (ROOT / "template.yaml").read_text(encoding="utf-8")
    section = text.partition("\nParameters:\n")[2].partition("\nMappings:\n")[0]
    written: dict[str, list[str]] = {}
    for heading in re.split(r"(?:^|\n\n)  # ", section)[1:]:
        label, _, rest = heading.partition(".\n")
        written[label] = re.findall(r"^  (\w+):", rest, re.MULTILINE)
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert written == {group["Label"]["default"]: group["Parameters"] for group in groups}
    assert list(written) == [group["Label"]["default"] for group in groups]


# --- event patterns -----------------------------------------------------------------------------

_MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:dropforge"
_REFERENCES = {
    "ModelName": "model",
    "DataBucket": "dropforge-data-123456789012",
    "TrainingStateMachine": f"{_MACHINE}-training",
    "DeploymentStateMachine": f"{_MACHINE}-deployment",
    "BatchStateMachine": f"{_MACHINE}-batch",
}


_TYPES = {
    "TrainingInstanceTypes": "TrainingInstanceType",
    "BatchInstanceTypes": "TransformInstanceType",
    "EndpointInstanceType": "ProductionVariantInstanceType",
}


@pytest.mark.parametrize("parameter", _TYPES)
def test_instance_types_that_the_image_cannot_run_on_are_refused(parameter: str) -> None:
    """Graviton's families have a g behind their number, and Grace's; the image is x86_64."""
    pattern = re.compile(TEMPLATE["Parameters"][parameter]["AllowedPattern"])
    known = get_session().get_service_model("sagemaker").shape_for(_TYPES[parameter]).enum
    arm = {each for each in known if re.match(r"ml\.(?:[a-z]+[0-9]g|p6e-gb)", each)}
    assert {each for each in known if not pattern.fullmatch(each)} == arm
    assert not pattern.fullmatch("ml.m6g.large")
    assert pattern.fullmatch("ml.g4dn.xlarge")


@pytest.mark.parametrize(("days", "prefixes"), [("0", []), ("30", ["batch/", "incoming/"])])
def test_drops_expire_where_that_is_wanted_and_can_be_brought_back_for_a_week(
    days: str, prefixes: list[str]
) -> None:
    template = read_stack_template(ROOT, {"TargetColumn": "y", "DropRetentionDays": days})
    rules = template.resources("AWS::S3::Bucket")["DataBucket"]["LifecycleConfiguration"]["Rules"]
    expiring = {rule["Prefix"]: rule for rule in rules if rule.get("Id") in ("Drops", "Batches")}
    assert sorted(expiring) == prefixes
    for rule in expiring.values():
        assert int(rule["ExpirationInDays"]) == 30
        assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 7}


def test_training_on_all_drops_refuses_that_drops_expire() -> None:
    rule = TEMPLATE["Rules"]["AllDropsNeedAllDrops"]
    assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "TrainingData"}, "all-drops"]}
    (assertion,) = rule["Assertions"]
    assert assertion["Assert"] == {"Fn::Equals": [{"Ref": "DropRetentionDays"}, 0]}


REAL_TIME = {"EndpointMode": "real-time"}
SUBNETS = {"SubnetIds": "subnet-0a1b2c3d,subnet-0a1b2c3e"}
GROUPS = {"SecurityGroupIds": "sg-0a1b2c3d"}


@pytest.mark.parametrize(
    ("parameters", "refused"),
    [
        ({}, None),
        (REAL_TIME, None),
        ({**REAL_TIME, **SUBNETS, **GROUPS}, None),
        ({**REAL_TIME, **SUBNETS}, "SubnetIds and SecurityGroupIds need each other"),
        (GROUPS, "SubnetIds and SecurityGroupIds need each other"),
        ({**SUBNETS, **GROUPS}, "no serverless endpoint into a VPC"),
    ],
)
def test_a_vpc_needs_subnets_security_groups_and_a_real_time_endpoint(
    parameters: Mapping[str, str], refused: str | None
) -> None:
    declared = TEMPLATE["Parameters"]
    values = {
        name: {"Value": parameters.get(name, str(each.get("Default", "y")))}
        for name, each in declared.items()
    }
    with pytest.raises(ValueError, match=refused) if refused else contextlib.nullcontext():
        cloudformation_engine._evaluate_rules(TEMPLATE, values, {})


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("SubnetIds", ["", "subnet-0a1b2c3d", ",".join(["subnet-0123456789abcdef0"] * 16)],
         ["vpc-0a1b2c3d", "subnet-0a1b2c3d, subnet-0a1b2c3e", ",".join(["subnet-0a1b2c3d"] * 17)]),
        ("SecurityGroupIds", ["", "sg-0a1b2c3d", ",".join(["sg-0123456789abcdef0"] * 5)],
         ["subnet-0a1b2c3d", "sg-0a1b2c3d;sg-0a1b2c3e", ",".join(["sg-0a1b2c3d"] * 6)]),
    ],
)  # fmt: skip
def test_ids_of_a_vpc_are_as_many_as_sagemaker_takes(name: str, good: list[str], bad: list[str]) -> None:
    pattern = TEMPLATE["Parameters"][name]["AllowedPattern"]
    assert all(re.fullmatch(pattern, each) for each in good)
    assert not any(re.fullmatch(pattern, each) for each in bad)


@pytest.mark.parametrize("name", ["MinimumPrecision", "MinimumRecall"])
def test_a_minimum_that_no_share_can_reach_is_refused_before_anything_is_deployed(name: str) -> None:
    pattern = re.compile(TEMPLATE["Parameters"][name]["AllowedPattern"])
    assert all(pattern.fullmatch(each) for each in ("", "0.05", "0.9", "1", "1.0"))
    assert not any(pattern.fullmatch(each) for each in ("0", "0.0", "1.5", "1.01", "50", "-0.1", ".5", "90%"))


@pytest.mark.parametrize("name", ["FalsePositiveCost", "FalseNegativeCost"])
def test_an_error_that_costs_nothing_is_refused_before_anything_is_deployed(name: str) -> None:
    pattern = re.compile(TEMPLATE["Parameters"][name]["AllowedPattern"])
    assert all(pattern.fullmatch(each) for each in ("", "1", "50", "010", "0.25", "12.50", "100.0"))
    assert not any(pattern.fullmatch(each) for each in ("0", "0.0", "00.00", "-1", "free", ".5", "1e3"))


@pytest.mark.parametrize(
    "name", [name for name, each in TEMPLATE["Parameters"].items() if "AllowedPattern" in each]
)
def test_what_a_parameter_may_be_is_said_in_words_and_its_default_is_allowed(name: str) -> None:
    declared = TEMPLATE["Parameters"][name]
    assert declared["ConstraintDescription"].startswith("must be ")
    assert declared["ConstraintDescription"].endswith(".")
    assert re.fullmatch(declared["AllowedPattern"], str(declared["Default"]))


def test_whoever_sets_costs_and_minima_is_told_how_to_empty_either() -> None:
    rules = [
        TEMPLATE["Rules"][name] for name in ("FalsePositivesHaveTheirCost", "FalseNegativesHaveTheirCost")
    ]
    for rule in rules:
        said = rule["Assertions"][1]["AssertDescription"]
        for name in ("MinimumPrecision", "MinimumRecall", "FalsePositiveCost", "FalseNegativeCost"):
            assert f"{name}= " in f"{said} ".replace(".", " ")


def matches(pattern: Any, value: Any) -> bool:
    """EventBridge's matching, of the parts that the template uses."""
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(
            name in value and matches(each, value[name]) for name, each in pattern.items()
        )
    found = value if isinstance(value, list) else [value]
    return any(_matches_one(wanted, each) for wanted in pattern for each in found)


def _matches_one(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, dict):
        if "Ref" in wanted:
            return bool(_REFERENCES[wanted["Ref"]] == value)
        return str(value).startswith(wanted["prefix"])
    return bool(wanted == value)


PATTERNS = {name: each["EventPattern"] for name, each in RULES.items() if "EventPattern" in each}


def event(name: str) -> Any:
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("s3_object_created", "TrainingStateMachineDrop"),
        ("s3_object_created_batch", "BatchStateMachineBatch"),
        ("model_package_approved", "DecisionRule"),
        ("model_package_rejected", "DecisionRule"),
        ("execution_status_change", "BrokenExecutionRule"),
    ],
)
def test_an_event_is_matched_by_its_rule_and_no_other(name, rule):
    assert [each for each, pattern in PATTERNS.items() if matches(pattern, event(name))] == [rule]


@pytest.mark.parametrize(
    ("name", "rule", "path", "value"),
    [
        ("s3_object_created", "TrainingStateMachineDrop", ("object", "key"), "runs/x/manifest.json"),
        ("s3_object_created", "TrainingStateMachineDrop", ("object", "key"), "incoming"),
        ("s3_object_created", "TrainingStateMachineDrop", ("bucket", "name"), "another"),
        ("s3_object_created_batch", "BatchStateMachineBatch", ("object", "key"), "batch/out/x.csv"),
        ("model_package_approved", "DecisionRule", ("ModelPackageGroupName",), "another"),
        ("model_package_approved", "DecisionRule", ("ModelApprovalStatus",), "PendingManualApproval"),
        ("model_package_approved", "DecisionRule", ("UpdatedModelPackageFields",), ["ModelLifeCycle"]),
        ("execution_status_change", "BrokenExecutionRule", ("status",), "SUCCEEDED"),
        ("execution_status_change", "BrokenExecutionRule", ("stateMachineArn",), f"{_MACHINE}-another"),
    ],
)
def test_other_events_are_not_matched(name, rule, path, value):
    changed = event(name)
    holder = changed["detail"]
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    assert not matches(PATTERNS[rule], changed)


WATCH = FUNCTIONS["WatchModelFunction"]["Events"]["Watch"]["Properties"]
RETRAIN = RESOURCES["TrainingStateMachineRetrain"]["Properties"]


def test_the_schedules_start_with_the_example_inputs():
    assert json.loads(RETRAIN["Target"]["Input"]) == event("schedule")
    assert json.loads(WATCH["Input"]).keys() == event("watch_model").keys()


def test_two_stacks_of_an_account_have_a_schedule_each():
    # Without it SAM names a schedule after function and event, without the stack.
    assert WATCH["OmitName"] is True
    assert "Name" not in RETRAIN


def test_the_command_line_calls_the_alias_that_the_api_calls() -> None:
    function = FUNCTIONS[prediction_api.FUNCTION]
    assert function["AutoPublishAlias"] == prediction_api.ALIAS
