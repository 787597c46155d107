"""The command line in this process: its commands are made once, not at every call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import typer.testing
from typer.main import get_command

from dropforge_ops.cli import app

_made_once = cache(get_command)


class _Runner(typer.testing.CliRunner):
    def invoke(self, app: Any, *arguments: Any, **options: Any) -> Any:
        before = typer.testing._get_command
        typer.testing._get_command = _made_once
        try:
            return super().invoke(app, *arguments, **options)
        finally:
            typer.testing._get_command = before


def invoke(arguments: Sequence[Any], **options: Any) -> Any:
    """Call ``dropforge`` with these arguments; returns typer's result with exit_code, stdout and stderr."""
    return _Runner().invoke(app, [str(each) for each in arguments], **options)
