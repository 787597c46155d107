"""Objects in S3, behind the port that the use cases see."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, BinaryIO, cast

from botocore.exceptions import ClientError

from dropforge.adapters.aws_error_codes import DENIED_CODES
from dropforge.adapters.aws_errors import code_of, translated
from dropforge.domain.errors import ObjectChanged, ObjectMissing, ServiceRejected, ServiceUnavailable
from dropforge.domain.ports import Location, ObjectRef

_MISSING_CODES = frozenset({"NoSuchKey", "NoSuchVersion", "NoSuchBucket", "404", "NotFound"})
_READ_AHEAD_BYTES = 1 << 20
_HASH_PIECE_BYTES = 8 << 20
_DELETE_BATCH = 1000  # DeleteObjects takes at most 1000 keys:
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html


class S3ObjectStore:
    """Implements `ObjectStore` with a boto3 S3 client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def read(self, location: Location) -> bytes:
        ref = _ref(location)
        with self._reading(ref):
            return cast("bytes", self._client.get_object(**_arguments(ref))["Body"].read())

    def open(self, location: Location) -> BinaryIO:
        ref = _ref(location)
        head = self._head(ref)
        pinned = ObjectRef(
            ref.bucket, ref.key, ref.version_id, head["ETag"].strip('"'), int(head["ContentLength"])
        )
        return io.BufferedReader(_RangedObject(self, pinned), _READ_AHEAD_BYTES)

    def write(
        self, uri: str, data: bytes | bytearray, content_type: str = "application/octet-stream"
    ) -> None:
        ref = _ref(uri)
        with translated(f"writing {uri}"):
            self._client.put_object(Bucket=ref.bucket, Key=ref.key, Body=data, ContentType=content_type)

    def write_if_absent(self, uri: str, data: bytes, content_type: str = "application/octet-stream") -> bool:
        ref = _ref(uri)
        with translated(f"creating {uri}"):
            try:
                self._client.put_object(
                    Bucket=ref.bucket, Key=ref.key, Body=data, ContentType=content_type, IfNoneMatch="*"
                )
            except ClientError as error:
                if code_of(error) == "PreconditionFailed":
                    return False
                if code_of(error) == "ConditionalRequestConflict":
                    raise ServiceUnavailable(f"{uri} is being written by another call; try again.") from error
                raise
        return True

    def upload(self, uri: str, fileobj: BinaryIO, content_type: str = "application/octet-stream") -> None:
        ref = _ref(uri)
        with translated(f"uploading {uri}"):
            self._client.upload_fileobj(fileobj, ref.bucket, ref.key, ExtraArgs={"ContentType": content_type})

    def copy(self, source: Location, uri: str) -> None:
        ref, made = _ref(source), _ref(uri)
        with self._reading(ref):
            # CopyObject takes at most 5 GB; this one goes on in parts.
            self._client.copy(_arguments(ref), made.bucket, made.key)

    def exists(self, location: Location) -> bool:
        try:
            self._head(_ref(location))
        except ObjectMissing:
            return False
        return True

    def size(self, location: Location) -> int:
        return int(self._head(_ref(location))["ContentLength"])

    def pinned(self, uri: str) -> ObjectRef:
        ref = _ref(uri)
        head = self._head(ref)
        return ObjectRef(
            ref.bucket, ref.key, head.get("VersionId"), head["ETag"].strip('"'), int(head["ContentLength"])
        )

    def sha256(self, location: Location) -> str:
        ref = _ref(location)
        digest = hashlib.sha256()
        with self._reading(ref):
            for piece in self._client.get_object(**_arguments(ref))["Body"].iter_chunks(_HASH_PIECE_BYTES):
                digest.update(piece)
        return digest.hexdigest()

    def list(self, prefix_uri: str) -> Iterator[ObjectRef]:
        for ref, _ in self.list_written(prefix_uri):
            yield ref

    def list_written(self, prefix_uri: str) -> Iterator[tuple[ObjectRef, datetime]]:
        prefix = _ref(prefix_uri)
        with translated(f"listing {prefix_uri}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=prefix.bucket, Prefix=prefix.key
            )
            for page in pages:
                for entry in page.get("Contents", ()):
                    etag, size = entry["ETag"].strip('"'), int(entry["Size"])
                    yield ObjectRef(prefix.bucket, entry["Key"], None, etag, size), entry["LastModified"]

    def delete_prefix(self, uri: str) -> int:
        prefix = _ref(uri)
        if not prefix.key:
            raise ServiceRejected(f"{uri} names a whole bucket; refusing to delete everything in it.")
        keys = [{"Key": found.key} for found in self.list(uri)]
        for start in range(0, len(keys), _DELETE_BATCH):
            with translated(f"deleting {uri}"):
                answer = self._client.delete_objects(
                    Bucket=prefix.bucket,
                    Delete={"Objects": keys[start : start + _DELETE_BATCH], "Quiet": True},
                )
            for failure in answer.get("Errors", ()):
                raise ServiceRejected(f"deleting {failure.get('Key')} under {uri}: {failure.get('Message')}")
        return len(keys)

    def read_range(self, ref: ObjectRef, first: int, last: int) -> bytes:
        """The bytes from `first` to `last`, both included, of the object as it was when `ref` was made."""
        with self._reading(ref):
            answer = self._client.get_object(
                **_arguments(ref), Range=f"bytes={first}-{last}", IfMatch=ref.etag
            )
            return cast("bytes", answer["Body"].read())

    def _head(self, ref: ObjectRef) -> dict[str, Any]:
        with self._reading(ref):
            return cast("dict[str, Any]", self._client.head_object(**_arguments(ref)))

    @contextmanager
    def _reading(self, ref: ObjectRef) -> Iterator[None]:
        with translated(f"reading {ref.uri}"):
            try:
                yield
            except ClientError as error:
                code = code_of(error)
                if code in _MISSING_CODES or (code in DENIED_CODES and self._is_gone(ref)):
                    version = f" (version {ref.version_id})" if ref.version_id else ""
                    raise ObjectMissing(f"There is no object {ref.uri}{version}.") from error
                if code in ("PreconditionFailed", "412"):
                    raise ObjectChanged(
                        f"{ref.uri} was replaced while it was being read; try again."
                    ) from error
                raise

    def _is_gone(self, ref: ObjectRef) -> bool:
        """Whether the object is missing, where reading it was denied; not, where that can't be told.

        To who may not list the bucket, S3 tells a missing object as denied, and its look names no prefix:
        a role that may list below some prefixes only has to look itself.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
        """
        versioned = ref.version_id is not None
        operation = "list_object_versions" if versioned else "list_objects_v2"
        try:
            pages = self._client.get_paginator(operation).paginate(Bucket=ref.bucket, Prefix=ref.key)
            for page in pages:
                for entry in page.get("Versions" if versioned else "Contents", ()):
                    if entry["Key"] != ref.key:
                        return True  # keys come in order: the shortest of those with this prefix is first
                    if not versioned or entry["VersionId"] == ref.version_id:
                        return False
        except ClientError:
            return False
        return True


class _RangedObject(io.RawIOBase):
    """Reads one S3 object by ranges. IfMatch makes a replacement in between an error, not a mixture."""

    def __init__(self, store: S3ObjectStore, ref: ObjectRef) -> None:
        self._store, self._ref, self._position = store, ref, 0
        self._size = ref.size or 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"position {start + offset} is before the start")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._position)
        if wanted <= 0:
            return 0
        last = self._position + wanted - 1
        body = self._store.read_range(self._ref, self._position, last)
        buffer[: len(body)] = body
        self._position += len(body)
        return len(body)


def _ref(location: Location) -> ObjectRef:
    return ObjectRef.from_uri(location) if isinstance(location, str) else location


def _arguments(ref: ObjectRef) -> dict[str, str]:
    version = {"VersionId": ref.version_id} if ref.version_id else {}
    return {"Bucket": ref.bucket, "Key": ref.key, **version}
