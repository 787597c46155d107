"""Groups of commands of which one verb may be left out: ``dropforge cost`` is ``cost month``."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

_HELP = ("--help", "-h")


def group_with(default: str) -> type[TyperGroup]:
    """A group whose verb ``default`` may be left out."""

    class Group(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            """Put the verb first."""
            if not args or (args[0] not in self.commands and args[0] not in _HELP):
                args = [default, *args]
            return super().parse_args(ctx, args)

    return Group
