from __future__ import annotations

from dataclasses import replace

import pytest
from botocore.exceptions import EndpointConnectionError
from cli_services import ALARMS, TOPIC, complete
from cli_stack import CONTRACT, a_stack, refusal
from tests.command_line import invoke
from urllib3.exceptions import NewConnectionError

from dropforge.application.predict_refusals import unknown_caller
from dropforge.domain.records import Approval
from dropforge.ledger_table.reader import LedgerReader
from dropforge_local.sagemaker import container
from dropforge_ops.health import api as api_health
from dropforge_ops.health import machine
from dropforge_ops.stack.target import Target

INSTANCE = "ml.m5.large"
USES = ("training job usage", "transform job usage", "endpoint usage")
SERVERLESS = "Maximum total concurrency that can be allocated across all serverless endpoints"


class Session:
    region_name = "us-east-1"


@pytest.fixture(scope="module")
def deployed(aws, ledger_resource):
    """One stack with a live version for all: a check changes nothing."""
    made = a_stack(aws, ledger_resource)
    made.lives(1)
    return made


@pytest.fixture
def stack(deployed):
    """The stack as `deployed` left it, with fakes of its own."""
    given = deployed.target
    deployed.target = Target(given.stack, None, given.endpoint_url, given.known_outputs, dict(given._clients))
    yield complete(deployed)
    deployed.target = given


@pytest.fixture
def whole(stack, monkeypatch):
    """A stack with nothing wrong, on a machine with every tool."""
    monkeypatch.setattr(machine, "said_by", lambda command: "1.2.3")
    monkeypatch.setattr(api_health, "answer", lambda method, url: (403, "INVALID_API_KEY"))
    live = stack.ledger.live()
    found = {"EndpointStatus": "InService", "EndpointConfigName": live.endpoint_config}
    stack.sagemaker.describe_endpoint = lambda **_: found
    stack.sfn.describe_state_machine = lambda **_: {"status": "ACTIVE"}
    stack.write("contract/schema.json", CONTRACT.to_json().encode())
    return stack


@pytest.fixture
def on_aws(whole):
    """The same on AWS."""
    object.__setattr__(whole.target, "endpoint_url", None)
    object.__setattr__(whole.target, "session", Session())
    whole.target.client("cloudformation").parameters |= {
        "TrainingInstanceTypes": f"{INSTANCE},ml.m4.xlarge",
        "BatchInstanceTypes": INSTANCE,
        "EndpointMode": "serverless",
    }
    values = {f"{INSTANCE} for {use}": 1.0 for use in USES} | {SERVERLESS: 5.0}
    give_quotas(whole, values)
    return whole


def give_quotas(stack, values):
    listed = [
        {"QuotaName": name, "QuotaCode": f"L-{number:08X}", "Value": value}
        for number, (name, value) in enumerate(values.items())
    ]
    stack.target.client("service-quotas").answers["list_service_quotas"] = {"Quotas": listed}


def findings(outcome):
    return {each["check"]: each for each in outcome.json["checks"]}


def test_a_local_host_without_faults_is_healthy_and_says_what_does_not_apply(whole, on_stack):
    outcome = on_stack("doctor")
    assert outcome.exit_code == 0, outcome.stdout
    assert "CREATE_COMPLETE" in outcome.stdout
    assert "does not apply to the local host" in outcome.stdout
    assert "fail" not in outcome.stdout


def test_json_has_a_line_per_check_with_its_remedy(on_aws, on_stack):
    outcome = on_stack("doctor", "--json")
    assert outcome.exit_code == 0, outcome.stdout
    document = outcome.json
    assert document["healthy"] is True
    assert document["counts"]["fail"] == 0
    found = findings(outcome)
    assert {each["status"] for each in found.values()} == {"ok"}
    assert found["credentials"]["detail"].endswith("user/alice")
    assert found["quota for training"]["detail"] == "ml.m5.large: 1, ml.m4.xlarge: 0"
    assert found["image"]["detail"].startswith("scikit-learn")


def test_a_quota_of_nought_fails_before_a_job_waits_for_ever(on_aws, on_stack):
    give_quotas(on_aws, {SERVERLESS: 5.0, f"{INSTANCE} for transform job usage": 1.0})
    outcome = on_stack("doctor", "--json")
    assert outcome.exit_code == 1
    assert findings(outcome)["quota for training"]["status"] == "fail"
    assert (
        "request-service-quota-increase --service-code sagemaker"
        in (findings(outcome)["quota for training"]["remedy"])
    )
    assert outcome.json["error"]["exit_code"] == 1


def test_the_request_to_make_names_the_quotas_code(on_aws, on_stack):
    give_quotas(on_aws, {f"{INSTANCE} for training job usage": 0.0, SERVERLESS: 5.0})
    found = findings(on_stack("doctor", "--json"))
    assert "--quota-code L-00000000 --desired-value 1" in found["quota for training"]["remedy"]


def test_a_quota_that_only_batches_need_is_no_fault_of_a_stack_without_them(on_aws, on_stack):
    give_quotas(on_aws, {SERVERLESS: 5.0, f"{INSTANCE} for training job usage": 1.0})
    outcome = on_stack("doctor", "--json")
    assert outcome.exit_code == 0
    assert findings(outcome)["quota for batches"]["status"] == "warn"


def test_several_instances_need_a_quota_of_as_many(on_aws, on_stack):
    on_aws.target.client("cloudformation").parameters["TrainingInstanceCount"] = "3"
    for quota, status in ((2.0, "fail"), (3.0, "ok")):
        give_quotas(on_aws, {SERVERLESS: 5.0, f"{INSTANCE} for training job usage": quota})
        found = findings(on_stack("doctor", "--json"))["quota for training"]
        assert found["status"] == status
        assert status == "ok" or "--desired-value 3" in found["remedy"]


def test_a_missing_quota_of_spot_capacity_is_a_warning_because_runs_go_on_demand(on_aws, on_stack):
    on_demand = {SERVERLESS: 5.0, f"{INSTANCE} for training job usage": 1.0}
    on_aws.target.client("cloudformation").parameters["TrainingSpot"] = "2"
    give_quotas(on_aws, on_demand)
    outcome = on_stack("doctor", "--json")
    found = findings(outcome)["quota for training on Spot capacity"]
    assert (outcome.exit_code, found["status"]) == (0, "warn")
    assert "train on demand" in found["remedy"]
    give_quotas(on_aws, on_demand | {f"{INSTANCE} for spot training job usage": 1.0})
    found = findings(on_stack("doctor", "--json"))
    assert found["quota for training on Spot capacity"]["status"] == "ok"


def test_a_new_accounts_functions_are_compared_with_the_chunks_at_once(on_aws, on_stack):
    on_aws.target.client("lambda").concurrency = 10
    parameters = on_aws.target.client("cloudformation").parameters
    parameters["ScaleOutConcurrency"] = "5"
    assert findings(on_stack("doctor", "--json"))["Lambda quota"]["status"] == "ok"
    parameters["ScaleOutConcurrency"] = "40"
    found = findings(on_stack("doctor", "--json"))["Lambda quota"]
    assert found["status"] == "warn"
    assert "need 45" in found["detail"]
    assert "--quota-code L-B99A9384 --desired-value 1000" in found["remedy"]
    assert "ScaleOutConcurrency=5" in found["remedy"]


@pytest.mark.parametrize("mode", ["real-time", "asynchronous"])
def test_an_endpoint_with_instances_needs_the_quota_of_their_type(on_aws, on_stack, mode):
    on_aws.target.client("cloudformation").parameters |= {
        "EndpointMode": mode,
        "EndpointInstanceType": "ml.t2.medium",
    }
    found = findings(on_stack("doctor", "--json"))["quota for the endpoint"]
    assert (found["status"], found["detail"]) == ("fail", "ml.t2.medium for endpoint usage: 0")


def test_quotas_that_may_not_be_read_are_a_warning(on_aws, on_stack):
    denied = refusal("AccessDeniedException", "not authorized", "ListServiceQuotas")
    on_aws.target.client("service-quotas").answers["list_service_quotas"] = denied
    on_aws.target.client("lambda").concurrency = 3
    outcome = on_stack("doctor", "--json")
    assert outcome.exit_code == 0
    assert findings(outcome)["SageMaker quotas"]["status"] == "warn"
    assert findings(outcome)["Lambda quota"]["status"] == "warn"


def test_a_region_without_an_image_fails(on_aws, on_stack, monkeypatch):
    monkeypatch.setattr(Session, "region_name", "mars-north-1")
    assert findings(on_stack("doctor", "--json"))["image"]["status"] == "fail"
    on_aws.target.client("cloudformation").parameters["TrainingImageUri"] = "my/image:1"
    assert findings(on_stack("doctor", "--json"))["image"]["status"] == "ok"


def test_a_region_without_serverless_inference_fails_for_serverless_endpoints(on_aws, on_stack, monkeypatch):
    parameters = on_aws.target.client("cloudformation").parameters
    for mode, status in (("serverless", "ok"), ("real-time", "ok")):
        parameters["EndpointMode"] = mode
        assert findings(on_stack("doctor", "--json"))["endpoint mode"]["status"] == status
    monkeypatch.setattr(Session, "region_name", "eu-south-2")
    for mode, status in (("serverless", "fail"), ("real-time", "ok")):
        parameters["EndpointMode"] = mode
        assert findings(on_stack("doctor", "--json"))["endpoint mode"]["status"] == status


def test_an_unconfirmed_mail_and_nobody_at_all_are_warnings(on_aws, on_stack):
    waiting = {"SubscriptionArn": "PendingConfirmation", "Endpoint": "team@example.com"}
    topic = on_aws.target.client("sns").answers
    topic["list_subscriptions_by_topic"] = {"Subscriptions": [waiting]}
    found = findings(on_stack("doctor", "--json"))["notifications"]
    assert (found["status"], found["detail"]) == ("warn", "not confirmed by team@example.com")
    topic["list_subscriptions_by_topic"] = {"Subscriptions": []}
    assert "nobody hears" in findings(on_stack("doctor", "--json"))["notifications"]["detail"]


def test_a_raised_alarm_names_its_section_of_the_runbook(whole, on_stack):
    alarms = whole.target.client("cloudwatch")
    alarms.states["DriftAlarm"] = "ALARM"
    found = findings(on_stack("doctor", "--json"))["alarms"]
    assert (found["status"], found["remedy"]) == ("warn", "See docs/runbook.md#driftalarm.")
    alarms.states = {ALARMS[0]: "OK"}
    assert findings(on_stack("doctor", "--json"))["alarms"]["detail"] == f"{ALARMS[1]} is gone"


def test_an_alarm_that_notifies_nobody_is_a_warning(whole, on_stack, monkeypatch):
    monkeypatch.setitem(whole.target.known_outputs, "NotificationTopic", f"{TOPIC}-of-another-stack")
    assert "notifies nobody" in on_stack("doctor").stdout


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"ApiAuth": "cognito", "UserPoolArn": ""}, "UserPoolArn is empty"),
        ({"WindowsToAlarm": "4", "WindowsConsidered": "3"}, "no alarm can go off"),
        ({"WatchSchedule": "rate(1 day)", "WatchWindowHours": "1"}, "watched not at all"),
        ({"WatchSchedule": "rate(30 minutes)", "WatchWindowHours": "1"}, "watched twice"),
        ({"WatchScheduleState": "DISABLED"}, "nothing is watched"),
    ],
)
def test_parameters_that_contradict_each_other_are_named(whole, on_stack, parameters, said):
    whole.target.client("cloudformation").parameters |= parameters
    found = findings(on_stack("doctor", "--json"))["parameters"]
    assert found["status"] == "warn"
    assert said in found["detail"]


def test_a_contract_of_other_columns_than_the_parameters_fails(whole, on_stack):
    whole.target.client("cloudformation").parameters["TargetColumn"] = "cultivar"
    found = findings(on_stack("doctor", "--json"))["contract"]
    assert found["status"] == "fail"
    assert "TargetColumn is 'cultivar', the contract says 'diagnosis'" in found["detail"]
    whole.target.client("cloudformation").parameters |= {"TargetColumn": "diagnosis", "SplitColumn": "day"}
    found = findings(on_stack("doctor", "--json"))["contract"]
    assert found["status"] == "fail"
    assert "SplitColumn is 'day', which is no column of the contract" in found["detail"]
    whole.write("contract/schema.json", b"{}")
    assert findings(on_stack("doctor", "--json"))["contract"]["status"] == "fail"


@pytest.mark.parametrize(
    ("described", "status"),
    [
        ({"EndpointStatus": "Failed", "EndpointConfigName": "x"}, "fail"),
        ({"EndpointStatus": "Updating", "EndpointConfigName": "x"}, "warn"),
        ({"EndpointStatus": "InService", "EndpointConfigName": "another"}, "fail"),
    ],
)
def test_an_endpoint_that_does_not_serve_what_is_live_is_found(whole, on_stack, described, status):
    whole.sagemaker.describe_endpoint = lambda **_: described
    assert findings(on_stack("doctor", "--json"))["endpoint"]["status"] == status


def test_an_endpoint_that_is_gone_fails_with_the_way_back(whole, on_stack):
    def gone(**_):
        raise refusal("ValidationException", 'Could not find endpoint "model"', "DescribeEndpoint")

    whole.sagemaker.describe_endpoint = gone
    found = findings(on_stack("doctor", "--json"))["endpoint"]
    assert (found["status"], "dropforge rollback 1" in found["remedy"]) == ("fail", True)


@pytest.mark.parametrize(
    ("state", "status"),
    [("UPDATE_IN_PROGRESS", "warn"), ("UPDATE_ROLLBACK_COMPLETE", "warn"), ("ROLLBACK_FAILED", "fail")],
)
def test_the_stacks_state_is_judged(whole, on_stack, state, status):
    whole.target.client("cloudformation").status = state
    assert findings(on_stack("doctor", "--json"))["stack"]["status"] == status


def test_without_a_stack_the_rest_is_still_checked(whole, on_stack):
    whole.target.client("cloudformation").status = None
    outcome = on_stack("doctor", "--json")
    assert outcome.exit_code == 0
    assert findings(outcome)["stack"]["status"] == "warn"
    assert findings(outcome)["alarms"]["status"] == "skip"
    assert on_stack("doctor", "--stack", "other").exit_code == 1


def test_without_credentials_the_machine_is_still_checked(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "said_by", lambda command: None)
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    result = invoke(["doctor"])
    assert result.exit_code == 1
    assert "No AWS credentials" in result.stdout
    assert "1 of " in result.stderr
    assert "uv " in result.stdout


@pytest.mark.parametrize(
    ("platform", "refused", "status", "said"),
    [
        ("linux", False, "ok", "an /opt/ml of their own"),
        ("linux", True, "ok", "find /opt/ml under ML_ROOT"),
        ("darwin", True, "skip", "Linux only"),
    ],
)
def test_what_the_local_hosts_containers_get_is_told(
    whole, on_stack, monkeypatch, platform, refused, status, said
):
    monkeypatch.setattr(container, "has_namespaces", lambda _python: not refused)
    monkeypatch.setattr(machine.sys, "platform", platform)
    found = findings(on_stack("doctor", "--json"))["containers"]
    assert (found["status"], said in found["detail"]) == (status, True)


def test_where_aws_does_not_answer_nothing_else_is_asked(on_aws, on_stack, monkeypatch):
    asked = []

    def unreachable():
        asked.append("sts")
        raise EndpointConnectionError(endpoint_url="https://sts.us-east-1.amazonaws.com/")

    monkeypatch.setattr(on_aws.target.client("sts"), "get_caller_identity", unreachable, raising=False)
    for name in on_aws.target._clients.keys() - {"sts"}:
        del on_aws.target._clients[name]
    outcome = on_stack("doctor", "--json")
    assert outcome.exit_code == 1
    assert "doesn't answer" in findings(outcome)["credentials"]["detail"]
    after = [each["check"] for each in outcome.json["checks"]].index("credentials") + 1
    assert {each["status"] for each in outcome.json["checks"][after:]} == {"skip"}
    assert asked == ["sts"]


@pytest.mark.parametrize(
    ("answered", "said"),
    [
        ((200, ""), "answered with 200"),
        ((409, "NoLiveModel"), "answered with 409"),
        ((415, "UnsupportedMediaType"), "answered with 415"),
        ((429, "THROTTLED"), "answered with 429"),
        ((403, api_health.FUNCTION_REFUSED), "only the function refuses"),
    ],
)
@pytest.mark.parametrize("closed", api_health.CLOSED)
def test_one_operation_that_is_open_fails(whole, on_stack, monkeypatch, closed, answered, said):
    method, path = closed

    def answer(asked, url):
        return answered if (asked, url.endswith(path)) == (method, True) else (401, "UNAUTHORIZED")

    monkeypatch.setattr(api_health, "answer", answer)
    outcome = on_stack("doctor", "--json")
    found = findings(outcome)["API"]
    assert (outcome.exit_code, found["status"]) == (1, "fail")
    assert f"{method} {path}" in found["detail"]
    assert said in found["detail"]


def test_an_api_that_is_broken_or_does_not_answer_fails(whole, on_stack, monkeypatch):
    monkeypatch.setattr(api_health, "answer", lambda method, url: (502, ""))
    assert "answers 502" in findings(on_stack("doctor", "--json"))["API"]["detail"]

    def nobody(method, url):
        raise NewConnectionError(None, "refused")

    monkeypatch.setattr(api_health, "answer", nobody)
    assert "doesn't answer" in findings(on_stack("doctor", "--json"))["API"]["detail"]


def test_the_functions_own_refusal_is_the_one_that_is_known():
    assert unknown_caller("iam").kind == api_health.FUNCTION_REFUSED


def test_a_rejected_version_that_still_serves_is_a_warning(whole, on_stack, monkeypatch):
    live = whole.ledger.live()
    rejected = replace(whole.ledger.get_model(live.version), approval=Approval.REJECTED)
    monkeypatch.setattr(LedgerReader, "get_model", lambda self, version: rejected)
    found = findings(on_stack("doctor", "--json"))["endpoint"]
    assert (found["status"], found["detail"]) == ("warn", "version 1 is rejected, still serving")
    assert "approve another version" in found["remedy"]
