"""A stack's runs and versions, told to a tracker of experiments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import BinaryIO

from botocore.exceptions import ClientError

from dropforge.domain.errors import ObjectMissing
from dropforge.domain.ports import ObjectRef
from dropforge.domain.records import ModelVersion
from dropforge.tracking.telling import Source, Telling, tell
from dropforge.tracking.tracker import Tracker
from dropforge_ops.actions import model_cards
from dropforge_ops.errors import code_of
from dropforge_ops.stack.target import Target

_GONE = ("NoSuchKey", "404", "NotFound")


def export_to(tracker: Tracker, target: Target) -> Telling:
    """Bring a tracker up to what the stack's ledger and bucket say."""
    source = Source(
        stack=target.stack,
        model=target.outputs.get("ModelName") or target.stack,
        bucket=target.bucket,
        content=target.documents.content,
        download=lambda uri, file: _download(target, uri, file),
        card=lambda model: _card(target, model),
    )
    ledger = target.ledger
    return tell(ledger.list_runs(None), ledger.list_models(), source, tracker)


def _download(target: Target, uri: str, file: BinaryIO) -> None:
    ref = ObjectRef.from_uri(uri)
    try:
        target.client("s3").download_fileobj(ref.bucket, ref.key, file)
    except ClientError as error:
        if code_of(error) in _GONE:
            raise ObjectMissing(f"There is no object {uri}.") from error
        raise


def _card(target: Target, model: ModelVersion) -> Mapping[str, bytes]:
    sagemaker = target.client("sagemaker")
    card = model_cards.read_card(model, target.bucket, target.ledger, target.documents, sagemaker)
    content = json.dumps(card.content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    return {"card.json": content.encode(), "card.md": model_cards.markdown(card).encode()}
