"""Reads text that a user names as a file, or gives on stdin."""

from __future__ import annotations

import sys
from pathlib import Path

from dropforge_ops.errors import UsageError


def read_text(name: str, option: str = "--file") -> str:
    """The UTF-8 text of a file; ``-`` is stdin. A byte order mark is left out.

    Raises:
        UsageError: it can't be read, or is not UTF-8.
    """
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{option} {name} can't be read: {error.strerror}.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{option} {name} is not UTF-8: {error}.") from error
