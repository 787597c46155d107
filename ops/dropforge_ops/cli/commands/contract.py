"""``dropforge contract``: the pinned contract, what a run proposes in its place, and accepting that."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from dropforge.domain.contract import Column
from dropforge.domain.contract_change import accept_command
from dropforge_ops.actions import contracts
from dropforge_ops.actions.compared_runs import find_run
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.errors import NotFound
from dropforge_ops.render import facts, say, table

_NOTHING_PINNED = "No contract is pinned yet: the first run whose data can be used pins one."


def show_contract(
    invocation: Invocation,
    *,
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Instead: the contract that this run was held to.")
    ] = None,
) -> None:
    """The contract that drops are held to: its columns, their types and rules, and its hash."""
    stored = _contracts(invocation)
    found = stored.pinned() if run is None else stored.of_run(find_run(invocation.ledger, run).run_id)
    if found is None:
        raise NotFound(_NOTHING_PINNED if run is None else f"Run {run} came to no contract.")
    replaced = stored.replaced() if run is None else []
    document = {"uri": found.uri, "contract": found.contract.to_dict(), "replaced": replaced}

    def show(out: Console) -> None:
        contract = found.contract
        facts(
            out,
            [
                ("contract", found.uri),
                ("hash", contract.hash),
                ("target", contract.target),
                ("key", contract.key or "none: the whole row tells rows apart"),
                ("task", contract.task),
                ("classes", ", ".join(contract.classes or ())),
                ("replaced", ", ".join(each[:12] for each in replaced)),
            ],
        )
        out.print()
        out.print(table(["column", "type", "role", "nullable", "rules"], [_row(c) for c in contract.columns]))

    invocation.emit(document, show)


def diff_contract(
    invocation: Invocation,
    *,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or 'latest'.")] = "latest",
) -> None:
    """What accepting a run's proposal would change. Without a proposal: how the run's contract differs."""
    found = find_run(invocation.ledger, run)
    stored = _contracts(invocation)
    pinned, proposed = stored.pinned(), stored.proposed_by(found.run_id)
    other = proposed or stored.of_run(found.run_id)
    if other is None:
        raise NotFound(f"Run {found.run_id} came to no contract: {_NOTHING_PINNED}")
    lines = contracts.difference(pinned, other)
    command = accept_command(found.run_id, other.contract) if proposed and lines else None
    document = {
        "run_id": found.run_id,
        "pinned": None if pinned is None else pinned.contract.hash,
        "proposed": None if proposed is None else proposed.contract.hash,
        "differences": lines,
        "accept": command,
    }

    def show(out: Console) -> None:
        if not lines:
            say(out, f"The contract of run {found.run_id} is the pinned one.")
        for line in lines:
            say(out, line)
        if command:
            say(out, f"\nAccept it with: {command}")

    invocation.emit(document, show)


def accept_contract(
    invocation: Invocation,
    *,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run that failed, or 'latest'.")],
    hash_: Annotated[
        str | None,
        typer.Option("--hash", metavar="HASH", help="Only if the proposal's hash begins like this."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Then drop the run's files again, which starts a run.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask; needed without a terminal.")] = False,
) -> None:
    """Pin the contract that a failed run proposed. Later drops are held to it; the old one is kept."""
    found = find_run(invocation.ledger, run)
    stored = _contracts(invocation)
    proposed, pinned = contracts.acceptable(stored, found, hash_)
    lines = contracts.difference(pinned, proposed)
    changed = pinned is None or pinned.contract.hash != proposed.contract.hash
    if changed:
        for line in lines:
            invocation.note(line)
        invocation.confirm("Accept this contract?", yes=yes, no="Nothing was accepted.")
        stored.pin(proposed, pinned)
    target = invocation.target
    dropped = contracts.drop_again(target.client("s3"), found, target.bucket) if again else []
    document: dict[str, Any] = {
        "changed": changed,
        "pinned": proposed.contract.hash,
        "replaced": pinned.contract.hash if changed and pinned else None,
        "differences": lines,
        "dropped_again": dropped,
    }

    def show(out: Console) -> None:
        if changed:
            kept = f"; the one before is kept as {pinned.contract.hash[:12]}" if pinned else ""
            say(out, f"Contract {proposed.contract.hash[:12]} is pinned{kept}.")
        else:
            say(out, f"Contract {proposed.contract.hash[:12]} is pinned already.")
        if dropped:
            say(out, f"Dropped again: {', '.join(dropped)}. 'dropforge runs latest --follow' shows the run.")
        else:
            say(out, f"Next: dropforge contract accept {found.run_id} --again, or drop a file that has it.")

    invocation.emit(document, show)


def reset_contract(
    invocation: Invocation,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask; needed without a terminal.")] = False,
) -> None:
    """Unpin the contract: the next drop's is inferred from its data. The old one is kept."""
    stored = _contracts(invocation)
    pinned = stored.pinned()
    kept = None
    if pinned is not None:
        names = ", ".join(column.name for column in pinned.contract.columns)
        invocation.note(
            f"Pinned is {pinned.contract.hash[:12]}: {names}. The live model keeps the contract it has."
        )
        invocation.confirm("Unpin this contract?", yes=yes, no="Nothing was reset.")
        kept = stored.unpin(pinned)
    document = {"unpinned": pinned.contract.hash if pinned else None, "kept_as": kept}

    def show(out: Console) -> None:
        if pinned is None:
            say(out, _NOTHING_PINNED)
            return
        say(out, f"Contract {pinned.contract.hash[:12]} is no longer pinned; it is kept as {kept}.")
        say(out, "Next: drop a file. Its contract is inferred, and pinned if the data can be used.")

    invocation.emit(document, show)


def _contracts(invocation: Invocation) -> contracts.Contracts:
    return contracts.Contracts(invocation.target.client("s3"), invocation.target.bucket)


def _row(column: Column) -> list[str]:
    rules = []
    if column.minimum is not None:
        rules.append(f"at least {column.minimum}")
    if column.maximum is not None:
        rules.append(f"at most {column.maximum}")
    if column.categories is not None:
        rules.append(f"one of {', '.join(column.categories)}")
    if column.privacy is not None:
        rules.append(f"privacy {column.privacy}")
    return [
        column.name,
        column.type,
        column.role,
        "yes" if column.nullable else "no",
        "; ".join(rules),
    ]
