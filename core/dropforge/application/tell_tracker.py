"""Tell the tracker: runs and versions that have changed since it was told last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import BinaryIO

from dropforge.application.run_documents import content_from
from dropforge.domain.errors import ObjectMissing, ServiceRejected
from dropforge.domain.ledger import Ledger
from dropforge.domain.ports import ObjectStore
from dropforge.domain.records import ModelVersion
from dropforge.domain.services import Registry
from dropforge.tracking.runs import FORMAT
from dropforge.tracking.telling import Source, Telling, tell
from dropforge.tracking.tracker import Tracker

_RUNS = 100
"""The newest, which may have changed. The command line tells of all that there ever were."""

_LARGEST_MODEL = 200 * 1024**2
"""Bytes of an archive: it goes through the function's disk, and to some servers through its memory."""

_BLOCK = 1 << 20


def tell_tracker(
    *,
    tracking: str,
    model_name: str,
    bucket: str,
    ledger: Ledger,
    store: ObjectStore,
    registry: Registry,
    tracker: Callable[[], Tracker],
) -> Telling | None:
    """Bring the tracker up to the ledger; None where nothing has changed since the last time.

    The ledger is the outbox: it keeps what it looked like when the tracker was told all of it. A tracker that
    is down leaves that as it is, and the next reconciliation tells it. Safe to run twice.

    Args:
        tracking: the parameter MlflowTracking; another tracker is told everything.

    Raises:
        ServiceUnavailable, ServiceRejected, AccessDenied: the tracker, or what a run left, can't be reached.
    """
    runs, models = ledger.list_runs(_RUNS), ledger.list_models()
    state = hashlib.sha256(
        json.dumps(
            [FORMAT, tracking, [each.to_dict() for each in runs], [each.to_dict() for each in models]]
        ).encode()
    ).hexdigest()
    if ledger.tracked_state() == state:
        return None

    def download(uri: str, file: BinaryIO) -> None:
        if (size := store.size(uri)) > _LARGEST_MODEL:
            raise ObjectMissing(f"{uri} has {size} bytes, and at most {_LARGEST_MODEL} are sent.")
        with store.open(uri) as remote:
            while block := remote.read(_BLOCK):
                file.write(block)

    def card(model: ModelVersion) -> dict[str, bytes]:
        try:
            content = registry.describe(model.model_package_arn).card
        except ServiceRejected:  # somebody deleted the package
            return {}
        return {} if content is None else {"card.json": content.encode()}

    source = Source(model_name, model_name, bucket, content_from(store), download, card)
    telling = tell(runs, models, source, tracker())
    ledger.note_tracked(state)
    return telling
