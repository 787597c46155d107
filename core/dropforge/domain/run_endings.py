"""What the end of a run means for the drops that it held."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from dropforge.domain import errors
from dropforge.domain.drop_life import Ending
from dropforge.domain.records import Run, RunStatus

STOPPED_BY_HAND: Final = "ExecutionStopped"
"""The class of a run whose execution somebody stopped: it is not started again behind their back."""

# What AWS calls throttling, a lack of capacity, a time-out, a lost call or a fault of its own; and an
# execution that is gone without a word.
_TRANSIENT = re.compile(
    r"Throttl|TooManyRequests|ServiceUnavailable|ServiceException|Internal|SdkClient|LimitExceeded|Capacity"
    r"|ClientExecutionTimeout|AWSLambdaException|AWSStepFunctionsException|Lambda\.Unknown"
    r"|^States\.Timeout$|^Runtime\.ExitError$|^ExecutionEnded$|^LostLock$"
)
_TRANSIENT_WORDS = re.compile(
    r"Rate exceeded|Throttling|CapacityError|InternalServerError|Status Code: 5\d\d", re.IGNORECASE
)


def is_transient(error: Mapping[str, Any] | None) -> bool:
    """Whether the same run may succeed later, by the class and message that it recorded.

    >>> is_transient({"class": "Lambda.TooManyRequestsException", "message": "Rate Exceeded."})
    True
    >>> is_transient({"class": "TooFewRows", "message": "30 rows remain of 30"})
    False
    """
    name, message = str((error or {}).get("class")), str((error or {}).get("message"))
    own = getattr(errors, name, None)
    if isinstance(own, type) and issubclass(own, errors.DropforgeError):
        return issubclass(own, errors.RetryableError) or own is errors.LostLock
    return bool(_TRANSIENT.search(name) or _TRANSIENT_WORDS.search(message))


def ending_of(run: Run, set_aside: Mapping[str, dict[str, Any]]) -> Ending | None:
    """How the run lets go of the drops that it took; None while it holds them.

    It holds them until a model is registered: what is decided on that, and whether it can be deployed,
    changes nothing about its having been trained on them.
    """
    if run.version is None and not run.status.is_final:
        return None
    unfinished = run.version is None and run.status in (RunStatus.FAILED, RunStatus.STOPPED)
    return Ending(
        run_id=run.run_id,
        trained=not unfinished,
        version=run.version,
        is_transient=run.status is RunStatus.FAILED and is_transient(run.error),
        set_aside=set_aside,
    )
