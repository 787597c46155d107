"""Finds what a stack holds of one key, deletes what the stack made of it, and names the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from dropforge.domain.records import LockName, ModelVersion
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.actions.contracts import Contracts
from dropforge_ops.actions.forgetting.logged import Key, delete_predictions, logged_predictions
from dropforge_ops.actions.forgetting.subject import Subject
from dropforge_ops.actions.forgetting.tables import Unreadable, local_copy, rows_of, without, without_rejects
from dropforge_ops.errors import OperationFailed
from dropforge_ops.stack.documents import Documents
from dropforge_ops.stack.target import Target

_PREPARED: Final = re.compile(
    r"runs/(?P<run>[^/]+)/(?P<part>(?:train|validation|test|rejected)/part-[^/]+\.parquet|labelled/predictions\.jsonl)"
)
DROPPED: Final = ("incoming/", "batch/in/")
# The results' own column: see docs/architecture.md, Batch.
_RESULTS: Final = "batch/out/"
_RESULT_KEY: Final = "id"
_MANIFEST: Final = ".manifest.json"


@dataclass(frozen=True)
class StoredVersion:
    """One version of an object."""

    key: str
    version_id: str
    is_latest: bool


@dataclass(frozen=True)
class Held:
    """A version that holds the key, and in how many rows."""

    version: StoredVersion
    rows: int


@dataclass
class Found:
    """All that a stack holds of one key.

    Attributes:
        predictions: keys of the prediction log.
        prepared: versions of what runs prepared, to be deleted; of a latest one the other rows are kept.
        dropped: versions of drops and of batches with their results, which are their owner's.
        unread: what could not be looked into, with the reason.
        models: versions that were trained on a run with the key.
    """

    predictions: list[Key] = field(default_factory=list)
    prepared: list[Held] = field(default_factory=list)
    dropped: list[Held] = field(default_factory=list)
    unread: list[tuple[StoredVersion, str]] = field(default_factory=list)
    models: list[ModelVersion] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.predictions or self.prepared or self.dropped or self.models)


class Forgetting:
    """One key in one stack. Both steps can be run again."""

    def __init__(
        self, target: Target, ledger: LedgerReader, subject: Subject, say: Callable[[str], None]
    ) -> None:
        self._target, self._ledger, self._subject, self._say = target, ledger, subject, say
        self._s3, self._bucket = target.client("s3"), target.bucket
        self._documents = Documents(self._s3)
        self._contracts = Contracts(self._s3, self._bucket)
        self._rows: dict[tuple[str, str], list[int]] = {}
        self._subjects: dict[str, Subject | None] = {}
        self._manifests: dict[str, list[Mapping[str, Any]]] = {}

    def find(self) -> Found:
        """Look through the prediction log, drops, batches and what runs prepared. Changes nothing."""
        found = Found()
        self._say("Reading the prediction log …")
        found.predictions = logged_predictions(
            self._target.client("dynamodb"), self._table, self._subject, self._ledger.privacy_salt()
        )
        for prefix in (*DROPPED, _RESULTS):
            self._say(f"Reading {prefix} …")
            for version in self._versions(prefix):
                self._look_into(version, found)
        self._say("Reading what runs have prepared …")
        for version in self._versions("runs/"):
            if _PREPARED.fullmatch(version.key):
                removed = self._without(version)[1]
                if removed:
                    found.prepared.append(Held(version, removed))
        trained = {_run_of(each.version.key) for each in found.prepared} | self._runs_that_took(found.dropped)
        found.models = [each for each in self._ledger.list_models() if each.run_id in trained]
        return found

    def delete(self, found: Found) -> None:
        """Delete the logged predictions and the prepared rows, every version of them.

        Raises:
            OperationFailed: a run is going on, which might write what is deleted anew. Nothing was deleted.
        """
        lease = self._ledger.held_lease(LockName.TRAINING)
        if lease is not None:
            raise OperationFailed(
                f"The run {lease.holder} is going on, and may prepare rows of this key again. Nothing was "
                "deleted: wait for its end ('dropforge runs'), or stop it, and run the command again."
            )
        delete_predictions(self._target.client("dynamodb"), self._table, found.predictions)
        # First what is left of the latest version, so that no moment lacks the other rows.
        for held in sorted(found.prepared, key=lambda each: not each.version.is_latest):
            if held.version.is_latest:
                self._rewrite(held.version)
        for held in found.prepared:
            self._s3.delete_object(
                Bucket=self._bucket, Key=held.version.key, VersionId=held.version.version_id
            )

    # --- reading ----------------------------------------------------------------------------------------

    @cached_property
    def _table(self) -> str:
        return self._target.outputs["PredictionsTable"]

    def _versions(self, prefix: str) -> Iterator[StoredVersion]:
        pages = self._s3.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=prefix)
        for page in pages:
            for each in page.get("Versions", ()):
                yield StoredVersion(each["Key"], each["VersionId"], each["IsLatest"])

    def _body(self, version: StoredVersion) -> Any:
        answer = self._s3.get_object(Bucket=self._bucket, Key=version.key, VersionId=version.version_id)
        return answer["Body"]

    def _look_into(self, version: StoredVersion, found: Found) -> None:
        if version.key.endswith(("/", _MANIFEST)):
            return
        is_result = version.key.startswith(_RESULTS)
        try:
            with local_copy(self._body(version)) as file:
                rows = rows_of(file, self._subject, _RESULT_KEY if is_result else None)
        except Unreadable as error:
            found.unread.append((version, str(error)))
            return
        self._rows[version.key, version.version_id] = rows
        if rows:
            found.dropped.append(Held(version, len(rows)))

    def _without(self, version: StoredVersion) -> tuple[bytes, int]:
        """What stays of a prepared file, and how many of its rows are the subject's."""
        run, data = _run_of(version.key), self._body(version).read()
        if "/rejected/" in version.key:
            return without_rejects(data, self._subject, self._rejectable(run))
        subject = self._subject_of(run)
        return (data, 0) if subject is None else without(data, version.key, subject)

    def _subject_of(self, run: str) -> Subject | None:
        """The subject by the contract that the run was held to; None where that has no key."""
        if run not in self._subjects:
            stored = self._contracts.of_run(run)
            key = stored.contract.key if stored else self._subject.column.name
            column = self._subject.column if stored is None or key is None else stored.contract.column(key)
            self._subjects[run] = None if key is None else Subject(column, self._subject.key)
        return self._subjects[run]

    def _rejectable(self, run: str) -> set[tuple[str, int]]:
        """The subject's rows in what the run has read, as rejects name them."""
        return {
            (source, row)
            for each in self._objects_of(run)
            for row in self._rows.get((each["key"], each.get("version_id") or "null"), ())
            for uri in [f"s3://{each['bucket']}/{each['key']}"]
            for source in (uri, f"{uri}?versionId={each.get('version_id')}")
        }

    def _objects_of(self, run: str) -> list[Mapping[str, Any]]:
        if run not in self._manifests:
            document = self._documents.find(self._manifest_uri(run))
            self._manifests[run] = [] if document is None else list(document.content.get("objects", []))
        return self._manifests[run]

    def _manifest_uri(self, run: str) -> str:
        return f"s3://{self._bucket}/runs/{run}/manifest.json"

    def _runs_that_took(self, dropped: Sequence[Held]) -> set[str]:
        wanted = {(each.version.key, each.version.version_id) for each in dropped}
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix="runs/", Delimiter="/"
        )
        runs = [each["Prefix"].split("/")[1] for page in pages for each in page.get("CommonPrefixes", ())]
        return {
            run
            for run in runs
            if any((each["key"], each.get("version_id")) in wanted for each in self._objects_of(run))
        }

    # --- deleting ---------------------------------------------------------------------------------------

    def _rewrite(self, version: StoredVersion) -> None:
        content, _ = self._without(version)
        if not content:
            self._pin(version, None)  # its version is deleted next, with nothing to take its place
            return
        written = self._s3.put_object(Bucket=self._bucket, Key=version.key, Body=content)
        if version.key.endswith(".jsonl"):
            etag = written["ETag"].strip('"')
            self._pin(version, {"version_id": written["VersionId"], "etag": etag, "size": len(content)})

    def _pin(self, version: StoredVersion, pinned: Mapping[str, Any] | None) -> None:
        """Let the run's manifest name what stays of its labelled predictions, so that it can be replayed."""
        uri = self._manifest_uri(_run_of(version.key))
        document = self._documents.find(uri)
        if document is None:
            return
        objects = []
        for each in document.content.get("objects", []):
            if each["key"] != version.key:
                objects.append(each)
            elif pinned is not None:
                objects.append({**each, **pinned})
        content = json.dumps({**document.content, "objects": objects}, indent=1).encode()
        key = uri.removeprefix(f"s3://{self._bucket}/")
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=content, ContentType="application/json")


def _run_of(key: str) -> str:
    return key.split("/")[1]
