"""Takes a file from the browser and writes it under ``incoming/``, as ``dropforge drop`` does."""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import BotoCoreError, ClientError
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from dropforge_ops.actions.drops import Upload, keys_of, upload
from dropforge_ops.errors import CommandError, UsageError, from_aws
from dropforge_ops.render import size
from dropforge_ops.stack.target import Target

PATH: Final = "/drops"
LARGEST_BYTES: Final = 2 * 1024**3
"""It passes through this machine's disk; the command line sends larger files straight to S3."""

# Progress is told this often, which is as often as a person can see.
_TOLD_EVERY_S = 0.2
# Uploads that no page has asked for are forgotten, the oldest first.
_KEPT = 100


class Drops:
    """The uploads that came through one console, until the page that sent them follows them."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._uploads: OrderedDict[str, Upload] = OrderedDict()

    def take(self, receipt: str) -> Upload | None:
        """The upload of a receipt, once."""
        return self._uploads.pop(receipt, None)

    def register(self, application: FastAPI) -> None:
        """Serve ``POST /drops?name=FILE`` with the file as its body.

        The answer is one JSON document a line: ``{"sent": bytes}`` as it goes to S3, then
        ``{"receipt", "uri"}`` or ``{"error"}``. What is refused before that has a status of its own.
        """
        application.post(PATH)(self._receive)

    async def _receive(self, request: Request, name: str = "") -> Response:
        try:
            file_name = safe_name(name)
            folder = tempfile.TemporaryDirectory(prefix="dropforge-drop-")
        except (UsageError, OSError) as error:
            return _refusal(400, str(error))
        path = Path(folder.name) / file_name
        try:
            await _store(request, path)
        except CommandError as error:
            folder.cleanup()
            return _refusal(413, str(error))
        except BaseException:
            folder.cleanup()
            raise
        return StreamingResponse(self._send_on(path, folder), media_type="application/x-ndjson")

    async def _send_on(self, path: Path, folder: tempfile.TemporaryDirectory[str]) -> AsyncIterator[str]:
        sent = _Sent()
        task = asyncio.create_task(asyncio.to_thread(self._upload, path, sent))
        try:
            while not task.done():
                await asyncio.wait([task], timeout=_TOLD_EVERY_S)
                yield _line({"sent": sent.count})
            try:
                uploaded = task.result()
            except (ClientError, BotoCoreError, S3UploadFailedError) as error:
                yield _line({"error": _said(error, self._target.host)})
                return
            receipt = secrets.token_hex(16)
            self._uploads[receipt] = uploaded
            while len(self._uploads) > _KEPT:
                self._uploads.popitem(last=False)
            yield _line({"receipt": receipt, "uri": uploaded.uri})
        finally:
            # A thread can't be called back, and it reads the file until it is done.
            task.add_done_callback(lambda _: folder.cleanup())

    def _upload(self, path: Path, sent: _Sent) -> Upload:
        [key] = keys_of([path], None).values()
        return upload(self._target.client("s3"), self._target.bucket, path, key, sent.add)


class _Sent:
    """Bytes that have gone to S3."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, count: int) -> None:
        self.count += count


def safe_name(name: str) -> str:
    """The file's own name, without any folder.

    Raises:
        UsageError: it names no file.
    """
    own = name.replace("\\", "/").rsplit("/", 1)[-1].strip()
    if own in ("", ".", "..") or any(ord(character) < 32 for character in own):
        raise UsageError(f"{name!r} is no name of a file.")
    if len(own.encode()) > 200:
        raise UsageError("The file's name has more than 200 bytes; give it a shorter one.")
    return own


async def _store(request: Request, path: Path) -> None:
    """Write the body to a file.

    Raises:
        UsageError: there is nothing in it, or it is too large; nothing is uploaded then.
    """
    too_large = UsageError(
        f"The file is larger than {size(LARGEST_BYTES)}, the most that the console takes. Send it with "
        "'dropforge drop FILE'."
    )
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > LARGEST_BYTES:
        raise too_large
    received = 0
    with path.open("wb") as file:
        async for chunk in request.stream():
            received += len(chunk)
            if received > LARGEST_BYTES:
                raise too_large
            await asyncio.to_thread(file.write, chunk)
    if not received:
        raise UsageError("The file is empty.")


def _said(error: ClientError | BotoCoreError | S3UploadFailedError, where: str) -> str:
    return str(error) if isinstance(error, S3UploadFailedError) else str(from_aws(error, where))


def _line(document: dict[str, Any]) -> str:
    return json.dumps(document) + "\n"


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)
