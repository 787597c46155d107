"""What the product left behind in a bucket, as the console's S3 client sees it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError
from tests.in_memory_store import InMemoryObjectStore

from dropforge_ops.stack.documents import Documents


class StoredS3:
    """The reads of boto3's S3 client over an object store; counts the objects that were read."""

    def __init__(self, store: InMemoryObjectStore) -> None:
        self._store = store
        self.gets = 0

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        self.gets += 1
        uri = f"s3://{Bucket}/{Key}"
        if uri not in self._store.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": uri}}, "GetObject")
        data = self._store.read(uri)
        return {"ContentLength": len(data), "Body": io.BytesIO(data)}

    def download_fileobj(self, bucket: str, key: str, file: Any) -> None:
        file.write(self.get_object(Bucket=bucket, Key=key)["Body"].read())

    def get_paginator(self, operation: str) -> StoredS3:
        assert operation == "list_objects_v2"
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> Iterator[dict[str, Any]]:
        head = f"s3://{Bucket}/"
        keys = sorted(uri.removeprefix(head) for uri in self._store.objects if uri.startswith(head + Prefix))
        # Pages of three, so that paging is exercised.
        for start in range(0, len(keys), 3):
            yield {
                "Contents": [{"Key": key, "ETag": self._etag(head + key)} for key in keys[start : start + 3]]
            }

    def _etag(self, uri: str) -> str:
        return hashlib.md5(self._store.read(uri), usedforsecurity=False).hexdigest()

    @property
    def documents(self) -> Documents:
        return Documents(self)
