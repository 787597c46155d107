"""The lint of the state machines takes what Step Functions takes."""

from __future__ import annotations

import json
from typing import Any

from scripts.lint_state_machines import problems

EXPRESSION = "{% $states.input.number %}"


def machine(timeout: Any) -> str:
    inner = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": {"FunctionName": "work"},
        "TimeoutSeconds": timeout,
        "HeartbeatSeconds": EXPRESSION,
        "End": True,
    }
    outer = {
        "Type": "Map",
        "Items": "{% $states.input.items %}",
        "MaxConcurrency": EXPRESSION,
        "ToleratedFailureCount": EXPRESSION,
        "ToleratedFailurePercentage": EXPRESSION,
        "ItemBatcher": {"MaxItemsPerBatch": EXPRESSION},
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "Work",
            "States": {"Work": inner},
        },
        "End": True,
    }
    return json.dumps({"QueryLanguage": "JSONata", "StartAt": "Each", "States": {"Each": outer}})


def test_expressions_may_stand_where_numbers_do_also_inside_a_map() -> None:
    assert problems({"work": machine(EXPRESSION)}) == []


def test_what_is_neither_a_number_nor_an_expression_is_found() -> None:
    found = problems({"work": machine("soon")})
    assert any("'soon' is not of type 'number'" in each for each in found), found
