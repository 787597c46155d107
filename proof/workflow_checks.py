"""What ``make check`` asks of the state machines and of the template around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from proof.findings import Finding
from proof.product import Product
from proof.workflow import (
    arguments,
    data,
    error_names,
    history,
    policies,
    reference_engine,
    references,
    sizes,
    structure,
)

# Graph and references first: what they find would break the others.
CHECKS: tuple[Callable[[Product], Iterator[Finding]], ...] = (
    structure.check_graph,
    references.check_substitutions,
    references.check_parameters,
    references.check_handlers,
    references.check_events,
    references.check_logs,
    structure.check_conventions,
    structure.check_tasks,
    structure.check_substituted_texts,
    structure.check_expressions,
    structure.check_own_errors,
    arguments.check,
    error_names.check,
    policies.check,
    sizes.check,
    data.check,
    history.check,
    reference_engine.check,
)
# These walk through recorded data.
WALKING = (data.check, history.check, reference_engine.check)


def all_findings(product: Product) -> list[Finding]:
    """What any check finds; data are not walked through machines whose graph is broken."""
    found = list[Finding]()
    for check in CHECKS:
        if check in WALKING and found:
            continue
        found += check(product)
    return found
