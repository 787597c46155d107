"""``dropforge teardown``: take a stack away, with everything that it made while it ran."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

from dropforge.domain.instance_rules import listed
from dropforge_ops.actions.teardown.names import names_of
from dropforge_ops.actions.teardown.tear_down import Teardown, tear_down, what_there_is
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.errors import OperationFailed, UsageError
from dropforge_ops.render import say

_SHOWN = 3


def teardown(
    invocation: Invocation,
    *,
    name: Annotated[
        str | None, typer.Option("--name", metavar="STACK", help="The stack's name once more, with --yes.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask; needs --name.")] = False,
    keep_data: Annotated[
        bool, typer.Option("--keep-data", help="Keep buckets, tables and the encryption key.")
    ] = False,
    model: Annotated[
        str | None, typer.Option("--model", help="The model's name, where the stack is gone already.")
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, metavar="SECONDS", help="How long to wait.")
    ] = 3600,
) -> None:
    """Delete the stack and all it made: endpoints, models, packages, logs, tables, buckets, every version.

    Looks afterwards for anything left, by name and by tag, and exits with status 1 if there is. Can be run
    again.
    """
    target = invocation.target
    if name is not None and name != target.stack:
        raise UsageError(f"--name says {name!r}, but the stack is {target.stack!r}. Give --stack as well.")
    if yes and name is None:
        raise UsageError(f"--yes needs --name {target.stack}, so that no wrong stack is taken away.")
    names = names_of(target, model)
    if not names.is_deployed:
        invocation.note(
            f"There is no stack {names.stack!r} on {target.host}; what may be left of it is looked for."
        )
    if not names.model:
        invocation.note("Nothing tells its model's name; with --model, things of that name are looked for.")
    if not yes:
        _confirm(invocation, what_there_is(target, names), keep_data)
    deadline = invocation.deadline(timeout, "Run the teardown again; it goes on where it is.")
    done = tear_down(target, names, keep_data=keep_data, deadline=deadline, say=invocation.note)
    document: dict[str, Any] = {"stack": names.stack, "model": names.model, **asdict(done)}
    if done.left:
        raise OperationFailed(f"Something is left of {names.stack}: {_listed(done.left)}.", **document)
    invocation.emit(document, lambda out: _show(names.stack, done, out))


def _confirm(invocation: Invocation, found: dict[str, list[str]], keep_data: bool) -> None:
    """Show what there is and let the user type the stack's name."""
    stack, host = invocation.target.stack, invocation.target.host
    if not invocation.asks:
        raise UsageError(f"Nobody can be asked here: give --yes --name {stack}.")
    invocation.note(f"On {host} there is of {stack}: {_listed(found) or 'nothing but the stack itself'}.")
    invocation.note("Data stays." if keep_data else "All data is deleted, with every version of every drop.")
    typed = typer.prompt("Type the stack's name to take it away", err=True, default="", show_default=False)
    if typed != stack:
        raise OperationFailed("Nothing was taken away.")


def _show(stack: str, done: Teardown, out: Console) -> None:
    for kind, names in done.deleted.items():
        say(out, f"deleted {len(names):>4}  {kind}")
    for kind, names in done.kept.items():
        say(out, f"kept    {len(names):>4}  {kind}: {', '.join(names)}")
    say(out, f"Nothing {'else ' if done.kept else ''}is left of {stack}.")


def _listed(found: dict[str, list[str]]) -> str:
    return "; ".join(f"{kind} {listed(names, _SHOWN)}" for kind, names in found.items())
