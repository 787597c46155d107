"""The pinned contract and what runs propose in its place: reading both, and replacing one by the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from dropforge.domain.contract import Contract, diff
from dropforge.domain.errors import InvalidContract
from dropforge.domain.records import Run
from dropforge.domain.run_manifest import RunManifest
from dropforge_ops.errors import NotFound, OperationFailed, UsageError, code_of
from dropforge_ops.stack.documents import Documents

PINNED: Final = "contract/schema.json"
HISTORY: Final = "contract/history/"
_JSON: Final = "application/json"
_MISSING: Final = frozenset({"NoSuchKey", "404", "NotFound"})
_LOST: Final = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})
_SHORTEST_HASH: Final = 8


@dataclass(frozen=True)
class Stored:
    """A contract as it lies in the bucket, with its ETag."""

    uri: str
    contract: Contract
    content: bytes
    etag: str


class Contracts:
    """The contracts of one data bucket."""

    def __init__(self, s3: Any, bucket: str) -> None:
        self._s3, self._bucket = s3, bucket

    def pinned(self) -> Stored | None:
        """The contract that drops are held to; None before the first good run.

        Raises:
            OperationFailed: the object is no contract.
        """
        return self._read(PINNED)

    def of_run(self, run_id: str) -> Stored | None:
        """The contract that a run was held to."""
        return self._read(f"runs/{run_id}/contract/schema.json")

    def proposed_by(self, run_id: str) -> Stored | None:
        """The contract that would have fitted a run's drops, where the pinned one didn't."""
        return self._read(f"runs/{run_id}/contract/proposed.json")

    def replaced(self) -> list[str]:
        """The hashes of the contracts that acceptance has replaced, the last replaced first."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=HISTORY)
        entries = [entry for page in pages for entry in page.get("Contents", ())]
        entries.sort(key=lambda entry: entry["LastModified"], reverse=True)
        return [entry["Key"].removeprefix(HISTORY).removesuffix(".json") for entry in entries]

    def pin(self, proposed: Stored, instead_of: Stored | None) -> None:
        """Make a proposal the pinned contract; what it replaces is kept under ``contract/history/``.

        Raises:
            OperationFailed: the pinned contract is no longer the one that was read. Nothing was changed.
        """
        if instead_of is not None:
            self._keep(instead_of)
        condition = {"IfNoneMatch": "*"} if instead_of is None else {"IfMatch": instead_of.etag}
        try:
            self._s3.put_object(
                Bucket=self._bucket, Key=PINNED, Body=proposed.content, ContentType=_JSON, **condition
            )
        except ClientError as error:
            if code_of(error) in _LOST | _MISSING:
                raise OperationFailed(
                    f"s3://{self._bucket}/{PINNED} was changed by somebody else in this moment; nothing was "
                    "accepted. Look at it with 'dropforge contract diff' and accept again."
                ) from error
            raise

    def unpin(self, pinned: Stored) -> str:
        """Let the next good run pin a contract of its own; returns where the pinned one is kept.

        Raises:
            OperationFailed: another contract is pinned than the one that was read. Nothing was changed.
        """
        now = self.pinned()
        if now is None or now.etag != pinned.etag:
            raise OperationFailed(
                f"s3://{self._bucket}/{PINNED} was changed by somebody else in this moment; nothing was "
                "reset. Look at it with 'dropforge contract show'."
            )
        kept = self._keep(pinned)
        self._s3.delete_object(Bucket=self._bucket, Key=PINNED)
        return kept

    def _keep(self, replaced: Stored) -> str:
        key = f"{HISTORY}{replaced.contract.hash}.json"
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=replaced.content, ContentType=_JSON)
        return f"s3://{self._bucket}/{key}"

    def _read(self, key: str) -> Stored | None:
        uri = f"s3://{self._bucket}/{key}"
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if code_of(error) in _MISSING:
                return None
            raise
        content: bytes = answer["Body"].read()
        try:
            return Stored(uri, Contract.from_json(content), content, answer["ETag"])
        except InvalidContract as error:
            raise OperationFailed(f"{uri}: {error}") from error


def difference(pinned: Stored | None, other: Stored) -> list[str]:
    """What another contract changes of the pinned one, a line each; none where it is the same."""
    if pinned is None:
        return [f"+ column {c.name!r} ({c.type}, {c.role}) is new" for c in other.contract.columns]
    return diff(pinned.contract, other.contract).splitlines()


def acceptable(contracts: Contracts, run: Run, wanted_hash: str | None) -> tuple[Stored, Stored | None]:
    """The proposal of a run and the pinned contract that it would replace, having checked that it may.

    Args:
        wanted_hash: the beginning of the hash of the proposal that the user saw; None for any.

    Raises:
        NotFound: the run proposed nothing.
        UsageError: the run proposed another contract than the one that is wanted.
        OperationFailed: the pinned contract is not the one that the run was held to.
    """
    proposed, pinned = contracts.proposed_by(run.run_id), contracts.pinned()
    if proposed is None:
        raise NotFound(
            f"Run {run.run_id} proposed no contract: it is {run.status.replace('_', ' ')}, and its drops "
            "fitted the pinned one or couldn't be used at all."
        )
    found = proposed.contract.hash
    if wanted_hash is not None and (
        len(wanted_hash) < _SHORTEST_HASH or not found.startswith(wanted_hash.lower())
    ):
        raise UsageError(
            f"--hash {wanted_hash}: run {run.run_id} proposes {found[:12]}. Look at it with "
            f"'dropforge contract diff {run.run_id}'; a hash has {_SHORTEST_HASH} digits or more."
        )
    held_to = contracts.of_run(run.run_id)
    changed = pinned is not None and held_to is not None and pinned.contract.hash != held_to.contract.hash
    if pinned is not None and changed and pinned.contract.hash != found:
        raise OperationFailed(
            f"The pinned contract ({pinned.contract.hash[:12]}) is no longer the one that run {run.run_id} "
            "was held to, so its proposal would undo a later change. Drop the files again: the new run "
            "proposes anew if it still has to."
        )
    return proposed, pinned


def _taken(s3: Any, run: Run) -> list[str]:
    """The keys of the objects that a run was started for; of an earlier release's, those of its record."""
    found = Documents(s3).find(run.manifest_uri)
    objects = () if found is None else RunManifest.from_dict(found.content).objects
    return [each.ref.key for each in objects if each.is_new] or run.keys


def drop_again(s3: Any, run: Run, bucket: str) -> list[str]:
    """Write the newest version of the drops that a run took once more: each starts a run or joins one.

    Returns:
        The keys. Those that are no drops, or gone, are left out.

    Raises:
        NotFound: none is left.
    """
    again = []
    for key in _taken(s3, run):
        if not key.startswith("incoming/"):
            continue
        try:
            head = s3.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if code_of(error) in _MISSING:
                continue
            raise
        # S3 copies an object onto itself only with new metadata; these are the old ones, said anew.
        extra = {"MetadataDirective": "REPLACE", "ContentType": head.get("ContentType", "")}
        s3.copy({"Bucket": bucket, "Key": key}, bucket, key, ExtraArgs=extra)
        again.append(key)
    if not again:
        raise NotFound(f"The contract is pinned, but of run {run.run_id}'s drops none is left to drop again.")
    return again
