"""What to do next: after a run, and about each class of error."""

from __future__ import annotations

from typing import Final

from dropforge.domain.records import Run, RunStatus

REMEDIES: Final[dict[str, str]] = {
    "EmptyData": "Drop a file with a header and rows.",
    "UnreadableData": "Save the file again as CSV (UTF-8), JSON lines or Parquet, and drop it again.",
    "UnsupportedFormat": "Drop CSV, JSON lines or Parquet, plain or compressed with gzip or zstd.",
    "UnsupportedColumn": "Leave the column out, or flatten it, and drop the file again.",
    "DuplicateColumn": "Rename one of the columns and drop the file again.",
    "MissingTarget": "Drop a file with the target column, or change the stack's parameter TargetColumn.",
    "MissingKey": "Drop a file with the id column, or change the stack's parameter IdColumn.",
    "ConstantTarget": "Drop data in which the target takes more than one value.",
    "TooFewRows": "Drop more rows, or lower the stack's parameter MinimumRows.",
    "TooManyRejects": "Mend the rows that 'dropforge runs RUN' counts by reason, or raise MaximumRejectRate.",
    "SchemaChanged": "Drop files with the pinned columns, or edit or delete contract/schema.json.",
    "InvalidContract": "Correct contract/schema.json, or delete it: the next drop pins a new one.",
    "UnsuitableTarget": "Choose another TargetColumn, or set the parameter TaskType.",
    "TrainingFailed": "Mend training/model.py or the data, then 'dropforge runs start'.",
    "TrainingTimedOut": "Raise the parameter TrainingMaxRuntimeSeconds, or use a larger instance type.",
    "SmokeTestFailed": "What was live keeps serving. Train again; if it recurs, compare library versions.",
    "DeploymentFailed": "What was live keeps serving. Read the endpoint's log, then approve again.",
    "ArtifactMissing": "Restore the archive's version in S3, or train again.",
    "ArtifactChanged": "Restore the archive's version in S3, or train again.",
    "NothingToRollBackTo": "Approve another version: 'dropforge models' lists them.",
    "LostLock": "Nothing to do: a newer run took over.",
    "AccessDenied": "Give the role the permission that the message names; deploy the template again.",
    "ServiceUnavailable": "Try again: 'dropforge runs start'.",
    "SageMaker.ResourceLimitExceededException": "Raise the quota, or name other TrainingInstanceTypes.",
    "ExecutionEnded": "Start it again with 'dropforge runs start'.",
    "States.Timeout": "Look at the state that took too long: 'dropforge runs RUN'.",
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
