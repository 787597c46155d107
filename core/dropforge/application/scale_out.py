"""Preparation in many functions: when it is due, its phases, and where they keep what they tell each other.

The phases, each one map over items, and a merge after each:

- ``scan``: follow the quotes through the parts of CSV objects, so that every part begins with a row
- ``survey``: examine the rows, where a contract has to be inferred
- ``check``: hold the rows to the contract, stage them with their keys
- ``reduce``: find rows whose key comes again further down, one range of hashes per item; write rejected rows
- ``hold``, ``divide``: where time decides on the split, look through the same ranges for the groups that the
  test has, and count the rows of each split
- ``write``: write what remains to the splits

Where a phase finds that the objects can't be used, ``sift`` looks at each alone, and what is good goes on.

Everything of a run lies under ``scratch/<run_id>/``, under names that follow from the item, so that whoever
is killed and repeated writes the same again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dropforge.application.pinned_contract import pinned_contract_uri, read_pinned, was_inferred_by
from dropforge.application.preparation import Preparation
from dropforge.application.preparation_request import PrepareRequest, PrepareSettings
from dropforge.domain import errors
from dropforge.domain.chunk_tables import ChunkTables, NumberedOrigin
from dropforge.domain.chunks import Cut, Item, Span, items_of
from dropforge.domain.contract import Contract
from dropforge.domain.ports import ObjectRef, ObjectStore
from dropforge.domain.recurrence import sample_size
from dropforge.domain.run_manifest import Remarks
from dropforge.domain.time_split import Placing

_JSON = "application/json"
MANY_OBJECTS = 500
"""Opening an object takes some 100 ms, and one function has 15 minutes."""
_COMPRESSED = (".gz", ".gzip", ".zst", ".zstd", ".parquet", ".pq")
_EXPANSION = 4
"""Tables of numbers and short texts grow about so much when they are decompressed."""
_RANGE_BYTES = 128 << 20
SIFTED_BYTES = 1 << 30
"""What one function looks at in less than a minute."""
_MOST_RANGES = 4096


@dataclass(frozen=True, slots=True)
class ScaleOut:
    """When drops are prepared in chunks.

    Attributes:
        above_bytes: drops larger than this in all are; compressed ones count four times.
        chunk_bytes: the size of a chunk.
    """

    above_bytes: float
    chunk_bytes: int

    def __post_init__(self) -> None:
        if self.above_bytes < 0 or self.chunk_bytes < 1:
            raise errors.InvalidSettings(
                f"Drops above {self.above_bytes} bytes can't be prepared in chunks of {self.chunk_bytes} "
                "bytes; neither may be negative, and a chunk needs at least a byte."
            )

    def wants(self, objects: Sequence[ObjectRef]) -> bool:
        """Whether these objects are too many or too large for one function."""
        return len(objects) > MANY_OBJECTS or sum(map(_weight, objects)) > self.above_bytes


def _weight(ref: ObjectRef) -> int:
    return (ref.size or 0) * (_EXPANSION if ref.key.lower().endswith(_COMPRESSED) else 1)


@dataclass(frozen=True)
class Plan:
    """What all phases of a run agree on.

    Attributes:
        ranges: into how many ranges hashes are cut; a power of two.
        chunks: how many items the drops were cut into.
        contract_is_new, notes, missing: whether the contract in force was inferred, what was remarked, and
            what was read as missing.
        refusal: the error that a survey is to be added to, as type and message.
        is_sifted: whether objects that can't be used by themselves were looked for.
        error: the one that led to that, as `prepare_chunk.refusal` writes it, and the phase that met it.
        remarks: what came of it.
    """

    request: PrepareRequest
    ranges: int
    chunks: int
    contract_is_new: bool = False
    notes: tuple[str, ...] = ()
    refusal: tuple[str, str] | None = None
    is_sifted: bool = False
    error: Mapping[str, Any] | None = None
    remarks: Remarks = field(default_factory=Remarks)
    missing: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "run_id": self.request.run_id,
            "data_uri": self.request.data_uri,
            "settings": asdict(self.request.settings),
            "objects": [asdict(ref) for ref in self.request.objects],
            "ranges": self.ranges,
            "chunks": self.chunks,
            "contract_is_new": self.contract_is_new,
            "notes": self.notes,
            "missing": self.missing,
            "refusal": self.refusal,
            "about_drops": self.request.about_drops(),
            "is_sifted": self.is_sifted,
            "error": self.error,
            "remarks": json.loads(self.remarks.to_json()),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Plan:
        request = PrepareRequest(
            raw["run_id"],
            tuple(ObjectRef.from_dict(each) for each in raw["objects"]),
            raw["data_uri"],
            PrepareSettings(**raw["settings"]),
        )
        # A plan of an earlier release says nothing of drops, and is to be finished as it was begun.
        about = raw.get("about_drops")
        if about is not None:
            request = replace(request, **{**about, "new": frozenset(about["new"])})
        return cls(
            request,
            raw["ranges"],
            raw["chunks"],
            raw["contract_is_new"],
            tuple(raw["notes"]),
            None if raw["refusal"] is None else (raw["refusal"][0], raw["refusal"][1]),
            is_sifted=raw.get("is_sifted", True),
            error=raw.get("error"),
            remarks=Remarks.from_json(json.dumps(raw["remarks"]).encode()) if "remarks" in raw else Remarks(),
            missing=raw.get("missing", {}),
        )


class Scratch:
    """A run's folder for what its phases tell each other."""

    def __init__(self, store: ObjectStore, data_uri: str, run_id: str) -> None:
        self._store = store
        self.run_id = run_id
        self.uri = f"{data_uri.rstrip('/')}/scratch/{run_id}/"
        self.prefix = f"{data_uri.rstrip('/')}/runs/{run_id}/"
        """Where the run's own files go."""

    def folder(self, phase: str, index: int) -> str:
        """Where an item of a phase keeps its files."""
        return f"{self.uri}{phase}/{index:06d}/"

    def write(self, name: str, content: Any) -> None:
        self._store.write(f"{self.uri}{name}", json.dumps(content).encode(), _JSON)

    def read(self, name: str) -> Any:
        return json.loads(self._store.read(f"{self.uri}{name}"))

    def has(self, name: str) -> bool:
        return self._store.exists(f"{self.uri}{name}")

    def results(self, phase: str, count: int) -> Iterator[dict[str, Any]]:
        """Yield what the items of a phase answered, in order.

        Raises:
            ChunkFailed: an item has no answer.
        """
        for index in range(count):
            try:
                yield json.loads(self._store.read(f"{self.folder(phase, index)}result.json"))
            except errors.ObjectMissing as error:
                raise errors.ChunkFailed(
                    f"Item {index} of the phase {phase!r} of run {self.run_id} left no answer. Drop the "
                    "files again."
                ) from error

    def remove(self, *phases: str) -> None:
        """Remove what these phases have left."""
        for phase in phases:
            self._store.delete_prefix(f"{self.uri}{phase}/")

    def begin(self, phase: str, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Write down a phase's items; returns what the state machine has to know."""
        self.remove(phase)
        inputs = [{"run_id": self.run_id, "phase": phase, "index": i, **item} for i, item in enumerate(items)]
        self.write(f"{phase}/items.json", inputs)
        key = f"scratch/{self.run_id}/{phase}"
        return {
            "phase": {
                "run_id": self.run_id,
                "name": phase,
                "items": len(inputs),
                "items_key": f"{key}/items.json",
                "results_prefix": f"{key}/map",
            }
        }


def plan(
    request: PrepareRequest, policy: ScaleOut, store: ObjectStore, tables: ChunkTables
) -> dict[str, Any]:
    """Cut the drops of a run into chunks and name the first phase.

    Safe to run twice: whatever an earlier attempt has left is removed.

    Raises:
        InvalidSettings: target, key or task differ from the pinned contract's.
        ObjectMissing: a drop was deleted meanwhile.
    """
    scratch = Scratch(store, request.data_uri, request.run_id)
    store.delete_prefix(scratch.uri)
    cuts = [tables.cut(ref, policy.chunk_bytes) for ref in reversed(request.read)]
    items = items_of(cuts, policy.chunk_bytes)
    total = sum(_weight(replace(cut.ref, size=cut.size)) for cut in cuts)
    ranges = min(1 << max(0, math.ceil(math.log2(max(1, total / _RANGE_BYTES)))), _MOST_RANGES)
    planned = Plan(request, ranges, len(items))
    scratch.write("plan.json", planned.to_dict())
    write_items(scratch, items)
    rough = [item for item in items if item[0].is_rough]
    if rough:
        return scratch.begin("scan", [spans_of(item) for item in rough])
    return settle_contract(planned, items, scratch, store)


def begin_sift(planned: Plan, scratch: Scratch, *, by_contract: bool) -> dict[str, Any]:
    """Look at every object alone."""
    scratch.write("plan.json", planned.to_dict())
    cuts = [Cut(ref, ref.size or 0) for ref in reversed(planned.request.read)]
    items = items_of(cuts, SIFTED_BYTES)
    return scratch.begin("sift", [{**spans_of(item), "by_contract": by_contract} for item in items])


def without_objects(items: Sequence[Item], request: PrepareRequest) -> list[Item]:
    """The items with the spans of the request's objects only, under the numbers that these have now."""
    numbers = {ref.identity: number for number, ref in enumerate(reversed(request.read))}
    kept = [
        tuple(
            replace(span, number=numbers[span.ref.identity]) for span in item if span.ref.identity in numbers
        )
        for item in items
    ]
    return [item for item in kept if item]


def settle_contract(
    planned: Plan, items: Sequence[Item], scratch: Scratch, store: ObjectStore
) -> dict[str, Any]:
    """Go on with the pinned contract, or find out which one the drops imply."""
    request = planned.request
    pinned = read_pinned(pinned_contract_uri(request.data_uri), request.settings, store)
    if pinned is None or was_inferred_by(request.prefix, pinned, store):
        return scratch.begin("survey", [spans_of(item) for item in items])
    return begin_check(
        replace(planned, contract_is_new=False, notes=(), missing={}), pinned, items, scratch, store
    )


def begin_check(
    planned: Plan, contract: Contract, items: Sequence[Item], scratch: Scratch, store: ObjectStore
) -> dict[str, Any]:
    """Hold the items to a contract."""
    scratch.write("plan.json", planned.to_dict())
    scratch.remove("reduce", "hold", "divide", "write")
    store.delete_prefix(f"{scratch.uri}placing")
    Preparation(planned.request, contract, _notes(planned), planned.missing, store).begin()
    size = sample_size(len(planned.request.read))
    return scratch.begin(
        "check", [{**spans_of(item), "ranges": planned.ranges, "sample_size": size} for item in items]
    )


def preparation_of(planned: Plan, store: ObjectStore) -> Preparation:
    """The preparation under the contract that `begin_check` wrote down."""
    uri = f"{planned.request.prefix}contract/schema.json"
    contract = Contract.from_json(store.read(uri))
    return Preparation(planned.request, contract, _notes(planned), planned.missing, store)


def _notes(planned: Plan) -> tuple[str, ...] | None:
    return planned.notes if planned.contract_is_new else None


def write_items(scratch: Scratch, items: Sequence[Item]) -> None:
    """Write down the chunks, for the merges."""
    scratch.write("items.json", [spans_of(item) for item in items])


def read_items(scratch: Scratch) -> list[Item]:
    """Read the chunks."""
    return [read_spans(each) for each in scratch.read("items.json")]


def write_origins(
    scratch: Scratch, origins: Sequence[Sequence[NumberedOrigin]], recurrences: Mapping[int, int]
) -> None:
    """Write down where the staged rows of each item come from, and which objects recur in a later one."""
    parts = [[part.to_list() for part in item] for item in origins]
    scratch.write("origins.json", {"items": parts, "recurrences": list(recurrences.items())})


def read_origins(scratch: Scratch) -> tuple[list[list[NumberedOrigin]], dict[int, int]]:
    """Read what `write_origins` wrote."""
    raw = scratch.read("origins.json")
    items = [[NumberedOrigin.from_list(part) for part in item] for item in raw["items"]]
    return items, dict(raw["recurrences"])


def write_placing(scratch: Scratch, placing: Placing, store: ObjectStore) -> None:
    """Write down where rows are split in time."""
    store.write(f"{scratch.uri}placing", placing.to_bytes())


def read_placing(scratch: Scratch, store: ObjectStore) -> Placing | None:
    """Read what `write_placing` wrote; None where something else than time decides."""
    uri = f"{scratch.uri}placing"
    return Placing.from_bytes(store.read(uri)) if store.exists(uri) else None


def repeated_uri(scratch: Scratch, phase: str, number: int) -> str:
    """Where an item that looks through a range of hashes leaves the rows that come again."""
    return f"{scratch.folder(phase, number)}repeated"


def spans_of(item: Item) -> dict[str, Any]:
    """The form in which an item travels."""
    return {"spans": [asdict(span) for span in item]}


def read_spans(raw: Mapping[str, Any]) -> Item:
    """Read what `spans_of` made."""
    return tuple(Span.from_dict(each) for each in raw["spans"])
