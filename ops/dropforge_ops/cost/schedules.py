"""How often a schedule's expression comes due in a month."""

from __future__ import annotations

import re
from typing import Final

from dropforge_ops.errors import UsageError

_MINUTES_A_MONTH: Final = 730 * 60
_MINUTES: Final = {"minute": 1, "hour": 60, "day": 1440}
_WEEKDAYS: Final = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_MONTHS: Final = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_WEEKS_A_MONTH: Final = 730 / 168
_DAYS_A_MONTH: Final = 730 / 24


def times_a_month(expression: str) -> float:
    """How often ``rate(…)``, ``cron(…)`` or ``at(…)`` comes due.

    >>> times_a_month("rate(15 minutes)"), round(times_a_month("cron(0 6 * * ? *)"), 1)
    (2920.0, 30.4)

    Raises:
        UsageError: it is no expression of EventBridge.
    """
    if match := re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression):
        return _MINUTES_A_MONTH / (int(match[1]) * _MINUTES[match[2]])
    if expression.startswith("at("):
        return 0.0
    match = re.fullmatch(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)", expression)
    if match is None:
        raise UsageError(f"{expression!r} is neither rate(…), cron(…) nor at(…).")
    minutes, hours, days, months, weekdays, _ = match.groups()
    day_count = _DAYS_A_MONTH
    if weekdays not in ("*", "?"):
        day_count = _count(weekdays, 7) * _WEEKS_A_MONTH
    elif days not in ("*", "?"):
        day_count = float(_count(days, 31))
    return _count(minutes, 60) * _count(hours, 24) * day_count * _count(months, 12) / 12


def _count(field: str, all_of_them: int) -> int:
    """How many values a field of a cron expression names."""
    if field in ("*", "?"):
        return all_of_them
    total = 0
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if last and first.isdigit() and last.isdigit():
            values = int(last) - int(first) + 1
        elif last:
            names = _WEEKDAYS if first in _WEEKDAYS else _MONTHS
            values = (names.index(last) - names.index(first)) % len(names) + 1
        elif step:
            values = all_of_them - (int(first) if first.isdigit() else 0)
        else:
            values = 1
        total += -(-values // int(step)) if step else values
    return total
