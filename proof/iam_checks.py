"""What ``make audit`` asks of the roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from proof.findings import Finding, report
from proof.iam import audit as comparison
from proof.iam import comments
from proof.iam.recorded import load_calls
from proof.iam.roles import roles_of
from proof.product import Product

CHECKS: tuple[Callable[[Product], Iterator[Finding]], ...] = (comparison.check, comments.check)


def all_findings(product: Product) -> list[Finding]:
    """What any check finds."""
    return [finding for check in CHECKS for finding in check(product)]


def audit(product: Product) -> int:
    """Print what was compared, and what is wrong; the exit code."""
    roles = [role for role in roles_of(product.template) if role.is_written]
    actions = sum(len(grant.actions) for role in roles for grant in role.grants)
    print(f"{len(roles)} roles with {actions} granted actions, against {len(load_calls())} recorded calls")
    return report("iam", all_findings(product))
