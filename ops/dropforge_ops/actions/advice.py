"""What to do next: after a run, and about each class of error."""

from __future__ import annotations

from typing import Final

from dropforge.domain.records import Run, RunStatus

# dropforge's own errors say in their message what to do; these come from AWS, or carry another's words.
REMEDIES: Final[dict[str, str]] = {
    "TrainingFailed": "'dropforge logs RUN' shows its output. Mend training/model.py or the data, then "
    "'dropforge runs start'.",
    "ExecutionEnded": "It is tried again by itself; 'dropforge runs start' does so now.",
    "ExecutionStopped": "'dropforge runs start' trains on its drops, and so does the next run.",
    "ServiceUnavailable": "It is tried again by itself; 'dropforge runs start' does so now.",
    "SageMaker.ResourceLimitExceededException": "Raise the quota, or name other TrainingInstanceTypes.",
    "States.Timeout": "'dropforge runs RUN' shows which state took too long; then 'dropforge runs start'.",
    "Sandbox.Timedout": "A function ran out of its time; drop less data at a time.",
    "Runtime.OutOfMemory": "A function ran out of memory; raise its MemorySize in template.yaml.",
}


def remedy(error_class: str | None) -> str | None:
    """What to do about an error of this class, where there is something general to say."""
    return REMEDIES.get(error_class or "")


def next_steps(run: Run) -> list[str]:
    """What a person can do after a run, one step per line."""
    if run.status is RunStatus.AWAITING_APPROVAL:
        return [
            f"dropforge approve {run.version} --wait",
            f"dropforge reject {run.version} --reason TEXT",
        ]
    if run.status is RunStatus.SUCCEEDED:
        return ["dropforge predict --sample-rows 3"]
    if run.status is RunStatus.EXPIRED:
        return [f"Nobody decided in time. 'dropforge approve {run.version}' still deploys it."]
    if run.status is RunStatus.FAILED:
        step = remedy((run.error or {}).get("class"))
        return [step] if step else []
    return []
