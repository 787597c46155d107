"""Write what `dropforge cost` prints into the page that shows it.

    python scripts/cost_documents.py

A page holds a command between ``<!-- dropforge … -->`` and ``<!-- end -->``. A test holds the page to it.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from typer.testing import CliRunner

from dropforge_ops.cli.main import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "docs" / "scale.md",)
_BLOCK = re.compile(r"<!-- dropforge (.+?) -->\n(.*?)<!-- end -->", re.DOTALL)


def refreshed(text: str) -> str:
    """The page with every block as its command prints it now."""
    return _BLOCK.sub(lambda match: f"<!-- dropforge {match[1]} -->\n{_printed(match[1])}<!-- end -->", text)


def _printed(arguments: str) -> str:
    result = CliRunner().invoke(app, shlex.split(arguments))
    if result.exit_code:
        raise RuntimeError(f"dropforge {arguments}: {result.output}")
    lines = "\n".join(line.rstrip() for line in result.stdout.splitlines()).strip()
    return f"```text\n{lines}\n```\n"


def main() -> int:
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = refreshed(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(f"{page.relative_to(ROOT)} is written anew")
    return 0


if __name__ == "__main__":
    sys.exit(main())
