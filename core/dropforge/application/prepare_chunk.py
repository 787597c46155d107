"""One item of one phase of a preparation in many functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dropforge.application.scale_out import Scratch, read_origins, read_placing, read_spans, repeated_uri
from dropforge.domain.chunk_tables import CheckedItem, ChunkTables
from dropforge.domain.chunks import Span
from dropforge.domain.contract import Contract
from dropforge.domain.drop_totals import DropCheck, DropSurvey, SpanSurvey
from dropforge.domain.errors import DataError, InvalidEvent, PermanentError, UnreadableData
from dropforge.domain.ports import ObjectStore


def prepare_chunk(
    event: Mapping[str, Any], data_uri: str, store: ObjectStore, tables: ChunkTables
) -> dict[str, Any]:
    """Work on an item, and write the answer beside its files.

    Safe to run twice. What makes the data unusable is an answer: the merge raises what comes first in the
    order of the rows.

    Returns:
        The run, phase and index; nothing that grows with the data.
    """
    run_id, phase, index = event["run_id"], event["phase"], int(event["index"])
    work = _PHASES.get(phase)
    if work is None:
        raise InvalidEvent(f"{phase!r} is no phase; there are {', '.join(_PHASES)}.")
    scratch = Scratch(store, data_uri, run_id)
    try:
        answer = work(event, scratch, store, tables)
    except PermanentError as error:
        answer = {"error": refusal(error)}
    scratch.write(f"{phase}/{index:06d}/result.json", answer)
    return {"run_id": run_id, "phase": phase, "index": index}


def refusal(error: PermanentError) -> dict[str, Any]:
    """The form in which an error travels."""
    row = error.row if isinstance(error, UnreadableData) else None
    return {"type": type(error).__name__, "message": str(error), "row": row}


def _scan(event: Mapping[str, Any], scratch: Scratch, store: ObjectStore, tables: ChunkTables) -> Any:
    (span,) = read_spans(event)
    return {"number": span.number, "scan": asdict(tables.scan(span))}


def _sift(event: Mapping[str, Any], scratch: Scratch, store: ObjectStore, tables: ChunkTables) -> Any:
    """Look at each object alone, as the survey or the check that met an error did."""
    contract = _contract(scratch, store) if event["by_contract"] else None
    folder = scratch.folder("sift", int(event["index"]))
    return {"objects": [_looked_at(span, contract, folder, tables) for span in read_spans(event)]}


def _looked_at(span: Span, contract: Contract | None, folder: str, tables: ChunkTables) -> dict[str, Any]:
    try:
        if contract is None:
            survey = DropSurvey(target="")  # Nothing to compare with.
            survey.add(span.ref.uri, tables.survey(span))
            return {
                "rows": survey.total.rows,
                "columns": {name: column.values for name, column in survey.total.columns.items()},
            }
        checked, problem = tables.check((span,), contract, folder, 1, 1)
        if problem is not None:
            raise problem
        total = DropCheck(contract)
        total.add(span.ref.uri, checked.spans[0])
    except PermanentError as error:
        return {"error": refusal(error)}
    counts = total.counts
    return {"read": counts.read, "rejected": counts.rejected, "unlabelled": counts.unlabelled}


def _survey(event: Mapping[str, Any], scratch: Scratch, store: ObjectStore, tables: ChunkTables) -> Any:
    spans = []
    problem: DataError | None = None
    for position, span in enumerate(read_spans(event)):
        try:
            found = tables.survey(span)
        except DataError as error:
            problem = error
            break
        spans.append(_surveyed(found))
        _keep_identifiers(found, f"{scratch.folder('survey', int(event['index']))}{position}/", store)
    return {"spans": spans, "error": None if problem is None else refusal(problem)}


def _surveyed(found: SpanSurvey) -> dict[str, Any]:
    return {
        "columns": None if found.columns is None else list(found.columns),
        "records": found.records,
        "first_bad": found.first_bad,
        "rows": found.seen.rows,
        "sources": found.seen.sources,
        "seen": {name: column.to_dict() for name, column in found.seen.columns.items()},
        "identifiers": [name for name, column in found.seen.columns.items() if len(column.identifiers.first)],
    }


def _keep_identifiers(found: SpanSurvey, folder_uri: str, store: ObjectStore) -> None:
    """The merge reads these of the first items only."""
    for number, column in enumerate(found.seen.columns.values()):
        if len(column.identifiers.first):
            store.write(f"{folder_uri}{number}", column.identifiers.first.tobytes())


def _check(event: Mapping[str, Any], scratch: Scratch, store: ObjectStore, tables: ChunkTables) -> Any:
    folder = scratch.folder("check", int(event["index"]))
    checked, problem = tables.check(
        read_spans(event), _contract(scratch, store), folder, int(event["ranges"]), int(event["sample_size"])
    )
    return {**checked.to_dict(), "error": None if problem is None else refusal(problem)}


def _reduce(event: Mapping[str, Any], scratch: Scratch, store: ObjectStore, tables: ChunkTables) -> Any:
    if "rejects" in event:
        wanted = event["rejects"]
        number = int(wanted["item"])
        tables.write_rejects(
            scratch.folder("check", number),
            int(wanted["files"]),
            wanted["rows_before"],
            f"{scratch.prefix}rejected/",
            number,
        )
        return {}
    folders = [scratch.folder("check", number) for number in range(int(event["items"]))]
    origins, recurrences = read_origins(scratch)
    return tables.find_repeated(
        folders,
        int(event["range"]),
        int(event["ranges"]),
        _contract(scratch, store),
        origins,
        recurrences,
        repeated_uri(scratch, event["phase"], int(event["index"])),
        None if event["phase"] == "reduce" else read_placing(scratch, store),
    ).to_dict()


def _write(event: Mapping[str, Any], scratch: Scratch, store: ObjectStore, tables: ChunkTables) -> Any:
    index = int(event["index"])
    tables.write(
        scratch.folder("check", index),
        CheckedItem.from_dict(scratch.read(f"check/{index:06d}/result.json")),
        [repeated_uri(scratch, "reduce", each) for each in event["reduced"]],
        index,
        _contract(scratch, store),
        read_origins(scratch)[0][index],
        store.read(f"{scratch.uri}outline"),
        scratch.prefix,
        scratch.folder("write", index),
        read_placing(scratch, store),
    )
    return {}


def _contract(scratch: Scratch, store: ObjectStore) -> Contract:
    return Contract.from_json(store.read(f"{scratch.prefix}contract/schema.json"))


_PHASES = {
    "scan": _scan,
    "sift": _sift,
    "survey": _survey,
    "check": _check,
    "reduce": _reduce,
    "hold": _reduce,
    "divide": _reduce,
    "write": _write,
}
