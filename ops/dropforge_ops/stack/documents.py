"""Reads the JSON documents that a run leaves in the data bucket."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from dropforge.domain.ports import ObjectRef
from dropforge_ops.errors import OperationFailed, code_of

# The largest, judgement.json with every slice, is a few MB; more is no document of ours.
_MAXIMUM_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class Document:
    """A JSON document, and the SHA-256 (hex) of the very bytes it was read from."""

    uri: str
    content: dict[str, Any]
    sha256: str


class Documents:
    """JSON documents by their ``s3://`` URI."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3

    def bytes_of(self, uri: str) -> bytes | None:
        """The object's bytes; None where there is no such object.

        Raises:
            OperationFailed: it is too large for what it should be.
        """
        ref = ObjectRef.from_uri(uri)
        try:
            answer = self._s3.get_object(Bucket=ref.bucket, Key=ref.key)
        except ClientError as error:
            if code_of(error) in ("NoSuchKey", "404", "NotFound"):
                return None
            raise
        if answer["ContentLength"] > _MAXIMUM_BYTES:
            raise OperationFailed(
                f"{uri} has {answer['ContentLength']} bytes, which no document of a run has."
            )
        data: bytes = answer["Body"].read()
        return data

    def find(self, uri: str | None) -> Document | None:
        """The document; None where there is none.

        Raises:
            OperationFailed: the object is no JSON object.
        """
        data = self.bytes_of(uri) if uri else None
        if uri is None or data is None:
            return None
        try:
            content = json.loads(data)
        except ValueError as error:
            raise OperationFailed(f"{uri} is no JSON: {error}.") from error
        if not isinstance(content, dict):
            raise OperationFailed(f"{uri} holds no JSON object.")
        return Document(uri, content, hashlib.sha256(data).hexdigest())

    def content(self, uri: str) -> dict[str, Any] | None:
        """What the document says; None where there is none.

        Raises:
            OperationFailed: the object is no JSON object.
        """
        found = self.find(uri)
        return None if found is None else found.content
