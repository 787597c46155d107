"""Lint the state machines as CloudFormation sees them: cfn-lint does not look behind a DefinitionUri."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cfnlint.api import lint_all

ROOT = Path(__file__).resolve().parent.parent


def embedded(name: str) -> str:
    """A template that holds the state machine inline, with its substitutions as given texts."""
    definition = json.loads((ROOT / "statemachine" / name).read_text())
    # Step Functions takes a JSONata expression here; cfn-lint's schema knows only its value, a number.
    for state in definition["States"].values():
        if str(state.get("TimeoutSeconds", "")).startswith("{%"):
            state["TimeoutSeconds"] = 60
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Resources": {
            "StateMachine": {
                "Type": "AWS::StepFunctions::StateMachine",
                "Properties": {
                    "RoleArn": "arn:aws:iam::123456789012:role/workflow",
                    "Definition": definition,
                },
            }
        },
    }
    # A substitution is text in a string: what stands for it here is text as well.
    return json.dumps(template).replace("${", "[").replace("}", "}")


def main() -> int:
    failures = 0
    for path in sorted((ROOT / "statemachine").glob("*.asl.json")):
        for match in lint_all(embedded(path.name)):
            if match.rule.severity == "informational":
                continue
            print(f"{path.relative_to(ROOT)}: {match}")
            failures += 1
    print(f"{failures} finding(s) in the state machines")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
