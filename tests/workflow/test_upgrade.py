"""A stack of the previous release, in the middle of its life, is taken over by deploying today's tree."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from dropforge.domain.data_report import DataReport
from dropforge.domain.drop_life import DropState
from dropforge.domain.records import RunStatus
from dropforge_local.host import LocalHost
from dropforge_ops.actions.compared_runs import ComparedRuns, compare_runs
from dropforge_ops.actions.model_cards import markdown, read_card
from dropforge_ops.stack.samples import SAMPLES
from dropforge_ops.stack.target import Target
from tests.workflow.prediction_api import CLOSED, Api
from tests.workflow.previous_release import (
    BEFORE_DROPS_HAD_STATES,
    WITH_A_STATE_FOR_EACH_ENDING,
    WITH_SPLITS_BY_TIME,
    WITH_STATES_OF_DROPS,
    WITH_THRESHOLDS_AND_SLICES,
    unpack_previous_release,
)
from tests.workflow.recording import leave_out
from tests.workflow.stack import Stack, wait_for
from tests.workflow.test_main_job import rows_of
from tests.workflow.test_split_and_slices import payments

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = "breast-cancer"


@pytest.fixture(scope="module")
def previous_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_previous_release(tmp_path_factory.mktemp("previous-release"))


# Rules on alarms' changes started runs, so drift that lasted was answered once. The watch starts them now.
_ALARMS = ("TrainingStateMachineDrift", "TrainingStateMachineQuality")
GONE = {*_ALARMS, *(f"{name}Role" for name in _ALARMS)}


def _hold(host: LocalHost, stack: Stack, state: str) -> None:
    machine = stack.outputs["TrainingStateMachine"].rsplit(":", 1)[-1]
    host.inject(machine, state, "hold_before")


def _contract(stack: Stack) -> Mapping[str, Any]:
    body = stack.s3.get_object(Bucket=stack.bucket, Key="contract/schema.json")["Body"].read()
    contract: Mapping[str, Any] = json.loads(body)
    return contract


def _of_machines(stack: Stack) -> dict[str, str]:
    """The machines, what starts them and the roles of both, by logical id."""
    return {
        name: physical
        for name, physical in stack.resources().items()
        if "StateMachine" in name or "WorkflowRole" in name
    }


def _halves(content: Path) -> tuple[bytes, bytes]:
    header, *rows = content.read_bytes().splitlines(keepends=True)
    middle = len(rows) // 2
    return header + b"".join(rows[:middle]), header + b"".join(rows[middle:])


@pytest.mark.parametrize("release", [BEFORE_DROPS_HAD_STATES, WITH_SPLITS_BY_TIME], ids=lambda each: each[:7])
def test_a_live_model_a_run_under_way_and_a_waiting_drop_survive_the_deployment(
    host: LocalHost,
    deploy_sample: Callable[..., Stack],
    samples: Mapping[str, Path],
    tmp_path: Path,
    release: str,
) -> None:
    described = SAMPLES[SAMPLE]
    without = tuple(name for name in (described.target, described.key) if name)
    rows = rows_of(samples[SAMPLE], without=without)[:20]
    first, second = _halves(samples[SAMPLE])
    stack = deploy_sample(SAMPLE, template=unpack_previous_release(tmp_path, release))
    leave_out(stack.name)
    stack.train_and_deploy(samples[SAMPLE], "january.csv")
    answered, pinned = stack.predict(rows), _contract(stack)
    api = Api(stack)
    if release == BEFORE_DROPS_HAD_STATES:
        assert api.send("GET", "/model").status == 200, (
            "API Gateway ignored what stood at the document's root"
        )

    # A run is in the middle of its work, and a drop waits for it.
    _hold(host, stack, "TrainModel")
    stack.drop(first, "february.csv")
    wait_for("a run that is held", lambda: any(rule["reached"] for rule in host.faults()))
    stack.drop(second, "march.csv")
    wait_for(
        "a drop that waits",
        lambda: any(each.drop.key.endswith("march.csv") for each in stack.ledger.waiting_drops()),
    )

    before_it = _of_machines(stack)
    stack.update(ROOT / "template.yaml")

    assert len(before_it) == 16
    kept = {name: physical for name, physical in before_it.items() if name not in GONE}
    assert _of_machines(stack) == kept, "they are replaced, though SAM made the same of the template then"
    assert stack.predict(rows) == answered, "the live model serves as before"
    for method, path in CLOSED:
        refused = api.send(method, path)
        assert (refused.status, refused.body["error"]["type"]) == (403, "INVALID_API_KEY"), path
    assert Api(stack).url == api.url
    assert api.call("GET", "/model").status == 200, "callers keep their URL and their key"
    assert _contract(stack) == pinned
    host.clear_faults()

    # What was under way ends under the definition with which it began; what waited is trained under today's.
    stack.wait_for_version(2)
    stack.wait_for_version(3)
    stack.wait_for_run(RunStatus.AWAITING_APPROVAL, number=3)
    trained = {each["key"] for run in stack.runs() for each in stack.read_json(run.manifest_uri)["objects"]}
    assert {Path(key).name for key in trained} == {"january.csv", "february.csv", "march.csv"}
    assert _contract(stack) == pinned
    # The pinned contract says nothing of the split, so rows are split as when the live model was trained.
    (candidate,) = [model for model in stack.ledger.list_models() if model.version == 3]
    assert stack.read_json(candidate.judgement_uri)["champion"]["scored"]

    # What the previous release wrote down of its data is told by today's words, and compared with.
    message = stack.wait_for_notification("approval-needed", saying="What differs from version 1:")["Message"]
    assert "rows read" in message
    (first_model,) = [model for model in stack.ledger.list_models() if model.version == 1]
    prefix = f"s3://{stack.bucket}/runs/{first_model.run_id}/"
    told = DataReport.read(prefix, stack.read_json)
    assert told is not None
    assert told.rows_in_words.startswith("569 rows read, 569 kept")
    assert sum(column.role == "feature" for column in told.columns) == 30

    # A version that was registered before there were cards has one that is drafted from what its run left.
    card = _card(stack, 1)
    assert "it was registered by an earlier release" in card
    assert "auc" in card
    compared = compare_runs("1", "3", _target(stack))
    assert compared.paired.rows > 0, compared.paired.how
    assert _shown(compared, "rows read")[0] == "569"

    stack.approve(3)
    live = stack.wait_for_live(3)
    stack.wait_for_run_of(live)
    assert live.model_data_url.startswith(f"s3://{stack.bucket}/registered/")
    assert len(stack.predict(rows)) == len(rows)

    # The package of an early release names the archive that its job left; it still deploys.
    stack.reject(3)
    before = stack.wait_for_live(1)
    copied = "models" if release == BEFORE_DROPS_HAD_STATES else "registered"
    assert before.model_data_url.startswith(f"s3://{stack.bucket}/{copied}/")
    assert stack.predict(rows) == answered
    # Nor does it say what AWS's serving stack needs to start: the deployment does.
    (container,) = stack.sagemaker.describe_model(ModelName=before.model_name)["Containers"]
    assert {"PIP_NO_BUILD_ISOLATION", "PIP_TARGET", "PYTHONPATH"} <= container["Environment"].keys()


def _target(stack: Stack) -> Target:
    """The stack as the command line sees it."""
    clients = {name: stack.host.client(name) for name in ("dynamodb", "s3", "sagemaker")}
    return Target(stack.name, None, None, stack.outputs, clients)


def _card(stack: Stack, version: int) -> str:
    target = _target(stack)
    model = stack.ledger.get_model(version)
    assert model is not None
    return markdown(
        read_card(model, stack.bucket, target.ledger, target.documents, target.client("sagemaker"))
    )


def _shown(compared: ComparedRuns, name: str) -> tuple[str, str]:
    return next(row.shown for part in compared.parts for row in part.rows if row.name == name)


def test_a_threshold_and_guarded_slices_of_the_last_release_go_on_as_they_were(
    tmp_path: Path, deploy: Callable[..., Stack]
) -> None:
    stack = deploy(
        unpack_previous_release(tmp_path, WITH_THRESHOLDS_AND_SLICES),
        TargetColumn="label",
        GroupColumn="customer",
        SplitColumn="at",
        PositiveClass="fraud",
        FalsePositiveCost="1",
        FalseNegativeCost="20",
        GuardedColumns="region",
    )
    leave_out(stack.name)
    rows = [{"region": "north", "amount": 40.0 + 2 * n, "hour": 12.0 - n / 4} for n in range(40)]
    stack.train_and_deploy(payments(0), "january.csv")
    answered, card = stack.predict(rows), _card(stack, 1)
    first = stack.read_json(stack.wait_for_version(1).judgement_uri)
    assert any(each["label"] == "fraud" and each["probabilities"]["fraud"] < 0.4 for each in answered), (
        "the threshold is no other than the likelier class"
    )

    stack.update(ROOT / "template.yaml")

    assert stack.predict(rows) == answered, "the live model's threshold is its own"
    assert not stack.ledger.live().is_asynchronous, "a pointer of before says how its endpoint is asked"  # type: ignore[union-attr]
    assert Api(stack).call("GET", f"/predictions/{'0' * 32}").status == 404
    assert _card(stack, 1) == card
    stack.drop(payments(120), "may.csv")
    judged = stack.read_json(stack.wait_for_version(2).judgement_uri)
    assert judged["champion"]["scored"]
    assert judged["decision"]["goal"] == first["decision"]["goal"]
    assert judged["decision"]["champion"]["cost_per_1000"]["value"] > 0
    verdicts = {each["label"]: each["verdict"] for each in judged["slices"] if each["guarded"]}
    assert {"north", "south", "west"} <= verdicts.keys()
    assert None not in verdicts.values(), "every slice is held beside the live model's"

    compared = compare_runs("1", "2", _target(stack))
    assert _shown(compared, "the threshold serves") == ("a false alarm costs 1, a miss 20",) * 2
    assert all("[" in cost for cost in _shown(compared, "cost per 1,000 rows"))
    assert compared.paired.rows == judged["rows"], compared.paired.how


def _narrow_parquet(content: bytes, places: slice) -> bytes:
    """Some rows of a CSV as Parquet with 32-bit floats."""
    table = pacsv.read_csv(io.BytesIO(content)).drop_columns("id")
    table = table.slice(places.start, places.stop - places.start)
    for index, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(pa.float32(), safe=False))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def test_a_live_model_whose_release_split_the_rows_otherwise_is_not_compared(
    host: LocalHost,
    deploy: Callable[..., Stack],
    samples: Mapping[str, Path],
    previous_template: Path,
) -> None:
    """Without an id the values decide on the split, and 32-bit floats are read otherwise today."""
    content = samples["wine"].read_bytes()
    stack = deploy(previous_template, TargetColumn="cultivar")
    leave_out(stack.name)
    stack.train_and_deploy(_narrow_parquet(content, slice(0, 150)), "january.parquet")
    stack.update(ROOT / "template.yaml")
    stack.drop(_narrow_parquet(content, slice(20, 178)), "february.parquet")
    stack.wait_for_version(2)
    (candidate,) = [model for model in stack.ledger.list_models() if model.version == 2]
    judgement = stack.read_json(candidate.judgement_uri)
    champion = judgement["champion"]
    assert judgement["verdict"] == "undecided"
    assert not champion["scored"]
    assert champion["reason"].startswith("NotComparable: the release that trained it read 'alcohol'")
    # The next one is compared: both were split by today's reading.
    stack.approve(2)
    stack.wait_for_run_of(stack.wait_for_live(2))
    stack.drop(_narrow_parquet(content, slice(0, 170)), "march.parquet")
    stack.wait_for_version(3)
    (candidate,) = [model for model in stack.ledger.list_models() if model.version == 3]
    assert stack.read_json(candidate.judgement_uri)["champion"]["scored"]


def _with_days(content: bytes, first: int) -> bytes:
    """The table with a day of each row, in no order, and ids that no other call gives."""
    table = pacsv.read_csv(io.BytesIO(content))
    days = [first + row * 37 % table.num_rows // 2 for row in range(table.num_rows)]
    table = table.append_column("day", pa.array(days, pa.int64()))
    ids = pa.array([1000 * first + row for row in range(table.num_rows)], pa.int64())
    table = table.set_column(table.schema.get_field_index("id"), "id", ids)
    sink = io.BytesIO()
    pacsv.write_csv(table, sink)
    return sink.getvalue()


def test_after_a_change_of_the_split_the_live_model_is_judged_on_rows_alone_that_it_cannot_have_seen(
    host: LocalHost,
    deploy_sample: Callable[..., Stack],
    samples: Mapping[str, Path],
    previous_template: Path,
) -> None:
    content = samples[SAMPLE].read_bytes()
    stack = deploy_sample(SAMPLE, template=previous_template)
    leave_out(stack.name)
    january = _with_days(content, 0)
    path = samples[SAMPLE].with_name("january_with_days.csv")
    path.write_bytes(january)
    stack.train_and_deploy(path, "january.csv")
    pinned = _contract(stack)

    stack.update(ROOT / "template.yaml", SplitColumn="day")
    stack.drop(_with_days(content, 300), "february.csv")
    stack.wait_for_version(2)
    models = {model.version: model for model in stack.ledger.list_models()}
    champion = stack.read_json(models[2].judgement_uri)["champion"]
    assert not champion["scored"]
    assert champion["reason"].startswith("NotComparable: rows were split otherwise when it was trained")
    assert _contract(stack) == pinned

    stack.approve(2)
    stack.wait_for_run_of(stack.wait_for_live(2))
    stack.drop(_with_days(content, 600), "march.csv")
    stack.wait_for_version(3)
    models = {model.version: model for model in stack.ledger.list_models()}
    assert stack.read_json(models[3].judgement_uri)["champion"]["scored"]
    boundaries = [
        stack.read_json(f"s3://{stack.bucket}/runs/{models[version].run_id}/report.json")["split"][
            "boundaries"
        ]
        for version in (2, 3)
    ]
    assert boundaries[0]["test_from"] < boundaries[1]["test_from"]
    moved = stack.read_json(f"s3://{stack.bucket}/contract/boundaries.json")
    assert moved == {"format": 1, **boundaries[1], "run_id": models[3].run_id}


def test_a_run_under_way_ends_where_its_machine_comes_under_the_stacks_key(
    host: LocalHost,
    deploy_sample: Callable[..., Stack],
    samples: Mapping[str, Path],
    previous_template: Path,
) -> None:
    host.clear_faults()
    stack = deploy_sample("wine", template=previous_template, EncryptionKey="create")
    leave_out(stack.name)
    machine = stack.outputs["TrainingStateMachine"]

    def key_of() -> str | None:
        described = stack.stepfunctions.describe_state_machine(stateMachineArn=machine)
        key: str | None = described["encryptionConfiguration"].get("kmsKeyId")
        return key

    _hold(host, stack, "TrainModel")
    stack.drop(samples["wine"], "january.csv")
    wait_for("a run that is held", lambda: any(rule["reached"] for rule in host.faults()))
    assert key_of() is None

    stack.update(ROOT / "template.yaml")
    assert key_of() is not None
    host.clear_faults()
    stack.wait_for_version(1)
    stack.approve(1)
    stack.wait_for_live(1)

    # And back: the roles may no longer use the key, so no machine keeps it.
    stack.update(ROOT / "template.yaml", EncryptionKey="aws-owned")
    assert key_of() is None
    stack.drop(samples["wine"], "february.csv")
    stack.wait_for_version(2)


@pytest.mark.parametrize(
    "release", [BEFORE_DROPS_HAD_STATES, WITH_STATES_OF_DROPS], ids=lambda each: each[:7]
)
def test_drops_that_failed_runs_held_come_back_by_the_deployment_alone(
    release: str,
    tmp_path: Path,
    host: LocalHost,
    deploy_sample: Callable[..., Stack],
    samples: Mapping[str, Path],
) -> None:
    header, *rows = samples[SAMPLE].read_bytes().splitlines(keepends=True)
    january, february, march = (header + b"".join(rows[start::3]) for start in range(3))
    stack = deploy_sample(
        SAMPLE, template=unpack_previous_release(tmp_path, release), TrainingData="all-drops"
    )
    leave_out(stack.name)
    stack.train_and_deploy(january, "january.csv")

    # Twice under one name: only the newest version is to come back.
    machine = stack.outputs["TrainingStateMachine"].rsplit(":", 1)[-1]
    cause = json.dumps({"errorType": "AccessDenied", "errorMessage": "not authorized"})
    host.inject(machine, "JudgeModel", "before", error="AccessDenied", cause=cause, times=9)
    older = stack.drop(header + b"".join(rows[1:60:3]), "february.csv")
    stack.wait_for_failed_run(2)
    newer = stack.drop(february, "february.csv")
    failed = stack.wait_for_failed_run(3)
    host.clear_faults()
    assert failed.error is not None
    assert failed.error["class"] == "AccessDenied"

    stack.update(ROOT / "template.yaml")

    stack.invoke("ReconcileRuns")  # as its schedule does
    assert _states(stack) == {older: DropState.SUPERSEDED, newer: DropState.WAITING}
    stack.drop(march, "march.csv")
    model = stack.wait_for_version(2, ignoring=failed.run_id)
    run = stack.ledger.get_run(model.run_id)
    assert run is not None
    assert stack.taken(run) == ["incoming/february.csv", "incoming/march.csv"]
    assert model.rows == len(rows), "each row of the three months once"
    assert _states(stack) == {older: DropState.SUPERSEDED, newer: DropState.TRAINED}
    assert {each.state for each in stack.ledger.list_drops()} == {DropState.SUPERSEDED, DropState.TRAINED}


def test_runs_of_a_machine_with_a_state_for_each_ending_are_closed_and_told_by_todays_functions(
    tmp_path: Path, host: LocalHost, deploy_sample: Callable[..., Stack], samples: Mapping[str, Path]
) -> None:
    """Executions keep the definition with which they began, for weeks where nobody decides."""
    header, *rows = samples[SAMPLE].read_bytes().splitlines(keepends=True)
    january, february, march = (header + b"".join(rows[start::3]) for start in range(3))
    host.clear_faults()
    stack = deploy_sample(SAMPLE, template=unpack_previous_release(tmp_path, WITH_A_STATE_FOR_EACH_ENDING))
    leave_out(stack.name)
    stack.drop(january, "january.csv")
    stack.wait_for_version(1)
    waiting = stack.wait_for_run(RunStatus.AWAITING_APPROVAL)
    _hold(host, stack, "TrainModel")
    stack.drop(february, "february.csv")
    wait_for("a run that is held", lambda: any(rule["reached"] for rule in host.faults()))

    stack.update(ROOT / "template.yaml")

    stack.approve(1)
    stack.wait_for_run_of(stack.wait_for_live(1))
    assert stack.wait_for_execution(waiting.execution_arn)["status"] == "SUCCEEDED"
    assert "ModelDeployed" in stack.states(waiting.execution_arn)
    stack.wait_for_notification("promoted")

    host.clear_faults()
    machine = stack.outputs["TrainingStateMachine"].rsplit(":", 1)[-1]
    cause = json.dumps({"errorType": "AccessDenied", "errorMessage": "not authorized"})
    host.inject(machine, "JudgeModel", "before", error="AccessDenied", cause=cause, times=9)
    failed = stack.wait_for_failed_run(2)
    assert stack.wait_for_execution(failed.execution_arn)["error"] == "AccessDenied"
    assert "CloseFailed" in stack.states(failed.execution_arn)
    told = stack.wait_for_notification("run-failed")["Message"]
    assert "AccessDenied: not authorized" in told
    assert "incoming/february.csv waits again" in told
    host.clear_faults()

    # The next run is today's: it takes what the failed one gave back, and is told in today's words.
    stack.drop(march, "march.csv")
    stack.wait_for_version(2, ignoring=failed.run_id)
    stack.wait_for_notification("approval-needed", saying="version 2 of")
    stack.reject(2, "not better where it matters")
    rejected = stack.wait_for_run(RunStatus.REJECTED, number=3)
    assert "CloseRun" in stack.states(rejected.execution_arn)
    assert rejected.reasons == [{"code": "Rejected", "message": "not better where it matters"}]
    assert "not better where it matters" in stack.wait_for_notification("rejected")["Message"]


def _states(stack: Stack) -> dict[str | None, DropState]:
    """What became of the versions of February's file."""
    return {
        each.drop.version_id: each.state
        for each in stack.ledger.list_drops()
        if each.drop.key.endswith("february.csv")
    }


# What each deployment makes anew, under a name of its content or of the moment.
_RENEWED = re.compile(r"PredictionApiDeployment\w+|PredictFunctionVersion\w+|\w+Layer[0-9a-f]{10}")


@pytest.mark.parametrize(
    "given",
    [{}, {"EncryptionKey": "create", "AccessLogs": "true", "WebFirewall": "true", "Dashboard": "true"}],
    ids=["as it comes", "guarded"],
)
def test_an_upgrade_of_the_last_release_replaces_nothing_but_what_each_deployment_renews(
    given: Mapping[str, str], tmp_path: Path, deploy: Callable[..., Stack]
) -> None:
    stack = deploy(unpack_previous_release(tmp_path, WITH_A_STATE_FOR_EACH_ENDING), TargetColumn="y", **given)
    leave_out(stack.name)
    before, outputs = stack.resources(), stack.outputs
    stack.update(ROOT / "template.yaml")
    after = stack.resources()
    assert len(before) > 100
    kept = {name: each for name, each in before.items() if name not in GONE and not _RENEWED.fullmatch(name)}
    assert {name: after.get(name) for name in kept} == kept
    assert {name: stack.outputs.get(name) for name in outputs} == outputs
