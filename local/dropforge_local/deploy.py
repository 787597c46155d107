"""Deploys a built template through CloudFormation, as ``sam deploy`` does."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from dropforge_local.build import Artifact, BuiltTemplate
from dropforge_local.errors import DeployFailed

_CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
_POLL_S = 0.05
# A stack in one of these states can't be updated; CloudFormation asks to delete it first.
_NEVER_CREATED = frozenset(
    {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED", "REVIEW_IN_PROGRESS"}
)
_UNCHANGED = ("didn't contain changes", "No updates are to be performed")


@dataclass(frozen=True)
class Deployer:
    """Brings a stack to a built template.

    ``s3`` and ``cloudformation`` are boto3 clients; ``bucket`` receives the artifacts and is made if absent.
    """

    s3: Any
    cloudformation: Any
    bucket: str
    timeout_s: float = 120.0

    def deploy(self, stack_name: str, built: BuiltTemplate, parameters: Mapping[str, str]) -> dict[str, str]:
        """Create or update the stack and return its outputs; does nothing where nothing changed.

        Something always has where an API has ``AlwaysDeploy``: as on AWS, its stage is renewed each time.

        Raises:
            DeployFailed: the template is refused, or a resource failed; the stack has been rolled back.
        """
        self._ensure_bucket()
        for artifact in built.artifacts.values():
            self._upload(artifact)
        body = json.dumps(built.packaged(self.bucket), separators=(",", ":"), sort_keys=False).encode()
        key = f"{stack_name}.template.json"
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)

        stack = self._stack(stack_name)
        if stack is not None and stack["StackStatus"] in _NEVER_CREATED:
            self._delete(stack)
            stack = None
        if self._change(stack_name, stack, key, parameters):
            stack = self._settled(stack_name)
            if stack["StackStatus"] not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
                raise DeployFailed(self._reasons(stack))
        return self.outputs(stack_name)

    def outputs(self, stack_name: str) -> dict[str, str]:
        """The stack's outputs; empty where there is no such stack."""
        stack = self._stack(stack_name)
        return {output["OutputKey"]: output["OutputValue"] for output in (stack or {}).get("Outputs", [])}

    def _ensure_bucket(self) -> None:
        try:
            self.s3.head_bucket(Bucket=self.bucket)
        except ClientError:
            self.s3.create_bucket(Bucket=self.bucket)

    def _upload(self, artifact: Artifact) -> None:
        try:
            self.s3.head_object(Bucket=self.bucket, Key=artifact.key)
        except ClientError:
            with artifact.path.open("rb") as body:
                self.s3.put_object(Bucket=self.bucket, Key=artifact.key, Body=body)

    def _stack(self, name: str) -> dict[str, Any] | None:
        try:
            stacks: list[dict[str, Any]] = self.cloudformation.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
        return stacks[0]

    def _delete(self, stack: Mapping[str, Any]) -> None:
        self.cloudformation.delete_stack(StackName=stack["StackId"])
        self._wait(lambda: self._stack(stack["StackName"]) is None, f"deletion of {stack['StackName']}")

    def _change(
        self, stack_name: str, stack: Mapping[str, Any] | None, key: str, parameters: Mapping[str, str]
    ) -> bool:
        """Make and execute a change set; False where it holds no change."""
        name = f"deploy-{time.time_ns()}"
        try:
            self.cloudformation.create_change_set(
                StackName=stack_name,
                ChangeSetName=name,
                ChangeSetType="CREATE" if stack is None else "UPDATE",
                TemplateURL=f"{self.s3.meta.endpoint_url}/{self.bucket}/{key}",
                Capabilities=_CAPABILITIES,
                Parameters=[
                    {"ParameterKey": parameter, "ParameterValue": value}
                    for parameter, value in parameters.items()
                ],
            )
        except ClientError as error:
            raise DeployFailed(f"{stack_name}: {error.response['Error'].get('Message', error)}") from error
        described: dict[str, Any] = {}

        def made() -> bool:
            described.update(
                self.cloudformation.describe_change_set(StackName=stack_name, ChangeSetName=name)
            )
            return described["Status"] not in {"CREATE_PENDING", "CREATE_IN_PROGRESS"}

        self._wait(made, f"change set of {stack_name}")
        if described["Status"] == "FAILED":
            reason = described.get("StatusReason", "")
            self.cloudformation.delete_change_set(StackName=stack_name, ChangeSetName=name)
            if any(text in reason for text in _UNCHANGED):
                return False
            raise DeployFailed(f"{stack_name}: {reason or 'the change set failed without a reason'}")
        self.cloudformation.execute_change_set(StackName=stack_name, ChangeSetName=name)
        return True

    def _settled(self, stack_name: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def settled() -> bool:
            found.update(
                self._stack(stack_name) or {"StackStatus": "DELETE_COMPLETE", "StackName": stack_name}
            )
            status: str = found["StackStatus"]
            return not status.endswith("_IN_PROGRESS")

        self._wait(settled, f"deployment of {stack_name}")
        return found

    def _reasons(self, stack: Mapping[str, Any]) -> str:
        pages = self.cloudformation.describe_stack_events(StackName=stack.get("StackId", stack["StackName"]))
        failed = [
            f"  {event['LogicalResourceId']} ({event['ResourceType']}): "
            f"{event.get('ResourceStatusReason', '')}"
            for event in reversed(pages["StackEvents"])
            if event["ResourceStatus"].endswith("_FAILED")
        ]
        reason = stack.get("StackStatusReason", "")
        return "\n".join(
            [f"{stack['StackName']} ended in {stack['StackStatus']}. {reason}".rstrip(), *failed]
        )

    def _wait(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + self.timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise DeployFailed(f"The {what} did not settle within {self.timeout_s:g} s.")
            time.sleep(_POLL_S)
