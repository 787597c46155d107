"""S3 in both directions: channels and models in, archives and checkpoints out."""

from __future__ import annotations

import gzip
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from dropforge_local.sagemaker.archives import files_below

_CHUNK = 1 << 20
_TRANSIENT = (EndpointConnectionError, ConnectionClosedError, ConnectTimeoutError, ReadTimeoutError)


class StorageError(Exception):
    """S3 refused, or doesn't have what was asked for; the message is fit for a FailureReason."""


class MissingObjects(StorageError):
    """There is no object below the URI."""


class Interrupted(Exception):
    """The transfer was given up because the job was stopped or ran out of time."""


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``.

    Raises:
        StorageError: it is no S3 URI.
    """
    parts = urlsplit(uri, allow_fragments=False)
    if parts.scheme != "s3" or not parts.netloc:
        raise StorageError(f"Invalid S3 URI: {uri}")
    key = parts.path.lstrip("/") + (f"?{parts.query}" if parts.query else "")
    return parts.netloc, key


def join_uri(uri: str, *parts: str) -> str:
    """The URI of a key below another one."""
    return "/".join([uri.rstrip("/"), *parts])


class Objects:
    """Reads and writes S3 objects, waiting a bounded time for an S3 that can't be reached.

    Args:
        s3: makes a client.
        retry_s: how long connection errors and 5xx are retried.
        check: called between chunks; raises ``Interrupted`` to give up.
    """

    def __init__(
        self, s3: Callable[[], Any], retry_s: float, check: Callable[[], None] = lambda: None
    ) -> None:
        self._s3 = s3
        self._retry_s = retry_s
        self._check = check
        self._made: Any = None

    @property
    def _client(self) -> Any:
        if self._made is None:
            self._made = self._s3()
        return self._made

    def _retrying[T](self, call: Callable[[], T]) -> T:
        deadline = time.monotonic() + self._retry_s
        pause = 0.05
        while True:
            self._check()
            try:
                return call()
            except ClientError as error:
                status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
                if status < 500 or time.monotonic() >= deadline:
                    raise _storage_error(error) from error
            except _TRANSIENT as error:
                if time.monotonic() >= deadline:
                    raise StorageError(f"S3 can't be reached: {error}") from error
            except BotoCoreError as error:
                raise StorageError(str(error)) from error
            time.sleep(pause)
            pause = min(pause * 2, 2.0)

    def keys(self, uri: str) -> list[str]:
        """The keys below a prefix, folder markers left out, in S3's order."""
        bucket, prefix = split_uri(uri)

        def listed() -> list[str]:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            return [item["Key"] for page in pages for item in page.get("Contents", [])]

        return [key for key in self._retrying(listed) if not key.endswith("/")]

    def exists(self, uri: str) -> bool:
        """Whether the URI names an object."""
        bucket, key = split_uri(uri)
        try:
            self._retrying(lambda: self._client.head_object(Bucket=bucket, Key=key))
        except MissingObjects:
            return False
        return True

    def download(self, uri: str, target: Path, *, decompress: bool = False) -> None:
        """Stream one object into a file, optionally through gzip."""
        bucket, key = split_uri(uri)

        def fetch() -> None:
            self._check()
            body = self._client.get_object(Bucket=bucket, Key=key)["Body"]
            partial = target.with_name(target.name + ".part")
            with partial.open("wb") as file:
                try:
                    source = gzip.GzipFile(fileobj=body) if decompress else body
                    while chunk := source.read(_CHUNK):
                        self._check()
                        file.write(chunk)
                except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                    raise StorageError(f"s3://{bucket}/{key} is no gzip file: {error}") from error
            partial.replace(target)

        target.parent.mkdir(parents=True, exist_ok=True)
        self._retrying(fetch)

    def download_prefix(
        self, uri: str, folder: Path, *, decompress: bool = False, shard: tuple[int, int] = (0, 1)
    ) -> int:
        """Copy what is below a prefix into a folder, as SageMaker lays a channel out.

        A file's path is its key after the prefix; an object whose key is the prefix itself keeps its file
        name. ``decompress`` unpacks gzip objects and drops their ``.gz``. ``shard`` is which of how many
        parts of the keys to copy, each the next in turn; the folder may then stay empty. Returns the number
        of files.

        Raises:
            MissingObjects: nothing is below the prefix.
            StorageError: a key is no usable path.
        """
        bucket, prefix = split_uri(uri)
        keys = self.keys(uri)
        if not keys:
            raise MissingObjects(f"No S3 objects found under S3 URL {uri!r}")
        folder.mkdir(parents=True, exist_ok=True)
        keys = keys[shard[0] :: shard[1]]
        for key in keys:
            relative = _relative(key, prefix)
            if decompress and relative.name.endswith(".gz"):
                relative = relative.with_suffix("")
            target = folder / relative
            if target.exists() or any(
                parent.is_file() for parent in target.parents if parent.is_relative_to(folder)
            ):
                raise StorageError(f"s3://{bucket}/{key} collides with another object's path")
            self.download(f"s3://{bucket}/{key}", target, decompress=decompress)
        return len(keys)

    def upload(self, path: Path, uri: str, *, kms_key: str | None = None) -> None:
        """Store a file as an object."""
        bucket, key = split_uri(uri)
        extra = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else None
        self._retrying(lambda: self._client.upload_file(str(path), bucket, key, ExtraArgs=extra))

    def upload_folder(self, folder: Path, uri: str, *, kms_key: str | None = None) -> int:
        """Store every file of a folder below a prefix; returns their number."""
        count = 0
        for name, path in files_below(folder):
            self.upload(path, join_uri(uri, name), kms_key=kms_key)
            count += 1
        return count

    def delete(self, uri: str) -> None:
        """Remove an object; one that isn't there is no error."""
        bucket, key = split_uri(uri)
        self._retrying(lambda: self._client.delete_object(Bucket=bucket, Key=key))

    def open(self, uri: str, spool: Path) -> IO[bytes]:
        """A file with the object's content, copied to ``spool`` first."""
        self.download(uri, spool)
        return spool.open("rb")


class FolderSync:
    """Keeps the objects below a prefix equal to a folder, deletions included (checkpoints).

    Args:
        objects: the way to S3 for the pushes; nothing but the host's end should interrupt those.
    """

    def __init__(self, objects: Objects, folder: Path, uri: str) -> None:
        self._objects = objects
        self._folder = folder
        self._uri = uri
        self._seen: dict[str, tuple[int, int]] = {}

    def restore(self, objects: Objects) -> None:
        """Copy the prefix into the folder, where there is something; later changes go the other way."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            objects.download_prefix(join_uri(self._uri, ""), self._folder)
        except MissingObjects:
            return
        self._seen = dict(self._state())

    def _state(self) -> Iterator[tuple[str, tuple[int, int]]]:
        for name, path in files_below(self._folder):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            yield name, (status.st_size, status.st_mtime_ns)

    def push(self) -> None:
        """Upload files that are new or changed since the last push and delete those that are gone."""
        current = dict(self._state())
        for name, state in current.items():
            if self._seen.get(name) == state:
                continue
            # The entrypoint may be writing the file: a copy that is consistent in size is uploaded.
            spool = self._folder.parent / f".checkpoint-{abs(hash(name))}"
            try:
                shutil.copyfile(self._folder / name, spool)
                self._objects.upload(spool, join_uri(self._uri, name))
                self._seen[name] = state
            except FileNotFoundError:
                continue
            finally:
                spool.unlink(missing_ok=True)
        for name in [name for name in self._seen if name not in current]:
            self._objects.delete(join_uri(self._uri, name))
            del self._seen[name]


def _relative(key: str, prefix: str) -> PurePosixPath:
    rest = key[len(prefix) :].lstrip("/") or key.rsplit("/", 1)[-1]
    path = PurePosixPath(rest)
    if ".." in path.parts or path.is_absolute() or "\0" in rest or not path.parts:
        raise StorageError(f"The key {key!r} is no usable file path")
    return path


def _storage_error(error: ClientError) -> StorageError:
    details = error.response.get("Error", {})
    code, message = details.get("Code", ""), details.get("Message", "")
    if code in ("404", "NoSuchKey", "NotFound"):
        return MissingObjects("The object does not exist")
    if code == "NoSuchBucket":
        return MissingObjects("The specified bucket does not exist")
    return StorageError(f"S3 answered {code}: {message}")
