"""An object store in a local folder, so that a benchmark measures the work and not a network."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dropforge.domain.ports import Location, ObjectRef

PIECE_BYTES = 1 << 18
"""Written at once. What is larger ext4 puts into pages of megabytes, which a virtual machine may have to ask
of its host first: that takes five times as long, and is no part of what is measured."""


class FolderStore:
    """Implements `ObjectStore`; ``s3://bucket/key`` is the file ``<root>/bucket/key``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, location: Location) -> Path:
        uri = location if isinstance(location, str) else location.uri
        return self._root / uri.removeprefix("s3://")

    def read(self, location: Location) -> bytes:
        return self.path(location).read_bytes()

    def open(self, location: Location) -> BinaryIO:
        return self.path(location).open("rb")

    def write(
        self, uri: str, data: bytes | bytearray, content_type: str = "application/octet-stream"
    ) -> None:
        self.path(uri).parent.mkdir(parents=True, exist_ok=True)
        with self.path(uri).open("wb") as file:
            for start in range(0, len(data), PIECE_BYTES):
                file.write(memoryview(data)[start : start + PIECE_BYTES])

    def write_if_absent(self, uri: str, data: bytes, content_type: str = "application/octet-stream") -> bool:
        if self.exists(uri):
            return False
        self.write(uri, data)
        return True

    def upload(self, uri: str, fileobj: BinaryIO, content_type: str = "application/octet-stream") -> None:
        self.write(uri, fileobj.read())

    def exists(self, location: Location) -> bool:
        return self.path(location).exists()

    def size(self, location: Location) -> int:
        return self.path(location).stat().st_size

    def pinned(self, uri: str) -> ObjectRef:
        ref = ObjectRef.from_uri(uri)
        return ObjectRef(ref.bucket, ref.key, None, self.sha256(uri), self.size(uri))

    def sha256(self, location: Location) -> str:
        with self.open(location) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def list(self, prefix_uri: str) -> Iterator[ObjectRef]:
        bucket = ObjectRef.from_uri(prefix_uri).bucket
        root = self._root / bucket
        for path in sorted(root.rglob("*")):
            uri = f"s3://{bucket}/{path.relative_to(root)}"
            if path.is_file() and uri.startswith(prefix_uri):
                yield self.pinned(uri)

    def delete_prefix(self, uri: str) -> int:
        found = list(self.path(uri).rglob("*")) if uri.endswith("/") else [self.path(uri)]
        shutil.rmtree(self.path(uri), ignore_errors=True)
        return len(found)
