"""Each example, as its first lines say: from the table that a package ships to an approved model."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from examples.__main__ import PARAMETERS, write

from tests.workflow.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
LEAST = {"text": 0.95, "time_series": 0.95, "recommendation": 0.7, "images": 0.95}
"""What the deciding metric is at least; each model is far above what a constant answer gets."""


@pytest.fixture(scope="session")
def packages() -> None:
    """The packages that ship the tables, as ``make example`` installs them."""
    subprocess.run(["make", "example", "NAME=images"], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.usefixtures("packages")
def test_an_example_goes_from_its_table_to_a_model_that_answers(
    name: str, deploy: Callable[..., Stack], product_copy: Path
) -> None:
    shutil.copyfile(ROOT / "examples" / name / "model.py", product_copy.parent / "training" / "model.py")
    stack = deploy(product_copy, **PARAMETERS[name])
    table = write(name).read_text()
    live = stack.train_and_deploy(table.encode(), f"{name}.csv")
    judgement = stack.read_json(f"s3://{stack.bucket}/models/{live.run_id}/judgement.json")
    assert judgement["verdict"] == "accepted"
    assert judgement["metric"]["value"] >= LEAST[name], judgement["metric"]
    target = PARAMETERS[name]["TargetColumn"]
    rows = [
        {key: value or None for key, value in row.items() if key != target}
        for _, row in zip(range(20), csv.DictReader(io.StringIO(table)), strict=False)
    ]
    assert len(stack.predict(rows)) == len(rows)
