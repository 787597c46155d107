from __future__ import annotations

import json
import os
import subprocess

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError
from cli_stack import refusal

from dropforge_ops.errors import ExitCode, NotFound, Unreachable, from_aws
from dropforge_ops.stack.target import Options, Target, find_announced, resolve

ANNOUNCED = {
    "endpoint_url": "http://127.0.0.1:4567",
    "region": "us-east-1",
    "stack_name": "dropforge",
    "api_url": None,
    "console_url": None,
    "outputs": {"DataBucket": "b", "LedgerTable": "t", "TrainingStateMachine": "arn"},
}


def announce(folder, **changes):
    path = folder / ".dropforge" / "local.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**ANNOUNCED, "pid": os.getpid(), **changes}))
    return path


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch, tmp_path):
    """Neither credentials nor a configuration of this machine's user."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.fixture
def profile(tmp_path):
    (tmp_path / "credentials").write_text("[work]\naws_access_key_id=a\naws_secret_access_key=b\n")
    (tmp_path / "config").write_text("[profile work]\nregion=eu-west-1\n")


def test_finds_the_local_host_of_a_folder_above(tmp_path):
    announce(tmp_path)
    inner = tmp_path / "data" / "more"
    inner.mkdir(parents=True)
    target = resolve(Options(), folder=inner, env={})
    assert target.endpoint_url == "http://127.0.0.1:4567"
    assert target.is_local
    assert target.bucket == "b"
    assert target.caller.endswith("@localhost")


def test_a_stack_other_than_the_announced_one_is_looked_up(tmp_path):
    announce(tmp_path)
    target = resolve(Options(stack="other"), folder=tmp_path, env={})
    assert target.stack == "other"
    assert target.known_outputs == {}


@pytest.mark.usefixtures("profile")
def test_a_named_profile_or_region_wins_over_the_local_host(tmp_path):
    announce(tmp_path)
    for options, env in ((Options(profile="work"), {}), (Options(profile="work", region="us-west-2"), {})):
        target = resolve(options, folder=tmp_path, env=env)
        assert target.endpoint_url is None
        assert not target.is_local
        assert "AWS" in target.host


@pytest.mark.usefixtures("profile")
def test_the_profile_of_the_environment_wins_as_well(tmp_path, monkeypatch):
    announce(tmp_path)
    monkeypatch.setenv("AWS_PROFILE", "work")
    target = resolve(Options(), folder=tmp_path)
    assert target.endpoint_url is None
    assert target.session.region_name == "eu-west-1"


def test_an_endpoint_on_this_machine_needs_no_credentials(tmp_path):
    target = resolve(Options(endpoint_url="http://localhost:4566"), folder=tmp_path, env={})
    assert target.is_local
    assert target.client("s3").meta.endpoint_url == "http://localhost:4566"


def test_without_a_local_host_and_credentials_says_what_to_do(tmp_path):
    with pytest.raises(NoCredentialsError) as caught:
        resolve(Options(), folder=tmp_path, env={})
    error = from_aws(caught.value, "AWS")
    assert error.exit_code is ExitCode.UNREACHABLE
    assert "dropforge up" in str(error)


@pytest.fixture
def died(tmp_path):
    """A folder whose local host was killed."""
    process = subprocess.Popen(["true"])
    process.wait()
    announce(tmp_path, pid=process.pid)
    return tmp_path


@pytest.mark.usefixtures("profile")
@pytest.mark.parametrize("options", [Options(), Options(stack="other")])
def test_what_was_meant_for_a_host_that_has_died_does_not_go_to_aws(died, monkeypatch, options):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with pytest.raises(Unreachable, match=r"is gone.*dropforge up.*--profile or --region") as caught:
        resolve(options, folder=died, env=dict(os.environ))
    assert caught.value.exit_code is ExitCode.UNREACHABLE


@pytest.mark.usefixtures("profile")
def test_aws_that_is_named_is_found_beside_a_host_that_has_died(died):
    for options, env in ((Options(profile="work"), {}), (Options(profile="work", region="us-west-2"), {})):
        assert "AWS" in resolve(options, folder=died, env=env).host


def test_every_command_stops_with_the_exit_code_where_the_local_host_has_died(died, monkeypatch, dropforge):
    monkeypatch.chdir(died)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    for arguments in (["models"], ["approve", "1", "--yes"], ["teardown", "--yes", "--name", "dropforge"]):
        outcome = dropforge(*arguments)
        assert outcome.exit_code == ExitCode.UNREACHABLE, outcome.stderr
        assert "is gone" in outcome.stderr


def test_credentials_are_not_sent_where_an_announcement_leads_off_this_machine(tmp_path):
    announce(tmp_path, endpoint_url="http://198.51.100.7:80")
    with pytest.raises(Unreachable, match="not on this machine"):
        find_announced(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": "x"}'])
def test_says_so_when_the_announcement_is_damaged(tmp_path, text):
    path = announce(tmp_path)
    path.write_text(text)
    with pytest.raises(Unreachable, match=r"local\.json can't be read"):
        find_announced(tmp_path)


class CloudFormation:
    def __init__(self, answer):
        self.answer = answer

    def describe_stacks(self, StackName):
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"Stacks": [{"Outputs": self.answer}]}


def a_target(answer):
    session = boto3.Session(region_name="us-east-1")
    return Target("dropforge", session, None, {}, {"cloudformation": CloudFormation(answer)})


def test_reads_the_outputs_of_a_stack_on_aws():
    outputs = [{"OutputKey": name, "OutputValue": value} for name, value in ANNOUNCED["outputs"].items()]
    assert a_target(outputs).bucket == "b"


@pytest.mark.parametrize(
    "answer",
    [refusal("ValidationError", "Stack with id dropforge does not exist", "DescribeStacks"), []],
)
def test_a_missing_or_foreign_stack_is_not_found(answer):
    with pytest.raises(NotFound, match="--stack"):
        _ = a_target(answer).outputs


@pytest.mark.parametrize(
    ("error", "exit_code", "said"),
    [
        (refusal("AccessDeniedException", "not authorized", "GetItem"), ExitCode.UNREACHABLE, "credentials"),
        (refusal("ExpiredToken", "expired", "GetItem"), ExitCode.UNREACHABLE, "ExpiredToken"),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), ExitCode.UNREACHABLE, "doesn't answer"),
        (refusal("ValidationException", "too long", "UpdateModelPackage"), ExitCode.FAILED, "too long"),
    ],
)
def test_every_aws_error_has_an_exit_code_and_its_own_words(error, exit_code, said):
    found = from_aws(error, "the host")
    assert found.exit_code is exit_code
    assert said in str(found)


def test_a_host_that_does_not_answer_ends_a_command_with_its_code(dropforge):
    outcome = dropforge("models", "--endpoint-url", "http://127.0.0.1:1", "--json")
    assert outcome.exit_code == 4
    assert outcome.json["error"]["class"] == "Unreachable"


def test_debug_shows_where_an_error_came_from(dropforge, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "Traceback" not in dropforge("models").stderr
    outcome = dropforge("models", "--debug")
    assert outcome.exit_code == 4
    assert "Traceback" in outcome.stderr


def test_an_interrupted_command_ends_with_130(dropforge, monkeypatch):
    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("dropforge_ops.cli.invocation.resolve", interrupt)
    assert dropforge("models").exit_code == 130


@pytest.mark.parametrize("stacks", [[], [{"StackStatus": "CREATE_IN_PROGRESS", "Outputs": []}]])
def test_a_local_stack_that_is_still_being_deployed_is_waited_for(stacks):
    class CloudFormation:
        def describe_stacks(self, **_):
            return {"Stacks": stacks}

    session = type("Session", (), {"region_name": "us-east-1"})()
    target = Target("dropforge", session, "http://127.0.0.1:1", {}, {"cloudformation": CloudFormation()})
    with pytest.raises(NotFound, match="wait for its summary"):
        _ = target.outputs
