"""``dropforge forget``: take one key's predictions, outcomes and prepared rows out of the stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from dropforge_ops.actions.contracts import PINNED, Contracts
from dropforge_ops.actions.forgetting.forget import Forgetting, Found, Held
from dropforge_ops.actions.forgetting.subject import Subject
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.errors import NotFound, OperationFailed, UsageError
from dropforge_ops.render import say

_RECOVERY: Final = (
    "Point-in-time recovery of the prediction table can bring back what was deleted for 35 days; nothing "
    "shortens that but switching it off."
)


def forget(
    invocation: Invocation,
    *,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The value of the id column (IdColumn).")],
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", "-y", help="Delete without asking. Without it and without a terminal nothing is deleted."
        ),
    ] = False,
) -> None:
    """Delete the predictions, outcomes and prepared rows of one key, and list what still holds it.

    Shows what it found and asks. Reads the whole prediction log and every drop. Drops, batches and trained
    versions are listed with what to do about them. Exits with status 3 where nothing holds the key. Can
    be run again.
    """
    subject = subject_of(Contracts(invocation.target.client("s3"), invocation.target.bucket), key)
    forgetting = Forgetting(invocation.target, invocation.ledger, subject, invocation.note)
    found = forgetting.find()
    if found.is_empty and not found.unread:
        raise NotFound(
            f"Nothing on {invocation.target.host} holds this key in the column {subject.column.name!r}. "
            f"{_blind_spots(subject)}".strip()
        )
    is_deleting = yes
    if not yes and invocation.asks and (found.predictions or found.prepared):
        _show(found, subject, False, invocation.err)
        question = "Delete these predictions and prepared rows for good?"
        is_deleting = invocation.confirm(question, yes=False, no="Nothing was deleted.")
    if is_deleting:
        forgetting.delete(found)
    document = _document(found, subject, is_deleting, invocation.target.bucket)
    if found.unread:
        if not invocation.as_json:
            _show(found, subject, is_deleting, invocation.out)
        raise OperationFailed(
            f"{len(found.unread)} file(s) could not be looked into; look for the key in them yourself: "
            f"{', '.join(sorted({version.key for version, _ in found.unread})[:5])}.",
            **document,
        )
    invocation.emit(document, lambda out: _show(found, subject, is_deleting, out))


def subject_of(contracts: Contracts, key: str) -> Subject:
    """The key as a value of the pinned contract's key column.

    Raises:
        NotFound: no contract is pinned yet.
        UsageError: the contract has no key column, or the key is empty.
    """
    pinned = contracts.pinned()
    if pinned is None:
        raise NotFound(f"There is no {PINNED} yet: no drop was prepared, so there is nothing to forget.")
    if pinned.contract.key is None:
        raise UsageError(
            "The contract has no id column, so no row can be told to be somebody's. Deploy with IdColumn, "
            "and accept the changed contract, to be able to."
        )
    if not key:
        raise UsageError("The key is empty.")
    return Subject(pinned.contract.column(pinned.contract.key), key)


def _blind_spots(subject: Subject) -> str:
    """What the log can't tell."""
    name = subject.column.name
    if subject.column.privacy == "drop":
        return (
            f"The contract keeps {name!r} out of the prediction log, so none of its predictions can be found."
        )
    return f"Predictions that were asked for without {name!r} can't be told to be this key's."


def _document(found: Found, subject: Subject, is_deleted: bool, bucket: str) -> dict[str, Any]:
    return {
        "key_column": subject.column.name,
        "deleted": is_deleted,
        "predictions": len(found.predictions),
        "prepared": [_held(each, bucket) for each in found.prepared],
        "dropped": [{**_held(each, bucket), "remedy": _remedy(each)} for each in found.dropped],
        "models": [
            {"version": each.version, "run_id": each.run_id, "stage": str(each.stage)}
            for each in found.models
        ],
        "unread": [
            {"uri": f"s3://{bucket}/{version.key}", "version_id": version.version_id, "reason": reason}
            for version, reason in found.unread
        ],
    }


def _held(held: Held, bucket: str) -> dict[str, Any]:
    return {
        "uri": f"s3://{bucket}/{held.version.key}",
        "version_id": held.version.version_id,
        "is_latest": held.version.is_latest,
        "rows": held.rows,
    }


def _remedy(held: Held) -> str:
    if held.version.key.startswith("incoming/"):
        return "drop a file without these rows under the same name, then delete this version"
    if held.version.key.startswith("batch/in/"):
        return "delete this version, and the folder under batch/work/ of the batch"
    return "delete this version"


def _show(found: Found, subject: Subject, is_deleted: bool, out: Console) -> None:
    done = "deleted" if is_deleted else "would delete"
    say(out, f"{done} {len(found.predictions):>4}  logged predictions, with their outcomes")
    rows = sum(each.rows for each in found.prepared if each.version.is_latest)
    say(
        out,
        f"{done} {rows:>4}  prepared rows, in {len(found.prepared)} version(s) of "
        f"{len({each.version.key for each in found.prepared})} file(s)",
    )
    if found.dropped:
        say(out, "\nStill there, and yours to change:")
        for held in found.dropped:
            say(
                out,
                f"  {held.version.key} (version {held.version.version_id}), {held.rows} row(s): "
                f"{_remedy(held)}",
            )
        say(
            out, "  aws s3api delete-object --bucket BUCKET --key KEY --version-id VERSION deletes a version."
        )
    if found.models:
        say(out, f"\nTrained on rows of this key: {_versions(found)}.")
        say(
            out,
            "  A model keeps no rows, but for up to 32 without their key in models/RUN/smoke.json. Train "
            "again without them ('dropforge runs start' after the new drop), approve that version, then "
            "reject these and delete models/RUN/ and registered/RUN/ of their runs.",
        )
    if not is_deleted:
        say(out, "\nNothing was deleted; --yes does it.")
    say(out, f"\n{_RECOVERY} {_blind_spots(subject)}")


def _versions(found: Found) -> str:
    names: Sequence[str] = [
        f"version {each.version} ({each.stage}, run {each.run_id})" for each in found.models
    ]
    return ", ".join(names)
