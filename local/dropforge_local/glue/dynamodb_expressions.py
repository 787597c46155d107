"""Reads each of DynamoDB's expressions once: MiniStack reads a condition anew for every item it looks at."""

from __future__ import annotations

import functools
from typing import Any

from dropforge_local.glue.seams import dynamodb

# An application has some dozens of expressions; values stand beside them.
_KEPT = 1024


def install() -> None:
    """Remember an expression's tokens, and what is wrong with it."""

    tokens_of = functools.lru_cache(_KEPT)(dynamodb._tokenize)

    def tokenize(expr: str) -> list[Any]:
        """A list of its own for each caller."""
        return list(tokens_of(expr))

    dynamodb._tokenize = tokenize
    dynamodb._condition_syntax_error = functools.lru_cache(_KEPT)(dynamodb._condition_syntax_error)
