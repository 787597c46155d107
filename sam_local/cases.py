"""Which function every example event goes to, and what has to come back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """One invocation and its expected outcome.

    Args:
        event: the example event, ``events/<event>.json``.
        function: the folder of the function under ``functions/``.
        into: the function's own example event, in whose field ``event`` a state machine passes the event on.
        expected: fields that the answer has, by dotted path; None as a value stands for any but null.
        error: the class of the error that the function has to end with, in place of an answer.
    """

    event: str
    function: str
    into: str = ""
    expected: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def resource(self) -> str:
        """The function's logical id."""
        return "".join(part.title() for part in self.function.split("_")) + "Function"


def judge(case: Case, output: str) -> str:
    """What is wrong with a function's output; empty where nothing is.

    sam reports success whatever the function did, so the answer alone tells.
    """
    if not output.strip():
        return "no answer: the function was killed, or took too long"
    try:
        answer = json.loads(output)
    except json.JSONDecodeError:
        return f"no JSON: {output[:200]}"
    failed = answer.get("errorType") if isinstance(answer, dict) else None
    if failed != (case.error or None):
        said = f"{failed}: {answer.get('errorMessage')}" if failed else json.dumps(answer)
        return f"expected {case.error or 'an answer'}, got {said[:300]}"
    wrong = []
    for path, wanted in case.expected.items():
        found: Any = answer
        for step in path.split("."):
            if isinstance(found, str):
                found = json.loads(found)
            found = found.get(step) if isinstance(found, dict) else None
        if found != wanted if wanted is not None else found is None:
            wrong.append(f"{path} is {found!r}, not {'missing' if wanted is None else repr(wanted)}")
    return "; ".join(wrong)


_SMOKE_FAILURE = {
    "Error": "SmokeTestFailed",
    "Cause": "model, row 1 of the hold-out: 'malignant' instead of 'benign'.",
}

CASES = (
    Case("watch_model", "watch_model", expected={"verdict": None, "alarms.drift": False}),
    Case("predict", "predict", expected={"statusCode": 200, "body.model_version": 1}),
    # The world's stack has no stream, so its role may publish nothing: the record comes again.
    Case("predict_records", "predict", expected={"batchItemFailures": None}),
    # Nobody asked for this answer in the world: the event comes again until its request is noted.
    Case("predict_answer", "predict", error="ServiceUnavailable"),
    Case("smoke_test", "smoke_test", expected={"rows": 32}),
    Case("collect_batch", "collect_batch", expected={"outcome": "scored", "scored": 569, "rejected": 0}),
    Case("plan_batch", "plan_batch", expected={"outcome": "planned"}),
    # The world's stack has no BatchSource.
    Case("start_batches", "start_batches", expected={"started": 0}),
    # The file is scored by the execution before.
    Case("s3_object_created_batch", "plan_batch", into="plan_batch", expected={"outcome": "duplicate"}),
    Case("prepare_data", "prepare_data", expected={"task": "binary", "splits.train.uri": None}),
    Case("prepare_chunk", "prepare_chunk", expected={"phase": "survey", "index": 0}),
    # The world's drop is small: its run was prepared in one function, and has no plan of chunks.
    Case("merge_chunks", "merge_chunks", error="ObjectMissing"),
    Case("judge_model", "judge_model", expected={"accepted": True, "metric.name": "auc"}),
    Case("admit_run", "admit_run", expected={"outcome": "admitted"}),
    Case("s3_object_created", "admit_run", into="admit_run", expected={"outcome": "duplicate"}),
    # The run that was just admitted holds the lock.
    Case("schedule", "admit_run", into="admit_run", expected={"outcome": "coalesced"}),
    Case("manual", "admit_run", into="admit_run", expected={"outcome": "coalesced"}),
    Case("replay", "admit_run", into="admit_run", expected={"outcome": "coalesced"}),
    Case("follow_up", "admit_run", into="admit_run", expected={"outcome": "coalesced"}),
    Case("alarm_drift", "admit_run", into="admit_run", expected={"outcome": "not-answered"}),
    Case("alarm_quality", "admit_run", into="admit_run", expected={"outcome": "not-answered"}),
    # The example's digests are not those that the version was registered with.
    Case("register_model", "register_model", error="ServiceRejected"),
    Case("request_approval", "request_approval", expected={"due_at": None}),
    Case("check_approval", "check_approval", expected={"outcome": "decided", "decision": "approved"}),
    Case("apply_decision", "apply_decision", expected={"action": "none", "why": "it is live already"}),
    Case("model_package_approved", "apply_decision", expected={"action": "none"}),
    Case("plan_deployment", "plan_deployment", expected={"already_live": True}),
    Case("promote_model", "promote_model", expected={"version": 1, "endpoint_config": "model-v1-1"}),
    Case("settle_deployment", "settle_deployment", expected={"error": _SMOKE_FAILURE}),
    Case("retire_models", "retire_models", expected={"deleted": []}),
    Case("close_run", "close_run", expected={"status": "succeeded"}),
    Case("reconcile_runs", "reconcile_runs", expected={"locks_freed": ["training", "deployment"]}),
    Case("execution_status_change", "reconcile_runs", expected={"locks_freed": []}),
    # The package is approved; an event that says otherwise is late.
    Case("model_package_rejected", "apply_decision", expected={"action": "none"}),
)
"""In an order in which none spoils the next one's world."""
