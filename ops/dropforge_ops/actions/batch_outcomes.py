"""Outcomes of a scored file, by the ids of its rows: kept with the batch, and watched at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from botocore.exceptions import ClientError

from dropforge.domain.batch import MANIFEST_SUFFIX, OUT_PREFIX, BatchPlaces
from dropforge.domain.ports import ObjectRef
from dropforge.domain.triggers import Drop
from dropforge_ops.errors import NotFound, OperationFailed, code_of
from dropforge_ops.stack.target import Target

_LOST: Final = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})
_MISSING: Final = frozenset({"NoSuchKey", "404", "NotFound"})


def report_outcomes(
    target: Target, name: str, outcomes: Sequence[Mapping[str, Any]], field: str
) -> Mapping[str, Any]:
    """Keep outcomes of the file ``batch/in/<name>`` and watch it with them; returns what the watch answers.

    What was reported of a row is never overwritten.

    Args:
        outcomes: ``id`` of a row, as the result names it, and ``field``.

    Raises:
        NotFound: no file of that name was scored, or its answers are gone.
        OperationFailed: the watch broke, or somebody else reports in this moment.
    """
    manifest = target.documents.find(f"s3://{target.bucket}/{OUT_PREFIX}{name}{MANIFEST_SUFFIX}")
    if manifest is None:
        raise NotFound(f"No file {name!r} was scored; names are those below batch/in/.")
    places = BatchPlaces(Drop.from_dict(manifest.content["drop"]), target.bucket)
    output = _last_output(target, places)
    uri = places.outcomes_uri
    _add(target, ObjectRef.from_uri(uri), ({"id": each["id"], "outcome": each[field]} for each in outcomes))
    batch = {"plan_uri": places.plan_uri, "output_uri": output, "outcomes_uri": uri}
    answer = target.client("lambda").invoke(
        FunctionName=target.resource("WatchModelFunction"), Payload=json.dumps({"batch": batch}).encode()
    )
    found: Mapping[str, Any] = json.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        raise OperationFailed(f"The watch broke with {found.get('errorType')}: {found.get('errorMessage')}")
    return found


def _last_output(target: Target, places: BatchPlaces) -> str:
    """The folder of the answers: each attempt has one of its own, and the last one completed."""
    ref = ObjectRef.from_uri(places.output_uri)
    pages = target.client("s3").get_paginator("list_objects_v2").paginate(Bucket=ref.bucket, Prefix=ref.key)
    found = [each for page in pages for each in page.get("Contents", ()) if each["Key"].endswith(".out")]
    if not found:
        raise NotFound(f"The answers under {places.output_uri} are gone: score the file again.")
    newest = max(found, key=lambda each: (each["LastModified"], each["Key"]))
    return f"s3://{ref.bucket}/{newest['Key'].rpartition('/')[0]}/"


def _add(target: Target, ref: ObjectRef, outcomes: Iterable[Mapping[str, Any]]) -> None:
    s3 = target.client("s3")
    condition: dict[str, str] = {"IfNoneMatch": "*"}
    before = b""
    try:
        answer = s3.get_object(Bucket=ref.bucket, Key=ref.key)
        before, condition = answer["Body"].read(), {"IfMatch": answer["ETag"]}
    except ClientError as error:
        if code_of(error) not in _MISSING:
            raise
    lines = "".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in outcomes)
    try:
        s3.put_object(Bucket=ref.bucket, Key=ref.key, Body=before + lines.encode(), **condition)
    except ClientError as error:
        if code_of(error) in _LOST:
            raise OperationFailed(
                f"{ref.uri} was changed by somebody else in this moment; nothing was recorded. Try again."
            ) from error
        raise
