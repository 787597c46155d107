"""Decides by MiniStack's policy evaluator, the one that the local host enforces with."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from typing import Any

from dropforge_local.glue.seams import iam_evaluator
from proof.iam.intrinsics import ACCOUNT, REGION
from proof.iam.needs import Need
from proof.iam.roles import Grant


def allows(grants: Iterable[Grant], need: Need) -> bool:
    """Whether the statements together give the role what it needs."""
    statements = [statement for grant in grants for statement in _parsed(json.dumps(grant.document))]
    return bool(iam_evaluator.evaluate(_context(need), [statements]).decision == "Allow")


def matches(value: str, pattern: str) -> bool:
    """Whether IAM's wildcards in the pattern of a resource match."""
    return bool(iam_evaluator.fnmatch_iam_cs(value, pattern))


def matches_action(value: str, pattern: str) -> bool:
    """Whether IAM's wildcards in the pattern of an action match."""
    return bool(iam_evaluator.fnmatch_iam(value, pattern))


@functools.lru_cache(maxsize=1024)
def _parsed(statement: str) -> list[Any]:
    parsed: list[Any] = iam_evaluator.parse_policy_document({"Statement": [json.loads(statement)]})
    return parsed


def _context(need: Need) -> Any:
    return iam_evaluator.EvalContext(
        principal_arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/{need.role}/session",
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=need.action,
        resource_arn=need.resource,
        region=REGION,
        source_ip="127.0.0.1",
        secure_transport=True,
        service_context={key.lower(): value for key, value in need.context.items()},
    )
