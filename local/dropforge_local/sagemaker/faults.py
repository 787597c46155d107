"""A switch that makes operations fail on purpose, for tests of what the product does then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dropforge_local.sagemaker.errors import ServiceError, validation

_HTTP_STATUS = {
    "ResourceLimitExceeded": 400,
    "ThrottlingException": 400,
    "InternalFailure": 500,
    "ServiceUnavailable": 503,
    "ValidationException": 400,
    "AccessDeniedException": 400,
    "ModelNotReadyException": 429,
    "InternalDependencyException": 530,
}
_MESSAGES = {
    "ResourceLimitExceeded": "The account-level service limit for this resource is exceeded.",
    "ThrottlingException": "Rate exceeded",
    "InternalFailure": "The request processing has failed because of an unknown error, exception or failure.",
    "ServiceUnavailable": "The service is temporarily unavailable.",
    "CapacityError": (
        "Unable to provision requested ML compute capacity. Please retry using a different ML instance type."
    ),
}
#: SageMaker accepts such a request and reports the missing capacity later, in the FailureReason.
CAPACITY_ERROR = "CapacityError"
#: SageMaker accepts such a request and takes the instance of the Spot job away later.
SPOT_INTERRUPTION = "SpotInterruption"
_CAPACITY_OPERATIONS = ("CreateTrainingJob", "CreateTransformJob", "CreateEndpoint", "UpdateEndpoint")


@dataclass
class Fault:
    """What to do to calls of one operation; it ends after ``remaining`` calls or at ``until``."""

    error: str | None
    message: str
    delay_s: float
    remaining: int | None
    until: float | None


class FaultSwitch:
    """Faults by operation. An operation has at most one. Safe to use from many threads."""

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._now = now
        self._sleep = sleep
        self._lock = threading.Lock()
        self._faults: dict[str, Fault] = {}

    def set(
        self,
        operation: str,
        error: str | None = None,
        *,
        times: int | None = None,
        seconds: float | None = None,
        delay_s: float = 0.0,
        message: str | None = None,
    ) -> None:
        """Make an operation fail, or answer late, from now on.

        Args:
            operation: the operation's name, ``InvokeEndpoint`` included.
            error: the AWS error code to answer with; None only delays. ``CapacityError`` lets the request
                pass and fails the job or deployment that it starts. ``SpotInterruption`` takes the instance
                of a Spot job away, ``delay_s`` after its script began.
            times: end after so many calls, or interruptions. Without ``times`` and ``seconds`` the fault
                stays until cleared.
            seconds: end after so many seconds.
            delay_s: wait this long before the answer.
            message: the error's text; by default AWS's own.

        Raises:
            ServiceError: an unknown error code or a negative number.
        """
        known = {*_HTTP_STATUS, CAPACITY_ERROR, SPOT_INTERRUPTION}
        if error is not None and error not in known:
            raise validation(f"Unknown fault {error!r}; known are {', '.join(sorted(known))}.")
        if error == CAPACITY_ERROR and operation not in _CAPACITY_OPERATIONS:
            raise validation(f"CapacityError is a fault of {', '.join(_CAPACITY_OPERATIONS)} only.")
        if error == SPOT_INTERRUPTION and operation != "CreateTrainingJob":
            raise validation("SpotInterruption is a fault of CreateTrainingJob only.")
        if error is None and not delay_s:
            raise validation("A fault needs an error code or a delay.")
        if (times is not None and times < 1) or (seconds is not None and seconds <= 0) or delay_s < 0:
            raise validation("A fault's times, seconds and delay are positive.")
        until = None if seconds is None else self._now() + seconds
        text = message if message is not None else _MESSAGES.get(error or "", "Injected fault.")
        with self._lock:
            self._faults[operation] = Fault(error, text, delay_s, times, until)

    def clear(self, operation: str | None = None) -> None:
        """End the fault of one operation, or all of them."""
        with self._lock:
            if operation is None:
                self._faults.clear()
            else:
                self._faults.pop(operation, None)

    def active(self) -> dict[str, dict[str, Any]]:
        """The faults in force, by operation."""
        now = self._now()
        with self._lock:
            return {
                operation: {"Error": fault.error, "Message": fault.message, "Remaining": fault.remaining}
                for operation, fault in self._faults.items()
                if fault.until is None or now < fault.until
            }

    def check(self, operation: str) -> str | None:
        """Apply the operation's fault, if it has one.

        Returns:
            The text of a ``CapacityError`` that what the call starts must fail with, else None.

        Raises:
            ServiceError: the fault's error.
        """
        fault = self._take(operation, interrupting=False)
        if fault is None:
            return None
        if fault.delay_s:
            self._sleep(fault.delay_s)
        if fault.error is None:
            return None
        if fault.error == CAPACITY_ERROR:
            return fault.message
        status = _HTTP_STATUS[fault.error]
        if operation == "InvokeEndpoint" and fault.error == "ThrottlingException":
            status = 429
        raise ServiceError(fault.error, fault.message, status)

    def interruption(self) -> float | None:
        """How long after its script began a Spot job loses its instance; None where it keeps it."""
        fault = self._take("CreateTrainingJob", interrupting=True)
        return None if fault is None else fault.delay_s

    def _take(self, operation: str, *, interrupting: bool) -> Fault | None:
        with self._lock:
            fault = self._faults.get(operation)
            if fault is None or (fault.error == SPOT_INTERRUPTION) != interrupting:
                return None
            if fault.until is not None and self._now() >= fault.until:
                del self._faults[operation]
                return None
            if fault.remaining is not None:
                fault.remaining -= 1
                if fault.remaining == 0:
                    del self._faults[operation]
            return fault


def set_fault(switch: FaultSwitch, request: dict[str, Any]) -> dict[str, Any]:
    """``dropforge:SetFault``: {Operation, Error, Times, Seconds, DelaySeconds, Message}."""
    operation = request.get("Operation")
    if not isinstance(operation, str) or not operation:
        raise validation("Operation is required.")
    switch.set(
        operation,
        request.get("Error"),
        times=request.get("Times"),
        seconds=request.get("Seconds"),
        delay_s=request.get("DelaySeconds", 0.0),
        message=request.get("Message"),
    )
    return {}


def clear_faults(switch: FaultSwitch, request: dict[str, Any]) -> dict[str, Any]:
    """``dropforge:ClearFaults``: {Operation} or everything."""
    switch.clear(request.get("Operation"))
    return {}


def list_faults(switch: FaultSwitch, _request: dict[str, Any]) -> dict[str, Any]:
    """``dropforge:ListFaults``."""
    return {"Faults": switch.active()}
