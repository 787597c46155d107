"""What breaks a run: bad data, a bad training script, a bad archive, an endpoint that does not come up.

All of it happens to one stack, which at first has no model. The tests that deploy a changed product come
last, and each deploys its own.
"""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dropforge.domain.records import Approval, RunStatus
from tests.workflow.stack import Stack, wait_for
from tests.workflow.test_main_job import calling_throughout, rows_of


def change_script(template: Path, code: str, script: str = "model.py") -> Path:
    """Put code in front of one of the training scripts; returns the template."""
    path = template.parent / "training" / script
    source = path.read_text(encoding="utf-8")
    marker = "from __future__ import annotations\n"
    assert marker in source
    path.write_text(source.replace(marker, f"{marker}\n{textwrap.dedent(code)}\n", 1), encoding="utf-8")
    return template


def test_an_archive_that_was_changed_after_judging_is_not_registered(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    runs, versions = stack.counts()
    machine = stack.outputs["TrainingStateMachine"].rsplit(":", 1)[-1]
    stack.host.inject(machine, "RegisterModel", "hold_before")
    stack.drop(samples["wine"], "wine.csv")
    wait_for("a judged model", lambda: any(rule["reached"] for rule in stack.host.faults()))

    run_id = max(stack.runs(), key=lambda run: run.started_at).run_id
    judgement = stack.read_json(f"s3://{stack.bucket}/models/{run_id}/judgement.json")
    key = judgement["model_data_url"].split("/", 3)[3]
    stack.s3.put_object(Bucket=stack.bucket, Key=key, Body=b"another archive")
    stack.host.clear_faults()
    run = stack.wait_for_failed_run(number=runs + 1)

    assert run.error is not None
    assert run.error["class"] == "ArtifactChanged"
    assert stack.counts()[1] == versions
    copies = stack.s3.list_objects_v2(Bucket=stack.bucket, Prefix=f"registered/{run_id}/")
    assert copies["KeyCount"] == 0


def test_a_copy_that_was_changed_after_it_was_registered_is_not_deployed(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    live, (runs, versions) = stack.ledger.live(), stack.counts()
    endpoints = stack.sagemaker.list_endpoints(NameContains=stack.model_name)["Endpoints"]
    stack.drop(samples["wine"], "wine.csv")
    model = stack.wait_for_version(versions + 1)

    stack.s3.put_object(
        Bucket=stack.bucket, Key=model.model_data_url.split("/", 3)[3], Body=b"another archive"
    )
    stack.approve(model.version)
    run = stack.wait_for_failed_run(number=runs + 1)

    assert run.error is not None
    assert run.error["class"] == "ArtifactChanged"
    assert stack.ledger.live() == live
    assert stack.sagemaker.list_endpoints(NameContains=stack.model_name)["Endpoints"] == endpoints


def test_rejected_rows_are_kept_with_reasons_and_do_not_stop_the_run(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    runs, versions = stack.counts()
    lines = samples["wine"].read_text(encoding="utf-8").splitlines()
    lines[7] = ",".join(["not a number" if i == 1 else value for i, value in enumerate(lines[7].split(","))])
    lines.insert(20, "1,2,3")

    stack.drop("\n".join(lines).encode(), "wine.csv")
    stack.wait_for_version(versions + 1)
    run = stack.wait_for_run(RunStatus.AWAITING_APPROVAL, number=runs + 1)

    report = stack.read_json(f"s3://{stack.bucket}/runs/{run.run_id}/report.json")
    assert report["rows"]["rejected"] == 2
    kept = stack.s3.list_objects_v2(Bucket=stack.bucket, Prefix=f"runs/{run.run_id}/rejected/")
    assert kept["KeyCount"] == 1


def test_a_broken_drop_fails_its_run_by_class_and_leaves_drop_and_live_model_alone(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    live = stack.live_or_first(samples["wine"])
    runs, _ = stack.counts()
    header = samples["wine"].read_text(encoding="utf-8").splitlines()[0]
    instance = rows_of(samples["wine"], without=("cultivar", "id"))[0]

    with calling_throughout(stack, instance) as seen:
        version = stack.drop(f"{header}\n".encode(), "header-only.csv")
        run = stack.wait_for_failed_run(number=runs + 1)

    assert run.error is not None
    assert run.error["class"] == "EmptyData"
    assert "header-only.csv" in run.error["message"]
    execution = stack.wait_for_execution(run.execution_arn)
    assert (execution["status"], execution["error"]) == ("FAILED", "EmptyData")
    assert stack.wait_for_notification("run-failed", "EmptyData")
    dropped = stack.s3.get_object(Bucket=stack.bucket, Key="incoming/header-only.csv", VersionId=version)
    assert dropped["Body"].read() == f"{header}\n".encode()
    assert stack.ledger.live() == live
    assert seen["errors"] == []


def test_an_endpoint_that_does_not_come_up_is_replaced_by_what_was_live_without_one_failed_prediction(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path], product_copy: Path
) -> None:
    stack = stack_of("wine")
    live = stack.live_or_first(samples["wine"])
    (runs, versions) = stack.counts()
    version = versions + 1
    instance = rows_of(samples["wine"], without=("cultivar", "id"))[0]
    # Trains and scores, but can't be loaded where SageMaker serves.
    broken = change_script(
        product_copy,
        "import os\nif os.environ.get('SAGEMAKER_PROGRAM'):\n    raise RuntimeError('not here')",
        "inference.py",
    )
    stack.update(broken)

    with calling_throughout(stack, instance) as seen:
        stack.drop(samples["wine"], "wine.csv")
        stack.wait_for_version(version)
        stack.approve(version)
        run = stack.wait_for_failed_run(number=runs + 1)

    assert run.error is not None
    assert run.error["class"] == "DeploymentFailed"
    assert seen["errors"] == []
    assert stack.ledger.live() == live
    endpoint = stack.sagemaker.describe_endpoint(EndpointName=stack.model_name)
    assert (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) == ("InService", live.endpoint_config)
    configs = stack.sagemaker.list_endpoint_configs(NameContains=f"{stack.model_name}-v")["EndpointConfigs"]
    assert [config["EndpointConfigName"] for config in configs] == [live.endpoint_config]
    assert stack.ledger.held_lease("deployment") is None  # type: ignore[arg-type]
    assert stack.wait_for_notification("deployment-failed", "DeploymentFailed")
    decided = stack.ledger.get_model(version)
    assert decided is not None
    assert decided.approval is Approval.APPROVED


@pytest.mark.parametrize(
    ("code", "parameters", "error_class", "said"),
    [
        ("raise RuntimeError('no model today')", {}, "TrainingFailed", "no model today"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", {}, "TrainingFailed", "137"),
        (
            "import time\ntime.sleep(120)",
            {"TrainingMaxRuntimeSeconds": "3"},
            "TrainingTimedOut",
            "TrainingMaxRuntimeSeconds",
        ),
    ],
    ids=["raises", "is killed", "outruns its time"],
)
def test_a_training_script_that_breaks_fails_the_run_with_its_reason(
    code: str,
    parameters: Mapping[str, str],
    error_class: str,
    said: str,
    stack_of: Callable[[str], Stack],
    samples: Mapping[str, Path],
    product_copy: Path,
) -> None:
    stack = stack_of("wine")
    runs, versions = stack.counts()
    stack.update(change_script(product_copy, code), **parameters)

    stack.drop(samples["wine"], "wine.csv")
    run = stack.wait_for_failed_run(number=runs + 1)

    assert run.error is not None
    assert run.error["class"] == error_class
    assert said in run.error["message"]
    assert stack.ledger.held_lease("training") is None  # type: ignore[arg-type]
    assert len(stack.ledger.list_models()) == versions


@pytest.mark.parametrize(("limit_s", "status"), [(2_678_400, "ABORTED"), (30, "TIMED_OUT")])
def test_an_execution_that_is_stopped_or_times_out_leaves_no_job_that_costs(
    limit_s: int,
    status: str,
    stack_of: Callable[[str], Stack],
    samples: Mapping[str, Path],
    product_copy: Path,
) -> None:
    stack = stack_of("wine")
    runs, _ = stack.counts()
    template = change_script(product_copy, "import time\ntime.sleep(600)", "train.py")
    path = template.parent / "statemachine" / "training.asl.json"
    definition = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**definition, "TimeoutSeconds": limit_s}), encoding="utf-8")
    stack.update(template)

    stack.drop(samples["wine"], "wine.csv")
    run = wait_for("the run", lambda: sorted(stack.runs(), key=lambda run: run.started_at)[runs:])[0]
    name = f"{stack.model_name}-{run.run_id}-a0"

    def job() -> Mapping[str, Any] | None:
        listed = stack.sagemaker.list_training_jobs(NameContains=name)["TrainingJobSummaries"]
        return listed[0] if listed else None

    wait_for("the job", lambda: (found := job()) and found["TrainingJobStatus"] == "InProgress")
    if status == "ABORTED":
        stack.stepfunctions.stop_execution(executionArn=run.execution_arn)
    assert stack.wait_for_execution(run.execution_arn)["status"] == status
    ended_at = time.monotonic()

    wait_for("a stopped job", lambda: (found := job()) and found["TrainingJobStatus"] == "Stopped", 120.0)
    assert time.monotonic() - ended_at < 120
    stack.wait_for_failed_run(number=runs + 1)


def test_the_drop_of_a_stopped_execution_is_recovered_where_a_customers_key_hides_its_input(
    deploy_sample: Callable[..., Stack], samples: Mapping[str, Path]
) -> None:
    stack = deploy_sample("wine", EncryptionKey="create")
    machine = stack.outputs["TrainingStateMachine"]
    stack.host.clear_faults()
    described = stack.stepfunctions.describe_state_machine(stateMachineArn=machine)
    assert described["encryptionConfiguration"]["type"] == "CUSTOMER_MANAGED_KMS_KEY"
    stack.host.inject(machine.rpartition(":")[2], "AdmitRun", "hold_before")
    stack.drop(samples["wine"], "wine.csv")
    wait_for("an execution that is held", lambda: any(rule["reached"] for rule in stack.host.faults()))
    (held,) = stack.stepfunctions.list_executions(stateMachineArn=machine)["executions"]
    assert stack.runs() == []

    stack.stepfunctions.stop_execution(executionArn=held["executionArn"])

    run = wait_for("a run that covers the drop", lambda: stack.runs()[:1])[0]
    assert run.execution_arn != held["executionArn"]
    stack.wait_for_version(1)
    assert stack.taken(run) == ["incoming/wine.csv"]
