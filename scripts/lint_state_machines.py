"""Lint the state machines as CloudFormation sees them: cfn-lint does not look behind a DefinitionUri."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cfnlint.api import lint_all

ROOT = Path(__file__).resolve().parent.parent
# Step Functions takes a JSONata expression here; cfn-lint's schema knows only its value, a number.
_NUMBERS = ("TimeoutSeconds", "MaxConcurrency")


def embedded() -> str:
    """A template that holds every state machine inline, with its substitutions as given texts."""
    resources = {}
    for path in sorted((ROOT / "statemachine").glob("*.asl.json")):
        definition = json.loads(path.read_text())
        for state in definition["States"].values():
            for field in _NUMBERS:
                if str(state.get(field, "")).startswith("{%"):
                    state[field] = 60
        resources[path.name.partition(".")[0].title()] = {
            "Type": "AWS::StepFunctions::StateMachine",
            "Properties": {"RoleArn": "arn:aws:iam::123456789012:role/workflow", "Definition": definition},
        }
    template = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}
    # A substitution is text in a string: what stands for it here is text as well.
    return json.dumps(template).replace("${", "[").replace("}", "}")


def main() -> int:
    found = [match for match in lint_all(embedded()) if match.rule.severity != "informational"]
    for match in found:
        print(f"{'/'.join(str(part) for part in match.path or [])}: {match}")
    print(f"{len(found)} finding(s) of cfn-lint in the state machines")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
