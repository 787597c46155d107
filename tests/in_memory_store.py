"""An `ObjectStore` in a dictionary; test_object_store.py holds it to the behaviour of S3."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import BinaryIO

from dropforge.domain.errors import ObjectMissing, ServiceRejected
from dropforge.domain.ports import Location, ObjectRef

WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)


class InMemoryObjectStore:
    """Keeps the newest content of every object; `objects` maps URIs to bytes, `written` to other times than
    `WRITTEN`."""

    def __init__(self, objects: dict[str, bytes] | None = None) -> None:
        self.objects: dict[str, bytes] = dict(objects or {})
        self.written: dict[str, datetime] = {}

    def read(self, location: Location) -> bytes:
        uri = (ObjectRef.from_uri(location) if isinstance(location, str) else location).uri
        if uri not in self.objects:
            raise ObjectMissing(f"There is no object {uri}.")
        return self.objects[uri]

    def open(self, location: Location) -> BinaryIO:
        return io.BytesIO(self.read(location))

    def write(
        self, uri: str, data: bytes | bytearray, content_type: str = "application/octet-stream"
    ) -> None:
        self.objects[uri] = bytes(data)

    def write_if_absent(self, uri: str, data: bytes, content_type: str = "application/octet-stream") -> bool:
        if uri in self.objects:
            return False
        self.write(uri, data)
        return True

    def upload(self, uri: str, fileobj: BinaryIO, content_type: str = "application/octet-stream") -> None:
        self.write(uri, fileobj.read())

    def copy(self, source: Location, uri: str) -> None:
        self.write(uri, self.read(source))

    def exists(self, location: Location) -> bool:
        return (location if isinstance(location, str) else location.uri) in self.objects

    def size(self, location: Location) -> int:
        return len(self.read(location))

    def pinned(self, uri: str) -> ObjectRef:
        ref, data = ObjectRef.from_uri(uri), self.read(uri)
        return ObjectRef(
            ref.bucket, ref.key, None, hashlib.md5(data, usedforsecurity=False).hexdigest(), len(data)
        )

    def sha256(self, location: Location) -> str:
        return hashlib.sha256(self.read(location)).hexdigest()

    def list(self, prefix_uri: str) -> Iterator[ObjectRef]:
        for uri in sorted(self.objects, key=str.encode):
            if uri.startswith(prefix_uri):
                ref = ObjectRef.from_uri(uri)
                data = self.objects[uri]
                etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
                yield ObjectRef(ref.bucket, ref.key, None, etag, len(data))

    def list_written(self, prefix_uri: str) -> Iterator[tuple[ObjectRef, datetime]]:
        for ref in self.list(prefix_uri):
            yield ref, self.written.get(ref.uri, WRITTEN)

    def delete_prefix(self, uri: str) -> int:
        if not ObjectRef.from_uri(uri).key:
            raise ServiceRejected(f"{uri} names a whole bucket.")
        found = [other for other in self.objects if other.startswith(uri)]
        for other in found:
            del self.objects[other]
        return len(found)
