"""What Step Functions hands on of an error: its name, and a cause that is mostly JSON of who failed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from dropforge.domain.errors import cut

_MESSAGE_CHARACTERS = 5000
"""Our own are shorter; what else breaks may say more."""

_NO_REASON = re.compile(r"(?:AlgorithmError:\s*(?:,\s*exit code:\s*(?P<code>\d+))?)?")
"""What SageMaker gives as the reason where the job has written no file `output/failure`."""

_KILLED = 137
"""The exit code of a process that SIGKILL ends, which is what the kernel does where memory runs out."""

_ITS_LOG = "'dropforge logs RUN' shows what it printed."


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
