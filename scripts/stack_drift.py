"""Tell whether a stack's resources still are what its template says, and end with 1 if they are not.

python scripts/stack_drift.py dev
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3

from dropforge_ops.stack.environments import CONFIG, stack_of

ROOT = Path(__file__).resolve().parent.parent
_POLL_S = 5.0
_PATIENCE_S = 1200.0


def drifted(client: Any, stack: str, pause: Callable[[float], None] = time.sleep) -> list[str]:
    """A line for every property that somebody changed, and for every resource that is gone.

    Raises:
        RuntimeError: CloudFormation could not look, or took too long.
    """
    detection = client.detect_stack_drift(StackName=stack)["StackDriftDetectionId"]
    for _ in range(int(_PATIENCE_S / _POLL_S)):
        found = client.describe_stack_drift_detection_status(StackDriftDetectionId=detection)
        if found["DetectionStatus"] != "DETECTION_IN_PROGRESS":
            break
        pause(_POLL_S)
    if found["DetectionStatus"] != "DETECTION_COMPLETE":
        raise RuntimeError(
            f"{stack}: {found['DetectionStatus']} {found.get('DetectionStatusReason', '')}".rstrip()
        )
    lines: list[str] = []
    request: dict[str, Any] = {
        "StackName": stack,
        "StackResourceDriftStatusFilters": ["MODIFIED", "DELETED"],
    }
    while True:
        page = client.describe_stack_resource_drifts(**request)
        for each in page["StackResourceDrifts"]:
            name = f"{each['LogicalResourceId']} ({each['ResourceType']})"
            if each["StackResourceDriftStatus"] == "DELETED":
                lines.append(f"{name} is gone")
            for change in each.get("PropertyDifferences", []):
                lines.append(
                    f"{name} {change['PropertyPath']}: {change.get('ExpectedValue')} in the template, "
                    f"{change.get('ActualValue')} now"
                )
        if "NextToken" not in page:
            return lines
        request["NextToken"] = page["NextToken"]


def main() -> int:
    try:
        stack = stack_of(sys.argv[1], ROOT / CONFIG)
    except (IndexError, ValueError) as error:
        print(error if isinstance(error, ValueError) else __doc__, file=sys.stderr)
        return 2
    lines = drifted(boto3.client("cloudformation"), stack)
    for line in lines:
        print(line)
    print(f"{stack}: {len(lines)} difference(s) from its template")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
