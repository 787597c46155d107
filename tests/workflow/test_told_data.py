"""A churn table as people export it: what became of it is told wherever somebody decides."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dropforge.domain.contract import Contract
from dropforge.domain.data_report import TITLE
from dropforge_local.host import LocalHost
from tests.churn_file import DATE, MONEY, PERCENT, TARGET, churn_csv, churn_parquet
from tests.command_line import invoke
from tests.workflow.stack import Stack


@pytest.mark.parametrize(
    ("name", "make", "index", "key"),
    [
        ("churn.csv", churn_csv, "column_1", ""),
        ("churn.parquet", churn_parquet, "__index_level_0__", "customer_id"),
    ],
)
def test_a_churn_table_is_told_to_whoever_decides(
    host: LocalHost,
    deploy: Callable[..., Stack],
    tmp_path: Path,
    name: str,
    make: Callable[[], bytes],
    index: str,
    key: str,
) -> None:
    stack = deploy(TargetColumn=TARGET, IdColumn=key)
    (tmp_path / name).write_bytes(make())
    options = ["--endpoint-url", host.endpoint_url, "--stack", stack.name]

    def command(*arguments: Any) -> Any:
        outcome = invoke([*arguments, *options])
        assert outcome.exit_code == 0, outcome.output
        return outcome

    document = json.loads(command("drop", tmp_path / name, "--wait", "--json").stdout)
    (told,) = document["data"]
    columns = {each["name"]: each for each in told["columns"]}
    learned = {each for each, column in columns.items() if column["use"] == "learned from"}
    assert {*MONEY, PERCENT, DATE, "referrer", "plan", "comment"} == learned
    assert columns["customer_id"]["use"] == ("identifies rows" if key else "not used")
    assert told["rows"]["kept"] == 7_000
    unused = {index, *(() if key else ("customer_id",))}
    assert {each for each, column in columns.items() if column["use"] == "not used"} == unused
    contract = Contract.from_json(
        stack.read(f"s3://{stack.bucket}/runs/{told['run_id']}/contract/schema.json")
    )
    assert {each.name for each in contract.features} == learned

    shown = command("runs", told["run_id"]).stdout
    for text in (
        TITLE,
        "amounts in $ with a thousands separator",
        "dates written as dd/mm/yyyy",
        "learned from by its words",
    ):
        assert text in " ".join(shown.split())
    message = stack.wait_for_notification("approval-needed", saying=TITLE)["Message"]
    for line in told["summary"]:
        assert line in message
    (model,) = stack.ledger.list_models()
    package = stack.sagemaker.describe_model_package(ModelPackageName=model.model_package_arn)
    metadata = package["CustomerMetadataProperties"]
    assert metadata["data_rows_kept"] == "7000"
    assert metadata["data_left_out"].split(" / ") == [each for each in columns if each in unused]
