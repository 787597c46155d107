"""SAM's transform gets the stack's parameters, as on AWS; MiniStack leaves their defaults.

Whether a new version of a function is published, and how its alias moves, may stand in a parameter.
"""

from __future__ import annotations

import contextvars
import itertools
import time
from typing import Any

from dropforge_local.glue.seams import (
    changesets,
    check_translator,
    engine,
    handlers,
    sam_apigateway,
    sam_translator,
)

_values: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("values", default=None)


def install() -> None:
    """Hand the values of an operation's parameters on to the transform."""

    apply = engine._apply_transforms

    def apply_transforms(template: dict[str, Any], provided: Any = None, previous: Any = None) -> Any:
        _give_values()
        token = _values.set(engine._transform_parameters(template, provided, previous))
        try:
            return apply(template, provided, previous)
        finally:
            _values.reset(token)

    for module in (changesets, engine, handlers):
        module._apply_transforms = apply_transforms


def _give_values() -> None:
    """Have the translator take them. It is imported with the first template: it takes a second to load."""
    translate = sam_translator.transform
    if getattr(translate, "takes_values", False):
        return
    check_translator()

    def with_values(template: dict[str, Any], parameters: dict[str, Any], *rest: Any, **more: Any) -> Any:
        return translate(template, {**(_values.get() or {}), **parameters}, *rest, **more)

    with_values.takes_values = True  # type: ignore[attr-defined]
    sam_translator.transform = with_values
    sam_apigateway.time = _Seconds()


class _Seconds:
    """The translator's clock, by whose seconds ``AlwaysDeploy`` tells deployments apart.

    On AWS none takes less than a second; here several do, so each look gets a second of its own.
    """

    def __init__(self) -> None:
        self._looks = itertools.count()

    def time(self) -> float:
        return time.time() + next(self._looks)
