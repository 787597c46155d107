"""How often reviewers are reminded."""

from __future__ import annotations

from typing import Final

# The wait grows with the time that nobody decided, so that no setting fills an execution's history.
_SHARE: Final = 20


def next_reminder_s(reminder_s: int, waited_s: int, remaining_s: int) -> int:
    """The seconds until the next reminder: as configured, but at least a 20th of the time waited so far.

    >>> next_reminder_s(86_400, 3 * 86_400, 4 * 86_400)
    86400
    >>> next_reminder_s(60, 86_400, 6 * 86_400)
    4320
    >>> next_reminder_s(60, 86_400, 30)
    30

    Args:
        reminder_s: as the parameter says.
        waited_s: since the version was registered.
        remaining_s: until the run gives up.
    """
    return min(max(reminder_s, waited_s // _SHARE), remaining_s)
