"""``dropforge teardown`` never takes the wrong thing away."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropforge_ops.actions.teardown.kinds import empty_bucket
from dropforge_ops.actions.teardown.names import Names, stack_parts

ROOT = Path(__file__).resolve().parents[3]


def test_yes_needs_the_stacks_name_once_more(on_stack):
    refused = on_stack("teardown", "--yes")
    assert refused.exit_code == 2
    assert "--name" in refused.stderr


def test_a_name_that_is_not_the_stacks_is_refused(on_stack):
    assert on_stack("teardown", "--yes", "--name", "another").exit_code == 2


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("churn", True),
        ("churn-v3-1", True),
        ("churn-file-1-0ab1-a0", True),
        ("churn2", False),
        ("churner-v1-1", False),
        ("churn-eu", False),
        ("churn-eu-v1-1", False),
        ("my-churn", False),
    ],
)
def test_another_models_things_are_left_alone(name, is_ours):
    names = Names("dropforge", "churn", is_deployed=True, neighbours=("churn-eu",))
    assert names.is_of_model(name) is is_ours


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("forge-databucket-1x8y", True),
        ("Forge-AdmitRunFunction-ab12", True),
        ("Forge-training", True),
        ("Forge-predictions", True),
        ("forge2-databucket-1x8y", False),
        # Of a stack that is gone, but whose data was kept, and of one that is there.
        ("forge-dev-databucket-1x8y", False),
        ("forge-predictions-eu-databucket-1x8y", False),
    ],
)
def test_another_stacks_things_are_left_alone(name, is_ours):
    names = Names(
        "Forge", "churn", is_deployed=True, parts=stack_parts(ROOT), other_stacks=("Forge-predictions-eu",)
    )
    assert names.is_of_stack(name) is is_ours


def test_without_a_models_name_no_model_is_touched():
    assert not Names("forge", "", is_deployed=False).is_of_model("churn")


def test_a_versioned_bucket_is_emptied_of_versions_markers_and_uploads(stack):
    s3 = stack.s3
    for _ in range(3):
        s3.put_object(Bucket=stack.bucket, Key="incoming/a.csv", Body=b"a")
    s3.delete_object(Bucket=stack.bucket, Key="incoming/a.csv")
    s3.create_multipart_upload(Bucket=stack.bucket, Key="incoming/b.csv")
    assert empty_bucket(stack.target, stack.bucket) == 5
    s3.delete_bucket(Bucket=stack.bucket)
