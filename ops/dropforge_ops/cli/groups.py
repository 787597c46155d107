"""Groups of commands of which one verb may be left out.

``dropforge cost`` is ``cost month``; ``dropforge runs`` is a list, ``dropforge runs RUN`` one run, and
``start`` and ``replay`` are verbs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperGroup

_HELP = ("--help", "-h")
_TAKE_A_VALUE = frozenset(
    {"--limit", "-n", "--timeout", "--set", "--data", "--stack", "--profile", "--region", "--endpoint-url"}
)


def group_with(default: str) -> type[TyperGroup]:
    """A group whose verb ``default`` may be left out."""

    class Group(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            """Put the verb first."""
            if not args or (args[0] not in self.commands and args[0] not in _HELP):
                args = [default, *args]
            return super().parse_args(ctx, args)

    return Group


class RunsGroup(TyperGroup):
    """A group whose verb may be left out, and may stand behind options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the verb first; a shell that completes asks with what is typed so far."""
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        return super().parse_args(ctx, with_verb(args, sorted(self.commands)))


def with_verb(args: Sequence[str], verbs: Sequence[str]) -> list[str]:
    """The arguments with the verb that is meant in front.

    >>> with_verb([], ["list", "show"]), with_verb(["--limit", "3"], ["list", "show"])
    (['list'], ['list', '--limit', '3'])
    >>> with_verb(["--json", "cancer-1"], ["list", "show"])
    ['show', '--json', 'cancer-1']
    >>> with_verb(["--stack", "list", "list"], ["list", "show"])
    ['list', '--stack', 'list']
    """
    rest = list(args)
    if rest and rest[0] in _HELP:
        return rest
    position = 0
    while position < len(rest) and rest[position].startswith("-"):
        position += 2 if rest[position] in _TAKE_A_VALUE else 1
    if position >= len(rest):
        return ["list", *rest]
    if rest[position] in verbs:
        return [rest.pop(position), *rest]
    return ["show", *rest]
