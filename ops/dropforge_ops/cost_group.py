"""``dropforge cost`` is a month's bill; ``estimate``, ``scale``, ``so-far`` and ``prices`` are verbs."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

_HELP = ("--help", "-h")


class CostGroup(TyperGroup):
    """A group whose verb ``month`` may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the verb first."""
        if not args or (args[0] not in self.commands and args[0] not in _HELP):
            args = ["month", *args]
        return super().parse_args(ctx, args)
