"""Which calls the functions' roles made in the workflow tests: a reviewed file that a command refreshes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from proof.recordings import FOLDER

_PATH = FOLDER / "calls.json"


@dataclass(frozen=True, order=True)
class Call:
    """One call: the role's logical id, the action, the resource, and the condition keys as JSON."""

    role: str
    action: str
    resource: str
    conditions: str = "{}"

    @classmethod
    def of(cls, role: str, action: str, resource: str, context: Mapping[str, Any]) -> Call:
        """A call with its condition keys."""
        return cls(role, action, resource, json.dumps(context, sort_keys=True))

    @property
    def context(self) -> dict[str, Any]:
        """What conditions of policies see of the call."""
        found: dict[str, Any] = json.loads(self.conditions)
        return found


def load_calls(path: Path = _PATH) -> list[Call]:
    """Every recorded call; none where nothing is recorded."""
    if not path.is_file():
        return []
    document = json.loads(path.read_text())
    return [
        Call.of(role, each["action"], each["resource"], each.get("context", {}))
        for role, calls in document.items()
        for each in calls
    ]


def save_calls(calls: Iterable[Call], path: Path = _PATH) -> None:
    """Write the calls, grouped by role, one a line."""
    lines = []
    for role, group in groupby(sorted(calls), key=lambda call: call.role):
        entries = ",\n".join(f"  {json.dumps(_entry(call))}" for call in group)
        lines.append(f' "{role}": [\n{entries}\n ]')
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _entry(call: Call) -> dict[str, Any]:
    found: dict[str, Any] = {"action": call.action, "resource": call.resource}
    return {**found, "context": call.context} if call.context else found
