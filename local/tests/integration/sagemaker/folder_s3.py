"""An S3 client over a folder: what the service calls of boto3's, for any process that knows the path."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

from botocore.exceptions import ClientError


class FolderS3:
    """Objects are files: ``<root>/<bucket>/<quoted key>``, so that any key can be."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def _file(self, bucket: str, key: str) -> Path:
        return self.root / bucket / quote(key, safe="")

    def _path(self, bucket: str, key: str, operation: str) -> Path:
        path = self._file(bucket, key)
        if not path.is_file():
            code = "NoSuchKey" if (self.root / bucket).is_dir() else "NoSuchBucket"
            if operation == "HeadObject":
                code = "404"
            raise ClientError(
                {
                    "Error": {"Code": code, "Message": "Not Found"},
                    "ResponseMetadata": {"HTTPStatusCode": 404},
                },
                operation,
            )
        return path

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        file: BinaryIO = self._path(Bucket, Key, "GetObject").open("rb")
        return {"Body": file}

    def head_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        return {"ContentLength": self._path(Bucket, Key, "HeadObject").stat().st_size}

    def put_object(self, Bucket: str, Key: str, Body: bytes) -> None:
        self._file(Bucket, Key).write_bytes(Body)

    def upload_file(
        self, filename: str, bucket: str, key: str, ExtraArgs: dict[str, Any] | None = None
    ) -> None:
        shutil.copyfile(filename, self._file(bucket, key))

    def delete_object(self, Bucket: str, Key: str) -> None:
        self._file(Bucket, Key).unlink(missing_ok=True)

    def listing(self, bucket: str = "data") -> list[str]:
        return sorted(unquote(path.name) for path in (self.root / bucket).iterdir())

    def read(self, key: str, bucket: str = "data") -> bytes:
        return self._file(bucket, key).read_bytes()

    def get_paginator(self, name: str) -> _Pages:
        assert name == "list_objects_v2"
        return _Pages(self)


class _Pages:
    def __init__(self, s3: FolderS3) -> None:
        self._s3 = s3

    def paginate(self, Bucket: str, Prefix: str) -> Iterator[dict[str, Any]]:
        if not (self._s3.root / Bucket).is_dir():
            raise ClientError(
                {
                    "Error": {"Code": "NoSuchBucket", "Message": "The specified bucket does not exist"},
                    "ResponseMetadata": {"HTTPStatusCode": 404},
                },
                "ListObjectsV2",
            )
        found = [{"Key": key} for key in self._s3.listing(Bucket) if key.startswith(Prefix)]
        for start in range(0, len(found), 2):
            yield {"Contents": found[start : start + 2]}
        if not found:
            yield {}
