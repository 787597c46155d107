"""Watch scored files: each is a window of its own, and small ones join into one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

import numpy as np

from dropforge.application.watch_model import (
    Watched,
    WatchedFiles,
    WatchRequest,
    batches_uri,
    judge_window,
)
from dropforge.domain.batch import BatchPlaces, RowId
from dropforge.domain.batch_results import predictions_of_answer
from dropforge.domain.contract import Contract
from dropforge.domain.drift.policy import WatchPolicy
from dropforge.domain.errors import InvalidBatchOutput
from dropforge.domain.ledger import Ledger
from dropforge.domain.moments import from_iso
from dropforge.domain.ports import ObjectRef, ObjectStore
from dropforge.domain.predictions import Label, Window, logged_inputs
from dropforge.domain.records import Live
from dropforge.domain.services import Workflows
from dropforge.domain.serving import read_live_contract
from dropforge.domain.triggers import Drop

NOT_LIVE, WATCHED_BEFORE, WAITS = "not_live", "watched_before", "waits"
_JSON: Final = "application/json"
_DIGEST_CHARACTERS: Final = 16
_OUTPUT_NAME: Final = "requests.jsonl.out"


@dataclass(frozen=True)
class BatchToWatch:
    """A file that was scored, as its plan and its job left it.

    Attributes:
        plan_uri, output_uri: of the batch; the output's folder.
        data_uri, policy, training_machine_arn, salt: see `WatchRequest`.
        outcomes_uri: JSON lines of ``id`` and ``outcome`` by row id, once something is known; None before.
    """

    plan_uri: str
    output_uri: str
    data_uri: str
    policy: WatchPolicy
    training_machine_arn: str
    salt: bytes | None = field(default=None, repr=False)
    outcomes_uri: str | None = None


@dataclass(frozen=True)
class NotWatched:
    """No window came of the file: its version is not live any more, its rows were watched before, or it waits
    for others to be enough with."""

    reason: str
    message: str


def watch_batch(
    batch: BatchToWatch, ledger: Ledger, store: ObjectStore, workflows: Workflows
) -> Watched | NotWatched:
    """Compare a scored file with the profiles of the live model that scored it.

    Of more rows than `policy.maximum_rows` a random sample is looked at; what is held in memory doesn't grow
    with the file. A file with fewer than `policy.minimum_rows` waits, without its private columns, until
    others of the same version make a window with it.

    Effect: as of `judge_window`; the rows' digest is noted under ``monitoring/batches/``, so that the same
    rows make one window however often they are scored. Safe to run twice.

    Raises:
        InvalidBatchOutput: the output is missing or is not one prediction for each row.
        InvalidProfile, InvalidContract, ObjectMissing, ArtifactChanged: see `watch_model`.
    """
    plan = json.loads(store.read(batch.plan_uri))
    live = ledger.live()
    if live is None or live.version != plan["model"]["version"]:
        return NotWatched(
            NOT_LIVE, f"Version {plan['model']['version']}, which scored the file, is not live any more."
        )
    contract = read_live_contract(live, store.read)
    rows = _read(batch, plan, contract, store)
    mine = _file(plan)
    folder = batches_uri(batch.data_uri, live.version)
    note_uri = f"{folder}{rows.digest}.json"
    note = {**mine, "planned_at": plan["planned_at"], "window": None}
    if not store.write_if_absent(note_uri, _text(note), _JSON):
        note = json.loads(store.read(note_uri))
        if note["batch_id"] != mine["batch_id"]:
            is_alone = note["rows"] >= batch.policy.minimum_rows
            if batch.outcomes_uri is None or not (is_alone or note.get("joined")):
                return NotWatched(
                    WATCHED_BEFORE, f"The same rows were watched as {note['key']} (batch {note['batch_id']})."
                )
            # What is known of the rows now belongs to the window that they made then.
            mine = {name: note[name] for name in mine}
    if mine["rows"] >= batch.policy.minimum_rows:
        parts = [_Part(rows, mine, batch.outcomes_uri)]
        watched = _judge(batch, live, contract, note["planned_at"], parts, store, workflows)
        store.write(note_uri, _text({**note, "window": watched.report_uri}), _JSON)
        return watched
    if batch.outcomes_uri is not None and note.get("joined"):
        parts = _joined_before(batch, note["joined"], rows.digest, contract, store)
        return _judge(batch, live, contract, note["joined_at"], parts, store, workflows)
    if note["window"] is not None:
        return NotWatched(WATCHED_BEFORE, f"The file is part of the window {note['window']}.")
    read_from = {"plan_uri": batch.plan_uri, "output_uri": batch.output_uri}
    held = {"inputs": rows.inputs, "outputs": rows.outputs, "ids": rows.ids}
    waiting = {**note, **read_from, "digest": rows.digest, **held}
    store.write(f"{folder}waiting/{rows.digest}.json", _text(waiting), _JSON)
    return _joined(batch, live, contract, folder, store, workflows)


def _joined(
    batch: BatchToWatch,
    live: Live,
    contract: Contract,
    folder: str,
    store: ObjectStore,
    workflows: Workflows,
) -> Watched | NotWatched:
    """Make a window of the files that wait, once they are enough together."""
    listed = [json.loads(store.read(ref.uri)) for ref in store.list(f"{folder}waiting/")]
    waiting = sorted(listed, key=lambda each: (each["planned_at"], each["digest"]))
    count = sum(each["rows"] for each in waiting)
    if count < batch.policy.minimum_rows:
        return NotWatched(
            WAITS, f"{count} rows of {len(waiting)} files wait for {batch.policy.minimum_rows} together."
        )
    parts = [
        _Part(
            _Rows(each["digest"], each["ids"], each["inputs"], each["outputs"]),
            {name: each[name] for name in ("key", "batch_id", "rows")},
        )
        for each in waiting
    ]
    joined_at = waiting[-1]["planned_at"]
    watched = _judge(batch, live, contract, joined_at, parts, store, workflows)
    again = {"joined_at": joined_at, "joined": [_place(each) for each in waiting if "plan_uri" in each]}
    for each in waiting:
        note = {name: each[name] for name in ("key", "batch_id", "rows", "planned_at")}
        note |= {"window": watched.report_uri, **(again if len(again["joined"]) == len(waiting) else {})}
        store.write(f"{folder}{each['digest']}.json", _text(note), _JSON)
        store.delete_prefix(f"{folder}waiting/{each['digest']}.json")
    return watched


def _place(waiting: Mapping[str, Any]) -> dict[str, Any]:
    """Where a file that joined others is read again, once something is known of any of them. An older release
    noted none of those that waited."""
    return {name: waiting[name] for name in ("digest", "plan_uri", "output_uri")}


def _joined_before(
    batch: BatchToWatch,
    joined: Sequence[Mapping[str, Any]],
    mine: str,
    contract: Contract,
    store: ObjectStore,
) -> list[_Part]:
    """Read the files of a window again, each with what is known of its rows.

    Args:
        mine: the digest of the file whose outcomes were just told.
    """
    parts = []
    for each in joined:
        plan = json.loads(store.read(each["plan_uri"]))
        file = replace(batch, plan_uri=each["plan_uri"], output_uri=each["output_uri"])
        told = _places(plan, each["plan_uri"]).outcomes_uri
        known = batch.outcomes_uri if each["digest"] == mine else told if store.exists(told) else None
        parts.append(_Part(_read(file, plan, contract, store), _file(plan), known))
    return parts


def _places(plan: Mapping[str, Any], plan_uri: str) -> BatchPlaces:
    return BatchPlaces(Drop.from_dict(plan["drop"]), ObjectRef.from_uri(plan_uri).bucket)


def _file(plan: Mapping[str, Any]) -> dict[str, Any]:
    return {"key": plan["drop"]["key"], "batch_id": plan["batch_id"], "rows": plan["rows"]["to_score"]}


def _judge(
    batch: BatchToWatch,
    live: Live,
    contract: Contract,
    planned_at: str,
    parts: Sequence[_Part],
    store: ObjectStore,
    workflows: Workflows,
) -> Watched:
    files = tuple(part.file for part in parts)
    digests = sorted(part.rows.digest for part in parts)
    digest = digests[0] if len(parts) == 1 else _short("\n".join(digests).encode())
    start = from_iso(planned_at).replace(microsecond=0)
    request = WatchRequest(
        start,
        start + timedelta(seconds=1),
        batch.data_uri,
        batch.policy,
        batch.training_machine_arn,
        files=WatchedFiles(digest, files, sum(each["rows"] for each in files)),
        salt=batch.salt,
    )
    inputs = [each for part in parts for each in part.rows.inputs]
    # Ids of one file's rows may be another's as well.
    ids = [
        str(each) if len(parts) == 1 else f"{part.file['key']} {each}"
        for part in parts
        for each in part.rows.ids
    ]
    names = [column.name for column in contract.features if any(column.name in each for each in inputs)]
    window = Window(
        request.start,
        request.end,
        ids=ids,
        columns={name: [each.get(name) for each in inputs] for name in names},
        outputs=[each for part in parts for each in part.rows.outputs],
        outcomes=[None] * len(ids),
        is_sample=len(ids) < request.files.rows if request.files is not None else False,
    )
    labelled = replace(window, outcomes=[each for part in parts for each in _known(part, store)])
    return judge_window(request, live, contract, window, labelled, store, workflows)


# --- reading a file's rows and answers ------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """Rows of a file, or a random sample of them: ids, what the log would keep of the inputs, and answers."""

    digest: str
    ids: list[RowId]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]


@dataclass(frozen=True)
class _Part:
    """A file of a window: its rows, its ``key``, ``batch_id`` and ``rows``, and where its outcomes are."""

    rows: _Rows
    file: Mapping[str, Any]
    outcomes_uri: str | None = None


def _known(part: _Part, store: ObjectStore) -> list[Label | None]:
    """The outcome of each row, None where it is not known."""
    ids = [str(each) for each in part.rows.ids]
    known = {} if part.outcomes_uri is None else _outcomes(part.outcomes_uri, frozenset(ids), store)
    return [known.get(each) for each in ids]


def _read(batch: BatchToWatch, plan: Mapping[str, Any], contract: Contract, store: ObjectStore) -> _Rows:
    count = int(plan["rows"]["to_score"])
    most = batch.policy.rows_of(len(contract.features))
    drawn = _drawn(count, most, batch.policy.seed)
    places = _places(plan, batch.plan_uri)
    # Without a key no pseudonym was ever logged, so of such columns only what is missing can be compared.
    salt = batch.salt or b""
    private = [column.name for column in contract.features if column.privacy == "hash" and not batch.salt]
    digest, found, before = hashlib.sha256(), _Rows("", [], [], []), 0
    output = _output(batch.output_uri, store)
    with (
        store.open(places.ids_uri) as ids,
        store.open(places.requests_uri) as requests,
        store.open(output) as answers,
    ):
        for number, line in enumerate(requests, 1):
            digest.update(line)
            names: list[RowId] = json.loads(ids.readline())
            answer = answers.readline()
            first, last = np.searchsorted(drawn, [before, before + len(names)])
            if first < last:
                instances = json.loads(line)["instances"]
                outputs = predictions_of_answer(answer, len(names), f"{output}, line {number}")
                for at in (drawn[first:last] - before).tolist():
                    kept = logged_inputs(contract, instances[at], salt)
                    kept |= {name: kept[name] and "…" for name in private if name in kept}
                    found.ids.append(names[at])
                    found.inputs.append(kept)
                    found.outputs.append(outputs[at])
            before += len(names)
    if before != count:
        raise InvalidBatchOutput(
            f"{places.ids_uri} names {before} rows where {count} were sent. Drop the file again."
        )
    return replace(found, digest=digest.hexdigest()[:_DIGEST_CHARACTERS])


def _drawn(count: int, most: int, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Which rows are looked at, counted from 0, ascending: all, or a random sample of so many."""
    if count <= most:
        return np.arange(count, dtype=np.int64)
    rng = np.random.default_rng([seed, count])
    return np.sort(rng.choice(count, most, replace=False, shuffle=False)).astype(np.int64)


def _output(output_uri: str, store: ObjectStore) -> str:
    found = sorted(each.uri for each in store.list(output_uri) if each.key.endswith(_OUTPUT_NAME))
    if not found:
        raise InvalidBatchOutput(f"There is no {_OUTPUT_NAME} under {output_uri}. Drop the file again.")
    # Each attempt has a folder of its own; the last one completed.
    return found[-1]


def _outcomes(uri: str, wanted: frozenset[str], store: ObjectStore) -> dict[str, Label]:
    """The outcomes of the rows that are looked at, by row id; of several of one row the first."""
    found: dict[str, Label] = {}
    with store.open(uri) as lines:
        for line in _lines(lines):
            name = str(line["id"])
            if name in wanted:
                found.setdefault(name, line["outcome"])
    return found


def _lines(stream: Any) -> Iterator[dict[str, Any]]:
    for line in stream:
        if line.strip():
            yield json.loads(line)


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGEST_CHARACTERS]


def _text(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()
