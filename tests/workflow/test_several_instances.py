"""Several instances train one model on the local host, which goes live and is replayed."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from dropforge.domain.records import RunStatus
from dropforge_local.sagemaker.container import has_namespaces
from tests.workflow.stack import Stack
from tests.workflow.test_main_job import rows_of

LIGHTGBM = "lightgbm==4.7.0"


@pytest.mark.skipif(not has_namespaces(sys.executable), reason="this machine gives no namespaces")
def test_instances_train_a_model_together_that_goes_live_and_is_replayed(
    deploy_sample: Callable[..., Stack], product_copy: Path, samples: Mapping[str, Path]
) -> None:
    training = product_copy.parent / "training"
    (training / "requirements.txt").write_text(f"{LIGHTGBM}\n")
    subprocess.run([sys.executable, str(training / "wheels.py"), "lock"], check=True)
    # In chunks, so that there are files to deal out.
    chunks = {"ScaleOutMegabytes": "0", "ScaleOutChunkMegabytes": "0.003"}
    stack = deploy_sample("wine", template=product_copy, TrainingInstanceCount="2", **chunks)
    live = stack.train_and_deploy(samples["wine"])

    lineage = stack.read_json(f"s3://{stack.bucket}/models/{live.run_id}/lineage.json")
    assert lineage["estimator"] == "boosted (LightGBM)"
    assert [each["host"] for each in lineage["instances"]] == ["algo-1", "algo-2"]
    assert all(each["rows"] and each["files"] for each in lineage["instances"])
    assert lineage["libraries"]["lightgbm"] == "4.7.0"
    with tarfile.open(fileobj=io.BytesIO(stack.read(live.model_data_url))) as archive:
        names = archive.getnames()
    assert any(name.endswith("compiled.npz") for name in names)
    assert [name for name in names if "lightgbm" in name] == []  # the compiled form serves
    rows = rows_of(samples["wine"], without=("cultivar", "id"))[:3]
    assert len(stack.predict(rows)) == 3

    stack.start(trigger="replay", run_id=live.run_id)
    replay = stack.wait_for_run(RunStatus.REPLAYED, number=2)
    again = stack.read_json(f"s3://{stack.bucket}/models/{replay.run_id}/lineage.json")
    assert (again["model_digest"], again["instances"]) == (lineage["model_digest"], lineage["instances"])
