"""The frame of every Lambda function but predict: what is done around each event, and the logger."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from typing import Any

from dropforge.config import Settings
from dropforge.importing import without_collection

with without_collection():
    from aws_lambda_powertools import Logger

type Json = dict[str, Any]
"""A JSON object: what an event is, and what a function answers."""

logger = Logger(service="dropforge", use_rfc3339=True)
"""Structured; it names runs and counts, never data rows."""

_NAMED_IN_EVERY_LINE = ("run_id", "execution_arn")


def function[S: Settings](
    settings: type[S],
) -> Callable[[Callable[[Json, S], Any]], Callable[[Json, Any], Any]]:
    """Make a Lambda handler of what a function does with an event and its settings.

    The environment is parsed once, at a process's first event. What is logged names the run and the execution
    that the event is about. The answer may be a record, of which Lambda gets plain values. An error is logged
    with them and passes on: the state machines catch it by the name of its class.
    """

    @functools.cache
    def parsed() -> S:
        return settings.from_env(os.environ)

    def framed(work: Callable[[Json, S], Any]) -> Callable[[Json, Any], Any]:
        @logger.inject_lambda_context(clear_state=True)
        @functools.wraps(work)
        def handler(event: Json, context: Any) -> Any:
            logger.append_keys(**{name: event[name] for name in _NAMED_IN_EVERY_LINE if name in event})
            try:
                return plain(work(event, parsed()))
            except Exception:
                logger.exception("failed")
                raise

        return handler

    return framed


def plain(answer: Any) -> Any:
    """The plain values of a record: its own form, or its fields."""
    if hasattr(answer, "to_dict"):
        return answer.to_dict()
    return asdict(answer) if is_dataclass(answer) and not isinstance(answer, type) else answer
