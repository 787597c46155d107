"""Task tokens: handed out with a callback task, answered by SendTask*, and valid across a restart.

A token names its execution and attempt, so that a late answer is told apart from a forged one.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from dropforge_local.glue.workflow.records import MAX_DATA_BYTES, Records
from dropforge_local.glue.workflow.run import Run


@dataclass
class Callback:
    """An open token: the attempt's durable notes, and the run to wake."""

    execution: dict[str, Any]
    notes: dict[str, Any]
    run: Run | None = None
    last_beat: float = field(default_factory=time.time)

    @property
    def answered(self) -> bool:
        """Whether SendTaskSuccess or SendTaskFailure has come."""
        return "answer" in self.notes


class Refused(Exception):
    """An answer that SendTask* gives instead of success."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Tokens:
    """The open tokens of this process."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._open: dict[str, Callback] = {}
        self._lock = threading.Lock()

    @staticmethod
    def new(execution_arn: str) -> str:
        """A new token; as opaque and as long as AWS's to whoever receives it."""
        content = json.dumps({"execution": execution_arn, "secret": secrets.token_hex(64)})
        return base64.b64encode(content.encode()).decode()

    def open(self, token: str, callback: Callback) -> Callback:
        """Accept answers for ``token``; an answer that came before a restart is kept."""
        with self._lock:
            known = self._open.get(token)
            if known is not None:
                known.run = callback.run
                return known
            self._open[token] = callback
            return callback

    def close(self, token: str) -> None:
        """Accept no further answer."""
        with self._lock:
            self._open.pop(token, None)

    def succeed(self, token: str, output: str) -> None:
        """SendTaskSuccess."""
        try:
            value = json.loads(output)
        except ValueError as error:
            raise Refused("InvalidOutput", f"Invalid Output: '{error}'") from None
        if len(output.encode()) > MAX_DATA_BYTES:
            raise Refused("InvalidOutput", f"Invalid Output: longer than {MAX_DATA_BYTES} bytes")
        self._answer(token, {"output": value})

    def fail(self, token: str, error: str, cause: str) -> None:
        """SendTaskFailure."""
        self._answer(token, {"error": error, "cause": cause})

    def beat(self, token: str) -> None:
        """SendTaskHeartbeat."""
        callback = self._find(token)
        callback.last_beat = time.time()
        if callback.run is not None:
            callback.run.notify()

    def _answer(self, token: str, answer: dict[str, Any]) -> None:
        with self._records.lock:
            callback = self._find(token)
            if callback.answered:
                raise _closed()
            callback.notes["answer"] = answer
            self._records.save(callback.execution)
        if callback.run is not None:
            callback.run.notify()

    def _find(self, token: str) -> Callback:
        callback = self._open.get(token)
        if callback is not None:
            return callback
        raise _closed() if execution_of(token) else Refused("InvalidToken", "Invalid Token: 'Invalid token'")


def execution_of(token: str) -> str | None:
    """The execution that handed the token out, however long ago; None for what is no token of ours."""
    try:
        content = json.loads(base64.b64decode(token, validate=True))
        return str(content["execution"])
    except (ValueError, TypeError, KeyError):
        return None


def _closed() -> Refused:
    return Refused("TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'")
