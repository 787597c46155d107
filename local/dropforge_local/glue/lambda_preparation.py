"""Prepares what functions start from when they are deployed, so that no invocation has to wait for it.

Nothing depends on it: what is missing is made by the invocation that needs it.
"""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.seams import lambda_svc

if TYPE_CHECKING:
    from dropforge_local.glue import Installed
    from dropforge_local.glue.lambda_environments import ExecutionEnvironments


def attached_layers(config: dict[str, Any]) -> list[bytes]:
    """The archives of a function's layers, in their order."""

    found = [lambda_svc._resolve_layer_zip(layer) for layer in config.get("Layers") or []]
    return [layer for layer in found if layer]


def install(shared: ExecutionEnvironments, installed: Installed) -> None:
    """Prepare for the functions that CloudFormation makes or changes, and for restored ones."""

    invalidate = lambda_svc.invalidate_worker
    preparing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dropforge-prepare")

    def prepare(function: dict[str, Any] | None) -> None:
        config = (function or {}).get("config") or {}
        runtime = str(config.get("Runtime", ""))
        if runtime.startswith("python"):
            preparing.submit(shared.prepare, attached_layers(config), runtime)

    def invalidate_and_prepare(func_name: str, *args: Any, **kwargs: Any) -> None:
        """CloudFormation calls this once a function has its new code and configuration."""
        invalidate(func_name, *args, **kwargs)
        prepare(lambda_svc._functions.get(func_name))

    def prepare_restored() -> None:
        for function in list(lambda_svc._functions._data.values()):
            prepare(function)

    lambda_svc.invalidate_worker = invalidate_and_prepare
    installed.starting.append(prepare_restored)
    installed.closing.append(functools.partial(preparing.shutdown, cancel_futures=True))
