"""What the commands share that list files with what became of each: ``drops`` and ``batches``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer

from dropforge_ops.errors import UsageError
from dropforge_ops.render import FittingTable, table

LIMIT = typer.Option("--limit", "-n", min=1, max=100_000, help="How many.")


def state_option(states: Sequence[str]) -> Any:
    """The option that shows the files of one state alone."""
    return typer.Option("--state", metavar="STATE", help=f"Only these: {', '.join(states)}.")


def refuse_unknown_state(state: str | None, states: Sequence[str]) -> None:
    """Refuse what is none of the states.

    Raises:
        UsageError: it names them.
    """
    if state is not None and state not in states:
        raise UsageError(f"--state is {state!r}; it is one of {', '.join(states)}.")


def files_table(rows: Sequence[Sequence[str]]) -> FittingTable:
    """A row per file: name, size, when it was written, state, and what there is to say of that."""
    return table(["file", "size", "written", "state", ""], rows)


def totals(counts: Mapping[str, int], states: Iterable[str]) -> str:
    """How many files there are of each state that has any."""
    return ", ".join(f"{counts[name]} {name.replace('_', ' ')}" for name in states if counts[name])
