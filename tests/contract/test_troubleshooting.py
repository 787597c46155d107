"""The troubleshooting table speaks of every error that a user can meet, and of no other."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from dropforge.domain import errors

PAGE = Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md"
BASES = {"DropforgeError", "RetryableError", "PermanentError", "DataError"}
# Named by the state machines or the reconciliation, or AWS's own.
NOT_OURS = {
    "TrainingFailed",
    "TrainingTimedOut",
    "TransformFailed",
    "TransformTimedOut",
    "ExecutionEnded",
    "SageMaker.ResourceLimitExceededException",
}


def test_every_error_class_has_its_line() -> None:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    named = {name for line in lines for name in re.findall(r"`([A-Za-z.]+)`", line.split("|")[1])}
    classes = {
        name
        for name, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, errors.DropforgeError)
    }

    assert named - NOT_OURS == classes - BASES
