"""What the use cases ask of the outside world."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Protocol

from dropforge.domain.errors import InvalidEvent


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """One object in S3, pinned to a version where the bucket keeps versions."""

    bucket: str
    key: str
    version_id: str | None = None
    etag: str | None = None
    size: int | None = None

    @property
    def uri(self) -> str:
        """``s3://bucket/key``; the version is not part of it."""
        return f"s3://{self.bucket}/{self.key}"

    @property
    def source(self) -> str:
        """The name under which the object's rows are counted and rejected."""
        return self.uri if self.version_id is None else f"{self.uri}?versionId={self.version_id}"

    @property
    def identity(self) -> str:
        """What tells this content from any other: bucket, key, and the version or else the ETag."""
        return "\0".join((self.bucket, self.key, self.version_id or "", self.etag or ""))

    @classmethod
    def from_uri(cls, uri: str) -> ObjectRef:
        """Split ``s3://bucket/key``.

        Raises:
            InvalidEvent: the text is no S3 URI.
        """
        scheme, _, rest = uri.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme != "s3" or not bucket:
            raise InvalidEvent(f"{uri!r} is no S3 URI; it must look like s3://bucket/key.")
        return cls(bucket, key)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ObjectRef:
        """Read the form that travels between states: bucket, key and optional version_id, etag, size.

        Raises:
            InvalidEvent: a field is missing or has the wrong type.
        """
        kinds = {"bucket": str, "key": str, "version_id": str, "etag": str, "size": int}
        wrong = [
            name
            for name, kind in kinds.items()
            if (raw.get(name) is None and name in ("bucket", "key"))
            or (
                raw.get(name) is not None and (not isinstance(raw[name], kind) or isinstance(raw[name], bool))
            )
        ]
        if wrong:
            raise InvalidEvent(f"object {dict(raw)!r}: missing or of the wrong type: {', '.join(wrong)}.")
        return cls(**{name: raw.get(name) for name in kinds})  # type: ignore[arg-type]


Location = str | ObjectRef
"""An ``s3://bucket/key`` URI, which means the newest version, or a reference to one version."""


class ObjectStore(Protocol):
    """Objects under ``s3://bucket/key``.

    Every method that reads raises ObjectMissing for an object that is not there. All raise AccessDenied,
    ServiceUnavailable (worth a retry) or ServiceRejected, and all are safe to repeat.
    """

    def read(self, location: Location) -> bytes:
        """Return the whole object; meant for small ones."""
        ...

    def open(self, location: Location) -> BinaryIO:
        """Open for reading: seekable, fetched in ranges, never whole in memory.

        Raises:
            ObjectChanged: while reading, when the object is replaced and the location names no version.
        """
        ...

    def write(
        self, uri: str, data: bytes | bytearray, content_type: str = "application/octet-stream"
    ) -> None:
        """Create or replace an object."""
        ...

    def write_if_absent(self, uri: str, data: bytes, content_type: str = "application/octet-stream") -> bool:
        """Create an object unless it exists, atomically. Returns whether this call created it."""
        ...

    def upload(self, uri: str, fileobj: BinaryIO, content_type: str = "application/octet-stream") -> None:
        """Create or replace an object from a file's current position to its end, in parts if it is large."""
        ...

    def copy(self, source: Location, uri: str) -> None:
        """Create or replace an object with another's content, inside S3, in parts if it is large."""
        ...

    def exists(self, location: Location) -> bool:
        """Whether the object is there."""
        ...

    def size(self, location: Location) -> int:
        """Return the object's length in bytes."""
        ...

    def pinned(self, uri: str) -> ObjectRef:
        """Return a reference to the version that is the newest now, with its ETag and size."""
        ...

    def sha256(self, location: Location) -> str:
        """Return the SHA-256 of the object's content in hex, read in pieces."""
        ...

    def list(self, prefix_uri: str) -> Iterator[ObjectRef]:
        """Yield the objects whose URI starts with `prefix_uri`, by key in UTF-8 binary order."""
        ...

    def list_written(self, prefix_uri: str) -> Iterator[tuple[ObjectRef, datetime]]:
        """As `list`, each with the time that it was written."""
        ...

    def delete_prefix(self, uri: str) -> int:
        """Delete the objects whose URI starts with `uri`. Returns how many there were.

        Raises:
            ServiceRejected: the URI names a whole bucket.
        """
        ...
