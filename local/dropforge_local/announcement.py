"""``<root>/.dropforge/local.json``: where other programs find a running local host."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dropforge_local.errors import HostAlreadyRunning


@dataclass(frozen=True)
class Announcement:
    """What any AWS client needs to be pointed at the local host."""

    endpoint_url: str
    region: str
    pid: int
    stack_name: str | None = None
    api_url: str | None = None
    console_url: str | None = None
    outputs: dict[str, str] = field(default_factory=dict)


def announcement_path(root: Path) -> Path:
    """Where the host of the project at ``root`` announces itself."""
    return root / ".dropforge" / "local.json"


def read_announcement(root: Path) -> Announcement | None:
    """The running host's announcement; None where there is none, or where its process has died."""
    try:
        document: dict[str, Any] = json.loads(announcement_path(root).read_text(encoding="utf-8"))
        found = Announcement(**document)
    except (OSError, ValueError, TypeError):
        return None
    return found if is_alive(found.pid) else None


def announce(root: Path, announcement: Announcement) -> None:
    """Write the announcement at once and whole.

    Raises:
        HostAlreadyRunning: another living host has announced itself here.
    """
    other = read_announcement(root)
    if other is not None and other.pid != announcement.pid:
        raise HostAlreadyRunning(
            f"A local host already runs for {root} (process {other.pid}, {other.endpoint_url}). "
            "Use it, or stop it with Ctrl-C where it was started."
        )
    path = announcement_path(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(asdict(announcement), indent=2) + "\n", encoding="utf-8")
    scratch.replace(path)


def withdraw(root: Path, pid: int) -> None:
    """Remove the announcement of process ``pid``; another host's stays."""
    try:
        document = json.loads(announcement_path(root).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if document.get("pid") == pid:
        announcement_path(root).unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether there is such a process, whoever's it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
