"""Uploads drops, and finds the runs that cover them."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from boto3.s3.transfer import TransferConfig

from dropforge.domain.drop_life import RecordedDrop
from dropforge.domain.drop_names import why_no_data
from dropforge.domain.errors import InvalidEvent
from dropforge.domain.moments import from_iso
from dropforge.domain.records import LockName, Run
from dropforge.domain.run_manifest import RunManifest
from dropforge.domain.triggers import Drop, parse_trigger
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.errors import UsageError
from dropforge_ops.stack.documents import Documents

INCOMING = "incoming/"
_MIB = 1024**2
# Up to here one request, whose answer names the version; beyond, several parts at a time.
_MULTIPART_FROM = 16 * _MIB
# S3's limit of a key: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
_KEY_BYTES = 1024
_RUNS_LOOKED_AT = 25
# A drop's time in the ledger is the function's clock; the upload's is ours.
_CLOCK_SKEW = timedelta(minutes=10)
# Times in the ledger are cut to milliseconds.
_JITTER = timedelta(milliseconds=5)


@dataclass(frozen=True)
class Upload:
    """One object that was written under ``incoming/``."""

    path: str
    bucket: str
    key: str
    version_id: str | None
    etag: str
    size: int
    began_at: datetime

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def is_of(self, drop: Drop, received_at: datetime) -> bool:
        """Whether a drop that was received then is this very upload.

        The sequencer, which only S3 knows, isn't needed: a version is written once. Where the event named
        no version, as for a bucket without versions, the ETag tells the content and the time the write.
        """
        if (self.bucket, self.key) != (drop.bucket, drop.key):
            return False
        if self.version_id is not None and drop.version_id is not None:
            return self.version_id == drop.version_id
        return self.etag == drop.etag and received_at >= self.began_at - _JITTER

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": self.path,
            "uri": self.uri,
            "version_id": self.version_id,
            "etag": self.etag,
            "size": self.size,
        }


def keys_of(paths: Iterable[Path], prefix: str | None, below: str = INCOMING) -> dict[Path, str]:
    """The object key of each file, in the folder ``prefix`` below ``below``.

    Raises:
        UsageError: a file is missing, no regular file, or can't be read; two would get the same key; the
            prefix leads elsewhere. Every problem is named, before anything is uploaded.
    """
    folder = PurePosixPath((prefix or "").strip("/"))
    problems = []
    if ".." in folder.parts or "." in folder.parts:
        problems.append(f"--prefix {prefix!r}: must be a folder below {below}, without '.' or '..'")
    keys: dict[Path, str] = {}
    for path in paths:
        problem = _problem(path)
        if problem:
            problems.append(f"{path}: {problem}")
            continue
        key = str(PurePosixPath(below) / folder / path.name)
        reason = why_no_data(key)
        if reason and PurePosixPath(below) == PurePosixPath(INCOMING):
            problems.append(f"{path}: {reason} is passed over as no data; give the file another name")
        if len(key.encode()) > _KEY_BYTES:
            problems.append(f"{path}: its key would have more than {_KEY_BYTES} bytes")
        if key in keys.values():
            problems.append(
                f"{path}: another file is named {path.name} too; drop them with different --prefix"
            )
        keys[path] = key
    if problems:
        raise UsageError("; ".join(problems) + ". Nothing was uploaded.")
    return keys


def upload(s3: Any, bucket: str, path: Path, key: str, progress: Callable[[int], None]) -> Upload:
    """Upload one file; ``progress`` is told the bytes as they go out."""
    began_at = datetime.now(UTC)
    size = path.stat().st_size
    extra = {"ContentType": mimetypes.guess_type(path.name)[0] or "application/octet-stream"}
    if size < _MULTIPART_FROM:
        with path.open("rb") as body:
            answer = s3.put_object(Bucket=bucket, Key=key, Body=body, **extra)
        progress(size)
    else:
        s3.upload_file(
            str(path),
            bucket,
            key,
            ExtraArgs=extra,
            Callback=progress,
            Config=TransferConfig(multipart_threshold=_MULTIPART_FROM, multipart_chunksize=_MULTIPART_FROM),
        )
        answer = s3.head_object(Bucket=bucket, Key=key)
    return Upload(
        path=str(path),
        bucket=bucket,
        key=key,
        version_id=answer.get("VersionId"),
        etag=answer["ETag"].strip('"'),
        size=size,
        began_at=began_at,
    )


@dataclass
class Coverage:
    """Finds the runs that cover some uploads; every `look` examines only runs that are new.

    A run's manifest names the drops it took, so the answer is right whichever execution the drop's event
    started: the drop's own run, or a later one that it was coalesced into.
    """

    uploads: list[Upload]
    ledger: LedgerReader
    documents: Documents
    sfn: Any
    training_machine: str
    found: dict[str, Run] = field(default_factory=dict)
    received: dict[str, RecordedDrop] = field(default_factory=dict)
    _examined: set[str] = field(default_factory=set)
    _executions_examined: set[str] = field(default_factory=set)

    def look(self) -> list[Upload]:
        """Look once. Returns the uploads that no run covers yet."""
        for run in self.ledger.list_runs(_RUNS_LOOKED_AT):
            if run.run_id not in self._examined:
                self._examine(run)
        missing = self.missing
        if missing:
            for recorded in self.ledger.waiting_drops():
                for each in missing:
                    if each.is_of(recorded.drop, from_iso(recorded.received_at)):
                        self.received[each.uri] = recorded
        return missing

    @property
    def missing(self) -> list[Upload]:
        return [each for each in self.uploads if each.uri not in self.found]

    def run_of(self, each: Upload) -> Run:
        return self.found[each.uri]

    def started_it(self, each: Upload) -> bool:
        """Whether this upload's own event started its run, rather than an earlier or later one's."""
        recorded = self.received.get(each.uri)
        return recorded is not None and recorded.drop.run_id == self.found[each.uri].run_id

    def training_run(self) -> str | None:
        """The run that trains now and that a waiting drop waits for."""
        lease = self.ledger.held_lease(LockName.TRAINING)
        return None if lease is None else lease.subject

    def what_is_missing(self) -> str:
        """Why some uploads have no run yet, in words."""
        waiting = [each for each in self.missing if each.uri in self.received]
        if waiting:
            holder = self.training_run()
            names = ", ".join(each.key for each in waiting)
            if holder is not None:
                return f"Run {holder} is training; one more run will follow and cover {names}"
            return f"{names} waits for the next run"
        return f"No run covers {', '.join(each.key for each in self.missing)} yet"

    def broken_start(self) -> tuple[str, str, str] | None:
        """An execution that one of the uploads started and that failed before it could record a run.

        Returns:
            Its ARN, error and cause.
        """
        answer = self.sfn.list_executions(
            stateMachineArn=self.training_machine, statusFilter="FAILED", maxResults=10
        )
        oldest = min(each.began_at for each in self.uploads) - _CLOCK_SKEW
        for execution in answer["executions"]:
            arn = execution["executionArn"]
            if arn in self._executions_examined or execution["startDate"] < oldest:
                continue
            self._executions_examined.add(arn)
            described = self.sfn.describe_execution(executionArn=arn)
            if self._is_mine(described.get("input"), execution["startDate"]):
                return arn, str(described.get("error") or "FAILED"), str(described.get("cause") or "")
        return None

    def _examine(self, run: Run) -> None:
        oldest = min(each.began_at for each in self.uploads) - _CLOCK_SKEW
        self._examined.add(run.run_id)
        if not run.drops or from_iso(run.started_at) < oldest:
            return
        for recorded in self.ledger.get_drops(drops_taken(run, self.documents)):
            for each in self.uploads:
                if each.is_of(recorded.drop, from_iso(recorded.received_at)):
                    self.found[each.uri] = run
                    self.received[each.uri] = recorded

    def _is_mine(self, text: str | None, started_at: datetime) -> bool:
        drop = drop_of_input(text)
        return drop is not None and any(each.is_of(drop, started_at) for each in self.missing)


def drops_taken(run: Run, documents: Documents) -> list[str]:
    """The ids of the drops that a run took."""
    if run.drop_ids:
        return run.drop_ids
    found = documents.find(run.manifest_uri)
    return [] if found is None else RunManifest.from_dict(found.content).taken


def drop_of_input(text: str | None) -> Drop | None:
    """The drop whose event is an execution's input; None where it is something else."""
    try:
        event = json.loads(text or "{}")
        return parse_trigger(event).drop if isinstance(event, dict) else None
    except (ValueError, InvalidEvent):
        return None


def _problem(path: Path) -> str | None:
    if path.is_dir():
        return "is a folder; name the files in it, for example with a shell pattern"
    if not path.exists():
        return "there is no such file"
    if not path.is_file():
        return "is no regular file"
    try:
        with path.open("rb"):
            return None
    except OSError as error:
        return f"can't be read ({error.strerror})"
