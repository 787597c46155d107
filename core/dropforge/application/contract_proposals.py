"""What a run does that met another schema: it stores the contract that would fit, to be accepted."""

from __future__ import annotations

from collections.abc import Callable

from dropforge.domain.contract import Contract
from dropforge.domain.contract_change import Proposal, accept_command, advice, propose, renames, retyped_lines
from dropforge.domain.errors import DataError, SchemaChanged
from dropforge.domain.inference import Inferred
from dropforge.domain.ports import ObjectStore
from dropforge.domain.survey import TableSurvey

PROPOSED = "contract/proposed.json"
"""Below a run's prefix: the contract that `dropforge contract accept` may pin."""


def explained(
    error: DataError,
    run_id: str,
    prefix: str,
    pinned: Contract,
    survey: Callable[[], TableSurvey],
    infer: Callable[[TableSurvey], Inferred],
    store: ObjectStore,
) -> DataError:
    """Return the error to end a run with that the pinned contract refused.

    Effect: where a contract can be made that fits the drops, it is stored under the run's prefix. A column of
    which most values are of another type than the contract's is a changed schema, however it was noticed.

    Args:
        error: a changed schema, or too many rejects.
        prefix: the run's, with its final slash.
        survey: examines the drops; what it raises means that no contract can be made of them.
        infer: makes a contract of that.
    """
    try:
        seen = survey()
        inferred = infer(seen).contract
        proposal: Proposal | None = propose(pinned, inferred, seen)
    except DataError:
        inferred, proposal = pinned, None
    if proposal is not None and proposal.contract.hash == pinned.hash:
        proposal = None
    if proposal is not None:
        store.write(f"{prefix}{PROPOSED}", proposal.contract.to_json().encode(), "application/json")
    if isinstance(error, SchemaChanged):
        return SchemaChanged(f"{error.whole} {advice(run_id, proposal, renames(pinned, inferred))}")
    if proposal is not None and proposal.retyped:
        lines = "; ".join(retyped_lines(pinned, proposal))
        return SchemaChanged(
            f"The drops don't have the pinned types: {lines}. {advice(run_id, proposal, [])} ({error.whole})"
        )
    if proposal is not None:
        command = accept_command(run_id, proposal.contract)
        return type(error)(f"{error.whole} If the new values are right, accept them with: {command}")
    return error
