"""EventBridge Scheduler: what a target's input tells, and names that are taken."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from local_host_support import eventually

if TYPE_CHECKING:
    from local_host_support import Deployed

_ROLE = "arn:aws:iam::000000000000:role/test"


def test_a_schedule_gives_its_target_the_time_that_it_was_due(deployed: Deployed) -> None:
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    key = "due <aws.scheduler.scheduled-time> <aws.scheduler.attempt-number>"
    deployed.host.client("scheduler").create_schedule(
        Name="once",
        ScheduleExpression=f"at({due:%Y-%m-%dT%H:%M:%S})",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": deployed.outputs["ProbeArn"],
            "RoleArn": _ROLE,
            "Input": json.dumps({"do": "count", "key": key}),
        },
    )
    eventually(lambda: deployed.calls(f"due {due:%Y-%m-%dT%H:%M:%SZ} 1") == 1)


def test_a_template_cannot_take_another_stacks_schedule(deployed: Deployed) -> None:
    client = deployed.host.client("cloudformation")
    schedule: dict[str, Any] = {
        "Type": "AWS::Scheduler::Schedule",
        "Properties": {
            "Name": "taken",
            "ScheduleExpression": "rate(1 hour)",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {"Arn": deployed.outputs["ProbeArn"], "RoleArn": _ROLE},
        },
    }
    body = json.dumps({"Resources": {"Every": schedule}})

    def status_of(stack: str) -> str:
        client.create_stack(StackName=stack, TemplateBody=body)

        def settled() -> str | None:
            status = str(client.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"])
            return None if status.endswith("_IN_PROGRESS") else status

        return str(eventually(settled))

    assert status_of("first-schedule") == "CREATE_COMPLETE"
    assert status_of("second-schedule") == "ROLLBACK_COMPLETE"
