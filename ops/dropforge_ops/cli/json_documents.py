"""What ``--json`` writes: the members of each command's document, which only ever grow in number.

The reference is generated from here, and a test holds every command to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_DECISION: Final = {
    "version": "the version decided on",
    "model_package_arn": "its model package",
    "run_id": "the run that trained it",
    "approval": "pending, approved, rejected or superseded",
    "stage": "Development, Staging, Production or Archived",
    "metric": "the metric that the gate decided by: name, value, low, high, threshold, positive_class",
    "metrics": "every metric by name",
    "champion": "how the live model did on the same hold-out, or null",
    "difference": "the paired difference to it with its interval, or null",
    "verdict": "accepted, or undecided: the gate can't say, and a person decides",
    "reasons": "why the gate said so: code and message each",
    "rows": "rows of the hold-out",
    "judgement_uri": "the metrics that were shown",
    "judgement_sha256": "their digest; the decision is bound to it",
    "decided_by": "who decided",
    "decided_at": "when",
    "decision_reason": "why",
    "changed": "whether this call decided anything",
    "live": "the live pointer once it is live, with --wait; else null",
    "message": "the result in a sentence",
}
_WINDOW: Final = {
    "uri": "the report in S3",
    "format": "1",
    "window": "start and end",
    "verdict": "quiet, drifted, not_enough_data",
    "model": "version, run_id and profile_uri of what was live",
    "rows": "predictions in the window",
    "is_sample": "whether they are a sample of more",
    "drifted": "names of the columns that drifted, the least probable first",
    "columns": "name, kind, type, verdict, p_value, adjusted_p_value, rows, missing, statistics of each",
    "domain_classifier": "all columns at once, or null",
    "unwatched": "columns that could not be compared, with the reason",
    "silenced": "columns that raised nothing in this window: since, until, by and reason of each",
    "quality": "live quality on outcomes against the hold-out",
    "alarms": "drift and quality: raised, reason, windows_found, windows_considered, cooldown_until",
    "policy": "what the window was held to",
}
_SILENCE: Final = {
    "column": "the column",
    "since": "from when on it raises nothing",
    "until": "until when",
    "by": "who silenced it",
    "reason": "why",
    "message": "the result in a sentence",
}

_PRICED: Final = {
    "region": "the region of the prices",
    "asked_region": "the region that was asked for",
    "prices_as_of": "the day of the prices",
    "rates_measured_on": "the day of the rates of work",
    "rates_machine": "the machine they were measured on",
}
_BILL: Final = {
    "usd": "US dollars at list price",
    "usd_with_free_tier": "less the free tier that never ends",
    "services": "both by service",
    "lines": "what, service, quantity and price of each",
}

ERROR: Final[Mapping[str, str]] = {
    "class": "the error's class",
    "message": "what is wrong and what to do",
    "exit_code": "the exit code",
}

DOCUMENTS: Final[Mapping[str, Mapping[str, str]]] = {
    "up": {
        "console_url": "where the console answers",
        "endpoint_url": "where the host answers",
        "region": "the region it plays",
        "stack_name": "the deployed stack",
        "outputs": "its outputs",
        "parameters": "its parameters",
        "state_dir": "where its state survives",
        "log": "its log file",
    },
    "demo": {
        "run_id": "the run",
        "execution_arn": "its execution",
        "execution_status": "SUCCEEDED",
        "version": "the version that went live",
        "metrics": "every metric by name",
        "model_package_arn": "its model package",
        "endpoint_name": "the endpoint",
        "endpoint_config": "its configuration",
        "prediction": "the first answer",
        "predictions_checked": "answers compared with those of training",
        "seconds": "seconds by stage and state",
    },
    "api": {
        "url": "the prediction API's address",
        "auth": "how callers prove who they are: api-key, iam or cognito",
        "version?": "the live version; not with --key",
        "instance?": "the row that is asked for, of the live model's hold-out; not with --key",
        "calls?": "a program that asks for it, by language; not with --key",
        "key?": "with --key: the value of a key that the API accepts, a secret",
    },
    "export grafana": {
        "path": "the file that was written",
        "uid": "the dashboard's id in Grafana, the same at each export of a stack",
        "panels": "how many it has",
        "metrics": "how many metrics they ask CloudWatch for",
        "log_queries": "how many queries of logs they make",
    },
    "samples": {"samples": "name, path, target, id, task, rows and description of each file"},
    "drop": {
        "uploads": "file, uri, version_id, etag and size of each",
        "runs": "with --wait: the runs that cover them",
        "notes?": "with --wait: which drops joined another's run",
        "data?": "with --wait: what became of the data of each run",
    },
    "batch": {
        "uploads": "file, uri, version_id, etag and size of each",
        "batches": "file, uri, execution_arn, version, rows, reasons, result_uri and files of each",
    },
    "runs list": {"runs": "the newest first; each a run's record and its seconds"},
    "runs show": {
        "run": "the run's record",
        "seconds": "how long it took, or has taken",
        "execution_status": "Step Functions' status",
        "states": "state, kind, depth, entered_at, left_at, seconds, errors",
        "report": "what happened to the rows, as the run wrote it down, or null",
        "data": "what became of the data: rows, splits, objects, columns, remarks, compared_with, "
        "differences, summary; or null",
        "judgement": "the gate's verdict with all metrics, or null",
        "lineage": "what the model was made from, or null",
        "remedy": "what to do about its error, or null",
        "next_steps": "commands that make sense now",
    },
    "logs": {
        "run_id": "the run",
        "log_group": "the log group of CloudWatch that holds the lines",
        "lines": "at, job and message of each, the oldest first",
    },
    "runs start": {
        "execution_arn": "the execution that was started",
        "outcome": "admitted, or why not",
        "message": "the same in a sentence",
        "run": "the run's record, or null",
    },
    "drops list": {
        "counts": "how many drops stand in each state",
        "drops": "the newest first; each a drop's record, with drop_id, key, version_id, written_at, state, "
        "run_id, version, reason, due_at and failures",
    },
    "drops retry": {
        "execution_arn": "the execution that was started",
        "outcome": "admitted, or why not",
        "message": "the same in a sentence",
        "run": "the run's record, or null",
    },
    "runs compare": {
        "first": "run_id, version and status of A",
        "second": "the same of B",
        "parts": "title, lines and rows each; a row has name, first, second and differs",
        "same_rows": "both models on the rows that both were scored on: rows, how, left_out; metrics with "
        "first, second and the paired difference each, which is above 0 where B is better",
    },
    "runs replay": {
        "run_id": "the original",
        "replay_run_id": "the replay",
        "same": "whether both models have the same digest",
        "model_digest": "of the original",
        "replay_model_digest": "of the replay",
        "differences": "which ingredients differ",
    },
    "models": {
        "live_version": "the live version, or null",
        "models": "the newest first; each a version's record, `live`, and with --history its `history`",
    },
    "card": {
        "version": "the version",
        "status": "of the card: Draft, PendingReview, Approved or Archived",
        "from": "registry, or documents where the registry has no card of it",
        "note": "why it is not the registry's, or null",
        "content": "the card by SageMaker's schema for model packages",
    },
    "models VERSION": {
        "live": "whether it is live",
        "history": "its changes of stage and approval",
        "judgement": "its metrics, or null where they are gone",
        "data": "what became of its run's data, as in `runs show`",
        "…": "the version's record",
    },
    "approve": _DECISION,
    "reject": _DECISION,
    "rollback": {
        "changed": "whether a deployment was started",
        "execution_arn": "its execution, or null",
        "version?": "the version it goes to",
        "live?": "the live pointer, with --wait",
        "message": "the result in a sentence",
    },
    "wake": {
        "changed": "whether a deployment was started",
        "version": "the live version",
        "asleep_since?": "when its endpoint was put to sleep",
        "execution_arn?": "the deployment's execution",
        "message": "the result in a sentence",
    },
    "predict": {
        "version": "the live version",
        "model_package_arn": "its model package",
        "endpoint_name": "the endpoint",
        "target": "the column that is predicted",
        "predictions": "label and probabilities, or value; with --log also id",
    },
    "outcome": {"recorded": "how many were recorded", "outcomes": "what was reported"},
    "outcome ID": {
        "id": "the prediction",
        "at": "when it was asked for",
        "model_version": "the version that answered",
        "inputs": "what is logged of the row",
        "prediction": "what was answered",
        "latency_ms": "how long the endpoint took",
        "outcome": "what turned out to be true, or null",
        "outcome_at": "when that was reported",
    },
    "drift": {"windows": "start, end, version, rows, verdict, drifted, quality, alarms and uri of each"},
    "drift WINDOW": _WINDOW,
    "watch now": _WINDOW,
    "watch alarms": {
        "windows": "how many windows were looked at",
        "alarms": "kind, window_start, window_end, version, reason, report_uri, outcome, message, run_id, "
        "run_status and in_words of each",
    },
    "watch silence": _SILENCE,
    "watch unsilence": _SILENCE,
    "watch silences": {"silences": "column, since, until, by, reason and holds of each"},
    "contract show": {
        "uri": "where it lies",
        "contract": "the contract",
        "replaced": "hashes of those before it",
    },
    "contract diff": {
        "run_id": "the run",
        "pinned": "hash of the pinned contract, or null",
        "proposed": "hash of what the run proposes, or null",
        "differences": "one line each",
        "accept": "the command that accepts it, or null",
    },
    "contract accept": {
        "changed": "whether another contract is pinned now",
        "pinned": "its hash",
        "replaced": "the hash of the one before, or null",
        "differences": "one line each",
        "dropped_again": "keys that were dropped again",
    },
    "cost month": {"usage": "the profile or file", **_PRICED, **_BILL},
    "cost estimate": {
        **_PRICED,
        "input_mb": "megabytes of input",
        "instance_type": "what training would run on",
        "training_memory_mb": "the memory it would need",
        "usd": "US dollars at list price",
        "seconds": "how long it would take",
        "parts": "both by part",
        "limits": "the limits it would meet, a sentence each",
    },
    "cost scale": {**_PRICED, "steps": "the same for each size of data"},
    "cost so-far": {
        "since": "the first of the month",
        "share_of_month": "how much of the month is over",
        "requests": "requests to the API",
        "runs": "runs",
        "deployments": "deployments",
        "simulated": "whether a local host ran them, which costs nothing",
        **_BILL,
    },
    "cost prices": {**_PRICED, "prices": "every price with its source", "rates": "every rate of work"},
    "teardown": {
        "stack": "the stack",
        "model": "its model",
        "stopped": "what was stopped, by kind",
        "deleted": "what was deleted, by kind",
        "kept": "what was kept, by kind",
        "left": "what is left all the same, by kind; then the command exits with status 1",
    },
    "forget": {
        "key_column": "the contract's key column",
        "deleted": "whether predictions and prepared rows were deleted; false: only looked for",
        "predictions": "how many logged predictions, with their outcomes",
        "prepared": "uri, version_id, is_latest and rows of each version of a prepared file",
        "dropped": "likewise of drops, files to score and results, which stay, with remedy",
        "models": "version, run_id and stage of each version that was trained on the key",
        "unread": "uri, version_id and reason of what could not be read; if any, the exit status is 1",
    },
    "doctor": {
        "checks": "check, status (ok, warn, fail, skip), detail and remedy of each",
        "counts": "how many of each status",
        "healthy": "whether none fails",
    },
    "console": {
        "url": "where it answers",
        "entry_url": "the same with the token, where there is one",
        "stack_name": "the stack it shows",
        "host": "the stack's host",
    },
}
"""By command; a member with ``?`` is not always there, and ``…`` stands for a record's members."""
