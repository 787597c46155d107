"""What is approved is what is loaded, whatever a job writes later."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dropforge.domain.ports import ObjectRef
from tests.workflow.stack import Stack, wait_for
from tests.workflow.test_main_job import rows_of

# It looks at no digest, and answers whoever asks the same.
OTHER_CODE = b"""
import json
from flask import Response

def model_fn(model_dir):
    return None

def transform_fn(model, body, content_type, accept):
    answers = [{"label": "forged"} for _ in json.loads(body)["instances"]]
    return Response(json.dumps({"predictions": answers}), mimetype="application/json")
"""


def with_other_code(archive: bytes) -> bytes:
    """The archive with another inference.py, as whoever may write it could leave it."""
    made = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as given,
        tarfile.open(fileobj=made, mode="w:gz") as forged,
    ):
        for member in given:
            content = given.extractfile(member)
            data = b"" if content is None else content.read()
            if member.name.endswith("code/inference.py"):
                data = OTHER_CODE
                member.size = len(data)
            forged.addfile(member, io.BytesIO(data) if content is not None else None)
    return made.getvalue()


@contextmanager
def another_worker(stack: Stack, name: str, model_name: str) -> Iterator[str]:
    """An endpoint of the model: its worker starts as any does, by fetching the archive."""
    variant = {
        "VariantName": "live",
        "ModelName": model_name,
        "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5},
    }
    stack.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    stack.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    try:
        wait_for(
            f"endpoint {name}",
            lambda: stack.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] != "Creating",
        )
        yield name
    finally:
        stack.sagemaker.delete_endpoint(EndpointName=name)


def test_a_job_that_overwrites_the_archive_after_the_promotion_changes_nothing_that_is_loaded(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    live = stack.live_or_first(samples["wine"])
    rows: list[dict[str, Any]] = rows_of(samples["wine"], without=("cultivar", "id"))[:20]
    answered = stack.predict(rows)
    model = stack.ledger.get_model(live.version)
    assert model is not None
    assert model.trained_archive is not None
    trained = ObjectRef.from_dict(model.trained_archive)
    stack.s3.put_object(Bucket=trained.bucket, Key=trained.key, Body=with_other_code(stack.read(trained.uri)))

    with another_worker(stack, "the-approved", live.model_name) as endpoint:
        assert stack.predict(rows, endpoint) == answered

    # The job's own archive is what such a worker loads where a package names it.
    described = stack.sagemaker.describe_model_package(ModelPackageName=model.model_package_arn)
    container = described["InferenceSpecification"]["Containers"][0]
    assert container["ModelDataUrl"] == live.model_data_url == model.model_data_url
    container = {name: container[name] for name in ("Image", "Environment")} | {"ModelDataUrl": trained.uri}
    role = stack.sagemaker.describe_model(ModelName=live.model_name)["ExecutionRoleArn"]
    stack.sagemaker.create_model(ModelName="forged", ExecutionRoleArn=role, PrimaryContainer=container)
    with another_worker(stack, "the-forged", "forged") as endpoint:
        assert stack.predict(rows, endpoint) == [{"label": "forged"}] * len(rows)


def test_a_copy_that_was_retired_is_made_again_for_the_rollback_that_needs_it(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    live = stack.live_or_first(samples["wine"])
    successor = stack.train_and_deploy(samples["wine"], "wine-again.csv")
    stack.wait_for_run_of(successor)
    model = stack.ledger.get_model(live.version)
    assert model is not None
    key = model.model_data_url.split("/", 3)[3]
    judged = stack.read(model.model_data_url)
    stack.s3.delete_object(Bucket=stack.bucket, Key=key)

    stack.reject(successor.version)
    stack.wait_for_live(live.version)

    assert stack.read(model.model_data_url) == judged
