"""A file that is scored as a batch, from the console: sent, followed, and its result fetched."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dropforge.domain.batch import IN_PREFIX
from dropforge.domain.ports import ObjectRef
from dropforge_ops.actions.batches import BatchExecutions, manifest_of
from dropforge_ops.actions.drops import Upload, keys_of, upload
from dropforge_ops.errors import OperationFailed
from dropforge_ops.stack.documents import Documents
from dropforge_ops.stack.progress import Follower
from dropforge_ops.stack.target import Target

MOST_FETCHED_BYTES: Final = 64 * 1024**2
"""A result up to here is handed to the browser; a larger one is fetched from S3."""

WAITING, RUNNING, SCORED, FAILED = "waiting", "running", "scored", "failed"


@dataclass(frozen=True)
class BatchState:
    """How the batch stands; ``manifest`` is there once it is scored."""

    status: str
    state: str = ""
    problem: str = ""
    manifest: Mapping[str, Any] | None = None

    @property
    def is_final(self) -> bool:
        return self.status in (SCORED, FAILED)


class Batch:
    """One file under ``batch/in/`` and the execution that scores it."""

    def __init__(self, target: Target, documents: Documents, sent: Upload) -> None:
        self.sent = sent
        self._target, self._documents = target, documents
        machine = target.outputs["BatchStateMachine"]
        self._executions = BatchExecutions(target.client("stepfunctions"), machine)
        self._followers: dict[str, Follower] = {}

    @classmethod
    def send(cls, target: Target, documents: Documents, name: str, data: bytes) -> Batch:
        """Write the file under ``batch/in/``, whose event starts the scoring."""
        with tempfile.TemporaryDirectory(prefix="dropforge-batch-") as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            [key] = keys_of([path], None, below=IN_PREFIX).values()
            sent = upload(target.client("s3"), target.bucket, path, key, lambda _: None)
        return cls(target, documents, sent)

    def look(self) -> BatchState:
        """How it stands now."""
        state = BatchState(WAITING)
        for arn, drop in self._executions.of(self.sent):
            follower = self._followers.setdefault(arn, Follower(self._executions.sfn, arn))
            follower.look()
            if follower.status == "SUCCEEDED" and self._executions.scores(arn):
                return BatchState(SCORED, manifest=manifest_of(drop, self._documents))
            if follower.status == "RUNNING":
                visits = [visit.name for visit in follower.all_visits]
                state = BatchState(RUNNING, state=visits[-1] if visits else "")
            elif follower.status != "SUCCEEDED":
                error, cause = follower.failure
                return BatchState(FAILED, problem=f"{error}: {cause}")
        return state

    def result(self, manifest: Mapping[str, Any]) -> bytes:
        """The result's bytes.

        Raises:
            OperationFailed: it is too large to be handed to a browser, or gone.
        """
        found = manifest["result"]
        if found["bytes"] > MOST_FETCHED_BYTES:
            raise OperationFailed(
                f"The result has {found['bytes']:,} bytes. Fetch it from S3: {found['uri']}"
            )
        data = self._documents.bytes_of(ObjectRef.from_uri(found["uri"]).uri)
        if data is None:
            raise OperationFailed(f"{found['uri']} is gone.")
        return data
