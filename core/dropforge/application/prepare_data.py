"""Turns dropped objects into checked, de-duplicated, split and profiled Parquet under the run's prefix."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dropforge.application.contract_proposals import explained
from dropforge.domain.contract import TASKS, Contract
from dropforge.domain.drift.baseline import column_of, packed
from dropforge.domain.errors import (
    ConstantTarget,
    InvalidEvent,
    InvalidSettings,
    SchemaChanged,
    TooFewRows,
    TooManyRejects,
)
from dropforge.domain.inference import Inferred, infer_contract
from dropforge.domain.ports import ObjectRef, ObjectStore
from dropforge.domain.preparing import CheckCounts, SplitCounts, StagedRows, Tables, Written
from dropforge.domain.profile import FORMAT as PROFILE_FORMAT
from dropforge.domain.splitting import SPLITS
from dropforge.domain.survey import TableSurvey

REPORT_FORMAT = 1
_JSON = "application/json"
_REASONS_SHOWN = 5
_REASONS_REPORTED = 100


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """What a stack's parameters say about its data.

    Attributes:
        target: the column to predict.
        key: the column that identifies a row, or None: then all of the row does.
        task: ``auto`` or a task of the contract.
        maximum_reject_rate: share of the rows that may break the contract, in [0, 1). The default of 5 %
            lets stray values pass, and stops a column that went wrong as a whole.
        minimum_rows: rows that have to remain. Of the default of 50, five validate and five test.
    """

    target: str
    key: str | None = None
    task: str = "auto"
    maximum_reject_rate: float = 0.05
    minimum_rows: int = 50

    def __post_init__(self) -> None:
        problems = []
        if not self.target:
            problems.append("target is empty; name the column to predict")
        if self.key == "":
            problems.append("key is empty; name a column or leave it out")
        if self.task != "auto" and self.task not in TASKS:
            problems.append(f"task is {self.task!r}; it must be auto, {', '.join(TASKS)}")
        if not 0 <= self.maximum_reject_rate < 1:
            problems.append(f"maximum_reject_rate is {self.maximum_reject_rate}; it must be in [0, 1)")
        if self.minimum_rows < 1:
            problems.append(f"minimum_rows is {self.minimum_rows}; it must be at least 1")
        if problems:
            raise InvalidSettings(f"Settings of the preparation: {'; '.join(problems)}.")


@dataclass(frozen=True, slots=True)
class PrepareRequest:
    """What to prepare.

    Attributes:
        run_id: names the prefix that the output goes to.
        objects: the drops, the newest first.
        data_uri: the data bucket, ``s3://bucket``.
        settings: of the stack.
    """

    run_id: str
    objects: tuple[ObjectRef, ...]
    data_uri: str
    settings: PrepareSettings

    def __post_init__(self) -> None:
        if not self.objects:
            raise InvalidEvent(f"Run {self.run_id} has no objects to prepare.")
        if not self.run_id or "/" in self.run_id:
            raise InvalidEvent(f"{self.run_id!r} is no run id.")
        ObjectRef.from_uri(self.data_uri)


@dataclass(frozen=True, slots=True)
class PreparedData:
    """Where everything is, and how many rows came to what."""

    run_id: str
    prefix: str
    contract_uri: str
    contract_hash: str
    contract_is_new: bool
    task: str
    target: str
    split_rows: Mapping[str, int]
    profile_uri: str
    report_uri: str
    rejected_uri: str
    read: int
    rejected: int
    duplicates: int
    data_version: str
    notes: tuple[str, ...] = field(default=())

    @property
    def kept(self) -> int:
        return self.read - self.rejected - self.duplicates

    def to_dict(self) -> dict[str, Any]:
        """Return the form that travels between states."""
        return {
            "run_id": self.run_id,
            "prefix": self.prefix,
            "contract_uri": self.contract_uri,
            "contract_hash": self.contract_hash,
            "contract_is_new": self.contract_is_new,
            "task": self.task,
            "target": self.target,
            "splits": {
                split: {"uri": f"{self.prefix}{split}/", "rows": rows}
                for split, rows in self.split_rows.items()
            },
            "profile_uri": self.profile_uri,
            "report_uri": self.report_uri,
            "rejected": {"uri": self.rejected_uri, "rows": self.rejected},
            "rows": {
                "read": self.read,
                "rejected": self.rejected,
                "duplicates": self.duplicates,
                "kept": self.kept,
            },
            "data_version": self.data_version,
        }


def prepare_data(request: PrepareRequest, store: ObjectStore, tables: Tables) -> PreparedData:
    """Prepare the drops of a run.

    Safe to run twice: the same objects, settings and pinned contract give byte-identical output, and what
    an interrupted attempt left behind is removed. The first successful run pins its contract; a run whose
    data can't be used pins nothing, but leaves the rejected rows, a report that says why, and the contract
    that would fit, if the pinned one didn't, to be accepted.

    Raises:
        DataError: one of its subclasses, when the data can't be used.
        InvalidSettings: target, key or task differ from the pinned contract's.
        ObjectMissing: a drop was deleted meanwhile.
    """
    pinned_uri = pinned_contract_uri(request.data_uri)
    prefix = f"{request.data_uri.rstrip('/')}/runs/{request.run_id}/"
    pinned = _pinned(pinned_uri, request.settings, store)
    if pinned is None or _was_inferred_by(prefix, pinned, store):
        inferred = infer(request.settings, tables.survey(request.objects))
        if pinned is None or inferred.contract == pinned:
            prepared = _prepare(
                request, prefix, inferred.contract, inferred=inferred, store=store, tables=tables
            )
            if store.write_if_absent(pinned_uri, inferred.contract.to_json().encode(), _JSON):
                return prepared
            # Somebody pinned a contract meanwhile; it is the one to be held to.
            pinned = _pinned(pinned_uri, request.settings, store)
            if pinned is None or pinned == inferred.contract:
                return prepared
    return _prepare(request, prefix, pinned, inferred=None, store=store, tables=tables)


def pinned_contract_uri(data_uri: str) -> str:
    """Where the contract is pinned that drops are held to."""
    return f"{data_uri.rstrip('/')}/contract/schema.json"


def _pinned(uri: str, settings: PrepareSettings, store: ObjectStore) -> Contract | None:
    if not store.exists(uri):
        return None
    contract = Contract.from_json(store.read(uri))
    wanted = {"target": settings.target, "key": settings.key}
    if settings.task != "auto":
        wanted["task"] = settings.task
    wrong = [
        f"{name} is {value!r}, in the contract {getattr(contract, name)!r}"
        for name, value in wanted.items()
        if value != getattr(contract, name)
    ]
    if wrong:
        raise InvalidSettings(
            f"The stack's parameters differ from {uri}: {'; '.join(wrong)}. Correct the parameters; or edit "
            "contract/schema.json, or delete it so that the next drop pins a new contract."
        )
    return contract


def _was_inferred_by(prefix: str, pinned: Contract, store: ObjectStore) -> bool:
    """Whether an earlier attempt of this very run has pinned the contract."""
    uri = f"{prefix}report.json"
    if not store.exists(uri):
        return False
    report = json.loads(store.read(uri))
    return bool(report.get("contract_is_new")) and report.get("contract_hash") == pinned.hash


def infer(settings: PrepareSettings, survey: TableSurvey) -> Inferred:
    """Infer the contract of a drop under a stack's settings; raises what `infer_contract` raises."""
    return infer_contract(
        survey,
        target=settings.target,
        key=settings.key,
        task=settings.task,
        tolerated=settings.maximum_reject_rate,
    )


def _prepare(
    request: PrepareRequest,
    prefix: str,
    contract: Contract,
    *,
    inferred: Inferred | None,
    store: ObjectStore,
    tables: Tables,
) -> PreparedData:
    for folder in (*SPLITS, "rejected"):
        store.delete_prefix(f"{prefix}{folder}/")
    contract_uri = f"{prefix}contract/schema.json"
    store.write(contract_uri, contract.to_json().encode(), _JSON)
    rejected_uri = f"{prefix}rejected/"
    report = _Report(request, contract, inferred, _data_version(request.objects, contract, store))
    try:
        with tables.stage(request.objects, contract, rejected_uri) as staged:
            report.counts = staged.counts
            report.duplicates = _reduce(request, contract, staged, report)
            written = staged.write(prefix)
    except (SchemaChanged, TooManyRejects, TooFewRows, ConstantTarget) as error:
        report.failure = error
        if inferred is None and isinstance(error, SchemaChanged | TooManyRejects):
            report.failure = explained(
                error,
                request.run_id,
                prefix,
                contract,
                lambda: _survey_of_change(request, tables),
                lambda survey: infer(request.settings, survey),
                store,
            )
        store.write(f"{prefix}report.json", report.to_json(), _JSON)
        if report.failure is error:
            raise
        raise report.failure from error
    report.splits = written.splits
    store.write(f"{prefix}profile.json", _profile_json(written, contract, report.data_version), _JSON)
    store.write(f"{prefix}report.json", report.to_json(), _JSON)
    return PreparedData(
        run_id=request.run_id,
        prefix=prefix,
        contract_uri=contract_uri,
        contract_hash=contract.hash,
        contract_is_new=inferred is not None,
        task=contract.task,
        target=contract.target,
        split_rows=written.splits.rows,
        profile_uri=f"{prefix}profile.json",
        report_uri=f"{prefix}report.json",
        rejected_uri=rejected_uri,
        read=report.counts.read,
        rejected=report.counts.rejected,
        duplicates=report.duplicates,
        data_version=report.data_version,
        notes=() if inferred is None else inferred.notes,
    )


def _survey_of_change(request: PrepareRequest, tables: Tables) -> TableSurvey:
    """Examine all drops; where they differ among themselves, the newest alone."""
    try:
        return tables.survey(request.objects)
    except SchemaChanged:
        labelled = f"runs/{request.run_id}/"
        newest = next(
            (ref for ref in request.objects if not ref.key.startswith(labelled)), request.objects[0]
        )
        return tables.survey([newest])


def _reduce(request: PrepareRequest, contract: Contract, staged: StagedRows, report: _Report) -> int:
    """Refuse data with too many rejects, drop duplicates, and refuse splits that can't be used."""
    settings = request.settings
    counts = staged.counts
    if counts.rejected > settings.maximum_reject_rate * counts.read:
        raise TooManyRejects(_too_many(counts, settings.maximum_reject_rate, contract))
    duplicates = staged.deduplicate()
    splits = staged.split_counts()
    report.duplicates, report.splits = duplicates, splits
    kept = sum(splits.rows.values())
    if kept < settings.minimum_rows:
        raise TooFewRows(
            f"{kept} rows remain of {counts.read} ({counts.rejected} rejected, {duplicates} duplicates), but "
            f"minimum_rows is {settings.minimum_rows}. Drop more rows."
        )
    problems = list(_split_problems(splits, contract))
    if problems:
        raise TooFewRows(
            f"{kept} rows give splits that can't be used: {'; '.join(problems)}. Drop more rows."
        )
    return duplicates


def _split_problems(splits: SplitCounts, contract: Contract) -> Iterable[str]:
    """Training needs every class; judging needs two classes, or two values for a regression's R²."""
    for split in SPLITS:
        rows = splits.rows[split]
        if rows < 2:
            yield f"{split} has {rows} rows and needs 2"
            continue
        if contract.classes is None:
            continue
        present = splits.classes[split]
        missing = [repr(label) for label in contract.classes if not present.get(label)]
        if missing and (split == "train" or len(present) < 2):
            counted = ", ".join(f"{label!r}: {count}" for label, count in sorted(present.items()))
            yield f"{split} has no row of class {', '.join(missing)} (it has {counted})"


def _too_many(counts: CheckCounts, allowed: float, contract: Contract) -> str:
    reasons = []
    for rule, column, reason in counts.top_reasons()[:_REASONS_SHOWN]:
        where = "the record as a whole" if column is None else f"column {column!r}"
        expected = ""
        if column is not None and contract.has_column(column):
            expected = f" (expected {contract.column(column).type})"
        examples = ", ".join(
            f"{example.value!r} in row {example.row} of {example.source}" for example in reason.examples
        )
        reasons.append(f"rule {rule!r} in {where}{expected}: {reason.count} times, for example {examples}")
    return (
        f"{counts.rejected} of {counts.read} rows ({counts.rejected / counts.read:.1%}) break the contract, "
        f"but maximum_reject_rate is {allowed:.1%}. {'; '.join(reasons)}. Correct the file and drop it "
        "again; or edit contract/schema.json where its rules are too narrow."
    )


def _data_version(objects: Iterable[ObjectRef], contract: Contract, store: ObjectStore) -> str:
    """SHA-256 over the sorted identities of the objects' content, and the contract's hash."""
    identities = sorted(
        ref.identity if ref.version_id or ref.etag else f"{ref.identity}\0{store.sha256(ref)}"
        for ref in objects
    )
    digest = hashlib.sha256()
    for line in (*identities, contract.hash):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def _profile_json(written: Written, contract: Contract, data_version: str) -> bytes:
    rows, columns = written.profile.columns()
    entries = [
        {"name": c.name, "type": c.type, "role": c.role, **columns[c.name].to_dict()}
        for c in contract.prepared
        # The profile goes where the model goes; the log has nothing to compare with such a column anyway.
        if c.name in columns and c.privacy != "drop"
    ]
    for entry in entries:
        if entry["name"] in written.sample:
            entry["sample"] = packed(column_of(entry).codes(written.sample[entry["name"]]))
    return _json(
        {
            "format": PROFILE_FORMAT,
            "rows": rows,
            "data_version": data_version,
            "contract_hash": contract.hash,
            "columns": entries,
        }
    )


@dataclass
class _Report:
    """What happened to the rows; the same whenever the run is repeated, so it holds no time."""

    request: PrepareRequest
    contract: Contract
    inferred: Inferred | None
    data_version: str
    counts: CheckCounts = field(default_factory=CheckCounts)
    duplicates: int = 0
    splits: SplitCounts | None = None
    failure: Exception | None = None

    def to_json(self) -> bytes:
        counts = self.counts
        kept = None if self.splits is None else sum(self.splits.rows.values())
        return _json(
            {
                "format": REPORT_FORMAT,
                "run_id": self.request.run_id,
                "accepted": self.failure is None,
                "failure": None
                if self.failure is None
                else {"type": type(self.failure).__name__, "message": str(self.failure)},
                "data_version": self.data_version,
                "contract_hash": self.contract.hash,
                "contract_is_new": self.inferred is not None,
                "notes": [] if self.inferred is None else list(self.inferred.notes),
                "rows": {
                    "read": counts.read,
                    "rejected": counts.rejected,
                    "duplicates": self.duplicates,
                    "kept": kept,
                },
                "objects": [
                    {"source": source, "read": each.read, "rejected": each.rejected}
                    for source, each in counts.objects.items()
                ],
                "splits": None
                if self.splits is None
                else {
                    split: {"rows": self.splits.rows[split], "classes": self.splits.classes[split]}
                    for split in SPLITS
                },
                "rejects": [
                    {
                        "rule": rule,
                        "column": column,
                        "count": reason.count,
                        "examples": [example.to_dict() for example in reason.examples],
                    }
                    for rule, column, reason in counts.top_reasons()[:_REASONS_REPORTED]
                ],
            }
        )


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
