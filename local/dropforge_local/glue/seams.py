"""Checks that MiniStack's internals are what the glue expects."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import Any

from dropforge_local.errors import SeamChanged

MINISTACK_VERSION = "1.5.33"


def require_version() -> None:
    """Raise SeamChanged unless the installed MiniStack is the pinned one."""
    found = version("ministack")
    if found != MINISTACK_VERSION:
        raise SeamChanged(f"The glue was written for MiniStack {MINISTACK_VERSION}; {found} is installed.")


def require(module: Any, *names: str) -> None:
    """Raise SeamChanged unless ``module`` has every attribute."""
    missing = [name for name in names if not hasattr(module, name)]
    if missing:
        raise SeamChanged(f"{module.__name__} of MiniStack has no {', '.join(missing)} any more.")


def require_parameters(function: Any, *names: str) -> None:
    """Raise SeamChanged unless ``function``'s leading parameters have these names."""
    found = list(inspect.signature(function).parameters)[: len(names)]
    if found != list(names):
        raise SeamChanged(f"{function.__module__}.{function.__name__} now takes {found}, not {list(names)}.")
