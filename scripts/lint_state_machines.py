"""Lint the state machines as CloudFormation sees them: cfn-lint does not look behind a DefinitionUri."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cfnlint.api import lint_all

ROOT = Path(__file__).resolve().parent.parent
# Step Functions takes a JSONata expression here; cfn-lint's schema knows only its value, a number.
_NUMBERS = (
    "TimeoutSeconds",
    "HeartbeatSeconds",
    "MaxConcurrency",
    "ToleratedFailureCount",
    "ToleratedFailurePercentage",
)


def embedded(definitions: Mapping[str, str]) -> str:
    """A template that holds every state machine inline, with its substitutions as given texts.

    Args:
        definitions: the machines' texts by name.
    """
    resources = {}
    for name, text in definitions.items():
        definition = json.loads(text, object_hook=_with_numbers)
        resources[name.title()] = {
            "Type": "AWS::StepFunctions::StateMachine",
            "Properties": {"RoleArn": "arn:aws:iam::123456789012:role/workflow", "Definition": definition},
        }
    template = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}
    # A substitution is text in a string: what stands for it here is text as well.
    return json.dumps(template).replace("${", "[").replace("}", "}")


def _with_numbers(state: dict[str, Any]) -> dict[str, Any]:
    """A number in place of each expression that is one, also in the states of a Map or a Parallel."""
    if "Type" in state:
        for field in _NUMBERS:
            if str(state.get(field, "")).startswith("{%"):
                state[field] = 60
    return state


def problems(definitions: Mapping[str, str]) -> list[str]:
    """What cfn-lint finds, a text each; the informational aside."""
    found = [match for match in lint_all(embedded(definitions)) if match.rule.severity != "informational"]
    return [f"{'/'.join(str(part) for part in match.path or [])}: {match}" for match in found]


def main() -> int:
    """Print what is found in the machines of this repository; 1 where anything is."""
    paths = sorted((ROOT / "statemachine").glob("*.asl.json"))
    found = problems({path.name.partition(".")[0]: path.read_text() for path in paths})
    print("\n".join([*found, f"{len(found)} finding(s) of cfn-lint in the state machines"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
