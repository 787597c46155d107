"""What was exported to MLflow answers as the endpoint does, in a process that knows nothing of dropforge."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dropforge_local.host import LocalHost
from dropforge_ops.actions.mlflow_store import store_uri
from dropforge_ops.stack.samples import SAMPLES
from tests.command_line import invoke
from tests.workflow.stack import Stack
from tests.workflow.test_main_job import rows_of

# Runs with what the model's requirements name and nothing else.
PROGRAM = """
import importlib.util, json, sys
from pathlib import Path
import mlflow, pandas as pd
assert importlib.util.find_spec("dropforge") is None and importlib.util.find_spec("model") is None
uri, name, rows, answers = sys.argv[1:]
mlflow.set_tracking_uri(uri)
mlflow.set_registry_uri(uri)
model = mlflow.pyfunc.load_model(f"models:/{name}@production")
beside = mlflow.pyfunc.load_model(f"models:/{name}@production")
frame = pd.DataFrame(json.loads(Path(rows).read_text()))
found = model.predict(frame)
assert beside.predict(frame.iloc[::-1]).iloc[::-1].equals(found)
assert not {"dropforge", "inference", "model"} & set(sys.modules)
try:
    model.predict(frame.head(2).assign(**{frame.columns[0]: [None, 1.0]}))
except Exception as error:
    refused = [each["column"] for each in error.problems]
Path(answers).write_text(json.dumps({"predictions": found.to_dict("records"), "refused": refused}))
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """An interpreter for which only what a requirements.txt names is installed."""
    made: dict[str, Path] = {}

    def of(requirements: Path) -> Path:
        text = requirements.read_text()
        if text not in made:
            folder = tmp_path_factory.mktemp("bare")
            uv = ["uv", "--quiet"]
            subprocess.run([*uv, "venv", "--python", sys.executable, folder], check=True)
            made[text] = folder / "bin" / "python"
            subprocess.run([*uv, "pip", "install", "--python", made[text], "-r", requirements], check=True)
        return made[text]

    return of


@pytest.mark.parametrize("sample", list(SAMPLES))
def test_the_exported_model_answers_as_the_endpoint_in_a_bare_process(
    sample: str,
    host: LocalHost,
    stack_of: Callable[[str], Stack],
    samples: Mapping[str, Path],
    bare: Callable[[Path], Path],
    tmp_path: Path,
) -> None:
    described, stack = SAMPLES[sample], stack_of(sample)
    stack.live_or_first(samples[sample])
    folder = tmp_path / "store"
    asked = ["export", "mlflow", folder, "--json", "--endpoint-url", host.endpoint_url, "--stack", stack.name]

    def export() -> Mapping[str, Any]:
        done = invoke(asked)
        assert done.exit_code == 0, done.stderr
        document: Mapping[str, Any] = json.loads(done.stdout)
        return document

    assert export()["new_versions"] == 1
    assert [export()[name] for name in ("new_runs", "changed_runs", "new_versions")] == [0, 0, 0]

    rows = rows_of(samples[sample], without=(described.target, described.key))
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (requirements,) = folder.glob("artifacts/*/artifacts/model/requirements.txt")
    answers = tmp_path / "answers.json"
    command = [bare(requirements), "-I", "-c", PROGRAM, store_uri(folder), stack.model_name]
    subprocess.run([*command, tmp_path / "rows.json", answers], cwd=tmp_path, check=True)
    found = json.loads(answers.read_text())
    assert found["predictions"] == stack.predict(rows)
    assert found["refused"] == [next(iter(rows[0]))]
