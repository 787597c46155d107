"""Every handler on its example event: an answer that is JSON, and twice the same end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from moto.s3.models import s3_backends
from tests.fakes.aws_clients import BotoDynamoDb, SageMakerClient, SageMakerRuntimeClient, StepFunctionsClient
from tests.fakes.functions import event, load
from tests.mocked_aws import create_table, mocked_aws
from tests.unit.judging.test_judge_model_use_case import model_archive, output_archive

from dropforge import bootstrap
from dropforge.adapters.sigv4_http_services import DynamoDbHttp
from dropforge.domain.errors import InvalidSettings
from dropforge.domain.ports import ObjectRef
from dropforge.domain.records import Approval, LockName, RunStatus
from dropforge.domain.triggers import parse_trigger
from dropforge_local.template import load_template

ROOT = Path(__file__).parents[3]
TEMPLATE = load_template(ROOT / "template.yaml")
FUNCTIONS = sorted(path.parent.name for path in ROOT.glob("functions/*/app.py"))
TRIGGERS = (
    "predict_answer",
    "predict_records",
    "s3_object_created",
    "s3_object_created_batch",
    "schedule",
    "manual",
    "follow_up",
    "replay",
    "model_package_approved",
    "model_package_rejected",
    "execution_status_change",
    "alarm_drift",
    "alarm_quality",
)
WITHOUT_SETTINGS = ("smoke_test",)
TABLE = "ledger"
PREDICTIONS = "predictions"
_MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:dropforge"
ENVIRONMENT = {
    "LEDGER_TABLE": TABLE,
    "TRAINING_MACHINE_ARN": f"{_MACHINE}-training",
    "DEPLOYMENT_MACHINE_ARN": f"{_MACHINE}-deployment",
    "BATCH_MACHINE_ARN": f"{_MACHINE}-batch",
    "BATCH_FILES_AT_ONCE": "10",
    "UNDELIVERED_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/undelivered",
    "MODEL_NAME": "model",
    "TRAINING_MAX_RUNTIME_S": "3600",
    "TRAINING_INSTANCE_COUNT": "1",
    "TRAINING_SPOT": "0",
    "TUNING_TRIALS": "0",
    "TUNING_MINUTES": "30",
    "TRAINING_INSTANCE_TYPES": "ml.m5.large,ml.m4.xlarge",
    "TRAINING_DATA": "new-drops",
    "TRAINING_WINDOW_DAYS": "0",
    "TRAINING_IMAGE": "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.9-0-cpu-py3",
    "PACKAGE_GROUP": "model",
    "ENDPOINT_NAME": "model",
    "TARGET_COLUMN": "diagnosis",
    "ID_COLUMN": "",
    "GROUP_COLUMN": "",
    "SPLIT_COLUMN": "",
    "POSITIVE_CLASS": "",
    "FALSE_POSITIVE_COST": "",
    "FALSE_NEGATIVE_COST": "",
    "MINIMUM_PRECISION": "",
    "MINIMUM_RECALL": "",
    "GUARDED_COLUMNS": "",
    "LEAKAGE": "report",
    "TASK_TYPE": "auto",
    "MAXIMUM_REJECT_RATE": "0.05",
    "MINIMUM_ROWS": "50",
    "SCALE_OUT_MEGABYTES": "2000",
    "SCALE_OUT_CHUNK_MEGABYTES": "256",
    "QUALITY_METRIC": "auto",
    "QUALITY_THRESHOLD": "auto",
    "CHAMPION_TOLERANCE": "0.01",
    "MINIMUM_HOLDOUT_ROWS": "10",
    "SMALL_GUARDED_SLICES": "report",
    "APPROVAL_TIMEOUT_DAYS": "7",
    "APPROVAL_REMINDER_HOURS": "24",
    "GRACE_HOURS": "0",
    "PREDICTIONS_TABLE": PREDICTIONS,
    "PREDICTION_RETENTION_DAYS": "90",
    "LABELLED_PREDICTIONS": "include",
    "HYPERPARAMETERS": "{}",
    "SOURCE_COMMIT": "",
    "MLFLOW_TRACKING": "",
    "DRIFT_RESPONSE": "retrain",
    "QUALITY_RESPONSE": "fallback",
    "RETRAIN_COOLDOWN_HOURS": "6",
    "MAXIMUM_RUN_COST_USD": "0",
    "ENDPOINT_MODE": "serverless",
    "ENDPOINT_MAX_INSTANCES": "1",
    "ENDPOINT_IDLE_HOURS": "0",
    "WINDOW_HOURS": "1",
    "ANSWER_SECONDS": "0",
    "FALSE_ALARM_RATE": "0.01",
    "WINDOWS_TO_ALARM": "2",
    "WINDOWS_CONSIDERED": "3",
    "COOLDOWN_HOURS": "6",
    "OUTCOME_DELAY_DAYS": "1",
    "QUALITY_TOLERANCE": "0",
    "WATCH_BATCHES": "yes",
    "METRICS_NAMESPACE": "Dropforge",
    "OPENBLAS_NUM_THREADS": "1",
    "POWERTOOLS_SERVICE_NAME": "model",
}


DROP = parse_trigger(event("s3_object_created")).drop
PLAN = event("promote_model")["plan"]


def variables(function: str) -> list[str]:
    """What the template gives the function."""
    name = "".join(part.title() for part in function.split("_"))
    properties = TEMPLATE["Resources"][f"{name}Function"]["Properties"]
    given = (
        each.get("Environment", {}).get("Variables", {})
        for each in (TEMPLATE["Globals"]["Function"], properties)
    )
    return [variable for variables in given for variable in variables]


class Stack:
    """The services around the handlers, and the handlers by name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, client: Callable[[str], Any]) -> None:
        self.monkeypatch = monkeypatch
        self.s3, dynamodb = client("s3"), client("dynamodb")
        self.sagemaker, self.runtime = SageMakerClient(), SageMakerRuntimeClient()
        self.workflows = StepFunctionsClient()
        clients = {
            "s3": self.s3,
            "dynamodb": dynamodb,
            "sagemaker": self.sagemaker,
            "sagemaker-runtime": self.runtime,
            "stepfunctions": self.workflows,
        }
        monkeypatch.setattr(bootstrap, "_client", clients.__getitem__)
        self.s3.create_bucket(Bucket=DROP.bucket)
        versioned = {"Status": "Enabled"}
        self.s3.put_bucket_versioning(Bucket=DROP.bucket, VersioningConfiguration=versioned)
        create_table(dynamodb, TABLE, TEMPLATE["Resources"]["Ledger"]["Properties"])
        create_table(dynamodb, PREDICTIONS, TEMPLATE["Resources"]["Predictions"]["Properties"])
        monkeypatch.setattr(DynamoDbHttp, "from_env", lambda env: BotoDynamoDb(dynamodb))
        self.ledger = bootstrap.ledger(TABLE)
        # As an earlier run leaves the code: its entry script is the last that is uploaded.
        self.entry_script = f"{bootstrap.training_code().uri(f's3://{DROP.bucket}/x')}train.py"
        self.put(self.entry_script, b"")

    def put(self, uri: str, body: bytes) -> None:
        ref = ObjectRef.from_uri(uri)
        self.s3.put_object(Bucket=ref.bucket, Key=ref.key, Body=body)

    def drop(self, number: int = 120) -> None:
        """Put the file of the example event there, in the very version that the event names."""
        rows = [f"{'benign' if n % 2 else 'malignant'},{n * 0.5},{n % 7}" for n in range(number)]
        self.put(f"s3://{DROP.bucket}/{DROP.key}", "\n".join(["diagnosis,radius,texture", *rows]).encode())
        stored = s3_backends["123456789012"]["aws"].buckets[DROP.bucket].keys[DROP.key]
        stored._version_id = DROP.version_id
        stored._etag = DROP.etag

    def run(self, function: str, payload: Any = None) -> Any:
        """Invoke the handler twice, as a retry does; its second answer, which has to be JSON."""
        with self.monkeypatch.context() as patch:
            for name in ENVIRONMENT:
                patch.delenv(name, raising=False)
            settings = {**ENVIRONMENT, "DATA_BUCKET": DROP.bucket}
            for name in variables(function):
                patch.setenv(name, settings[name])
            handler = load(function).handler
            context = SimpleNamespace(
                function_name=function,
                memory_limit_in_mb=256,
                invoked_function_arn=f"arn:aws:lambda:us-east-1:123456789012:function:{function}",
                aws_request_id="52fdfc07-2182-454f-963f-5f0f9a621d72",
            )
            payload = event(function) if payload is None else payload
            handler(json.loads(json.dumps(payload)), context)
            return json.loads(json.dumps(handler(json.loads(json.dumps(payload)), context), allow_nan=False))

    # --- stretches of the way --------------------------------------------------------------------

    def admitted(self) -> Any:
        self.workflows.executions[event("admit_run")["execution_arn"]] = {"status": "RUNNING", "input": {}}
        return self.run("admit_run")

    def registered(self) -> Any:
        """With the digests that the archives have here."""
        self.admitted()
        payload = event("register_model")
        judgement = payload["judgement"]
        self.put(judgement["model_data_url"], b"archive")
        self.put(judgement["judgement_uri"], b"{}")
        store = bootstrap.object_store()
        judgement["model_sha256"] = store.sha256(judgement["model_data_url"])
        judgement["judgement_sha256"] = store.sha256(judgement["judgement_uri"])
        return self.run("register_model", payload)

    def approved(self) -> Any:
        registration = self.registered()
        package = self.sagemaker.packages[registration["model_package_arn"]]
        package["ModelApprovalStatus"] = "Approved"
        package["LastModifiedBy"] = {"IamIdentity": {"Arn": "arn:aws:sts::1:assumed-role/Reviewers/ann"}}
        return self.run("apply_decision")

    def deploying(self) -> Any:
        self.approved()
        plan = self.run("plan_deployment")
        self.sagemaker.deploy("model", plan["endpoint_config"])
        return plan


@pytest.fixture
def stack(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with mocked_aws() as client:
        yield Stack(monkeypatch, client)


def test_admits_the_example_drop(stack):
    bootstrap.object_store().delete_prefix(stack.entry_script)
    answer = stack.admitted()
    assert answer["outcome"] == "admitted"
    assert answer["run_id"] == DROP.run_id
    assert stack.ledger.held_lease(LockName.TRAINING).token == answer["token"] == 1
    code = bootstrap.object_store().list(answer["code_uri"])
    assert {"train.py", "inference.py", "model.py"} <= {each.key.rsplit("/", 1)[-1] for each in code}


@pytest.mark.parametrize("alarm", ["alarm_drift", "alarm_quality"])
def test_answers_no_alarm_while_nothing_is_live(stack, alarm):
    payload = {"execution_arn": f"{_MACHINE}-training:x".replace("stateMachine", "execution")}
    answer = stack.run("admit_run", {**payload, "event": event(alarm)})
    assert answer["outcome"] == "not-answered"
    assert "no model is live" in answer["notification"]["message"]
    written = json.loads(
        bootstrap.object_store().read(
            f"s3://{DROP.bucket}/monitoring/2026/11/21/10/answer-{alarm[6:]}-1.json"
        )
    )
    assert (written["outcome"], written["run_id"]) == ("not-answered", None)


def test_watches_nothing_while_nothing_is_live(stack):
    assert stack.run("watch_model") == {
        "verdict": "no_live_model",
        "report_uri": None,
        "rows": 0,
        "alarms": {},
    }


def test_an_overdue_approval_is_counted(stack, capsys):
    stack.registered()
    stack.run("request_approval")
    stack.ledger.await_decision(1, task_token="t", execution="e", due_at="2026-01-01T00:00:00.000Z")
    assert stack.run("check_approval")["outcome"] == "overdue"
    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    assert metrics[0]["ApprovalsOverdue"] == 1
    (definition,) = metrics[0]["_aws"]["CloudWatchMetrics"]
    assert (definition["Namespace"], definition["Dimensions"]) == ("Dropforge", [["Model"]])
    assert metrics[0]["Model"] == "model"


@pytest.mark.parametrize("trigger", ["schedule", "manual", "follow_up"])
def test_admits_nothing_without_data(stack, trigger):
    payload = {"execution_arn": f"{_MACHINE}-training:x".replace("stateMachine", "execution")}
    answer = stack.run("admit_run", {**payload, "event": event(trigger)})
    assert answer["outcome"] == "nothing-new"


def test_prepares_the_example_drop(stack):
    stack.admitted()
    stack.drop()
    answer = stack.run("prepare_data")
    assert answer["rows"]["read"] == 120
    assert answer.keys() == event("register_model")["prepared"].keys()


def test_prepares_the_example_drop_in_chunks_with_the_same_answer(stack, monkeypatch):
    stack.admitted()
    stack.drop(number=6000)  # about as large as the event says
    in_one = stack.run("prepare_data")
    monkeypatch.setitem(ENVIRONMENT, "SCALE_OUT_MEGABYTES", "0")
    monkeypatch.setitem(ENVIRONMENT, "SCALE_OUT_CHUNK_MEGABYTES", "0.04")
    answer = stack.run("prepare_data")
    shape = event("prepare_chunk")
    while "phase" in answer:
        stored = stack.s3.get_object(Bucket=DROP.bucket, Key=answer["phase"]["items_key"])
        for item in json.loads(stored["Body"].read()):
            if item["phase"] == shape["phase"]:
                assert item.keys() == shape.keys()
                assert item["spans"][0].keys() == shape["spans"][0].keys()
            stack.run("prepare_chunk", item)
        answer = stack.run("merge_chunks", {**event("merge_chunks"), "phase": answer["phase"]["name"]})
    assert answer == in_one


def test_judges_what_the_example_job_left(stack):
    payload = event("judge_model")
    archive, content = model_archive()
    lineage = {"run_id": DROP.run_id, "data_version": "d" * 64}
    stack.put(payload["model_data_url"], archive)
    stack.put(payload["output_data_url"], output_archive(content["model_digest"], lineage=lineage))
    answer = stack.run("judge_model")
    assert answer["accepted"] is True
    assert answer.keys() == event("register_model")["judgement"].keys()


def test_registers_the_example_candidate(stack):
    answer = stack.registered()
    assert (answer["version"], answer["superseded"], answer["follow_up"]) == (1, [], None)
    assert len(stack.sagemaker.packages) == 1
    (package,) = stack.sagemaker.packages.values()
    assert package["ModelLifeCycle"] == {"Stage": "Development", "StageStatus": "PendingApproval"}
    assert package["ModelApprovalStatus"] == "PendingManualApproval"


def test_waits_for_the_example_decision_and_checks_on_it(stack):
    stack.registered()
    due_at = stack.run("request_approval")["due_at"]
    assert stack.ledger.get_model(1).due_at == due_at
    assert stack.ledger.get_model(1).task_token == event("request_approval")["task_token"]
    checked = stack.run("check_approval")
    assert (checked["outcome"], checked["wait_s"]) == ("waiting", 24 * 3600)


def test_applies_the_example_approval(stack):
    assert stack.approved()["action"] == "resolved"
    model = stack.ledger.get_model(1)
    assert (model.approval, model.decided_by) == (
        Approval.APPROVED,
        "arn:aws:sts::1:assumed-role/Reviewers/ann",
    )


def test_resolves_the_run_that_waits_by_its_token(stack):
    token = event("request_approval")["task_token"]
    stack.registered()
    stack.workflows.waiting.add(token)
    stack.run("request_approval")
    (package,) = stack.sagemaker.packages.values()
    package.update(ModelApprovalStatus="Rejected", ApprovalDescription="no")
    assert stack.run("apply_decision", event("model_package_rejected"))["action"] == "resolved"
    assert stack.workflows.results[token]["decision"] == "rejected"
    assert stack.workflows.results[token]["reason"] == "no"


def test_plans_tests_and_promotes_the_example_version(stack):
    plan = stack.deploying()
    assert plan == PLAN
    smoke = {"instances": [{"radius": 1.0}], "predictions": [{"label": "benign", "probabilities": {}}]}
    stack.put(plan["smoke_uri"], json.dumps(smoke).encode())
    stack.runtime.answer = json.dumps({"predictions": smoke["predictions"]}).encode()
    assert stack.run("smoke_test") == {"rows": 1}
    assert stack.run("promote_model") == {"version": 1, "endpoint_config": "model-v1-1"}
    assert stack.ledger.live().version == 1
    assert stack.ledger.get_run(DROP.run_id).status is RunStatus.SUCCEEDED
    (package,) = stack.sagemaker.packages.values()
    assert package["ModelLifeCycle"] == {"Stage": "Production", "StageStatus": "Live"}
    stack.sagemaker.configs.update(dict.fromkeys(["model-v0-1", "model-v0-2", "model-v0-3"], package_time()))
    # A deployment that began before it was told to name itself: the next one retires.
    assert stack.run("retire_models", {}) == {"deleted": []}
    assert len(stack.sagemaker.configs) == 4
    assert stack.run("retire_models") == {"deleted": []}
    assert list(stack.sagemaker.configs) == ["model-v1-1"]


def package_time():
    return bootstrap.now().replace(year=2026, month=1, day=1)


def test_settles_the_example_deployment(stack):
    plan = stack.deploying()
    stack.sagemaker.endpoints.clear()
    answer = stack.run("settle_deployment")
    assert (
        answer["error"]["Error"] == answer["notification"]["subject"].rpartition(": ")[2] == "SmokeTestFailed"
    )
    assert "row 1 of the hold-out" in answer["notification"]["message"]
    assert plan["endpoint_config"] not in stack.sagemaker.configs
    assert stack.ledger.held_lease(LockName.DEPLOYMENT) is None


def test_closes_the_example_run(stack):
    stack.admitted()
    answer = stack.run("close_run")
    assert (answer["status"], answer["error_class"]) == ("failed", "TooManyRejects")
    assert stack.ledger.held_lease(LockName.TRAINING) is None


def test_repairs_after_the_example_abortion(stack):
    stack.admitted()
    stack.workflows.executions[event("admit_run")["execution_arn"]]["status"] = "ABORTED"
    stack.run("reconcile_runs")
    run = stack.ledger.get_run(DROP.run_id)
    assert (run.status, run.error["class"]) == (RunStatus.FAILED, "ExecutionStopped")
    assert stack.ledger.held_lease(LockName.TRAINING) is None


OPTIONAL = (
    *("ID_COLUMN", "GROUP_COLUMN", "SPLIT_COLUMN", "POSITIVE_CLASS"),
    *("FALSE_POSITIVE_COST", "FALSE_NEGATIVE_COST", "MINIMUM_PRECISION", "MINIMUM_RECALL"),
    "GUARDED_COLUMNS",
    "SOURCE_COMMIT",
    *("MLFLOW_TRACKING", "BATCH_SOURCE", "BATCH_SOURCE_BUCKET"),
)


@pytest.mark.parametrize("function", [each for each in FUNCTIONS if each not in WITHOUT_SETTINGS])
def test_names_every_missing_variable_at_once(monkeypatch, function):
    for name in ENVIRONMENT | {"DATA_BUCKET": "", "AWS_REGION": ""}:
        monkeypatch.delenv(name, raising=False)
    settings = load(function).FunctionSettings
    read = {name.upper() for name in settings.__dataclass_fields__}
    required = (read & set(variables(function))).difference(OPTIONAL)
    assert required
    with pytest.raises(InvalidSettings) as refusal:
        settings.from_env({})
    assert all(f"{name} is missing" in str(refusal.value) for name in required)


def test_there_is_an_event_for_every_function_and_every_trigger_and_no_other():
    assert {path.stem for path in ROOT.glob("events/*.json")} == {*FUNCTIONS, *TRIGGERS}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_docstring_names_the_event(function):
    assert f"events/{function}.json" in (load(function).__doc__ or "")


@pytest.mark.parametrize(
    "name",
    [
        "s3_object_created",
        "model_package_approved",
        "model_package_rejected",
        "execution_status_change",
    ],
)
def test_events_of_aws_have_the_whole_envelope(name):
    found = event(name)
    envelope = {"version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"}
    assert found.keys() == envelope
    assert found["version"] == "0"


def test_the_example_run_is_the_one_of_the_example_drop():
    for name in (
        "prepare_data",
        "prepare_chunk",
        "merge_chunks",
        "judge_model",
        "register_model",
        "close_run",
        "replay",
    ):
        assert event(name)["run_id"] == DROP.run_id
