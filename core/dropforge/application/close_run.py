"""The end of a run that does not end with a promotion."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dropforge.application.decide import LATE_APPROVAL, start_deployment
from dropforge.application.settle_drops import settle_run
from dropforge.application.told_data import told_data
from dropforge.application.training_lock import start_follow_up
from dropforge.domain.data_report import TITLE
from dropforge.domain.errors import cut
from dropforge.domain.ledger import Ledger
from dropforge.domain.moments import iso
from dropforge.domain.ports import ObjectStore
from dropforge.domain.records import Approval, LockName, RunStatus
from dropforge.domain.services import Workflows

_MESSAGE_CHARACTERS = 5000
"""Our own are shorter; what else breaks may say more."""

_NO_REASON = re.compile(r"(?:AlgorithmError:\s*(?:,\s*exit code:\s*(?P<code>\d+))?)?")
"""What SageMaker gives as the reason where the job has written no file `output/failure`."""

_KILLED = 137
"""The exit code of a process that SIGKILL ends, which is what the kernel does where memory runs out."""

_ITS_LOG = "'dropforge logs RUN' shows what it printed."


def close_run(
    *,
    run_id: str,
    token: int,
    status: RunStatus,
    error: Mapping[str, Any] | None,
    details: Mapping[str, Any],
    ledger: Ledger,
    store: ObjectStore,
    workflows: Workflows,
    training_machine_arn: str,
    deployment_machine_arn: str,
    now: datetime,
) -> dict[str, Any]:
    """Record how the run ended, free the training lock, let go of its drops, and start what is due.

    A version that was approved after its run had heard of a rejection is deployed from here: while the run
    was ending, whoever applied the approval left it to the run.

    ``error`` is what Step Functions caught (``Error``, ``Cause``). Safe to run twice.

    Returns:
        ``status``, ``error_class`` and ``message``, for the notification and the Fail state; ``drops`` says
        which of its drops wait again or were set aside, ``data`` what became of the data of a candidate that
        the gate refused.
    """
    readable = None if error is None else readable_error(error)
    run = ledger.advance_run(run_id, status, ended_at=iso(now), error=readable, **details)
    # The lock first: whoever still claims drops for this run can't do so after they were let go.
    ledger.release(LockName.TRAINING, token=token)
    settlement = settle_run(run, ledger=ledger, store=store, now=now)
    start_follow_up(
        ledger=ledger,
        workflows=workflows,
        training_machine_arn=training_machine_arn,
        after=f"t{token}",
        now=now,
    )
    if run.status in (RunStatus.REJECTED, RunStatus.SUPERSEDED) and run.version is not None:
        model = ledger.get_model(run.version)
        if model is not None and model.approval is Approval.APPROVED:
            start_deployment(model, LATE_APPROVAL, workflows, deployment_machine_arn)
    data = None
    if run.status is RunStatus.REJECTED_BY_GATE:
        prefix = f"{run.manifest_uri.rpartition('/')[0]}/"
        data = told_data(prefix, run_id, ledger, store)
    shown = run.error or {}
    return {
        "run_id": run_id,
        "status": str(run.status),
        "error_class": shown.get("class", ""),
        "message": shown.get("message", ""),
        "drops": settlement.in_words(),
        "data": "" if data is None else "\n".join([f"{TITLE}:", *data.told()]),
    }


def readable_error(error: Mapping[str, Any]) -> dict[str, str]:
    """The class and the message, dug out of the JSON that Step Functions puts into ``Cause``.

    >>> readable_error({"Error": "EmptyData", "Cause": '{"errorMessage": "no rows"}'})
    {'class': 'EmptyData', 'message': 'no rows'}
    >>> readable_error({"Error": "States.TaskFailed", "Cause": '{"FailureReason": "AlgorithmError: x"}'})
    {'class': 'TrainingFailed', 'message': 'AlgorithmError: x'}
    """
    name, cause = str(error.get("Error") or "Unknown"), str(error.get("Cause") or "")
    try:
        document = json.loads(cause)
    except ValueError:
        document = None
    if isinstance(document, dict):
        if "errorMessage" in document:
            return _error(str(document.get("errorType") or name), str(document["errorMessage"]))
        if "FailureReason" in document:
            return _error("TrainingFailed", str(document["FailureReason"]))
        if "TrainingJobStatus" in document:
            reason = document.get("SecondaryStatus", document["TrainingJobStatus"])
            return _error("TrainingFailed", f"The training job ended as {reason}.")
        if "Cause" in document and "Error" in document:
            return readable_error(document)
        if "Error" in document:
            return _error(str(document["Error"]), cause)
    return _error(name, cause)


def why_training_failed(reason: str) -> str:
    """The reason that SageMaker gives of a failed job, or where that is empty what is known instead.

    A job that is killed writes no reason, and SageMaker then gives its exit code alone.

    >>> why_training_failed("AlgorithmError: , exit code: 3")[:57]
    'The training job ended with exit code 3 and gave no reason'
    >>> why_training_failed("AlgorithmError: EmptyData: no rows, exit code: 1")
    'AlgorithmError: EmptyData: no rows, exit code: 1'
    """
    found = _NO_REASON.fullmatch(reason.strip())
    if found is None:
        return reason
    if found["code"] is None:
        return f"The training job failed and gave no reason. {_ITS_LOG}"
    if int(found["code"]) == _KILLED:
        return (
            f"The training job was killed (exit code {_KILLED}) before it could give a reason. Most often it "
            "needed more memory than its instance has: name a larger type in TrainingInstanceTypes. "
            f"{_ITS_LOG}"
        )
    return f"The training job ended with exit code {found['code']} and gave no reason. {_ITS_LOG}"


def _error(name: str, message: str) -> dict[str, str]:
    if name == "TrainingFailed":
        message = why_training_failed(message)
    return {"class": name, "message": cut(message, _MESSAGE_CHARACTERS)}
