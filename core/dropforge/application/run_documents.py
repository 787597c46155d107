"""The JSON documents of a run, read for whoever is told of it: one that is missing holds nothing up."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from dropforge.domain.errors import ObjectMissing
from dropforge.domain.ports import ObjectStore


def content_from(store: ObjectStore) -> Callable[[str], Mapping[str, Any] | None]:
    """Return what reads the JSON object at a URI, and None where there is none that can be read."""

    def content(uri: str) -> Mapping[str, Any] | None:
        try:
            found = json.loads(store.read(uri))
        except (ObjectMissing, ValueError):
            return None
        return found if isinstance(found, dict) else None

    return content
