"""Predictions whose outcome was reported, as training data: which ones a run takes, and as what object."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import IO, Any, BinaryIO, cast

from dropforge.domain.contract import NUMERIC_TYPES, Contract
from dropforge.domain.errors import EmptyData
from dropforge.domain.moments import from_iso
from dropforge.domain.ports import ObjectStore
from dropforge.domain.predictions import PredictionLog, PredictionRecord
from dropforge.domain.run_manifest import ManifestObject, RunManifest

# An outcome's time is taken before it is written, by a function that ends within half a minute; so it may
# appear that late. A row that two runs train on is the same row in both.
_OVERLAP = timedelta(seconds=60)
_NAME = "labelled/predictions.jsonl"
_SPOOLED_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class LabelledWindow:
    """Which predictions a run trains on. Times are ISO 8601 in UTC.

    Attributes:
        predicted_from: older predictions have expired, or are older than the first model.
        since, until: when their outcome was reported, ``since <= outcome_at < until``.
    """

    predicted_from: str
    since: str
    until: str

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> LabelledWindow:
        return cls(raw["predicted_from"], raw["since"], raw["until"])

    def read(self, log: PredictionLog) -> Iterator[PredictionRecord]:
        """Yield them, the oldest first, and those again that may have come too late for the last run."""
        return self._read(log, from_iso(self.since) - _OVERLAP)

    def has_new(self, log: PredictionLog) -> bool:
        """Whether any outcome came since the last training."""
        return next(self._read(log, from_iso(self.since)), None) is not None

    def _read(self, log: PredictionLog, since: datetime) -> Iterator[PredictionRecord]:
        start, until = from_iso(self.predicted_from), from_iso(self.until)
        return log.labelled(start, until, since=since, until=until)


def is_labelled(key: str) -> bool:
    """Whether the object of this key holds the labelled predictions of a run."""
    return key.startswith("runs/") and key.endswith(f"/{_NAME}")


def gather(
    manifest_uri: str,
    log: PredictionLog,
    store: ObjectStore,
    *,
    contract_uri: str,
    placing: Sequence[str] = (),
) -> RunManifest:
    """Return what a run trains on, with its labelled predictions as one more object.

    Effect: the rows are written beside the manifest as JSON lines, and the manifest is pinned to that object,
    so that a second call, and a replay, read exactly those rows.

    Args:
        placing: columns that decide on a row's split. A prediction that was asked for without them can't be
            placed, so it is left out and counted.

    Raises:
        EmptyData: there is neither a drop nor a labelled prediction.
    """
    manifest = RunManifest.from_json(store.read(manifest_uri))
    wanted = manifest.labelled
    if wanted is None or "rows" in wanted or not store.exists(contract_uri):
        return manifest
    contract = Contract.from_json(store.read(contract_uri))
    uri = f"{manifest_uri.rpartition('/')[0]}/{_NAME}"
    objects = manifest.objects
    with tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES) as lines:
        rows, left_out = _write(lines, LabelledWindow.from_dict(wanted).read(log), contract, placing)
        if rows:
            lines.seek(0)
            store.upload(uri, cast("BinaryIO", lines), "application/x-ndjson")
    if rows:
        # First, as the newest object: of rows with one key, its lowest counts, which is the last prediction.
        objects = (ManifestObject(store.pinned(uri), written_at=wanted["until"]), *objects)
    if not objects:
        raise EmptyData(
            f"{manifest_uri} names no drop, and no prediction of its time has an outcome any more. Drop a "
            "file, or report outcomes, and start again."
        )
    pinned = replace(manifest, objects=objects, labelled={**wanted, "rows": rows, "left_out": left_out})
    store.write(manifest_uri, pinned.to_json(), "application/json")
    return pinned


def _write(
    out: IO[bytes], records: Iterator[PredictionRecord], contract: Contract, placing: Sequence[str]
) -> tuple[int, int]:
    """Write the records as rows. Returns how many there are, and how many were left out."""
    names = dict.fromkeys(
        [*(c.name for c in contract.columns if c.role in ("feature", "split", "guarded")), *placing]
    )
    rows = left_out = 0
    for record in records:
        if any(record.inputs.get(name) is None for name in placing):
            left_out += 1
            continue
        row = {name: record.inputs.get(name) for name in names}
        if contract.key is not None:
            row[contract.key] = record.inputs.get(contract.key, _made_key(record, contract))
        row[contract.target] = record.outcome
        out.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        rows += 1
    return rows, left_out


def _made_key(record: PredictionRecord, contract: Contract) -> str | int:
    """A key for a caller's record that came without one: unlike any other, and the same each time."""
    if contract.column(contract.key or "").type not in NUMERIC_TYPES:
        return record.prediction_id
    return int(hashlib.sha256(record.prediction_id.encode()).hexdigest()[:15], 16)
