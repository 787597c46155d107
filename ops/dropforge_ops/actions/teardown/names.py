"""What a stack's things are called; found while the stack, or the last of its data, is there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from dropforge_local.template import load_template
from dropforge_ops.errors import UsageError, code_of
from dropforge_ops.stack.project import deployed_parameters, find_root
from dropforge_ops.stack.target import Target

STACK_TAG = "aws:cloudformation:stack-name"
MODEL_TAG = "dropforge:model"


@dataclass(frozen=True)
class Names:
    """The stack, its model, and what each makes names begin with.

    Attributes:
        is_deployed: whether the stack is there (still).
        model: empty where nothing tells it: then only what is named after the stack is looked for.
        neighbours: models of the account whose names begin with this one's: theirs is not touched.
        parts: what follows the stack's name in the names of its things, in lower case: logical ids, as
            CloudFormation does it, and what the template writes there. So ``forge-dev`` is not of ``forge``.
        other_stacks: stacks whose names begin with this one's.
    """

    stack: str
    model: str
    is_deployed: bool
    neighbours: tuple[str, ...] = ()
    parts: frozenset[str] = frozenset()
    other_stacks: tuple[str, ...] = ()

    def is_of_stack(self, name: str) -> bool:
        """Whether CloudFormation or the template named it for the stack."""
        text, prefix = name.lower(), f"{self.stack.lower()}-"
        if not text.startswith(prefix) or any(
            text.startswith(f"{each.lower()}-") for each in self.other_stacks
        ):
            return False
        return text.removeprefix(prefix).startswith(tuple(self.parts))

    def is_of_model(self, name: str) -> bool:
        """Whether a run, a deployment or a batch of the model named it; the endpoint has the very name."""
        if not self.model or any(name == each or name.startswith(f"{each}-") for each in self.neighbours):
            return False
        return name == self.model or name.startswith(f"{self.model}-")


def names_of(target: Target, model: str | None) -> Names:
    """The names of a stack that is there, or of what a teardown before left of it.

    Args:
        model: the model's name where it can't be found out: the stack and its bucket are gone.

    Raises:
        UsageError: another model was named than the stack has.
    """
    parameters = deployed_parameters(target.client("cloudformation"), target.stack)
    found = None if parameters is None else parameters.get("ModelName")
    found = found or _tagged_model(target)
    if found is not None and model is not None and found != model:
        raise UsageError(f"The model of stack {target.stack!r} is {found!r}, not {model!r}.")
    name = found or model or ""
    return Names(
        target.stack,
        name,
        is_deployed=parameters is not None,
        neighbours=_neighbours(target, name) if name else (),
        parts=stack_parts(find_root()),
        other_stacks=_other_stacks(target),
    )


def bucket_tags(s3: Any, bucket: str) -> Mapping[str, str]:
    """A bucket's tags; empty where it has none."""
    try:
        found = s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    except ClientError as error:
        if code_of(error) in ("NoSuchTagSet", "NoSuchBucket"):
            return {}
        raise
    return {each["Key"]: each["Value"] for each in found}


def stack_parts(root: Path) -> frozenset[str]:
    """What can follow the stack's name: the template's logical ids, and what it writes behind the name."""
    document = load_template(root / "template.yaml")
    written = re.findall(r"\$\{AWS::StackName\}-([A-Za-z]+)", json.dumps(document))
    return frozenset(each.lower() for each in (*document["Resources"], *written))


def _other_stacks(target: Target) -> tuple[str, ...]:
    pages = target.client("cloudformation").get_paginator("list_stacks").paginate()
    found = {each["StackName"] for page in pages for each in page["StackSummaries"]}
    return tuple(sorted(each for each in found if each.startswith(f"{target.stack}-")))


def _tagged_model(target: Target) -> str | None:
    s3 = target.client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        if bucket["Name"].startswith(f"{target.stack.lower()}-databucket-"):
            model = bucket_tags(s3, bucket["Name"]).get(MODEL_TAG)
            if model:
                return model
    return None


def _neighbours(target: Target, model: str) -> tuple[str, ...]:
    """Groups are named after models, so a longer name that begins alike is another model's."""
    pages = target.client("sagemaker").get_paginator("list_model_package_groups").paginate()
    groups = [
        each["ModelPackageGroupName"] for page in pages for each in page["ModelPackageGroupSummaryList"]
    ]
    return tuple(sorted(name for name in groups if name.startswith(f"{model}-")))
