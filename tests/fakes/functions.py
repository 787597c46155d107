"""The handlers as modules, and their example events."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]


def event(name: str) -> Any:
    """The example event of that name."""
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


def load(function: str) -> ModuleType:
    """The handler's module, loaded anew."""
    spec = importlib.util.spec_from_file_location(f"{function}_app", ROOT / "functions" / function / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
