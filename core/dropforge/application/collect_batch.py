"""Collect a batch: join the transform job's answers with the rows' ids, and write the result."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from dropforge.domain.batch import BatchPlaces, BatchTables, RowId, TableForm, is_newer
from dropforge.domain.batch_results import ResultRows, predictions_of_answer
from dropforge.domain.errors import InvalidBatchOutput
from dropforge.domain.notifications import Notification, batch_scored
from dropforge.domain.ports import ObjectRef, ObjectStore
from dropforge.domain.triggers import Drop

MANIFEST_FORMAT = 1
_JSON = "application/json"
_TYPES = {"csv": "text/csv", "json": "application/jsonlines"}
_OUTPUT_NAME = "requests.jsonl.out"


@dataclass(frozen=True)
class CollectedBatch:
    """``outcome`` is ``scored``, or ``superseded`` where a newer file of the same name was scored before.

    ``notification`` is what is to be told; of a batch whose result nobody needs, nothing.
    """

    outcome: str
    result_uri: str
    manifest_uri: str
    model_version: int
    scored: int
    rejected: int
    notification: Notification | None


def collect_batch(
    plan_uri: str,
    output_uri: str,
    *,
    transform_job_arn: str,
    model_name: str,
    store: ObjectStore,
    tables: BatchTables,
) -> CollectedBatch:
    """Write ``batch/out/<name>``, its rejected rows and, last, its manifest; streams, whatever the size.

    Safe to run twice: the same plan and output give the same bytes.

    Args:
        output_uri: where the transform job that completed has put its output.

    Raises:
        InvalidBatchOutput: the output is missing, or is not one prediction for each row that was sent.
    """
    plan = json.loads(store.read(plan_uri))
    drop = Drop.from_dict(plan["drop"])
    places = BatchPlaces(drop, ObjectRef.from_uri(plan_uri).bucket)
    rows = plan["rows"]

    version, scored, rejected = plan["model"]["version"], rows["to_score"], rows["rejected"]

    def collected(outcome: str, notification: Notification | None = None) -> CollectedBatch:
        return CollectedBatch(
            outcome, places.result_uri, places.manifest_uri, version, scored, rejected, notification
        )

    if _has_newer_result(places, store):
        return collected("superseded")
    form = TableForm(**plan["form"])
    output = _output(output_uri, store)
    with tempfile.TemporaryFile() as file:
        counting = _Counting(file)
        result = ResultRows(form, plan["classes"])
        with tables.compressing(cast("BinaryIO", counting), places.name) as stream:
            stream.write(result.header())
            answered = 0
            for ids, predictions in _answers(places, output, store):
                stream.write(result.lines(ids, predictions))
                answered += len(ids)
        if answered != scored:
            raise InvalidBatchOutput(
                f"{places.ids_uri} names {answered} rows where {scored} were sent. Drop the file again."
            )
        file.seek(0)
        store.upload(places.result_uri, file, _TYPES[form.format])
    if rejected:
        with store.open(places.staged_rejected_uri) as staged:
            store.upload(places.rejected_uri, staged, _TYPES["json"])
    manifest = _manifest(plan, places, counting, transform_job_arn, result.columns)
    store.write(places.manifest_uri, json.dumps(manifest, indent=1, ensure_ascii=False).encode(), _JSON)
    told = batch_scored(
        model_name,
        f"s3://{drop.bucket}/{drop.key}",
        version,
        scored=scored,
        rejected=rejected,
        result_uri=places.result_uri,
        manifest_uri=places.manifest_uri,
    )
    return collected("scored", told)


def _has_newer_result(places: BatchPlaces, store: ObjectStore) -> bool:
    """Whether a file that was dropped later under the same name has its result already."""
    if not store.exists(places.manifest_uri):
        return False
    there = Drop.from_dict(json.loads(store.read(places.manifest_uri))["drop"])
    return is_newer(there, places.drop)


def _output(output_uri: str, store: ObjectStore) -> ObjectRef:
    found = [each for each in store.list(output_uri) if each.key.endswith(_OUTPUT_NAME)]
    if len(found) != 1:
        raise InvalidBatchOutput(
            f"There are {len(found)} objects {_OUTPUT_NAME} under {output_uri}, where the transform job puts "
            "one. Drop the file again."
        )
    return found[0]


def _answers(
    places: BatchPlaces, output: ObjectRef, store: ObjectStore
) -> Iterator[tuple[list[RowId], list[dict[str, Any]]]]:
    """The ids and the predictions of each request, in the requests' order."""
    with store.open(places.ids_uri) as ids, store.open(output) as answers:
        for number, line in enumerate(ids, 1):
            names: list[RowId] = json.loads(line)
            yield names, predictions_of_answer(answers.readline(), len(names), f"{output.uri}, line {number}")
        if rest := answers.readline():
            raise InvalidBatchOutput(
                f"{output.uri} goes on after the last request's answer: {rest[:80]!r}. Drop the file again."
            )


class _Counting:
    """A file being written, its length and its SHA-256."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.bytes = 0

    def write(self, data: Any) -> int:
        self._digest.update(data)
        self.bytes += len(data)
        written: int = self._file.write(data)
        return written

    def flush(self) -> None:
        self._file.flush()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _manifest(
    plan: Mapping[str, Any], places: BatchPlaces, written: _Counting, job_arn: str, columns: list[str]
) -> dict[str, Any]:
    rows = plan["rows"]
    return {
        "format": MANIFEST_FORMAT,
        "batch_id": plan["batch_id"],
        "planned_at": plan["planned_at"],
        "execution_arn": plan["execution_arn"],
        "transform_job_arn": job_arn,
        "drop": plan["drop"],
        "model": plan["model"],
        "rows": {"read": rows["read"], "scored": rows["to_score"], "rejected": rows["rejected"]},
        "result": {
            "uri": places.result_uri,
            "format": plan["form"]["format"],
            "columns": columns,
            "bytes": written.bytes,
            "sha256": written.sha256,
        },
        "rejected": {
            "uri": places.rejected_uri if rows["rejected"] else None,
            "reasons": plan["reasons"],
        },
    }
