"""The files that a run left, to be downloaded from its page."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from dropforge_ops.actions import model_cards
from dropforge_ops.console.reading.run_files import CARD, PATH, files_of
from dropforge_ops.errors import CommandError, NotFound, from_aws
from dropforge_ops.stack.target import Target

_CHUNK: Final = 1024**2


def register(application: FastAPI, target: Target) -> None:
    """Serve ``GET /downloads/RUN/NAME`` as an attachment: a file of the run, or its version's model card."""

    def open_file(run_id: str, name: str) -> tuple[Iterator[bytes], int | None]:
        if name == CARD:
            data = _card(target, run_id).encode()
            return iter([data]), len(data)
        found = next((each for each in files_of(target, run_id) if each.name == name), None)
        if found is None:
            raise NotFound(f"Run {run_id} left no file {name}.")
        answer = target.client("s3").get_object(Bucket=target.bucket, Key=found.key)
        return answer["Body"].iter_chunks(_CHUNK), answer["ContentLength"]

    async def download(run_id: str, name: str) -> Response:
        try:
            chunks, size = await asyncio.to_thread(open_file, run_id, name)
        except NotFound as error:
            return PlainTextResponse(f"{error}\n", 404)
        except (ClientError, BotoCoreError) as error:
            return PlainTextResponse(f"{from_aws(error, target.host)}\n", 502)
        except CommandError as error:
            return PlainTextResponse(f"{error}\n", 500)
        file_name = f"{run_id}-{PurePosixPath(name).name}"
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(file_name)}"}
        if size is not None:
            headers["Content-Length"] = str(size)
        return StreamingResponse(chunks, media_type="application/octet-stream", headers=headers)

    application.get(f"{PATH}/{{run_id}}/{{name:path}}")(download)


def _card(target: Target, run_id: str) -> str:
    run = target.ledger.get_run(run_id)
    model = None if run is None or run.version is None else target.ledger.get_model(run.version)
    if model is None:
        raise NotFound(f"Run {run_id} made no version, so it has no model card.")
    sagemaker: Any = target.client("sagemaker")
    card = model_cards.read_card(model, target.bucket, target.ledger, target.documents, sagemaker)
    return model_cards.markdown(card)
