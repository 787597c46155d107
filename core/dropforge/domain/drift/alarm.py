"""When windows that have drifted raise an alarm: k of the last m, and not during a cooldown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dropforge.domain.drift.policy import WatchPolicy
from dropforge.domain.moments import iso


@dataclass(frozen=True, slots=True)
class PastWindow:
    """What an earlier window's report says of one kind of alarm.

    Attributes:
        end: of the window.
        model_version: that it watched.
        found: whether it had drifted (or degraded); None where it had not enough data.
        raised: whether it raised the alarm.
        is_batch: whether it holds scored files instead of logged predictions.
    """

    end: datetime
    model_version: int
    found: bool | None
    raised: bool
    is_batch: bool = False


@dataclass(frozen=True, slots=True)
class Alarm:
    """Whether the alarm is raised now, and a sentence with the numbers."""

    raised: bool
    reason: str
    windows_found: int
    windows_considered: int
    cooldown_until: datetime | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "raised": self.raised, "reason": self.reason, "windows_found": self.windows_found,
            "windows_considered": self.windows_considered,
            "cooldown_until": None if self.cooldown_until is None else iso(self.cooldown_until),
        }  # fmt: skip


def chance_of_alarm(policy: WatchPolicy) -> float:
    """The chance that a window raises an alarm where nothing has drifted and windows are independent.

    It takes a window that drifts, and ``windows_to_alarm`` - 1 of the ``windows_considered`` - 1 before it.

    >>> round(1 / chance_of_alarm(WatchPolicy()))
    5025
    """
    rate, before = policy.false_alarm_rate, policy.windows_considered - 1
    enough = range(policy.windows_to_alarm - 1, before + 1)
    return rate * sum(math.comb(before, k) * rate**k * (1 - rate) ** (before - k) for k in enough)


def decide(
    found: bool | None,
    *,
    start: datetime,
    end: datetime,
    model_version: int,
    promoted_at: datetime,
    past: Sequence[PastWindow],
    policy: WatchPolicy,
    is_batch: bool = False,
    is_decisive: bool = False,
) -> Alarm:
    """Decide on a window from `start` to `end`, given the windows before it in any order.

    Windows of another model version, and those without enough data, are passed over: a quiet night neither
    confirms drift nor clears it. So are windows that reach into this one, as one that was watched at once
    does: the same predictions don't count twice. The cooldown counts from the promotion of the live model and
    from the last alarm, whatever model raised it, and from the window's end, not from a wall clock: a rerun
    decides alike. While drift lasts, an alarm is raised whenever the longer of window and cooldown has
    passed (the cooldown in whole windows).

    Windows of files and of logged predictions are counted apart, and share the cooldown.

    Args:
        is_batch: whether the window holds scored files.
        is_decisive: whether what was found is so improbable that it counts as enough windows.

    Example:
        >>> from datetime import UTC
        >>> hour = [datetime(2026, 1, 1, h, tzinfo=UTC) for h in range(24)]
        >>> before = [PastWindow(hour[21], 1, True, False)]
        >>> decide(True, start=hour[21], end=hour[22], model_version=1, promoted_at=hour[0], past=before,
        ...        policy=WatchPolicy()).raised
        True
    """
    earlier = sorted((each for each in past if each.end <= end), key=lambda each: each.end, reverse=True)
    same = [
        each
        for each in earlier
        if each.model_version == model_version
        and each.found is not None
        and each.is_batch == is_batch
        and (is_batch or each.end <= start)
    ]
    considered = [each.found for each in same[: policy.windows_considered - 1]]
    count = sum(bool(each) for each in considered) + bool(found)
    size = len(considered) + (found is not None)
    alarms = [each.end for each in earlier if each.raised]
    until = max([promoted_at, *alarms]) + timedelta(seconds=policy.cooldown_s)
    cooling = until if end < until else None
    if found is None:
        return Alarm(False, "not enough data in this window", count, size, cooling)
    seen = "1 window" if size == 1 else f"the last {size} windows"
    numbers = f"{count} of {seen}, {policy.windows_to_alarm} of {policy.windows_considered} needed"
    if found and is_decisive and count < policy.windows_to_alarm:
        numbers += "; so improbable a window counts as enough"
        count = policy.windows_to_alarm
    if not found or count < policy.windows_to_alarm:
        return Alarm(False, numbers, count, size, cooling)
    if cooling is not None:
        return Alarm(False, f"{numbers}, but no alarm is raised before {iso(cooling)}", count, size, cooling)
    return Alarm(True, numbers, count, size, None)
