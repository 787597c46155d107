"""The command line in this process: its commands and the SDK's descriptions are made once, not per call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any
from unittest import mock

import botocore.loaders
import botocore.session
import typer.testing
from typer.main import get_command

from dropforge_ops.cli.main import app

_made_once = cache(get_command)
_loader = cache(botocore.loaders.create_loader)


class _Runner(typer.testing.CliRunner):
    def invoke(self, app: Any, *arguments: Any, **options: Any) -> Any:
        with (
            mock.patch.object(typer.testing, "_get_command", _made_once),
            mock.patch.object(botocore.session, "create_loader", _loader),
        ):
            return super().invoke(app, *arguments, **options)


def invoke(arguments: Sequence[Any], **options: Any) -> Any:
    """Call ``dropforge`` with these arguments; returns typer's result with exit_code, stdout and stderr."""
    return _Runner().invoke(app, [str(each) for each in arguments], **options)
