"""The optimized integration ``sns:publish``, through the host's own SNS as any client reaches it.

MiniStack hands the task's arguments to its query-protocol handler as they are, which loses every argument
that the query protocol spells differently: message attributes first of all.
"""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError, ParamValidationError

RESOURCE = "arn:aws:states:::sns:publish"


class SnsPublish:
    """Publishes a task's message.

    Args:
        client: a boto3 SNS client of this host.
        failure: makes Step Functions' error from a name and a cause.
    """

    def __init__(self, client: Any, failure: type[Exception]) -> None:
        self._client = client
        self._failure = failure

    def __call__(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The answer as Step Functions gives it.

        Raises:
            _ExecutionError: ``SNS.<Code>Exception`` as SNS says, or States.Runtime for malformed arguments.
        """
        message = arguments.get("Message")
        if isinstance(message, dict | list):  # Step Functions sends JSON as text
            arguments = {**arguments, "Message": json.dumps(message)}
        try:
            answer = self._client.publish(**arguments)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            name = code if code.endswith("Exception") else f"{code}Exception"
            raise self._failure(f"SNS.{name}", error.response["Error"]["Message"]) from error
        except ParamValidationError as error:
            raise self._failure("States.Runtime", str(error)) from error
        return {name: value for name, value in answer.items() if name in ("MessageId", "SequenceNumber")}
