"""Pages that show what a command prints, between ``<!-- dropforge … -->`` and ``<!-- end -->``."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from dropforge_ops.cli.main import app

_BLOCK = re.compile(r"<!-- dropforge (.+?) -->\n(.*?)<!-- end -->", re.DOTALL)


def page(path: Path) -> str:
    """The page's text with every block as its command prints it now.

    Raises:
        RuntimeError: a command fails, or there is no block.
    """
    text, blocks = _BLOCK.subn(
        lambda match: f"<!-- dropforge {match[1]} -->\n{_printed(match[1])}<!-- end -->",
        path.read_text(encoding="utf-8"),
    )
    if not blocks:
        raise RuntimeError(f"{path} shows no command.")
    return text


def _printed(arguments: str) -> str:
    result = CliRunner().invoke(app, shlex.split(arguments))
    if result.exit_code:
        raise RuntimeError(f"dropforge {arguments}: {result.output}")
    lines = "\n".join(line.rstrip() for line in result.stdout.splitlines()).strip()
    return f"```text\n{lines}\n```\n"
