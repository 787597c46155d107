"""Finds the executions that score dropped batch files, and fetches their results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from dropforge.domain.batch import MANIFEST_SUFFIX, REJECTED_SUFFIX, BatchPlaces
from dropforge.domain.ports import ObjectRef
from dropforge.domain.triggers import Drop
from dropforge_ops.actions.drops import Upload, drop_of_input
from dropforge_ops.errors import OperationFailed, UsageError
from dropforge_ops.stack.documents import Documents

# An execution's start is the service's clock; the upload's is ours.
_CLOCK_SKEW = timedelta(minutes=10)
_PAGE = 100
_CHUNK = 1 << 20


@dataclass
class BatchExecutions:
    """The executions of the batch machine that were started by some uploads."""

    sfn: Any
    machine: str
    _examined: set[str] = field(default_factory=set)
    _found: dict[str, list[tuple[str, Drop]]] = field(default_factory=dict)

    def of(self, upload: Upload) -> list[tuple[str, Drop]]:
        """The ARNs of its executions so far, the oldest first, with the drop as S3 told of it.

        There are several only where the drop's event was delivered more than once.
        """
        for arn in [*self._new_since(upload.began_at - _CLOCK_SKEW)][::-1]:
            self._examined.add(arn)
            drop = drop_of_input(self.sfn.describe_execution(executionArn=arn).get("input"))
            if drop is not None:
                self._found.setdefault(drop.key, []).append((arn, drop))
        return [
            (arn, drop)
            for arn, drop in self._found.get(upload.key, [])
            if upload.is_of(drop, upload.began_at)
        ]

    def _new_since(self, oldest: datetime) -> Iterator[str]:
        """Executions that were not examined yet, the newest first, which is the order of the list."""
        request: dict[str, Any] = {"stateMachineArn": self.machine, "maxResults": _PAGE}
        while True:
            listed = self.sfn.list_executions(**request)
            for execution in listed["executions"]:
                if execution["executionArn"] in self._examined or execution["startDate"] < oldest:
                    return
                yield execution["executionArn"]
            if not listed.get("nextToken"):
                return
            request["nextToken"] = listed["nextToken"]

    def scores(self, arn: str) -> bool:
        """Whether an execution that has ended was the one that scored, not a repeated delivery's."""
        output = json.loads(self.sfn.describe_execution(executionArn=arn).get("output") or "{}")
        return bool((output.get("plan") or {}).get("outcome") != "duplicate")


@dataclass(frozen=True)
class ScoredBatch:
    """A batch that was scored; ``manifest`` is its own, ``files`` what was fetched of it."""

    upload: Upload
    execution_arn: str
    manifest: Mapping[str, Any]
    files: Mapping[str, Path]

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": self.upload.path,
            "uri": self.upload.uri,
            "execution_arn": self.execution_arn,
            "version": self.manifest["model"]["version"],
            "rows": self.manifest["rows"],
            "reasons": self.manifest["rejected"]["reasons"],
            "result_uri": self.manifest["result"]["uri"],
            "files": {name: str(path) for name, path in self.files.items()},
        }


def targets_of(keys: Mapping[Path, str], folder: Path, *, force: bool) -> dict[Path, Path]:
    """Where the result of each file is to lie. A result has its file's name.

    Raises:
        UsageError: something lies there already and is not to be replaced, or is the file itself.
    """
    targets = {path: folder / path.name for path in keys}
    problems = [
        f"{target} is the file to score itself"
        for path, target in targets.items()
        if target.resolve() == path.resolve()
    ]
    problems += [
        f"{target} is there already"
        for path, target in targets.items()
        if not force and target.exists() and target.resolve() != path.resolve()
    ]
    if problems:
        raise UsageError(
            f"{'; '.join(problems)}. Name another folder with --to, or replace results with --force. Nothing "
            "was uploaded."
        )
    return targets


def manifest_of(drop: Drop, documents: Documents) -> dict[str, Any]:
    """What was written about a batch that its execution says is scored.

    Raises:
        OperationFailed: there is nothing, or only another file's of the same name.
    """
    places = BatchPlaces(drop, drop.bucket)
    found = documents.find(places.manifest_uri)
    if found is None:
        raise OperationFailed(
            f"{places.manifest_uri} is not there: the transform job was stopped, or the result was deleted. "
            "Drop the file again."
        )
    if Drop.from_dict(found.content["drop"]) != drop:
        raise OperationFailed(
            f"{places.result_uri} is the result of a newer file of the same name, which stays. Drop this one "
            "under another name or --prefix."
        )
    return found.content


def fetch(
    s3: Any,
    manifest: Mapping[str, Any],
    target: Path,
    progress: Callable[[int], None],
) -> dict[str, Path]:
    """Download the result, its manifest and the rejected rows beside each other; each appears whole.

    Raises:
        OperationFailed: the result's digest is not the manifest's.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    result = manifest["result"]
    files = {"result": target}
    digest = _download(s3, result["uri"], target, progress)
    if digest != result["sha256"]:
        target.unlink()
        raise OperationFailed(
            f"{result['uri']} is not what its manifest says (SHA-256 {digest}, not {result['sha256']}). "
            "Another result may just be written: try again, or drop the file again."
        )
    if manifest["rejected"]["uri"]:
        files["rejected"] = target.with_name(f"{target.name}{REJECTED_SUFFIX}")
        _download(s3, manifest["rejected"]["uri"], files["rejected"], progress)
    files["manifest"] = target.with_name(f"{target.name}{MANIFEST_SUFFIX}")
    files["manifest"].write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return files


def _download(s3: Any, uri: str, target: Path, progress: Callable[[int], None]) -> str:
    """Write the object's bytes and return their SHA-256."""
    ref = ObjectRef.from_uri(uri)
    digest = hashlib.sha256()
    scratch = target.with_name(f".{target.name}.part")
    try:
        with scratch.open("wb") as file:
            body = s3.get_object(Bucket=ref.bucket, Key=ref.key)["Body"]
            for chunk in iter(lambda: body.read(_CHUNK), b""):
                file.write(chunk)
                digest.update(chunk)
                progress(len(chunk))
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
    return digest.hexdigest()
